"""The whole loop over windows that a job counted: verdicts as of the rows; what is wrong waits, and is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner

from driftd.cli.main import cli
from driftd.clock import VirtualClock
from driftd.config.load import load
from driftd.paths import Places
from driftd.store.state.records import StoredCheck
from driftd.training.bootstrap import make_logged_version
from driftd_detectors.batches.cohort_batches import cohort_batches
from driftd_detectors.batches.drops import DropJob, open_drop
from driftd_detectors.batches.profile_batches import profile_batches
from external_world import COLUMNS, OWN_VERSION, logged_hours, own_model
from loop_world import HOUR, LABEL_DELAY, MODEL, START, World, hour

pytestmark = pytest.mark.slow

HOURS = 72
NOW = START + HOURS * HOUR
CONFIG = """\
state_dir: {state}
http: {{listen: 127.0.0.1:0}}
models:
  demand:
    task: regression
    target: y
    serving: external
    trainer: null
    source: {{kind: {kind}, path: {path}}}
    window: {{every: 1h, lateness: 1s}}
"""


def rows_of(number: int, change: float = 0.0, noise: float = 0.0) -> pd.DataFrame:
    """What the system logged in an hour, with the labels that came later."""
    frame, truth = hour(number)
    predicted = own_model(frame)
    frame = frame.assign(a=frame["a"] + change)
    at = START + number * HOUR + np.arange(len(frame)) * HOUR / len(frame)
    said = {"prediction_id": [f"{number}-{row}" for row in range(len(frame))], "at": at, "prediction": predicted}
    label = truth + noise * np.random.default_rng(number).normal(size=len(frame))
    return frame.assign(**said, version=OWN_VERSION, label=label, label_at=at + LABEL_DELAY)


class Watched:
    """A daemon, and the folder that it reads."""

    def __init__(self, folder: Path, kind: str, begun: Path) -> None:
        folder.mkdir()
        shutil.copytree(begun, folder / "state", symlinks=True)
        self.path, self.places, self.folder = folder / "config.yaml", Places(folder / "state"), folder / "given"
        self.path.write_text(CONFIG.format(state=folder / "state", kind=kind, path=self.folder))
        self.folder.mkdir()
        self.clock = VirtualClock(NOW)
        self.daemon = World.open(self.path, self.places)

    def checks(self, kind: str) -> list[StoredCheck]:
        return self.daemon.assembly.store.newest_checks(MODEL, kind, 1000)[::-1]

    def look(self, hours: int) -> None:
        self.clock.advance_to(START + hours * HOUR + LABEL_DELAY + 60)
        self.daemon.catch_up(self.clock.now())

    @property
    def behind(self) -> int:
        return self.daemon.models[MODEL].scheduler.behind(self.daemon.assembly.store, self.clock.now())

    @property
    def faults(self) -> tuple[str, ...]:
        extent = self.daemon.models[MODEL].scheduler.extent
        return () if extent is None else extent.faults

    def job(self) -> DropJob:
        done = CliRunner().invoke(cli, ["profile-job", MODEL, "--config", str(self.path)])
        assert done.exit_code == 0, done.output
        return DropJob.from_json((self.folder / "job.json").read_text())

    def drop(self, job: DropJob, rows: pd.DataFrame, number: int, parts: int = 3) -> list[Path]:
        """What a job on a cluster does: count each partition, merge, write under another name, rename."""
        start, known_by = START + number * HOUR, START + (number + 1) * HOUR + LABEL_DELAY + 60
        batches = pa.RecordBatch.from_pandas(rows, preserve_index=False)
        size = max(1, -(-len(rows) // parts))
        cuts = [batches.slice(first, size) for first in range(0, len(rows), size)]
        counted = [profile_batches([batch], job.profile_job(start)) for batch in cuts]
        labelled = [cohort_batches([batch], job.cohort_job(start, known_by)) for batch in cuts]
        return [
            write(self.folder, *job.finish_profile(start, counted)),
            write(self.folder, *job.finish_cohort(start, known_by, labelled)),
        ]


def write(folder: Path, name: str, content: bytes) -> Path:
    temporary = folder / f".{name}"
    temporary.write_bytes(content)
    return temporary.rename(folder / name)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state in which version 1 stands for what the system logged."""
    folder = tmp_path_factory.mktemp("begun")
    path, places = folder / "config.yaml", Places(folder / "state")
    path.write_text(CONFIG.format(state=folder / "state", kind="profiles", path=folder))
    config = load(path).models[MODEL]
    make_logged_version(MODEL, config, logged_hours(HOURS), COLUMNS, places, source="log.parquet", now=NOW)
    return places.root


