"""What the operator configured, as policy sees it: one model's settings and the override's hand on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from driftd.records import Trigger

HOUR = 3600.0
DAY = 24 * HOUR


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """Spans in seconds, counts in labelled rows."""

    retrain_on: frozenset[Trigger] = frozenset({Trigger.PERFORMANCE})
    cooldown: float = 6 * HOUR  # no build starts sooner after one ended
    budget_builds: int = 4  # at most so many builds ...
    budget_per: float = DAY  # ... in so long: storm control
    min_labels: int = 300
    new_labels: int = 10_000  # the `new_labels` trigger
    approval: Literal["auto", "manual"] = "auto"
    collect_for: float = 60 * DAY  # how long an inconclusive challenger may wait for rows
    probation_span: float = DAY
    probation_min_labels: int = 300
    backoff_first: float = HOUR / 6  # after a failed build; doubles with each
    backoff_most: float = DAY
    most_failures: int = 5  # then the wish is dropped


@dataclass(frozen=True, slots=True)
class Override:
    """The operator's hand on one model. After `expires` it has no effect; each silence has an end of its own."""

    reason: str = ""
    expires: float | None = None
    pause: frozenset[str] = frozenset()  # checks | retraining | promotion
    pin: int | None = None
    retrain: str | None = None
    approve: int | None = None
    reject: int | None = None
    silence: Mapping[str, float] = field(default_factory=dict)  # until when a feature raises no alarm

    def in_force(self, now: float) -> Override:
        """This override without what has lapsed; the empty one when it has lapsed whole."""
        if self.expires is not None and now >= self.expires:
            return Override()
        lasting = {feature: until for feature, until in self.silence.items() if now < until}
        return self if len(lasting) == len(self.silence) else replace(self, silence=lasting)

    @property
    def is_empty(self) -> bool:
        """Whether it asks nothing of this model."""
        asked = (self.pin, self.retrain, self.approve, self.reject)
        return not self.pause and not self.silence and all(one is None for one in asked)
