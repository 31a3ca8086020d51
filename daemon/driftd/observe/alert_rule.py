"""What an alert rule is: when it fires, how bad that is, its sentence and its section of the runbook."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

Format = Literal["number", "large", "count", "span", "bytes"]
MODEL = ("model",)
KEPT = "5m"  # how long an alert on a state outlives its series: a daemon that starts anew has solved nothing


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that a summary tells besides the value of the rule.

    In `expr`, `$only` stands for the matchers of the alert's own labels; it must give one series with these labels.
    """

    expr: str
    format: Format = "number"


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule. `summary` may name {labels}, the {value} and {figures}."""

    name: str
    expr: str  # every series that it gives fires
    severity: Literal["critical", "warning"]  # critical: look now, also at night
    summary: str
    meaning: str
    labels: tuple[str, ...] = MODEL  # that the summary names, besides `instance`
    value: Format = "number"
    figures: dict[str, Figure] = field(default_factory=dict)
    hold: str = "0m"  # how long it must be so
    keep: str = KEPT  # how long it goes on when it is so no more

    @property
    def section(self) -> str:
        """The section of docs/runbook.md."""
        return section_of(self.name)


def section_of(alert: str) -> str:
    """The section of docs/runbook.md for an alert: its name without the prefix, in kebab-case."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", alert.removeprefix("Driftd")).lower()
