"""How commands print: sentences, tables, JSON, the lines of the fleet. Data is never read as markup."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from driftd.formatting import format_minute, json_safe
from driftd.views.status import not_watched, sentences, spoken, spoken_override, worst_verdict
from driftd_detectors.assessment import share_of_limit

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


def print_status(told: dict[str, Any], to: Console) -> None:
    """Print what `fleet_status` found, for people."""
    for one in told["models"]:
        if one["needs"]:
            say(to, f"{one['model']}: {one['needs']}", "bold red")
    if told["models"]:
        headings = ["model", "phase", "version", "verdict", "last check (UTC)", "nearest to an alarm"]
        print_table(to, headings, [_status_row(one) for one in told["models"]])
    for one in told["models"]:
        for sentence in sentences(one):
            say(to, f"  {one['model']}: {sentence}")
    _print_whole(told, to)


def _print_whole(told: dict[str, Any], to: Console) -> None:
    """What concerns no single model that is watched."""
    for one in told["not_watched"]:
        say(to, f"  {one['model']}: {not_watched(one['version'])}", "yellow")
    if told["override"]:
        say(to, f"override in force: {spoken_override(told['override'])}", "bold yellow")
    for one in told["host"]:
        say(to, spoken(one), "bold red")
    if told["lapsed"]:
        say(to, told["lapsed"], "yellow")
    if told["config"]:
        one = told["config"]
        say(
            to, one["sentence"], "bold red" if one["refused"] else "dim" if one["file"] == one["in_force"] else "yellow"
        )


def _status_row(one: dict[str, Any]) -> list[Cell]:
    worst = worst_verdict(one)
    shares = {kind: share_of_limit(found["evidence"], found["threshold"]) for kind, found in one["evidence"].items()}
    nearest = max(shares, key=lambda kind: shares[kind], default=None)
    return [
        one["model"],
        one["phase"],
        str(one["version"] or "-"),
        Text(worst, style=VERDICT_STYLES.get(worst, "")),
        format_minute(one["last_check"]),
        f"{nearest}: {shares[nearest]:.0%}" if nearest is not None else "-",
    ]
