"""What every source gives, which windows are due (aligned, complete, in order), and how many labels join a row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from driftd.formatting import format_duration, format_time
from driftd.records import Window
from driftd_detectors.cohort import Cohort
from driftd_detectors.columns import Columns, Outcomes
from driftd_detectors.schema import Schema
from driftd_detectors.window_data import Bins, ServedBy, WindowData

if TYPE_CHECKING:
    import pyarrow as pa

DISAGREES = 90 * 86_400.0  # seconds between the clock and the newest event: then the clock is not believed
CHUNK_ROWS = 50_000  # the memory of a check is bounded by one chunk


@dataclass(frozen=True, slots=True)
class Extent:
    """What a source has seen so far."""

    first_at: float | None  # the earliest event time ever; None before the first event
    complete_until: float  # event time up to which the source has read what there is
    rows: int  # predictions that ever arrived; they are numbered in the order of arrival
    late: int = 0  # of them, since this process began, those whose window was closed when they came
    faults: tuple[str, ...] = ()  # what cannot be read just now, in one sentence each; retried at every refresh
    newest_at: float | None = None  # the latest event time of a prediction
    newest_label_at: float | None = None  # the latest time of a label; None where only reading the rows would tell
    counts: Mapping[str, float] = field(
        default_factory=dict
    )  # set aside so far, by reason: duplicates, refused, malformed, ignored, no_time, impossible_time, no_label;
    # late; labels that came and those that joined no prediction (labels, unjoined), as of the last count
    remarks: tuple[str, ...] = ()  # what is worth knowing and hinders nothing, in one sentence each


def at_most(at: float | None, now: float) -> float | None:
    """A time that is not ahead of the clock: what is, silences no alert on a feed that has stopped."""
    return None if at is None else min(at, now)


class Source(Protocol):
    """One model's events. Used by one thread at a time."""

    def refresh(self, now: float) -> Extent:
        """Look what is new; cheap. Raises OSError or DatabaseError when the source as a whole cannot be read."""
        ...

    def chunks(self, window: Window) -> Iterator[tuple[Columns, Outcomes]]:
        """The rows of a window, at most `CHUNK_ROWS` at once, with the labels known so far."""
        ...

    def outcomes(self, window: Window, known_by: float) -> Outcomes:
        """Predictions of a window with the labels that were known by then. No feature is read."""
        ...

    def profile(self, window: Window, bins: Bins, served: ServedBy) -> WindowData:
        """A window as counts on these bins, in the words of their schema."""
        ...

    def cohort(self, window: Window, known_by: float, features: Sequence[str], served: ServedBy) -> Cohort:
        """Predictions of a window with the labels known by then, and some features; of very many rows a sample."""
        ...

    def read_labelled(self, since: float, until: float, known_by: float) -> Iterator[pa.Table]:
        """Rows with `since <= at < until` that have a label known by then, chunk by chunk.

        Columns: every feature, the target (class text or number), and `driftd_id`, `driftd_at`, `driftd_label_at`
        (epoch seconds), `driftd_version`, `driftd_prediction`, `driftd_score`.
        """
        ...

    def count_labelled(self, since: float, known_by: float) -> int:
        """How many rows with `since <= at` have a label known by then."""
        ...

    def newest_labelled(self, rows: int, since: float, known_by: float) -> float:
        """The time from which on lie so many labelled rows, as `count_labelled` counts them; `since` for fewer."""
        ...

    def sample(self, window: Window, rows: int, seed: int) -> pa.Table:
        """At most so many rows of a window, drawn evenly; as in `labelled`, but the label may be null."""
        ...

    def use_schema(self, schema: Schema) -> None:
        """Read by the schema of another version from now on; what was read so far, and how far, stays."""
        ...

    def close(self) -> None:
        """Give files and connections back; the next call opens them again."""
        ...


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


def count_due(spec: WindowSpec, extent: Extent, next_index: int | None, now: float, lateness: float) -> int:
    """How many windows `due_windows` gives, without making them."""
    if spec.rows is not None:
        return max(0, extent.rows // spec.rows - (next_index or 0))
    first = next(due_windows(spec, extent, next_index, now, lateness), None)
    if first is None or spec.every is None:
        return 0
    complete = min(now, extent.complete_until) - lateness
    return window_index(complete, spec.every) - first.index


def count_ahead(spec: WindowSpec, extent: Extent, next_index: int | None, now: float) -> int:
    """How many windows that cannot have been yet were passed over: 0 but after the clock was ahead, or rows went.

    The window that is open, and one more, may have been learned from before the model came under watch.
    """
    if next_index is None:
        return 0
    if spec.rows is not None:
        return max(0, next_index - extent.rows // spec.rows)
    assert spec.every is not None  # a window has one of the two
    return max(0, next_index - window_index(now, spec.every) - 1)


def believed_now(spec: WindowSpec, extent: Extent, now: float, lateness: float) -> float:
    """The moment up to which windows count as over: `now`, but for a clock that is months ahead of the newest event.

    Then the clock is wrong or the feed has ended. Until one of the two is known, the windows after that event wait.
    """
    newest = extent.newest_at
    if newest is None or now - newest <= DISAGREES:
        return now
    return min(now, newest + (spec.every or 0.0) + lateness)


def is_clock_ahead(newest: float, now: float, begun_at: float | None) -> bool:
    """Whether the clock is months ahead of the newest event: of a feed, not of history.

    `begun_at` is when the model came under watch, None where that is not known. Events that were months old by then say
    nothing of the clock.
    """
    return now - newest > DISAGREES and (begun_at is None or newest > begun_at - DISAGREES)


def find_clock_fault(
    spec: WindowSpec, extent: Extent, next_index: int | None, now: float, begun_at: float | None
) -> str | None:
    """Why the clock is not believed, in one clause; None where it is. Windows of rows say nothing of a clock behind."""
    newest = extent.newest_at
    if newest is not None and is_clock_ahead(newest, now, begun_at):
        return f"the clock is months ahead of the newest prediction ({format_time(newest)})"
    ahead = 0 if spec.every is None else count_ahead(spec, extent, next_index, now) * spec.every
    if ahead > DISAGREES:
        return f"the clock is {format_duration(ahead)} behind the windows that were checked, or was ahead of them"
    return None


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


COUNT_SECONDS = 600.0  # from one count to the next, at least
UNJOINED_SHARE = 0.5  # of the labels that came; more without a prediction are a fault of the feed
_FEWEST_LABELS = 20


@dataclass(frozen=True, slots=True)
class JoinCounts:
    """What the last pass found."""

    labels: int = 0  # identities that have a label
    unjoined: int = 0  # of them, those that no prediction has
    label_example: str = ""
    prediction_example: str = ""

    @property
    def fault(self) -> str | None:
        """The sentence of a feed whose labels do not belong to the predictions; None while most do."""
        if self.labels < _FEWEST_LABELS or self.unjoined <= UNJOINED_SHARE * self.labels:
            return None
        like = f", predictions have ids such as {self.prediction_example!r}" if self.prediction_example else ""
        return (
            f"label feed: {self.labels:,} came, {self.labels - self.unjoined:,} joined a prediction; "
            f"the id {self.label_example!r} belongs to none{like}: is the same id logged with both?"
        )
