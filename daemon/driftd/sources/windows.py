"""Which windows are due: aligned, complete, in order, none skipped, none twice. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

from driftd.records import Window
from driftd.sources.protocol import Extent


class WindowSpec(Protocol):
    """How a model's events are cut: exactly one of the two is given."""

    @property
    def every(self) -> float | None:
        """Seconds of a time window; windows start at whole multiples of it since 1970 (UTC)."""
        ...

    @property
    def rows(self) -> int | None:
        """Rows of a row window, counted in the order of arrival."""
        ...


def due_windows(
    spec: WindowSpec, extent: Extent, next_index: int | None, now: float, lateness: float
) -> Iterator[Window]:
    """The windows from `next_index` on (None: from the first event on) that are complete at `now`.

    A time window is complete `lateness` seconds after its end, as far as the source has read. Windows without events
    are given too, because a silent feed must be seen; but none before the first event ever. A row window is complete
    when its last row has arrived.
    """
    if spec.every is not None:
        yield from _by_time(spec, spec.every, extent, next_index, min(now, extent.complete_until) - lateness)
    elif spec.rows is not None:
        for index in range(next_index or 0, extent.rows // spec.rows):
            yield window_at(spec, index)
    else:
        raise ValueError("a window needs `every` or `rows`")


def window_at(spec: WindowSpec, index: int) -> Window:
    """The window with this index, due or not."""
    if spec.every is not None:
        return Window(index, index * spec.every, (index + 1) * spec.every)
    if spec.rows is not None:
        return Window(index, float(index * spec.rows), float((index + 1) * spec.rows), by="rows")
    raise ValueError("a window needs `every` or `rows`")


def closed_until(spec: WindowSpec, complete: float, lateness: float) -> float:
    """The end of the last window that is due: rows older than this come too late for their check.

    Row windows have no late rows: minus infinity.
    """
    if spec.every is None:
        return -math.inf
    return window_index(complete - lateness, spec.every) * spec.every


def default_lateness(spec: WindowSpec) -> float:
    """How long to wait for stragglers unless the config says: 1 % of a time window, at least a second."""
    return 0.0 if spec.every is None else max(1.0, 0.01 * spec.every)


def _by_time(
    spec: WindowSpec, every: float, extent: Extent, next_index: int | None, complete: float
) -> Iterator[Window]:
    if extent.first_at is None:
        return
    first = window_index(extent.first_at, every)
    index = first if next_index is None else max(next_index, first)
    while (index + 1) * every <= complete:
        yield window_at(spec, index)
        index += 1


def window_index(at: float, every: float) -> int:
    """The index of the time window that holds `at`: `index * every <= at < (index + 1) * every`, in floats too."""
    index = math.floor(at / every)
    if at < index * every:
        return index - 1
    return index + 1 if at >= (index + 1) * every else index
