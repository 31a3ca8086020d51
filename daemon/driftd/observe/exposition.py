"""The values of all metric families and the text of a scrape, kept ready: a scrape costs no more than a copy."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from driftd.observe.families import ALL
from driftd.observe.metric_family import Family

Labels = tuple[str, ...]
_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_ESCAPED_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})


@dataclass(slots=True)
class _Durations:
    """The counts of one histogram series."""

    counts: list[int]
    total: float = 0.0


@dataclass(slots=True)
class _Piece:
    """The series of one family that belong to one model or receiver, or to the daemon."""

    values: dict[Labels, float] = field(default_factory=dict)
    durations: dict[Labels, _Durations] = field(default_factory=dict)
    text: bytes | None = None  # None: to be made anew


class MetricStore:
    """Written by the main loop and the scheduler's threads, read by scrapes. Nothing that waits happens in the lock."""

    def __init__(self, families: Iterable[Family] = ALL) -> None:
        self._pieces: dict[Family, dict[str, _Piece]] = {family: {} for family in families}
        self._asked: dict[Family, Callable[[], float]] = {}
        self._lock = threading.RLock()

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is written inside appears in one scrape or in none: a counter that is taken up must not seem to jump."""
        with self._lock:
            yield

    def set(self, family: Family, value: float, *labels: str) -> None:
        """Set a gauge; a value that is not finite could not be computed, and its series is absent."""
        with self._lock:
            piece = self._piece(family, labels)
            if not math.isfinite(value):
                piece.values.pop(labels, None)
                piece.text = None
            elif piece.values.get(labels) != value:
                piece.values[labels] = float(value)
                piece.text = None

    def add(self, family: Family, amount: float, *labels: str) -> None:
        """Raise a counter, from 0 if it is new. An amount of 0 makes the series exist."""
        with self._lock:
            piece = self._piece(family, labels)
            piece.values[labels] = piece.values.get(labels, 0.0) + amount
            piece.text = None

    def observe(self, family: Family, seconds: float, *labels: str) -> None:
        """Count a duration in its histogram."""
        with self._lock:
            piece = self._piece(family, labels)
            durations = piece.durations.setdefault(labels, _Durations([0] * (len(family.buckets) + 1)))
            durations.counts[bisect_left(family.buckets, seconds)] += 1
            durations.total += seconds
            piece.text = None

    def ask(self, family: Family, function: Callable[[], float]) -> None:
        """Have the value of a gauge without labels asked for at every scrape; the function must not wait."""
        self._asked[family] = function

    def states(self, family: Family, states: Iterable[str], now: str | None, *labels: str) -> None:
        """Set a state set: 1 for the state that holds now, 0 for the others."""
        with self._lock:
            for state in states:
                self.set(family, float(state == now), *labels, state)

    def replace(self, family: Family, owner: str, values: Mapping[Labels, float]) -> None:
        """Put these in the place of all series of an owner; the keys are the labels after the owner's."""
        lines = [_line(family, (owner, *labels), value) for labels, value in values.items() if math.isfinite(value)]
        with self._lock:
            self._pieces[family][owner] = _Piece(text="".join(lines).encode())

    def clear(self, family: Family, owner: str = "") -> None:
        """Let the series of a family and owner disappear."""
        with self._lock:
            self._pieces[family].pop(owner, None)

    def remove(self, kind: str, owner: str) -> None:
        """Let every series of a `model` or `receiver` disappear."""
        with self._lock:
            for family, pieces in self._pieces.items():
                if family.owner == kind:
                    pieces.pop(owner, None)

    def value(self, family: Family, *labels: str) -> float | None:
        """The value of one series of a gauge or counter; None where there is none."""
        with self._lock:
            piece = self._pieces[family].get(labels[0] if family.owner else "")
            return None if piece is None else piece.values.get(labels)

    def owners(self, family: Family) -> tuple[str, ...]:
        """The models or receivers that have series of a family."""
        with self._lock:
            return tuple(self._pieces[family])

    def text(self, *, openmetrics: bool) -> bytes:
        """All families in Prometheus' text format, or in that of OpenMetrics without its end mark."""
        for family, function in self._asked.items():
            self.set(family, function())
        parts: list[bytes] = []
        with self._lock:
            for family, pieces in self._pieces.items():
                parts.append(_head(family, openmetrics=openmetrics))
                parts += [piece.text or _fresh(family, piece) for piece in pieces.values()]
        return b"".join(parts)

    def _piece(self, family: Family, labels: Labels) -> _Piece:
        if len(labels) != len(family.labels):
            raise ValueError(f"{family.name} has the labels {family.labels}, not {len(labels)} of them: {labels}")
        pieces, owner = self._pieces[family], labels[0] if family.owner else ""
        piece = pieces.get(owner)
        if piece is None:
            piece = pieces[owner] = _Piece()
        return piece


def _head(family: Family, *, openmetrics: bool) -> bytes:
    name = family.name.removesuffix("_total") if openmetrics and family.type == "counter" else family.name
    text = family.help.translate(_ESCAPED if openmetrics else _ESCAPED_HELP)
    return f"# HELP {name} {text}\n# TYPE {name} {family.type}\n".encode()


def _fresh(family: Family, piece: _Piece) -> bytes:
    lines = [_line(family, labels, value) for labels, value in piece.values.items()]
    for labels, durations in piece.durations.items():
        lines += _histogram(family, labels, durations)
    piece.text = "".join(lines).encode()
    return piece.text


def _histogram(family: Family, labels: Labels, durations: _Durations) -> Iterator[str]:
    within, pairs = 0, _format_labels(family.labels, labels)
    for bound, count in zip((*map(repr, family.buckets), "+Inf"), durations.counts, strict=True):
        within += count
        limits = ",".join(filter(None, (pairs, f'le="{bound}"')))
        yield f"{family.name}_bucket{{{limits}}} {within}\n"
    suffix = f"{{{pairs}}}" if pairs else ""
    yield f"{family.name}_count{suffix} {within}\n"
    yield f"{family.name}_sum{suffix} {durations.total!r}\n"


def _line(family: Family, labels: Labels, value: float) -> str:
    pairs = _format_labels(family.labels, labels)
    return f"{family.name}{{{pairs}}} {value!r}\n" if pairs else f"{family.name} {value!r}\n"


def _format_labels(names: Labels, values: Labels) -> str:
    return ",".join(f'{name}="{value.translate(_ESCAPED)}"' for name, value in zip(names, values, strict=True))
