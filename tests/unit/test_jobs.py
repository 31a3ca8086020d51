"""Jobs as real child processes: one result for ever, limits, and nobody left behind."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from driftd.training.fork_server import PRELOADED
from driftd.training.jobs import RESULT, Job, JobLimits, JobResult, read_result, start_job, write_result
from limits import HANG


def wait_for(job: Job) -> JobResult:
    """Poll until the job is over; a job that never ends fails the test."""
    until = time.monotonic() + HANG
    while time.monotonic() < until:
        if (result := job.poll()) is not None:
            return result
        os.sched_yield()
    job.kill()
    raise AssertionError("the job did not end")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@contextmanager
def hanging(folder: Path) -> Iterator[None]:
    """While this is open, a child in the folder waits for its lock."""
    folder.mkdir()
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_an_unknown_task_ends_with_a_sentence(tmp_path: Path) -> None:
    """The result says what is allowed, and the log's tail comes with it."""
    result = wait_for(start_job(tmp_path / "job", "dance", {}))
    assert not result.ok
    assert "there is no task 'dance'; tasks are snapshot, check_data, train" in result.error
    assert "Traceback" in result.tail
    assert read_result(tmp_path / "job") == result


def test_a_finished_folder_is_never_run_again(tmp_path: Path) -> None:
    """Starting a finished job starts nothing and gives its result."""
    write_result(tmp_path, JobResult(ok=True, value={"answer": 42}))
    job = start_job(tmp_path, "dance", {})
    assert job.pid is None
    assert job.poll() == JobResult(ok=True, value={"answer": 42})
    assert not (tmp_path / "job.json").exists()


def test_a_job_at_work_has_no_result(tmp_path: Path) -> None:
    """Polling is not waiting."""
    with hanging(tmp_path / "job"):
        job = start_job(tmp_path / "job", "dance", {})
        assert job.poll() is None
        job.kill()


def test_a_job_beyond_its_time_is_ended(tmp_path: Path) -> None:
    """The parent ends a hanging child when the monotonic clock says so; that is its result for ever."""
    with hanging(tmp_path / "job"):
        job = start_job(tmp_path / "job", "dance", {}, JobLimits(wall_seconds=60))
        assert job.poll(time.monotonic() + 59) is None
        result = job.poll(time.monotonic() + 61)
        assert result is not None
        assert not result.ok
        assert "its limit is 60 s" in result.error
        assert job.pid is not None
        assert not is_alive(job.pid)
    assert job.poll() == result


def test_a_killed_job_is_not_finished(tmp_path: Path) -> None:
    """A job that the daemon ends when it stops is begun again at the next start."""
    with hanging(tmp_path / "job"):
        job = start_job(tmp_path / "job", "dance", {})
        job.kill()
        job.kill()
    assert read_result(tmp_path / "job") is None
    assert "no task" in wait_for(start_job(tmp_path / "job", "dance", {})).error


@pytest.mark.parametrize(
    ("number", "sentence"),
    [(signal.SIGKILL, "ran out of memory"), (signal.SIGSEGV, "SIGSEGV"), (signal.SIGXCPU, "CPU time")],
)
def test_a_child_that_dies_says_of_what(tmp_path: Path, number: signal.Signals, sentence: str) -> None:
    """Each way of dying becomes a sentence, not silence."""
    with hanging(tmp_path / "job"):
        job = start_job(tmp_path / "job", "dance", {})
        assert job.pid is not None
        os.kill(job.pid, number)
        result = wait_for(job)
    assert not result.ok
    assert sentence in result.error


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    """When the daemon is killed with -9, its children end too."""
    script = (
        "import sys, time; from pathlib import Path; from driftd.training.jobs import start_job\n"
        f"job = start_job(Path({str(tmp_path / 'job')!r}), 'dance', {{}}); print(job.pid, flush=True); time.sleep(60)"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    with hanging(tmp_path / "job"):
        parent = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths}
        )
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()
        parent.wait()
        until = time.monotonic() + HANG
        while is_alive(child) and time.monotonic() < until:
            os.sched_yield()
        assert not is_alive(child)
    assert read_result(tmp_path / "job") is None


def test_the_environment_bounds_threads_and_fixes_hashes(tmp_path: Path) -> None:
    """Numerical libraries in the child see the thread limit, and hashes repeat."""
    with hanging(tmp_path / "job"):
        job = start_job(tmp_path / "job", "dance", {}, JobLimits(threads=3))
        environment = Path(f"/proc/{job.pid}/environ")
        until = time.monotonic() + HANG
        while not (output := environment.read_bytes().split(b"\0"))[0] and time.monotonic() < until:
            os.sched_yield()  # between fork and exec it is empty
        job.kill()
    assert b"OMP_NUM_THREADS=3" in output
    assert b"PYTHONHASHSEED=0" in output
    assert not any(item.startswith(b"NOTIFY_SOCKET=") for item in output)


def test_half_a_result_is_no_result(tmp_path: Path) -> None:
    """Only the rename makes a result: a temporary file beside it counts for nothing."""
    (tmp_path / f".{RESULT}-1").write_text('{"ok": tr')
    assert read_result(tmp_path) is None


def test_a_job_says_what_it_was_told(tmp_path: Path) -> None:
    """`job.json` holds the task, the arguments and the limits."""
    job = start_job(tmp_path / "job", "dance", {"model": "demand"}, JobLimits(memory_bytes=1 << 30))
    wait_for(job)
    output = json.loads((tmp_path / "job" / "job.json").read_text())
    assert (output["task"], output["arguments"], output["limits"]["memory_bytes"]) == (
        "dance",
        {"model": "demand"},
        1 << 30,
    )


def test_starting_and_watching_jobs_is_light() -> None:
    """The daemon's side of jobs and of the registry loads nothing heavy."""
    script = "import sys, driftd.training.jobs, driftd.training.trainer_code, driftd.registry; print(*sys.modules)"
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert not {"numpy", "pandas", "sklearn", "scipy", "pyarrow", "skops"} & set(done.stdout.split())


def test_what_the_fork_server_loads_is_there() -> None:
    """Modules that are named in text are where they are said to be: a server without one of them loads nothing."""
    assert [name for name in PRELOADED if find_spec(name) is None] == []
