"""What every source gives: the rows of a window in chunks, outcomes, labelled rows, a sample, and how far it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from driftd.records import Window
from driftd_detectors.columns import Columns, Outcomes

if TYPE_CHECKING:
    import pyarrow as pa

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

    def labelled(self, since: float, until: float, known_by: float) -> Iterator[pa.Table]:
        """Rows with `since <= at < until` that have a label known by then, chunk by chunk.

        Columns: every feature, the target (class text or number), and `driftd_id`, `driftd_at`, `driftd_label_at`
        (epoch seconds), `driftd_version`, `driftd_prediction`, `driftd_score`.
        """
        ...

    def count_labelled(self, since: float, known_by: float) -> int:
        """How many rows with `since <= at` have a label known by then."""
        ...

    def sample(self, window: Window, rows: int, seed: int) -> pa.Table:
        """At most so many rows of a window, drawn evenly; as in `labelled`, but the label may be null."""
        ...

    def close(self) -> None:
        """Give files and connections back; the next call opens them again."""
        ...
