"""Jobs forked from a process that has loaded the libraries: as if they were started, and nobody left behind."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from driftd.training import fork_server
from driftd.training.fork_server import ForkServer
from driftd.training.jobs import Job, JobLimits, read_result, start_job
from limits import wait
from warm_server import finish, warm_server

pytestmark = pytest.mark.slow
FEW = ("sqlite3",)  # libraries, where it does not matter which


def is_alive(pid: int | None) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def parent_of(job: Job) -> int:
    return int(Path(f"/proc/{job.pid}/stat").read_text().rpartition(")")[2].split()[1])


@contextmanager
def at_work(folder: Path, server: ForkServer | None, limits: JobLimits | None = None) -> Iterator[Job]:
    """A job that waits for its folder's lock while the block runs."""
    folder.mkdir()
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield start_job(folder, "dance", {}, limits, server)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with warm_server(tmp_path_factory.mktemp("server")) as found:
        yield found


def test_a_forked_job_ends_as_a_started_one(tmp_path: Path, server: ForkServer) -> None:
    """Result and sentence are the same, and its process id is free only after it was polled."""
    started = finish(start_job(tmp_path / "started", "dance", {}))
    with at_work(tmp_path / "forked", server) as job:
        assert parent_of(job) == server.pid
        assert job.poll() is None
    wait(lambda: not is_alive(job.pid), "the job ends")
    assert Path(f"/proc/{job.pid}").exists()  # a zombie, which keeps its number
    forked = finish(job)
    assert (forked.ok, forked.error) == (started.ok, started.error)
    assert "Traceback" in forked.tail
    assert not Path(f"/proc/{job.pid}").exists()


@pytest.mark.parametrize(("number", "sentence"), [(signal.SIGKILL, "ran out of memory"), (signal.SIGSEGV, "SIGSEGV")])
def test_a_forked_child_that_dies_says_of_what(
    tmp_path: Path, server: ForkServer, number: signal.Signals, sentence: str
) -> None:
    """The signal comes through the server to the sentence."""
    with at_work(tmp_path / "job", server) as job:
        assert job.pid is not None
        os.kill(job.pid, number)
        assert sentence in finish(job).error


def test_a_job_with_other_threads_is_started(tmp_path: Path, server: ForkServer) -> None:
    """Libraries read some variables only as they load: another value of them is never ignored."""
    with at_work(tmp_path / "other", server), at_work(tmp_path / "job", server, JobLimits(threads=7)) as job:
        assert parent_of(job) == os.getpid()
        environment = Path(f"/proc/{job.pid}/environ")
        wait(lambda: b"OMP_NUM_THREADS=7" in environment.read_bytes().split(b"\0"), "the job has its environment")
        job.kill()


def test_a_killed_server_takes_its_jobs_along_and_is_not_missed(tmp_path: Path) -> None:
    """The child of a server that was killed is a failed job, and the next job is started by the daemon itself."""
    with warm_server(tmp_path, preloaded=FEW) as server, at_work(tmp_path / "job", server) as job:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        wait(lambda: not is_alive(job.pid), "the job ends with its server")
        assert "killed" in finish(job).error
        with at_work(tmp_path / "next", server) as after:
            assert parent_of(after) == os.getpid()
            after.kill()


def test_a_server_without_work_ends(tmp_path: Path) -> None:
    """A daemon at rest keeps no libraries in memory; a job that comes later is started as ever."""
    with warm_server(tmp_path, idle=0.2, preloaded=FEW) as server:
        wait(lambda: not is_alive(server.pid), "the server ends")
        with at_work(tmp_path / "next", server) as job:
            assert parent_of(job) == os.getpid()
            job.kill()


DAEMON = """
import sys, time
from pathlib import Path
from warm_server import warm_server
from driftd.training.jobs import start_job
with warm_server(Path(sys.argv[1]), preloaded=("sqlite3",)) as server:
    print(server.pid, start_job(Path(sys.argv[2]), "dance", {}, None, server).pid, flush=True)
    time.sleep(600)
"""


def test_nothing_outlives_a_killed_daemon(tmp_path: Path) -> None:
    """`kill -9` of the daemon ends its server and the job that this one forked, which is then not finished."""
    folder = tmp_path / "job"
    folder.mkdir()
    paths = os.pathsep.join(path for path in sys.path if path)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        daemon = subprocess.Popen(
            [sys.executable, "-c", DAEMON, str(tmp_path), str(folder)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
        )
        assert daemon.stdout is not None
        server, job = (int(text) for text in daemon.stdout.readline().split())
        assert is_alive(server)
        assert is_alive(job)
        daemon.kill()
        daemon.communicate()
        wait(lambda: not is_alive(server) and not is_alive(job), "server and job end")
    assert read_result(folder) is None


def test_a_server_that_cannot_fork_says_so_and_lives_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the host takes no more processes there is no child, and the jobs that are at work keep their server."""

    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", refuse)
    ours, theirs = socket.socketpair()
    order = fork_server.ForkOrder(str(tmp_path), str(tmp_path / "log"), str(tmp_path), {})
    with ours, theirs:
        assert fork_server._fork(ours, order, []) == 0


def test_a_job_finds_what_is_installed_whatever_the_server_was_started_with() -> None:
    """Libraries beside the interpreter stay in reach where PYTHONPATH named them to the server and not to the job."""
    installed, project = f"{sys.prefix}/lib/site-packages", "/srv/project"
    assert fork_server._own_paths([installed, project, "/srv/site"], os.pathsep.join([installed, project])) == [
        installed,
        "/srv/site",
    ]
