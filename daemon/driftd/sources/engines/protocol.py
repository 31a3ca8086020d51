"""What every engine gives: a look that is cheap, rows as Arrow batches, our functions over them, a way to stop."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from driftd.errors import DriftdError
from driftd.formatting import format_duration

if TYPE_CHECKING:
    import pyarrow as pa

Function = Literal["profile_batches", "cohort_batches"]  # of `driftd_detectors.batches`; what may run inside an engine

ENGINE_START_SECONDS = 60.0  # beyond the time of a query: for importing the libraries and connecting


class EngineError(DriftdError):
    """An engine did not answer as it should; the message says what, and what to do, and holds no secret."""


_NO_MEMORY = ("can't start new thread", "Out of Memory Error", "bad_alloc")  # Python's, DuckDB's and C++'s words


def lacks_memory(error: Exception) -> bool:
    """Whether this process has no more memory, also where a library says so in an error of its own."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return any(said in str(error) for said in _NO_MEMORY)


AGAIN = "it is tried again in"  # and then the time, which is another one each second
_LONGEST_PAUSE = 600.0  # seconds after a query that failed, at most: a window is asked for in every round


@dataclass(slots=True)
class Pause:
    """Keeps a dear query that fails from being asked in every round: the next waits as long as it took, at least."""

    monotonic: Callable[[], float] = time.monotonic
    _failures: int = 0
    _until: float = 0.0
    _why: str = ""

    @contextmanager
    def around(self) -> Iterator[None]:
        """One query. Raises EngineError while the one before is to be waited for, and what the block raises."""
        begun = self.monotonic()
        if self._until > begun:
            raise EngineError(f"{self._why}; {AGAIN} {format_duration(self._until - begun)}")
        try:
            yield
        except EngineError as error:
            self._failures += 1
            end = self.monotonic()
            wait = max(2.0 ** min(self._failures - 1, 10), end - begun)
            self._why, self._until = str(error), end + min(_LONGEST_PAUSE, wait)
            raise
        self._failures = 0


@dataclass(frozen=True, slots=True)
class Query:
    """Which rows are wanted: predictions with `start <= at < end` (epoch seconds).

    `columns` are those of the predictions, by the names of the engine; the names of `label` and `label_at` are not
    among them. With `known_by` each row comes with the newest label that was known by then, by (label_at, received_at,
    label), under the names of `label` and `label_at` (null where there is none); without it no label is read.
    With `labelled_only`, rows without such a label are left out.
    """

    columns: tuple[str, ...]
    start: float
    end: float
    known_by: float | None = None
    labelled_only: bool = False


@dataclass(frozen=True, slots=True)
class EngineExtent:
    """What a cheap look tells; epoch seconds, None where there is nothing or where only reading rows would tell."""

    first_at: float | None
    newest_at: float | None
    newest_label_at: float | None
    counts: Mapping[str, float] = field(default_factory=dict)  # read since its process began: rows_read, bytes_read;
    # and queries_refused by a guard


class Engine(Protocol):
    """One connection to an engine, for one model. Used by one thread at a time, but for `cancel`.

    Every method raises EngineError in one sentence, also when the engine is away, when rights are missing, when a
    query takes longer than it may, and when it would read more than it may.
    """

    def look(self, since: float | None) -> EngineExtent:
        """How far the rows reach, without a scan of all of them; `since` is what an earlier look gave as newest."""
        ...

    def map(self, query: Query, function: Function, job: str) -> Iterator[bytes]:
        """What the function gives for each partition of the rows, in an order that does not change."""
        ...

    def read(self, query: Query) -> Iterator[pa.RecordBatch]:
        """The rows themselves, in batches of bounded memory."""
        ...

    def count(self, query: Query) -> int:
        """How many rows there are."""
        ...

    def newest_labelled(self, rows: int, query: Query) -> float | None:
        """The time of the row that is so many labelled rows before the newest; None when there are fewer."""
        ...

    def cancel(self) -> None:
        """Stop what is under way; called by another thread, and at the end."""
        ...

    def close(self) -> None:
        """Give the connection back; the next call opens it again."""
        ...


@runtime_checkable
class Versioned(Protocol):
    """What an engine of tables that keep their versions gives besides."""

    def versions(self) -> Mapping[str, str]:
        """The version of each table that is read, by its key in the config. Raises EngineError."""
        ...

    def keep(self, name: str) -> None:
        """Have these versions stay under a name. Raises EngineError where the tables or their rights have no such."""
        ...
