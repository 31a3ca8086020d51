"""Rows that are in no window, as the daemon counts them: each by its reason, in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from driftd.observe import model_families
from driftd.observe.metric_family import Family
from driftd.views.conditions import ExportedValues

_WORDS = {
    "duplicates": "sent before",
    "refused": "refused",
    "malformed": "malformed",
    "no_time": "without a readable time",
    "impossible_time": "with an impossible time",
    "no_label": "of feedback without a label",
}


@dataclass(frozen=True, slots=True)
class RowCounts:
    """How many rows are in no window, by reason; how many came late; and how many labels joined no prediction."""

    set_aside: dict[str, int] = field(default_factory=dict)
    late: int = 0
    labels: int = 0
    unjoined: int = 0

    @property
    def sentence(self) -> str:
        """All that is not zero, in words; empty when every row is where it belongs."""
        parts = [f"{count:,} {_WORDS[reason]}" for reason, count in self.set_aside.items()]
        if self.late:
            parts.append(f"{self.late:,} late (in no check, but in training)")
        rows = [f"rows set aside: {', '.join(parts)}"] if parts else []
        if self.unjoined:
            joined = self.labels - self.unjoined
            rows.append(f"label feed: {self.labels:,} came, {joined:,} joined a prediction")
        return "; ".join(rows)


def row_counts(metrics: ExportedValues, model: str) -> RowCounts:
    """What the daemon counts of one model's rows."""

    def count(family: Family, *labels: str) -> int:
        return int(metrics.value(family, model, *labels) or 0)

    by_reason = {reason: count(model_families.EVENTS_SET_ASIDE, reason) for reason in model_families.SET_ASIDE}
    return RowCounts(
        {reason: number for reason, number in by_reason.items() if number},
        count(model_families.LATE),
        count(model_families.LABEL_IDS),
        count(model_families.LABEL_IDS_UNJOINED),
    )


def all_row_counts(metrics: ExportedValues, models: Iterable[str]) -> dict[str, RowCounts]:
    """What the daemon counts of the rows of some models."""
    return {model: row_counts(metrics, model) for model in models}
