"""Where every model stands, in lines for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from driftd.cli.printing import VERDICT_STYLES, Cell, print_table, say, when
from driftd.page.status import not_watched, sentences, spoken, spoken_override, worst_verdict
from driftd.page.words import share_of_limit


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
        when(one["last_check"]),
        f"{nearest}: {shares[nearest]:.0%}" if nearest is not None else "-",
    ]
