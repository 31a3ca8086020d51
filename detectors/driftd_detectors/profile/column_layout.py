"""The bins of one column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np

from driftd_detectors.columns import Numbers
from driftd_detectors.schema import Kind
from driftd_detectors.serialization import JsonObject


class Scale(StrEnum):
    """What the values of a column allow one to say about them."""

    CONSTANT = "constant"  # one value or none: nothing can drift, only break
    BINARY = "binary"  # two values: a proportion
    ORDERED = "ordered"  # numbers: location, spread and the rest
    NOMINAL = "nominal"  # labels without an order: chi-square only


@dataclass(frozen=True, eq=False)
class ColumnLayout:
    """The bins of one column.

    Numbers: `edges` are the left ends of half-open intervals, from the reference's lowest value to just above its
    highest; the bins are -inf, far below, below, the intervals, above, far above, +inf, missing ("far" is more than
    nine times the reference's reach away). Labels: a bin for each of `labels`, then other (labels in `rare`), new
    (labels never seen in the reference), missing. `counts` are the reference's own counts of these bins.
    """

    name: str
    kind: Kind
    scale: Scale
    counts: tuple[int, ...]
    edges: tuple[float, ...] = ()
    far: tuple[float, float] = (0.0, 0.0)
    labels: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()
    unseen: float = 0.0  # the share of new labels to be expected from rows like the reference's
    stay: float = 1.0  # share of neighbouring reference rows, in the order of time, with the same value

    @property
    def numeric(self) -> bool:
        """Whether the bins are intervals of numbers (ages, for timestamps)."""
        return self.kind in {Kind.NUMBER, Kind.TIMESTAMP}

    @property
    def bins(self) -> int:
        """How many bins there are, those for missing and unusual values included."""
        return len(self.counts)

    @cached_property
    def has_levels(self) -> bool:
        """Whether it holds few whole numbers, each with a bin of its own."""
        used = [at for at, count in enumerate(self.counts[3:-4]) if count]
        starts = np.array(self.edges)
        whole = bool(np.all(starts[:-1] == np.floor(starts[:-1])))
        return self.numeric and whole and all(starts[at + 1] - starts[at] <= 1 for at in used)

    @cached_property
    def all_edges(self) -> Numbers:
        """Every left end but that of the -inf bin, with NaN for missing: what values are searched in."""
        biggest = float(np.finfo(np.float64).max)
        return np.array([-biggest, self.far[0], *self.edges, self.far[1], np.inf, np.nan])

    @cached_property
    def places(self) -> dict[str, int]:
        """The bin of every known label."""
        other = len(self.labels)
        return {label: bin_ for bin_, label in enumerate(self.labels)} | dict.fromkeys(self.rare, other)

    def to_dict(self) -> JsonObject:
        """A JSON-ready form that `from_dict` reads back."""
        return {
            "name": self.name,
            "kind": str(self.kind),
            "scale": str(self.scale),
            "counts": list(self.counts),
            "edges": list(self.edges),
            "far": list(self.far),
            "labels": list(self.labels),
            "rare": list(self.rare),
            "unseen": self.unseen,
            "stay": self.stay,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ColumnLayout:
        """Read what `to_dict` wrote."""
        low, high = stored["far"]
        return cls(
            name=stored["name"],
            kind=Kind(stored["kind"]),
            scale=Scale(stored["scale"]),
            counts=tuple(stored["counts"]),
            edges=tuple(stored["edges"]),
            far=(low, high),
            labels=tuple(stored["labels"]),
            rare=tuple(stored["rare"]),
            unseen=stored["unseen"],
            stay=stored["stay"],
        )