@pytest.fixture
def dropped(tmp_path: Path, begun: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path / "dropped", "profiles", begun)
    yield watched
    watched.daemon.close()


def test_dropped_windows_give_the_verdicts_of_the_rows(tmp_path: Path, dropped: Watched, begun: Path) -> None:
    """Counted by a job in three parts or read as rows: verdicts, figures, alarms and stored evidence are identical."""
    files = Watched(tmp_path / "files", "files", begun)
    job = dropped.job()
    for number in range(HOURS, HOURS + 8):
        rows = rows_of(number, change=0.0 if number < HOURS + 3 else 1.5, noise=0.0 if number < HOURS + 3 else 3.0)
        rows.to_parquet(files.folder / f"{number}.parquet")
        dropped.drop(job, rows, number)
        for watched in (files, dropped):
            watched.look(number + 1)
    for kind in ("window", "labels"):
        both = [[plain(check) for check in watched.checks(kind)] for watched in (files, dropped)]
        assert both[0] == both[1]
        assert len(both[0]) >= 7
    stores = [watched.daemon.assembly.store for watched in (files, dropped)]
    evidence = [store.monitor(MODEL) for store in stores]
    assert evidence[0] is not None
    assert evidence[0] == evidence[1]
    alarms = [[(alarm.kind, alarm.subject, alarm.evidence) for alarm in store.alarms(MODEL)] for store in stores]
    assert alarms[0] == alarms[1]
    assert {kind for kind, _, _ in alarms[0]} >= {"data", "performance"}
    assert "report_failed" not in [line.event for line in stores[1].history(MODEL, 100)]
    files.daemon.close()


def plain(check: StoredCheck) -> dict[str, Any]:
    return {
        "window": check.window_index,
        "verdict": check.verdict,
        "rows": check.rows,
        "figures": check.figures,
    }


