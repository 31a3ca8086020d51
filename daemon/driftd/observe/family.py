"""What a metric family is, before any is named."""

from __future__ import annotations

from dataclasses import dataclass
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
