"""Keeping the log readable where the same thing fails each second: one line a minute for each kind of failure.

Metrics count every one; this is only about what is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field

APART_SECONDS = 60.0


@dataclass(slots=True)
class Repeats:
    """What was told when, and how many of each kind were kept back since."""

    apart: float = APART_SECONDS
    _told_at: dict[tuple[str, ...], float] = field(default_factory=dict)
    _kept_back: dict[tuple[str, ...], int] = field(default_factory=dict)

    def due(self, *kind: str, now: float) -> int | None:
        """Whether one more of a kind is to be told: then how many before it were kept back, else None.

        A clock that was set back keeps nothing back.
        """
        told_at = self._told_at.get(kind)
        if told_at is not None and 0 <= now - told_at < self.apart:
            self._kept_back[kind] = self._kept_back.get(kind, 0) + 1
            return None
        self._told_at[kind] = now
        return self._kept_back.pop(kind, 0)
