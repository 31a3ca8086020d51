"""How many labels joined a prediction, and when too few did. Without Arrow: the event store counts them too."""

from __future__ import annotations

from dataclasses import dataclass

COUNT_SECONDS = 600.0  # from one count to the next, at least
UNJOINED_SHARE = 0.5  # of the labels that came; more without a prediction are a fault of the feed
_FEWEST_LABELS = 20


@dataclass(frozen=True, slots=True)
class JoinCounts:
    """What the last pass found."""

    labels: int = 0  # identities that have a label
    unjoined: int = 0  # of them, those that no prediction has
    label_example: str = ""
    prediction_example: str = ""

    @property
    def fault(self) -> str | None:
        """The sentence of a feed whose labels do not belong to the predictions; None while most do."""
        if self.labels < _FEWEST_LABELS or self.unjoined <= UNJOINED_SHARE * self.labels:
            return None
        like = f", predictions have ids such as {self.prediction_example!r}" if self.prediction_example else ""
        return (
            f"label feed: {self.labels:,} came, {self.labels - self.unjoined:,} joined a prediction; "
            f"the id {self.label_example!r} belongs to none{like}: is the same id logged with both?"
        )
