"""A window, read once: its counts, the times of its rows, and how many of them another version predicted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from driftd_detectors.columns import Columns, Outcomes
from driftd_detectors.errors import DetectorError
from driftd_detectors.profile.layout import Layout
from driftd_detectors.profile.profile import Profile, empty_profile, merge, profile_of
from driftd_detectors.schema import Schema
from driftd_detectors.serialization import as_array, pack, unpack

BATCHES = 1  # the version of what travels between an engine and the daemon: what another one wrote is refused


@dataclass(frozen=True, slots=True)
class ServedBy:
    """Whose predictions the rows of a window should be, and which rows are surely another version's."""

    champion: int
    others: frozenset[int] | None = None  # versions of ours, where the champion is known by its log alone: whatever
    # number the system that serves it gives it, it is none of these
    since: float = -np.inf  # epoch seconds: older rows that name no version were predicted by the version before

    def foreign_rows(self, outcomes: Outcomes) -> int:
        """How many predictions are another version's; 0 stands for "made elsewhere"."""
        version = outcomes.version
        if self.others is not None:
            return int(np.count_nonzero(np.isin(version, list(self.others))))
        unnamed = (version <= 0) & (outcomes.at < self.since)
        return int(np.count_nonzero(((version != self.champion) & (version > 0)) | unnamed))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form that `from_dict` reads back."""
        since = self.since if np.isfinite(self.since) else None
        return {
            "champion": self.champion,
            "others": None if self.others is None else sorted(self.others),
            "since": since,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ServedBy:
        """Read what `to_dict` wrote."""
        others, since = stored["others"], stored["since"]
        return cls(
            stored["champion"], None if others is None else frozenset(others), -np.inf if since is None else since
        )


class Bins(Protocol):
    """What a window is counted on: a `Reference`, or the two parts of it that travel."""

    @property
    def schema(self) -> Schema:
        """The columns and classes."""
        ...

    @property
    def layout(self) -> Layout:
        """The bins."""
        ...


@dataclass(frozen=True, slots=True)
class WindowBins:
    """A schema and the bins of its columns."""

    schema: Schema
    layout: Layout


@dataclass(frozen=True, slots=True)
class WindowData:
    """One window, read once. Merging is adding: in the order of the partitions, any cut gives the same counts."""

    profile: Profile
    first_at: float  # NaN when the window is empty
    last_at: float
    foreign: int  # rows that another version than the champion predicted

    def merge(self, other: WindowData) -> WindowData:
        """The rows of both. Raises ValueError when they were counted on different layouts."""
        return WindowData(
            merge(self.profile, other.profile),
            float(np.fmin(self.first_at, other.first_at)),
            float(np.fmax(self.last_at, other.last_at)),
            self.foreign + other.foreign,
        )

    def to_bytes(self) -> bytes:
        """A compact form that `from_bytes` reads back."""
        values = {
            "batches": BATCHES,
            "first_at": None if np.isnan(self.first_at) else self.first_at,
            "last_at": None if np.isnan(self.last_at) else self.last_at,
            "foreign": self.foreign,
        }
        return pack(values, {"profile": as_array(self.profile.to_bytes())})

    @classmethod
    def from_bytes(cls, stored: bytes) -> WindowData:
        """Read what `to_bytes` wrote. Raises DetectorError when the bytes are something else."""
        values, arrays = unpack(stored)
        if values.get("batches") != BATCHES or "profile" not in arrays:
            raise DetectorError("these bytes are no window of this version: make them with its profile_batches")
        first, last = (float("nan") if at is None else float(at) for at in (values["first_at"], values["last_at"]))
        return cls(Profile.from_bytes(arrays["profile"].tobytes()), first, last, values["foreign"])


def empty_window(layout: Layout) -> WindowData:
    """The window of no rows."""
    return WindowData(empty_profile(layout), float("nan"), float("nan"), 0)


def summarise_rows(
    columns: Columns, outcomes: Outcomes, schema: Schema, layout: Layout, served: ServedBy
) -> WindowData:
    """Some rows of a window as counts, in the words of the version that is watched."""
    at = outcomes.at
    profile = profile_of(columns.rename_categories(schema.category_names), outcomes.among(schema.classes), layout)
    if not outcomes.rows:
        return WindowData(profile, float("nan"), float("nan"), 0)
    return WindowData(profile, float(np.min(at)), float(np.max(at)), served.foreign_rows(outcomes))


def summarise_chunks(chunks: Iterable[tuple[Columns, Outcomes]], bins: Bins, served: ServedBy) -> WindowData:
    """The rows of a window, chunk by chunk: memory is bounded by one chunk."""
    total = empty_window(bins.layout)
    for columns, outcomes in chunks:
        total = total.merge(summarise_rows(columns, outcomes, bins.schema, bins.layout, served))
    return total
