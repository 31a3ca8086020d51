"""How commands print: plain sentences, tables, JSON. What comes from data is never read as markup."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

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
    click.echo(json.dumps(plain(value), indent=2, default=str))


def when(at: float | None) -> str:
    """A moment for people, in UTC; a dash for none."""
    return "-" if not at else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def number(value: object) -> str:
    """A figure for people: four digits of a float, everything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def plain(value: object) -> object:
    """A value as JSON can say it: records as mappings, NaN as null."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
