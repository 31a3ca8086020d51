"""Which models a round steps: those that are due, the one that waits longest first, as long as the round may take."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from math import inf

from driftd.store.descriptors import count_open, most_open_sources

ROUND_SECONDS = 1.0  # of a round, and so of what a message waits; one window of a check may take longer
SHORT_REST = 5.0  # of a model that waits for something that is not a window: labels, a cooldown, an approval
RETRY_SECONDS, RETRY_SHARE = 5.0, 0.1  # between two tries to open a model, and so much more for each that waits
LONGEST_REST = 120.0  # seconds until a model is looked at again of which nothing is known to be due
RESTS_A_WINDOW = 20  # how often a model with short windows is looked at within one of them


@dataclass(slots=True)
class StepSchedule:
    """When each model is to be stepped next. Times are epoch seconds of the daemon's clock."""

    has_messages: Callable[[], bool]  # whether something waits that must not wait for all models
    limit: float = inf  # seconds that a round may take; a virtual clock gives it all the time
    _until: float = inf  # of the round under way, by the monotonic clock
    _next: dict[str, float] = field(default_factory=dict)
    _stepped: dict[str, float] = field(default_factory=dict)  # the one that waits longest first

    def begin_round(self) -> None:
        """From here on the time of a round counts."""
        self._until = time.monotonic() + self.limit

    def has_time(self) -> bool:
        """Whether the round may go on: nobody waits, and it has not taken too long."""
        return self._until == inf or not (self.has_messages() or time.monotonic() > self._until)

    def due(self, models: Iterable[str], asked: Collection[str], now: float) -> list[str]:
        """The models to step, the one that waits longest first; `asked` are those that somebody asked something of.

        A clock that stands still or was set back lets every model be stepped again.
        """
        never = -inf
        due = [
            name
            for name in models
            if now >= self._next.get(name, never) or now <= self._stepped.get(name, inf) or name in asked
        ]
        if len(due) > 1:
            place = {name: number for number, name in enumerate(self._stepped)}
            due.sort(key=lambda name: place.get(name, -1))
        return due

    def save_step(self, name: str, now: float, next_at: float) -> None:
        """A model was stepped, and has nothing to do before `next_at` that is known now."""
        self._stepped.pop(name, None)
        self._stepped[name], self._next[name] = now, next_at

    def save_obstacle(self, name: str, now: float, waiting: int) -> None:
        """A model could not be opened, and neither could so many in all: it is tried again after a while."""
        self.save_step(name, now, now + max(RETRY_SECONDS, RETRY_SHARE * waiting))

    def were_stepped(self, models: Iterable[str]) -> bool:
        """Whether each of these models has been stepped."""
        return all(name in self._stepped for name in models)

    def forget(self, name: str) -> None:
        """A model is under watch no more, or anew."""
        self._stepped.pop(name, None)
        self._next.pop(name, None)

    def hasten(self) -> None:
        """Have every model stepped soon: what all of them go by has changed."""
        self._next.clear()


@dataclass(slots=True)
class OpenSources:
    """The models whose sources have descriptors and a thread: a bounded number, however many models there are."""

    others: int = field(default_factory=count_open)  # descriptors that are there before any source has one
    _used: dict[str, None] = field(default_factory=dict)  # the one that was used longest ago first

    def hold(self, name: str) -> list[str]:
        """The source of a model is used now; gives the models whose sources are to be closed for it."""
        self._used.pop(name, None)
        self._used[name] = None
        surplus = list(self._used)[: max(0, len(self._used) - most_open_sources(self.others))]
        for idle in surplus:
            del self._used[idle]
        return surplus


def rest_of(name: str, every: float | None) -> float:
    """Seconds until a model of which nothing is due is looked at again; each rests a little longer or shorter.

    `every` is the length of its windows; where windows have rows instead, rows may complete one at any time.
    """
    share = zlib.crc32(name.encode()) % 1000 / 1000.0  # so that a fleet is not stepped all at once
    longest = SHORT_REST if every is None else min(LONGEST_REST, every / RESTS_A_WINDOW)
    return longest * (0.5 + 0.5 * share)
