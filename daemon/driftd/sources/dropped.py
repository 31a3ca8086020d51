"""Windows that were counted elsewhere: files that a job of any engine drops into a folder; docs/profile-format.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from driftd.formatting import format_time
from driftd.records import Window
from driftd.sources.protocol import Extent, NoRowsError, WindowAbsentError, at_most
from driftd_detectors.batches.drops import SUFFIX, Drop, open_drop
from driftd_detectors.cohort import Cohort, empty_cohort
from driftd_detectors.columns import Columns, Outcomes
from driftd_detectors.errors import DetectorError
from driftd_detectors.schema import Schema
from driftd_detectors.window_data import Bins, ServedBy, WindowData

_EVER = float("inf")
_MOST_BYTES = 2**29  # of a file: ten times what 200,000 rows with some features take


@dataclass(frozen=True, slots=True)
class _Looked:
    """A file as it was found: its head, or why it has none."""

    stamp: tuple[int, int]
    head: Drop | None
    fault: str = ""


class DroppedSource:
    """One model's windows as files of counts and of labels. No row is here: nothing can be built from them."""

    def __init__(self, model: str, schema: Schema, folder: Path, lateness: float) -> None:
        self._model = model
        self._schema = schema
        self._folder = folder
        self._lateness = lateness
        self._files: dict[str, _Looked] = {}
        self._absent: dict[str, str] = {}  # by kind, why the window that was asked for last is not there

    def refresh(self, now: float) -> Extent:
        """See `Source.refresh`. Windows are complete up to the newest file; one that has none waits for its own."""
        try:
            self._look()
        except OSError as error:
            fault = f"{self._folder}: {error.strerror or error}: make the folder, and let driftd read it"
            return Extent(None, -_EVER, 0, faults=(fault,))
        profiles = self._heads("profile")
        cohorts = self._heads("cohort")
        counted = {head.start: head.rows for head in profiles}
        newest = max((head.newest_at for head in profiles if head.newest_at is not None), default=None)
        label_at = max((head.newest_at for head in cohorts if head.newest_at is not None), default=None)
        bad = [f"{name} {looked.fault}" for name, looked in sorted(self._files.items()) if looked.head is None]
        return Extent(
            first_at=min(counted, default=None),
            complete_until=max((head.end for head in profiles), default=-_EVER) + self._lateness,
            rows=sum(counted.values()),
            faults=(*bad, *self._absent.values()),
            newest_at=at_most(newest, now),
            newest_label_at=at_most(label_at, now),
            counts={"malformed": float(len(bad))},
        )

    def profile(self, window: Window, bins: Bins, served: ServedBy) -> WindowData:
        """See `Source.profile`. Raises WindowAbsentError while there is no file of these bins for the window."""
        found = [head for head in self._heads("profile") if head.start == window.start]
        layout, where = bins.layout, f"the window of {format_time(window.start)}"
        job = f"run `driftd profile-job {self._model}`, and count the windows from there on with the new {{job}}"
        for head in found:
            if (head.version, head.layout, head.end) != (served.champion, layout.fingerprint, window.end):
                continue
            try:
                data = WindowData.from_bytes(self._payload(head))
                fault = data.fault_within(layout, window.start, window.end)
            except (DetectorError, OSError) as error:
                fault = str(error)
            if fault is None:
                self._absent.pop("profile", None)
                return data
            raise self._say_absent("profile", f"{head.name} {fault}: count {where} again")
        if found:
            versions = ", ".join(sorted({str(head.version) for head in found}))
            raise self._say_absent(
                "profile",
                f"{where} was counted for version {versions}, on other bins than those of version {served.champion}, "
                f"which serves: {job.format(job='job.json')}",
            )
        raise self._say_absent("profile", f"{where} has no file, and a later one has: count it, empty or not")

    def cohort(self, window: Window, known_by: float, features: Sequence[str], served: ServedBy) -> Cohort:
        """See `Source.cohort`: the newest file that was written by then. Raises WindowAbsentError without one.

        It has the features that the job names: those of all segments. A cohort that was counted for another version is
        another version's: it decides nothing.
        """
        del features
        found = [head for head in self._heads("cohort") if (head.start, head.end) == (window.start, window.end)]
        found = sorted((head for head in found if _read_at(head) <= known_by), key=_read_at, reverse=True)
        where = f"the labels of {format_time(window.start)}"
        if not found:
            raise WindowAbsentError(f"{where} have no file yet")  # no fault: labels come late
        newest = found[0]
        try:
            cohort = Cohort.from_bytes(self._payload(newest))
        except (DetectorError, OSError) as error:
            raise self._say_absent("cohort", f"{newest.name} {error}: write {where} again") from error
        self._absent.pop("cohort", None)
        foreign = cohort.foreign if newest.version == served.champion else cohort.total
        return replace(cohort, foreign=foreign, known_by=_read_at(newest))

    def outcomes(self, window: Window, known_by: float) -> Outcomes:
        """See `Source.outcomes`: those of the cohort; none where there is no file."""
        try:
            return self.cohort(window, known_by, (), ServedBy(0)).outcomes
        except WindowAbsentError:
            return empty_cohort(self._schema).outcomes

    def chunks(self, window: Window) -> Iterator[tuple[Columns, Outcomes]]:
        """See `Source.chunks`. Raises NoRowsError."""
        raise _no_rows(self._folder, f"the window {window.index} has counts")

    def read_labelled(self, since: float, until: float, known_by: float) -> Iterator[pa.Table]:
        """See `Source.labelled`. Raises NoRowsError."""
        del since, until, known_by
        raise _no_rows(self._folder, "a snapshot needs rows")

    def count_labelled(self, since: float, known_by: float) -> int:
        """See `Source.count_labelled`: no row is here that a build could read."""
        del since, known_by
        return 0

    def newest_labelled(self, rows: int, since: float, known_by: float) -> float:
        """See `Source.newest_labelled`."""
        del rows, known_by
        return since

    def sample(self, window: Window, rows: int, seed: int) -> pa.Table:
        """See `Source.sample`. Raises NoRowsError."""
        del rows, seed
        raise _no_rows(self._folder, f"the window {window.index} has counts")

    def use_schema(self, schema: Schema) -> None:
        """See `Source.use_schema`."""
        self._schema = schema

    def close(self) -> None:
        """See `Source.close`. Nothing is held open."""

    def _look(self) -> None:
        """Read what is new in the folder: a file that did not change is not read again."""
        found: dict[str, _Looked] = {}
        for path in sorted(self._folder.iterdir()):
            if path.suffix != SUFFIX or path.name.startswith("."):
                continue
            try:
                status = path.stat()
                stamp = status.st_mtime_ns, status.st_size
                before = self._files.get(path.name)
                found[path.name] = before if before and before.stamp == stamp else self._read(path, stamp)
            except FileNotFoundError:
                continue  # deleted since it was listed
        self._files = found

    def _read(self, path: Path, stamp: tuple[int, int]) -> _Looked:
        if stamp[1] > _MOST_BYTES:
            return _Looked(stamp, None, f"has {stamp[1]:,} bytes: no window has so many")
        try:
            head, _ = open_drop(path.read_bytes())
        except FileNotFoundError:
            raise
        except OSError as error:
            return _Looked((0, 0), None, f"cannot be read: {error.strerror or error}")  # tried again
        except DetectorError as error:
            return _Looked(stamp, None, str(error))
        if head.model != self._model:
            return _Looked(stamp, None, f"is of the model {head.model}: give each model a folder of its own")
        if head.name != path.name:
            return _Looked(stamp, None, f"holds what belongs into {head.name}: keep the names that the job is given")
        return _Looked(stamp, head)

    def _heads(self, kind: str) -> list[Drop]:
        return [looked.head for looked in self._files.values() if looked.head and looked.head.kind == kind]

    def _payload(self, head: Drop) -> bytes:
        return open_drop((self._folder / head.name).read_bytes())[1]

    def _say_absent(self, kind: str, sentence: str) -> WindowAbsentError:
        self._absent[kind] = sentence
        return WindowAbsentError(sentence)


def _read_at(head: Drop) -> float:
    assert head.known_by is not None
    return head.known_by


def _no_rows(folder: Path, said: str) -> NoRowsError:
    return NoRowsError(f"{said}, and {folder} holds no rows (source: {{kind: profiles}})")
