"""What a metric family is: name, type, labels, help."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

OWNERS = (("model",), ("receiver",))


@dataclass(frozen=True, slots=True, eq=False)  # a key of many dictionaries: hashing the texts would cost the most
class Family:
    """One metric family. `owner`: the first label, where series come and go with what it names; else empty."""

    name: str
    type: Literal["gauge", "counter", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    lasting: bool = False  # a counter that goes on over restarts, because the store knows it

    @property
    def owner(self) -> str:
        """`model` or `receiver` where each series belongs to one, else empty."""
        return self.labels[0] if self.labels[:1] in OWNERS else ""


@dataclass(frozen=True, slots=True)
class MetricCatalogue:
    """Families in the order in which they are named; each gets driftd's prefix and the suffix of its type."""

    families: list[Family] = field(default_factory=list)

    def gauge(self, name: str, text: str, *labels: str) -> Family:
        """A value that goes up and down."""
        return self._list(Family(f"driftd_{name}", "gauge", text, labels))

    def counter(self, name: str, text: str, *labels: str, lasting: bool = False) -> Family:
        """A count that only rises."""
        return self._list(Family(f"driftd_{name}_total", "counter", text, labels, lasting=lasting))

    def histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Family:
        """Durations, counted by upper bounds in seconds."""
        return self._list(Family(f"driftd_{name}_duration_seconds", "histogram", text, labels, buckets))

    def _list(self, family: Family) -> Family:
        self.families.append(family)
        return family
