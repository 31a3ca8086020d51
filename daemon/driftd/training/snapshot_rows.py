"""The rows of a snapshot as code of the user gets them: as frames of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from driftd.paths import Places
from driftd.training.snapshots import Snapshot, read_snapshot
from driftd_detectors.schema import Kind, Schema

MOST_ROWS = 1_000_000  # of a frame that nobody has asked to be larger


@dataclass(frozen=True, slots=True)
class SnapshotRows:
    """The labelled rows of a build, oldest first: the features, the target, and `driftd_at` with its like.

    `len(snapshot)` counts them. All of them may be more than memory holds: `frames` has them piece by piece.
    """

    stored: Snapshot

    @classmethod
    def read(cls, places: Places, model: str, digest: str) -> SnapshotRows:
        """The rows of a stored snapshot. Raises SnapshotError where it is gone or damaged."""
        return cls(read_snapshot(places, model, digest))

    def __len__(self) -> int:
        return len(self.stored.rows)

    @property
    def schema(self) -> Schema:
        """The features with their kinds, the target, the classes."""
        return self.stored.schema

    @property
    def features(self) -> list[str]:
        """The names of the features."""
        return list(self.schema.names)

    @property
    def target(self) -> str:
        """The name of the column that is predicted."""
        return self.schema.target

    def frame(self, most: int = MOST_ROWS, since: float | None = None) -> pd.DataFrame:
        """The newest rows, at most so many; only those from `since` on (epoch seconds) where that is given."""
        first = max(0, len(self) - most)
        if since is not None:
            first = max(first, int(np.searchsorted(self.stored.at, since)))
        pieces = [piece.to_pandas() for piece in self.stored.rows.pieces(slice(first, None))]
        empty: pd.DataFrame = self.stored.rows.fields.empty_table().to_pandas()
        return pd.concat(pieces, ignore_index=True) if pieces else empty

    def frames(self) -> Iterator[pd.DataFrame]:
        """All rows, piece by piece, each of them small enough for memory."""
        for piece in self.stored.rows.pieces(slice(0, None)):
            yield piece.to_pandas()

    def kind(self, column: str) -> Kind | None:
        """The kind of a feature or of the target; None for what is neither."""
        if column == self.target:
            return Kind.CATEGORY if self.schema.classes else Kind.NUMBER
        return next((feature.kind for feature in self.schema.features if feature.name == column), None)
