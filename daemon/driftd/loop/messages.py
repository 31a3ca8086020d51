"""What other threads post to the main loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tick:
    """Time went by."""


@dataclass(frozen=True, slots=True)
class Reload:
    """The config may have changed. `answer`, if any, is called with None or with why it was refused."""

    answer: Callable[[str | None], None] | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """End cleanly."""

    reason: str


@dataclass(frozen=True, slots=True)
class DeliveryConfirmed:
    """A receiver of notifications was told of every decision up to one."""

    receiver: str
    until: int


Message = Tick | Reload | Stop | DeliveryConfirmed
