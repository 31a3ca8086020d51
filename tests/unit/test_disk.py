"""What of state_dir may go, what killed processes leave there, and when the disk is full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from driftd.config.schema import RetentionConfig
from driftd.fsutil import hold_in_use, make_staging, sweep_staging
from driftd.loop.actions import JobSlots, Performer
from driftd.loop.disk import DAY, DiskLimits, DiskUse, prune_model, sweep, versions_in_use
from driftd.paths import Places
from driftd.policy import Override
from driftd.records import ActionKind, Build, BuildStep, ModelState, Probation, RegistryState, Trigger
from driftd.registry import Registry
from driftd.store.state.records import StoredAction
from driftd.training.job_output import LOG, LOG_BEFORE, SCRATCH, BoundedLog, JobOutput
from driftd.training.jobs import JobLimits, JobResult, describe_failure, log_tail, start_job
from limits import HANG, wait

GIB = 1 << 30
STATE = ModelState("demand", champion=7, previous=5, served=(4, 5), probation=Probation(6, 0.0))
LIMITS = DiskLimits(versions=3, jobs=2, reports=2, snapshot_bytes=0)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Eleven versions, each from a snapshot of its own, with twelve jobs and reports."""
    places = Places(tmp_path)
    for number in range(1, 12):
        folder = places.version("demand", number)
        folder.mkdir(parents=True)
        manifest = {"format": 1, "model": "demand", "version": number, "snapshot": f"s{number}"}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        snapshot = places.snapshot("demand", f"s{number}")
        snapshot.mkdir(parents=True)
        (snapshot / "data.parquet").write_bytes(bytes(8192))
        places.job(f"demand-{number}-shadow").mkdir(parents=True)
        report = places.report("demand", number)
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text("<html>")
    return places


def kept(places: Places) -> list[int]:
    """The versions that are still there."""
    return sorted(int(path.name) for path in places.version("demand", 1).parent.iterdir() if path.name.isdecimal())


def test_what_is_in_use_stays_and_the_oldest_of_the_rest_goes(places: Places) -> None:
    """The champion, the ways back, the first and the newest version stay; their manifests outlive the others."""
    prune_model(places, STATE, Override(pin=9), {1}, LIMITS)
    assert kept(places) == [1, 4, 5, 6, 7, 9, 11]
    assert json.loads(places.retired_manifest("demand", 2).read_text())["snapshot"] == "s2"
    assert sorted(path.name for path in places.job("x").parent.iterdir()) == [
        "demand-1-shadow",  # of an action that is open
        "demand-10-shadow",
        "demand-11-shadow",
    ]
    assert sorted(path.name for path in places.report("demand", 1).parent.iterdir()) == ["10.html", "11.html"]


def test_a_version_stays_until_it_is_registered(places: Places) -> None:
    """Where versions are registered with others, what is not there yet would be lost to them."""
    there = RegistryState("http://ml demand@champion", registered=(1, 2, 3, 4, 5, 6, 7, 10, 11))
    prune_model(places, replace(STATE, registry=there), Override(), set(), LIMITS)
    assert kept(places) == [1, 4, 5, 6, 7, 8, 9, 11]


def test_a_registry_that_hangs_takes_one_process_of_all(places: Places) -> None:
    """While one model waits for it, the next one's task waits for that, and builds begin beside it."""
    slots = JobSlots(2, used=1, elsewhere=1)

    def begun(_: StoredAction) -> dict[str, object]:
        raise AssertionError("it is begun")

    performer = Performer(places, Registry(places), "demand", slots, begun, JobLimits())
    stored = StoredAction(99, None, "demand", ActionKind.REGISTRY, {}, "started", 0.0, 0.0, None, None)
    assert performer.result_of(stored) is None
    with pytest.raises(AssertionError, match="it is begun"):
        performer.result_of(replace(stored, kind=ActionKind.TRAIN))


def test_nothing_goes_under_a_build_or_a_reproduction(places: Places) -> None:
    """What a build or `driftd reproduce` reads is not known here: versions and snapshots stay until it has ended."""
    build = Build(12, Trigger.MANUAL, "asked", BuildStep.TRAIN, 0.0)
    prune_model(places, ModelState("demand", champion=7, build=build), Override(), set(), LIMITS)
    assert len(kept(places)) == 11
    with hold_in_use(places.model("demand")):
        prune_model(places, STATE, Override(), set(), LIMITS)
        assert len(kept(places)) == 11
    prune_model(places, STATE, Override(), set(), LIMITS)
    assert len(kept(places)) < 11


def test_every_version_that_a_state_names_is_in_use() -> None:
    """Whatever serves, served, is built, is pinned or waits for a person."""
    build = Build(8, Trigger.MANUAL, "asked", BuildStep.SWAP, 0.0, serves=3)
    state = ModelState(
        "demand", champion=7, previous=5, pinned=2, served=(4,), build=build, probation=Probation(6, 0.0)
    )
    assert versions_in_use(state, Override(pin=1, approve=9, reject=10)) == set(range(1, 11))


