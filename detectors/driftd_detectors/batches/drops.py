"""What a job of any engine needs from driftd, and the files that it drops for the daemon; docs/profile-format.md."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from driftd_detectors.batches.cohort_batches import CohortJob
from driftd_detectors.batches.profile_batches import ProfileJob, checked_job
from driftd_detectors.batches.rows import RowNames
from driftd_detectors.cohort import Cohort, fold_cohorts
from driftd_detectors.errors import DetectorError
from driftd_detectors.profile.layout import Layout
from driftd_detectors.schema import Schema
from driftd_detectors.serialization import as_array, pack, refused_as, unpack
from driftd_detectors.window_data import BATCHES, ServedBy, WindowData, empty_window

FORMAT = 1  # of the dropped files: what another release wrote otherwise is refused
JOB_FILE = "job.json"
SUFFIX = ".bin"
_LAYOUT_LETTERS = 12  # of the fingerprint, in the name of a file
Kind = Literal["profile", "cohort"]


@dataclass(frozen=True, slots=True)
class DropJob:
    """What a job counts until another version serves: `driftd profile-job` writes it beside the files.

    `every` are the seconds of a window; windows begin at whole multiples of it. `features` come along with the labels,
    for segments.
    """

    model: str
    version: int
    every: float
    schema: Schema
    layout: Layout
    served: ServedBy
    features: tuple[str, ...] = ()
    names: RowNames = field(default_factory=RowNames)

    def to_json(self) -> str:
        """The job as text, which `from_json` reads back."""
        return json.dumps(
            {
                "batches": BATCHES,
                "format": FORMAT,
                "model": self.model,
                "version": self.version,
                "every": self.every,
                "layout_fingerprint": self.layout.fingerprint,
                "schema": self.schema.to_dict(),
                "layout": self.layout.to_dict(),
                "served": self.served.to_dict(),
                "features": list(self.features),
                "names": asdict(self.names),
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> DropJob:
        """Read what `to_json` wrote. Raises DetectorError when it is something else, or of another version."""
        stored = checked_job(text)
        with refused_as("the job"):
            if stored["format"] != FORMAT:
                raise DetectorError(f"the job is of format {stored['format']}, this release writes format {FORMAT}")
            return cls(
                str(stored["model"]),
                int(stored["version"]),
                float(stored["every"]),
                Schema.from_dict(stored["schema"]),
                Layout.from_dict(stored["layout"]),
                ServedBy.from_dict(stored["served"]),
                tuple(stored["features"]),
                RowNames(**stored["names"]),
            )

    def profile_job(self, start: float) -> str:
        """The job of `profile_batches` for the window that begins at `start` (epoch seconds)."""
        end = self.end_of(start)
        return ProfileJob(self.schema, self.layout, self.served, start, end, self.names).to_json()

    def cohort_job(self, start: float, known_by: float) -> str:
        """The job of `cohort_batches` for that window, by the labels known by a time (epoch seconds)."""
        end = self.end_of(start)
        job = CohortJob(self.schema, self.served, start, end, known_by, self.features, names=self.names)
        return job.to_json()

    def end_of(self, start: float) -> float:
        """The end of a window. Raises DetectorError where no window begins at `start`."""
        index = round(start / self.every)
        if start != index * self.every:
            raise DetectorError(f"no window begins at {start}: windows begin at whole multiples of {self.every:g} s")
        return (index + 1) * self.every

    def finish_profile(self, start: float, parts: Iterable[bytes]) -> tuple[str, bytes]:
        """The name and the bytes of the file for what `profile_batches` gave of each partition, in their order."""
        total = empty_window(self.layout)
        for part in parts:
            total = total.merge(WindowData.from_bytes(part))
        end = self.end_of(start)
        if fault := total.fault_within(self.layout, start, end):
            raise DetectorError(f"the window of {start:.0f} {fault}: count it with this job")
        head = Drop("profile", self.model, self.version, self.layout.fingerprint, start, end, total.profile.rows)
        head = replace(head, newest_at=None if np.isnan(total.last_at) else total.last_at)
        return head.name, head.seal(total.to_bytes())

    def finish_cohort(self, start: float, known_by: float, parts: Iterable[bytes]) -> tuple[str, bytes]:
        """The same for what `cohort_batches` gave of each partition."""
        chosen = CohortJob.from_json(self.cohort_job(start, known_by))
        total = fold_cohorts(map(Cohort.from_bytes, parts), chosen.narrow_schema, chosen.most)
        newest = None if np.isnan(total.newest_label_at) else total.newest_label_at
        head = Drop("cohort", self.model, self.version, "", start, chosen.end, total.total, newest, known_by)
        return head.name, head.seal(total.to_bytes())


@dataclass(frozen=True, slots=True)
class Drop:
    """The head of a dropped file: of which window and for which version it was counted. Times are epoch seconds."""

    kind: Kind
    model: str
    version: int
    layout: str  # the fingerprint; empty for a cohort, which needs none
    start: float
    end: float
    rows: int
    newest_at: float | None = None  # of the predictions, or of the labels
    known_by: float | None = None  # of a cohort: when the labels were read

    @property
    def name(self) -> str:
        """The name of its file."""
        if self.kind == "profile":
            return f"profile-{self.layout[:_LAYOUT_LETTERS]}-{_time_text(self.start)}{SUFFIX}"
        return f"cohort-{_time_text(self.start)}-{_time_text(self.known_by or 0.0)}{SUFFIX}"

    def seal(self, payload: bytes) -> bytes:
        """The whole file."""
        values = {"format": FORMAT, "sha256": hashlib.sha256(payload).hexdigest(), **asdict(self)}
        return pack(values, {"payload": as_array(payload)})


def open_drop(stored: bytes) -> tuple[Drop, bytes]:
    """The head of a dropped file and what it holds. Raises DetectorError when it is damaged or of another format."""
    values, arrays = unpack(stored)
    if values.get("format") != FORMAT or "payload" not in arrays:
        raise DetectorError(
            f"is of format {values.get('format')}, this release reads format {FORMAT}: install the driftd of the "
            "daemon where the job runs"
        )
    payload = arrays["payload"].tobytes()
    with refused_as("its head"):
        head = Drop(**{name: values[name] for name in Drop.__dataclass_fields__})
        _require_types(head)
    if hashlib.sha256(payload).hexdigest() != values.get("sha256"):
        raise DetectorError("is damaged: its content has another SHA-256 than its head says; write it again")
    return head, payload


def _require_types(head: Drop) -> None:
    times: list[Any] = [head.start, head.end, *(at for at in (head.newest_at, head.known_by) if at is not None)]
    whole = all(type(number) is int and number >= 0 for number in (head.version, head.rows))
    texts = all(isinstance(text, str) for text in (head.kind, head.model, head.layout))
    known = head.kind == "profile" or (head.kind == "cohort" and head.known_by is not None)
    if not (whole and texts and known and all(type(at) in (int, float) and np.isfinite(at) for at in times)):
        raise DetectorError("its head has values of the wrong type")


def _time_text(at: float) -> str:
    """A time in the name of a file: seconds, and a part of a second where there is one."""
    return f"{at:.0f}" if float(at).is_integer() else f"{at:.6f}"
