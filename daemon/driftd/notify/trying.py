"""Trying again: how a delivery fails, and how long to wait for the next try. Pure."""

from __future__ import annotations

from dataclasses import dataclass

_MOST_DOUBLINGS = 30


class DeliveryError(Exception):
    """A message was not taken. The sentence says why and holds no secret; `retry_after` is what the other asked for."""

    def __init__(self, sentence: str, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Pace:
    """How quickly a receiver is told, and how patiently again. In seconds."""

    poll: float = 2.0  # between two looks at the store
    settle: float = 2.0  # what is decided together is told together
    first_pause: float = 1.0  # after a failed try; doubles with each
    longest_pause: float = 300.0
    stop: float = 2.0  # what a delivery under way may still take when the daemon ends

    def pause(self, failures: int, chance: float, asked: float | None = None) -> float:
        """How long to wait after so many failures in a row; `chance` in [0, 1) spreads it over half to whole."""
        longest = min(self.longest_pause, self.first_pause * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))
        wanted = min(asked or 0.0, self.longest_pause)
        return max(longest * (0.5 + chance / 2), wanted)
