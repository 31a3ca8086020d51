"""One line on the terminal for each decision of the daemon."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.text import Text

from driftd.store.state_records import StoredTransition

STYLES = {
    "adopted": "dim",
    "alarm": "bold red",
    "build_started": "bold cyan",
    "gate_inconclusive": "yellow",
    "challenger_rejected": "yellow",
    "challenger_inconclusive": "yellow",
    "swap_started": "cyan",
    "promoted": "bold green",
    "confirmed": "green",
    "rollback_started": "bold magenta",
    "rolled_back": "bold magenta",
    "quality_fault": "bold red",
    "build_failed": "bold red",
}


def told(line: StoredTransition) -> Text:
    """`03 Apr 00:00  promoted  version 2 serves instead of 1 ...`, coloured by what it is."""
    when = datetime.fromtimestamp(line.at, UTC)
    text = Text(f"{when:%d %b %H:%M}  ", style="dim")
    text.append(f"{line.event.replace('_', ' '):<18} ", style=STYLES.get(line.event, ""))
    text.append(line.reason)
    return text