def test_what_a_killed_process_left_is_swept_and_what_lives_is_not(tmp_path: Path) -> None:
    """A staging folder of a process that is gone goes after a minute, one without a name after a day, ours stays."""
    places, now = Places(tmp_path), time.time()
    versions = places.version("demand", 1).parent
    ours = make_staging(versions)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, young, old, nameless = (
        versions / name for name in (f".staged-{ended.pid}-a", f".staged-{ended.pid}-b", ".staged-old1", ".staged-x_y")
    )
    for folder, age in ((dead, 120.0), (young, 5.0), (old, 2 * DAY), (nameless, 7200.0), (ours, 2 * DAY)):
        folder.mkdir(exist_ok=True)
        os.utime(folder, (now - age, now - age))
    assert set(sweep_staging(versions, now)) == {dead, old}
    assert sweep_staging(versions, now - 10 * 365 * DAY) == []
    scratch = places.job("demand-3-train") / SCRATCH
    scratch.mkdir(parents=True)
    assert sweep(places, now) == [scratch]
    assert not scratch.exists()
    assert ours.exists()


def test_the_disk_is_full_when_its_rate_says(tmp_path: Path) -> None:
    """From an hour of measurements on, the free room and its rate give a time, and each part its growth in a day."""
    del tmp_path
    use = DiskUse()
    for minute in range(0, 70, 10):
        assert use.full_in() is None
        use.record(minute * 60.0, 100 * GIB - minute * GIB, {"events": minute * GIB, "jobs": 5})
    assert use.full_in() == pytest.approx(40 * 60.0)
    assert use.growth() == {"events": pytest.approx(24 * 60 * GIB), "jobs": 0}
    use.record(DAY + 3600.0, 120 * GIB, {"events": 0, "jobs": 5})
    assert use.full_in() is None


def test_a_budget_takes_what_is_not_in_use_before_events() -> None:
    """Under the budget the config's numbers hold; over it little else stays, and events share what is left."""
    retention, use = RetentionConfig(disk=10 * GIB), DiskUse()
    use.record(0.0, GIB, {"events": 5 * GIB, "versions": 4 * GIB})
    assert use.limits(retention).versions == retention.versions
    assert use.event_bytes(retention.disk, 2) is None
    use.record(600.0, GIB, {"events": 8 * GIB, "versions": 4 * GIB})
    assert use.limits(retention) == DiskLimits(3, 10, 10, 0, retention.checks)
    assert use.event_bytes(retention.disk, 2) == 3 * GIB
    use.record(1200.0, GIB, {"events": 8 * GIB, "versions": 40 * GIB})
    assert use.event_bytes(retention.disk, 1) == GIB
    assert use.event_bytes(None, 1) is None


def test_a_log_is_cut_where_it_is_full(tmp_path: Path) -> None:
    """However much is printed, two files of the limit stay, and the newest words are at the end."""
    log = BoundedLog(tmp_path, most=1000)
    for number in range(5000):
        log.write(f"line {number}\n".encode())
    log.close()
    assert (tmp_path / LOG).stat().st_size <= 1000
    assert (tmp_path / LOG_BEFORE).stat().st_size <= 1000
    assert log_tail(tmp_path).endswith("line 4998\nline 4999\n")


def test_temporary_files_over_the_limit_end_the_worker(tmp_path: Path) -> None:
    """A job whose scratch folder grows over its bytes is killed, with a sentence that says so."""
    said: list[str] = []
    worker = subprocess.Popen(["sleep", str(HANG)])
    output = JobOutput(tmp_path, 100_000, said.append)
    (tmp_path / SCRATCH).mkdir()
    (tmp_path / SCRATCH / "big").write_bytes(os.urandom(200_000))
    output._end_if_too_large(worker.pid)
    assert worker.wait(HANG) == -9
    assert "limits.disk" in said[0]


def test_a_worker_that_prints_without_a_pause_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its temporary files are looked at while it prints: it is ended, and its log keeps within its two files."""
    monkeypatch.setattr("driftd.training.job_output._LOOK_SECONDS", 0.05)
    said: list[str] = []
    ours, theirs = os.pipe()
    worker = subprocess.Popen(["yes"], stdout=theirs)
    os.close(theirs)
    (tmp_path / SCRATCH).mkdir()
    (tmp_path / SCRATCH / "big").write_bytes(os.urandom(200_000))
    JobOutput(tmp_path, 100_000, said.append).watch(ours, worker.pid)
    assert worker.wait(HANG) == -9
    assert "limits.disk" in said[0]
    assert log_tail(tmp_path).endswith("y\n")


def test_a_program_that_ends_with_a_code_has_the_last_word() -> None:
    """Its last line is told, without control characters and without our own traceback; other errors say it all."""
    ours = 'Traceback (most recent call last):\n  File "/x/job_main.py", line 9, in run\nTrainerError: it ended\n'
    code, said = "the trainer's command `fit` ended with exit code 1", "\x1b[31mOSError: File too large\n\n"
    sentence = describe_failure(JobResult(ok=False, error=code, tail=f"begins\n{said}{ours}"))
    assert sentence == code + "; its last words: \\x1b[31mOSError: File too large"
    assert describe_failure(JobResult(ok=False, error=code, tail=ours)) == code
    assert describe_failure(JobResult(ok=False, error="ValueError: no", tail=said)) == "ValueError: no"


def test_the_last_words_of_a_job_are_told_and_its_scratch_folder_goes(tmp_path: Path) -> None:
    """The keeper writes what a job prints until its end; nothing stays of its temporary files."""
    job = start_job(tmp_path / "job", "no such task " + "x" * 100, {}, JobLimits(wall_seconds=HANG))
    result: list[object] = []
    wait(lambda: result.append(job.poll()) or result[-1] is not None, "the job has ended")
    assert "ValueError" in getattr(result[-1], "tail", "")
    assert not (tmp_path / "job" / SCRATCH).exists()
