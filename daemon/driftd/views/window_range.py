"""Which windows are shown: the latest of a span, or those of any stretch of time that is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec

from driftd.store.state.chart_queries import SeriesReader
from driftd.views.config import ConfigInForce

DAY = 86_400.0
SPANS = (("day", DAY), ("week", 7 * DAY), ("month", 30 * DAY), ("year", 365 * DAY))
ROW_SPANS = (("100 windows", 100), ("1,000 windows", 1000))
FEWEST_OF_SPAN = 3  # windows; a shorter span shows nothing


class Span(msgspec.Struct, frozen=True):
    """A stretch of time, or of rows, that can be chosen."""

    name: str
    windows: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks to see: a span by its name, or the windows that begin in `since <= t < until`."""

    span: str | None = None
    since: float | None = None  # epoch seconds; None with `until`: from the first window on
    until: float | None = None

    @property
    def is_range(self) -> bool:
        """Whether a stretch of time is asked for, and no span that ends with the newest window."""
        return self.since is not None or self.until is not None


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """The windows that are shown, and what there is. `first` is after `last` where there are none."""

    first: int
    last: int
    span: str  # the name of the span; "range" for a stretch of time
    held_since: float | None  # of what is kept, epoch seconds: of time windows their starts, else their checks
    held_until: float | None


def window_range(reader: SeriesReader, model: str, config: ConfigInForce, asked: Asked) -> tuple[Shown, list[Span]]:
    """The windows that are asked for, and the spans that can be chosen. An unknown span is a week's."""
    held_last, held_first = reader.last_window(model, "window"), reader.first_window(model, "window")
    if held_last is None or held_first is None:
        return Shown(first=0, last=-1, span=asked.span or "all", held_since=None, held_until=None), []
    lengths, held = _lengths(config, model), held_last - held_first + 1
    spans = [Span(name, count) for name, count in lengths.items() if FEWEST_OF_SPAN <= count < held]
    every = config.window_seconds(model)
    if every is not None:
        ends: tuple[float, float] | None = (held_first * every, (held_last + 1) * every)
    else:
        ends = reader.check_ends(model, held_first, held_last)
    if asked.is_range:
        first, last, name = *_between(reader, model, every, asked, held_first, held_last), "range"
    else:
        chosen = lengths.get(asked.span or "")
        name = asked.span if chosen is not None and asked.span is not None else "all"
        if chosen is None and asked.span != "all":
            name, chosen = ("week", lengths["week"]) if "week" in lengths else ("1,000 windows", 1000)
        first, last = held_first if chosen is None else max(held_first, held_last - int(chosen) + 1), held_last
    name = name if name in {"range", *(span.name for span in spans)} else "all"
    since, until = ends or (None, None)
    return Shown(first=first, last=last, span=name, held_since=since, held_until=until), [*spans, Span("all", held)]


def _between(
    reader: SeriesReader, model: str, every: float | None, asked: Asked, first: int, last: int
) -> tuple[int, int]:
    since = -math.inf if asked.since is None else asked.since
    until = math.inf if asked.until is None else asked.until
    if every is None:
        return reader.windows_between(model, max(since, -1e12), min(until, 1e12)) or (0, -1)
    begin = first if since == -math.inf else max(first, math.ceil(since / every))
    end = last if until == math.inf else min(last, math.ceil(until / every) - 1)
    return (begin, end) if begin <= end else (0, -1)


def _lengths(config: ConfigInForce, model: str) -> dict[str, int]:
    every = config.window_seconds(model)
    if every is None:
        return dict(ROW_SPANS)
    return {name: round(seconds / every) for name, seconds in SPANS if seconds >= every}
