"""The last windows of all streams, for the change point, for learning late and for a richer season."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.columns import Numbers
from driftd_detectors.seasons import Season, regressors

MOST_WINDOWS = 336  # two weeks of hours: what the richest season needs
FEWEST_WINDOWS = 56
MOST_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class History:
    """Up to `MOST_WINDOWS` windows, fewer when there are many streams: the newest last. Immutable."""

    starts: Numbers  # (H,)
    values: NDArray[np.float32]  # (H, S)
    sampling_sd: NDArray[np.float32]  # (H, S)
    learned: NDArray[np.bool_]  # (H,) whether the window was learned; it is not while it waits in quarantine

    @classmethod
    def of(cls, starts: Numbers, values: Numbers, sampling_sd: Numbers) -> History:
        """The newest of the reference windows, all learned."""
        kept = slice(max(0, len(starts) - room(values.shape[1])), None)
        return cls(
            np.asarray(starts, dtype=np.float64)[kept],
            np.asarray(values, dtype=np.float32)[kept],
            np.asarray(sampling_sd, dtype=np.float32)[kept],
            np.ones(len(starts), dtype=bool)[kept],
        )

    def with_window(self, start: float, values: Numbers, sampling_sd: Numbers) -> History:
        """One window more, not learned yet; the oldest falls out when there is no room."""
        kept = slice(max(0, len(self.starts) + 1 - room(len(values))), None)
        return History(
            np.append(self.starts[kept], start),
            np.concatenate([self.values[kept], values.astype(np.float32)[None]]),
            np.concatenate([self.sampling_sd[kept], sampling_sd.astype(np.float32)[None]]),
            np.append(self.learned[kept], False),
        )

    def all_learned(self) -> History:
        """Nothing waits any more."""
        return replace(self, learned=np.ones(len(self.starts), dtype=bool))

    def shifted(self, shift: Numbers, since: int) -> History:
        """As if the level had always been the one since position `since`."""
        values = self.values.copy()
        values[:since] += shift.astype(np.float32)
        return replace(self.all_learned(), values=values)

    def regressors(self, season: Season, window_seconds: float | None) -> Numbers:
        """Z of every window, (H, p)."""
        return regressors(season, self.starts, window_seconds)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays to be kept."""
        names = ("starts", "values", "sampling_sd", "learned")
        return {name: getattr(self, name) for name in names}


def room(streams: int) -> int:
    """How many windows of so many streams are kept."""
    return int(np.clip(MOST_BYTES // (8 * max(1, streams)), FEWEST_WINDOWS, MOST_WINDOWS))
