"""What an alert rule is, and from when on something needs a person's attention."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

GRACE = 600.0  # seconds: a restart, a slow scrape and a queue of checks pass
WINDOWS = 3  # lengths of a window that a check or a prediction may fail to come
WINDOW_OF_ROWS = 86_400.0  # seconds: what counts as a length where windows are of rows, which never fall due

LABEL_GRACE = 3600.0
LABEL_WAITS = 4  # times as long as labels usually take
NEVER_LABELLED = 14 * 86_400.0  # seconds more where none ever came: nobody knows yet how long they take
COHORTS = 3  # windows that wait for their labels
NOT_EVALUATED = 7  # windows in a row whose labels come and are not evaluated

REFUSALS = 3  # builds in a row that the gate let through none of
REGISTRY_FAILURES = 3  # tries in a row: a restart of its server is no news
RECENT = 6 * 3600.0  # seconds that a rollback or a take-back is news
STANDSTILL = 900.0  # seconds that the main loop may take for a round
DISK_SOON = 7 * 86_400.0  # seconds until the disk is full, at its rate
DISK_SHARE, DISK_BYTES = 0.05, 1 << 30  # of free room


def silent_after(window_seconds: float) -> float:
    """How long predictions may fail to come, in seconds."""
    return GRACE + WINDOWS * (window_seconds or WINDOW_OF_ROWS)


def unlabelled_limit(window_seconds: float, label_wait: float, *, ever: bool) -> float:
    """How long labels may fail to come, in seconds; `ever` tells whether any came."""
    usual = LABEL_GRACE + WINDOWS * window_seconds + LABEL_WAITS * label_wait
    return usual if ever else usual + NEVER_LABELLED


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
