"""How commands print: sentences, tables, JSON, the lines of the fleet. Data is never read as markup."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from driftd.formatting import format_minute, json_safe
from driftd.views.status import (
    FleetStatus,
    ModelStatus,
    format_condition,
    format_override,
    not_watched,
    sentences,
)

PIPED_WIDTH = 500  # columns; what is not a terminal gets whole lines
Cell = str | Text
VERDICT_STYLES = {"drift": "bold red", "error": "bold red", "suspected": "yellow", "inconclusive": "dim", "ok": "green"}


def console() -> Console:
    """Standard output: coloured and wrapped on a terminal, whole plain lines in a pipe."""
    found = Console(markup=False, highlight=False)
    return found if found.is_terminal else Console(markup=False, highlight=False, width=PIPED_WIDTH)


def say(to: Console, text: str, style: str = "") -> None:
    """One sentence; the terminal wraps it, a pipe does not."""
    to.print(Text(text, style=style), soft_wrap=True)


def print_table(
    to: Console, headings: Sequence[str], rows: Sequence[Sequence[Cell]], *, long: str | None = None
) -> None:
    """A table whose columns keep their width; only the column `long` is folded to fit the terminal."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=heading != long, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    to.print(table)


def print_json(value: object) -> None:
    """Print a value as JSON; times stay epoch seconds, NaN becomes null."""
    click.echo(json.dumps(json_safe(value), indent=2, default=str))


def number(value: object) -> str:
    """A figure for people: four digits of a float, everything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def print_status(fleet: FleetStatus, to: Console) -> None:
    """Print what `fleet_status` found, for people."""
    for status in fleet.models:
        if status.needs:
            say(to, f"{status.model}: {status.needs}", "bold red")
    if fleet.models:
        headings = ["model", "phase", "version", "verdict", "last check (UTC)", "nearest to an alarm"]
        print_table(to, headings, [_status_row(status) for status in fleet.models])
    for status in fleet.models:
        for sentence in sentences(status):
            say(to, f"  {status.model}: {sentence}")
    _print_whole(fleet, to)


def _print_whole(fleet: FleetStatus, to: Console) -> None:
    """What concerns no single model that is watched."""
    for absent in fleet.not_watched:
        say(to, f"  {absent.model}: {not_watched(absent.version)}", "yellow")
    if fleet.override is not None:
        say(to, f"override in force: {format_override(fleet.override)}", "bold yellow")
    for condition in fleet.host:
        say(to, format_condition(condition), "bold red")
    if fleet.lapsed:
        say(to, fleet.lapsed, "yellow")
    if fleet.config is not None:
        calm = "dim" if fleet.config.file == fleet.config.in_force else "yellow"
        say(to, fleet.config.sentence, "bold red" if fleet.config.refused else calm)


def _status_row(status: ModelStatus) -> list[Cell]:
    nearest = status.nearest
    return [
        status.model,
        status.phase,
        str(status.version or "-"),
        Text(status.worst, style=VERDICT_STYLES.get(status.worst, "")),
        format_minute(status.last_check),
        f"{nearest}: {status.evidence[nearest].share:.0%}" if nearest is not None else "-",
    ]