def test_a_window_waits_for_its_file(dropped: Watched) -> None:
    """Windows without a file are not empty: they wait, those behind them too, and a gap is told until it is filled."""
    job = dropped.job()
    for number in (HOURS, HOURS + 2):
        dropped.drop(job, rows_of(number), number)
    dropped.look(HOURS + 4)
    assert [check.window_index for check in dropped.checks("window")] == [int(START // HOUR) + HOURS]
    dropped.look(HOURS + 4)
    assert "has no file, and a later one has" in dropped.faults[0]
    assert dropped.behind == 3
    dropped.drop(job, rows_of(HOURS + 1).iloc[:0], HOURS + 1, parts=1)  # counted, and empty
    dropped.look(HOURS + 4)
    assert [check.rows for check in dropped.checks("window")] == [200, 0, 200]
    assert (dropped.faults, dropped.behind) == ((), 1)


def test_damaged_and_foreign_files_are_told_and_wait(dropped: Watched) -> None:
    """A file that is cut off, changed, renamed, of another model or no such file at all is a fault, never a window."""
    job = dropped.job()
    whole = dropped.drop(job, rows_of(HOURS), HOURS)[0]
    content = whole.read_bytes()
    other = replace(job, model="other").finish_profile(START + HOURS * HOUR, [])
    bad = {
        whole.name: [content[:-20], content[:40], b"", content[:-1] + bytes([content[-1] ^ 1]), b"\0" * 500, other[1]],
        "profile-other-1.bin": [content],
        "cohort-1-2.bin": [b"no cohort"],
    }
    for name, contents in bad.items():
        for damaged in contents:
            write(dropped.folder, name, damaged)
            dropped.look(HOURS + 2)
            assert any(fault.startswith(name) for fault in dropped.faults)
        write(dropped.folder, name, content) if name == whole.name else (dropped.folder / name).unlink()
    assert open_drop(content)[0].rows == 200
    dropped.look(HOURS + 2)
    assert dropped.faults == ()
    assert [check.rows for check in dropped.checks("window")][:1] == [200]


def test_files_of_an_older_version_are_told(dropped: Watched) -> None:
    """What was counted on other bins than those of the version that serves is kept for nothing: it is counted again."""
    job = dropped.job()
    older = replace(job, layout=replace(job.layout, joint=()), version=9)
    dropped.drop(older, rows_of(HOURS), HOURS)
    dropped.look(HOURS + 1)
    dropped.look(HOURS + 1)
    assert dropped.checks("window") == []
    assert "was counted for version 9" in dropped.faults[0]
    assert "driftd profile-job demand" in dropped.faults[0]
    dropped.drop(job, rows_of(HOURS), HOURS)
    dropped.look(HOURS + 1)
    assert [check.rows for check in dropped.checks("window")] == [200]
    assert dropped.faults == ()


def test_labels_that_were_read_for_another_version_decide_nothing(dropped: Watched) -> None:
    """A cohort of a job that goes on after a swap holds nobody up: it is another version's, and says nothing."""
    job = dropped.job()
    for number in (HOURS, HOURS + 1):
        others = dropped.drop(replace(job, version=9), rows_of(number), number)[1].read_bytes()
        labels = dropped.drop(job, rows_of(number), number)[1]
        write(dropped.folder, labels.name, others)
    for _ in range(2):
        dropped.look(HOURS + 2)
    assert [check.rows for check in dropped.checks("window")] == [200, 200]
    assert [(str(check.verdict), check.rows) for check in dropped.checks("labels")] == [("inconclusive", 200)] * 2
    assert dropped.faults == ()


def test_the_newest_labels_count_by_when_they_were_read(dropped: Watched) -> None:
    """A window waits for its labels; of several files the newest that was written by then is judged, at its own age."""
    job = dropped.job()
    for number in (HOURS, HOURS + 1):
        dropped.drop(job, rows_of(number), number)[1].unlink()
    dropped.look(HOURS + 2)
    assert dropped.checks("labels") == []
    start = START + HOURS * HOUR
    batches = pa.Table.from_pandas(rows_of(HOURS), preserve_index=False).to_batches()
    for known_by in (start + HOUR / 2, start + HOUR + LABEL_DELAY, start + 900 * HOUR):
        labels = cohort_batches(batches, job.cohort_job(start, known_by))
        write(dropped.folder, *job.finish_cohort(start, known_by, [labels]))
    dropped.look(HOURS + 3)
    (check,) = dropped.checks("labels")
    assert (check.figures["labels"], check.figures["coverage"]) == (200.0, 1.0)
    assert dropped.faults == ()


def test_a_folder_that_is_away(dropped: Watched) -> None:
    """Nothing is checked meanwhile, and it is told; back again, each window is checked once."""
    job = dropped.job()
    dropped.drop(job, rows_of(HOURS), HOURS)
    away = dropped.folder.rename(dropped.folder.with_name("away"))
    dropped.look(HOURS + 1)
    assert "make the folder" in dropped.faults[0]
    assert dropped.checks("window") == []
    away.rename(dropped.folder)
    dropped.look(HOURS + 1)
    assert len(dropped.checks("window")) == 1


def test_the_commands_know_it(dropped: Watched) -> None:
    """check-config says where windows come from, doctor looks at the folder, and the job is written anywhere."""
    said = CliRunner().invoke(cli, ["check-config", "--config", str(dropped.path)])
    assert "a job of yours counts into" in said.output
    job = CliRunner().invoke(cli, ["profile-job", MODEL, "--config", str(dropped.path), "--output", "-"])
    assert DropJob.from_json(job.output) == dropped.job()
    assert json.loads(job.output)["version"] == 1
    dropped.drop(dropped.job(), rows_of(HOURS), HOURS)
    looked = CliRunner().invoke(cli, ["doctor", "--config", str(dropped.path)])
    assert "its source (profiles) answers, but its newest prediction is" in looked.output
