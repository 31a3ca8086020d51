"""A source as it was at earlier moments: for a backtest, which goes through what is on record again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from driftd.records import Window
from driftd.sources.protocol import Extent, Source
from driftd_detectors.columns import Columns, Outcomes

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(slots=True)
class RecordedSource:
    """The rows of another source. It is looked at once, at `recorded_at`: what comes later is not on record.

    `so_far` says how far the past has come: up to which event time, and up to which row (only row windows need it).
    """

    source: Source
    recorded_at: float
    so_far: Callable[[], tuple[float, int]]
    _recorded: Extent | None = field(default=None)

    def refresh(self, now: float) -> Extent:
        """See `Source.refresh`: complete until `now`, an earlier moment."""
        if self._recorded is None:
            self._recorded = self.source.refresh(self.recorded_at)
        (until, rows), recorded = self.so_far(), self._recorded
        return replace(recorded, complete_until=min(recorded.complete_until, until, now), rows=rows, late=0)

    def chunks(self, window: Window) -> Iterator[tuple[Columns, Outcomes]]:
        """See `Source.chunks`."""
        return self.source.chunks(window)

    def outcomes(self, window: Window, known_by: float) -> Outcomes:
        """See `Source.outcomes`."""
        return self.source.outcomes(window, known_by)

    def read_labelled(self, since: float, until: float, known_by: float) -> Iterator[pa.Table]:
        """See `Source.labelled`."""
        return self.source.read_labelled(since, until, known_by)

    def count_labelled(self, since: float, known_by: float) -> int:
        """See `Source.count_labelled`."""
        return self.source.count_labelled(since, known_by)

    def sample(self, window: Window, rows: int, seed: int) -> pa.Table:
        """See `Source.sample`."""
        return self.source.sample(window, rows, seed)

    def close(self) -> None:
        """See `Source.close`."""
        self.source.close()
