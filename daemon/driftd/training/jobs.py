"""Starts, watches and ends jobs in child processes: limits, results, the process itself. Standard library only."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any

from driftd.formatting import visible
from driftd.fsutil import write_durably
from driftd.training.fork_server import ForkedProcess, ForkServer
from driftd.training.job_output import LOG, LOG_BEFORE, SCRATCH, drop_scratch
from driftd.training.process_tree import end_below

__all__ = ["Job", "JobLimits", "JobResult", "job_environment", "read_result", "start_job"]

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "ARROW_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
)


def _half_the_cores() -> int:
    return max(1, len(os.sched_getaffinity(0)) // 2)


@dataclass(frozen=True, slots=True)
class JobLimits:
    """Bounds of one job. None means unbounded."""

    memory_bytes: int | None = 8 << 30  # address space (RLIMIT_AS) of each process of the job
    cpu_seconds: int | None = None  # of each process of the job
    wall_seconds: float = 3600.0  # of the whole job; the parent enforces it
    open_files: int | None = 1024
    disk_bytes: int | None = 32 << 30  # of one file of the job (RLIMIT_FSIZE), and of all in its scratch folder
    threads: int | None = None  # None: half the cores, at least one
    nice: int = 10
    oom_score: int = 500  # where memory ends, a job is killed before the daemon or anything else on the host

    def to_dict(self) -> dict[str, int | float | None]:
        """The JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> JobLimits:
        """Read what `to_dict` wrote; absent keys keep their defaults."""
        return cls(**{field.name: stored[field.name] for field in fields(cls) if field.name in stored})

    def environment(self) -> dict[str, str]:
        """The variables by which numerical libraries learn how many threads they may start."""
        threads = str(self.threads or _half_the_cores())
        return dict.fromkeys(_THREAD_VARIABLES, threads)


def apply_limits(limits: JobLimits) -> list[str]:
    """Bound this process and those that it will start. Returns a sentence for each limit that the system refused.

    A hardened unit (`SystemCallFilter=~@resources`) forbids some of these calls; its own cgroup bounds us then.
    """
    refused: list[str] = []
    for name, kind, value in (
        ("memory_bytes", resource.RLIMIT_AS, limits.memory_bytes),
        ("cpu_seconds", resource.RLIMIT_CPU, limits.cpu_seconds),
        ("open_files", resource.RLIMIT_NOFILE, limits.open_files),
        ("disk_bytes", resource.RLIMIT_FSIZE, limits.disk_bytes),
        ("core dumps", resource.RLIMIT_CORE, 0),
    ):
        if value is None:
            continue
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (bound, bound))
        except (OSError, ValueError) as error:
            refused.append(f"the limit {name}={value} could not be set: {error}")
    try:
        os.nice(limits.nice)
    except OSError as error:
        refused.append(f"nice {limits.nice} could not be set: {error}")
    try:
        Path("/proc/self/oom_score_adj").write_text(str(limits.oom_score))
    except OSError as error:
        refused.append(f"oom_score_adj {limits.oom_score} could not be set: {error}")
    return refused


JOB = "job.json"
RESULT = "result.json"
_TAIL_BYTES = 4000
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.03  # seconds between two looks at jobs
_RESULT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a job ended: its value, or one plain sentence and the end of its log."""

    ok: bool
    value: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    tail: str = ""
    peak_bytes: int | None = None  # of memory, of its largest process; None: nobody measured


def read_result(folder: Path) -> JobResult | None:
    """The result of a finished job; None while there is none."""
    try:
        if (size := (folder / RESULT).stat().st_size) > _RESULT_BYTES:
            return JobResult(ok=False, error=f"its result of {size:,} bytes is too large to be read")
        stored = json.loads((folder / RESULT).read_bytes())
    except FileNotFoundError:
        return None
    if stored["ok"]:
        return JobResult(ok=True, value=stored.get("value", {}), peak_bytes=stored.get("peak_bytes"))
    tail = stored.get("tail") or log_tail(folder)  # the keeper writes the last words after the result
    return JobResult(ok=False, error=stored.get("error", ""), tail=tail)


def write_result(folder: Path, result: JobResult) -> None:
    """Write a result in one step: from here on the job is finished for ever."""
    stored = (
        {"ok": True, "value": dict(result.value), "peak_bytes": result.peak_bytes}
        if result.ok
        else {"ok": False, "error": result.error[:_TAIL_BYTES], "tail": result.tail}
    )
    write_durably(folder / RESULT, json.dumps(stored, allow_nan=False).encode())


def log_tail(folder: Path) -> str:
    """The end of a job's log, whole lines, at most about 4 kB."""
    found = b""
    for path in (folder / LOG, folder / LOG_BEFORE):
        if path.is_file() and len(found) <= _TAIL_BYTES:
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL_BYTES - 1))
                found = file.read() + found
    text = found[-_TAIL_BYTES:].decode(errors="replace")
    return text.split("\n", 1)[-1] if len(found) > _TAIL_BYTES and "\n" in text else text


_OURS = re.compile(r'Traceback \(most recent call last\):\n  File "[^"\n]*/job_main\.py".*', re.DOTALL)
_LAST_WORDS = 200  # characters


def describe_failure(result: JobResult) -> str:
    """Why a job failed; of a program that ended with a code, also the last line that it printed."""
    lines = [line.strip() for line in _OURS.sub("", result.tail).splitlines() if line.strip()]
    if "exit code" not in result.error or not lines or lines[-1][-_LAST_WORDS:] in result.error:
        return result.error
    return f"{result.error}; its last words: {visible(lines[-1][-_LAST_WORDS:])}"


_OF_THE_DAEMON = {"NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID"}


class SpawnedProcess:
    """The child of a job that this process started. Until `reap` its process id is not given to another process."""

    def __init__(self, command: list[str], log: IO[bytes], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None until it was reaped."""
        return self._process.returncode

    def has_ended(self) -> bool:
        """Whether the child has ended; it may be a zombie."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def reap(self) -> int:
        """Wait for the end, bury the child and return its exit code."""
        return self._process.wait()


class Job:
    """A child process at work, or a finished folder."""

    def __init__(
        self, folder: Path, limits: JobLimits, process: SpawnedProcess | ForkedProcess | None, started: float
    ) -> None:
        self.folder = folder
        self._limits = limits
        self._process = process
        self._started = started

    @property
    def pid(self) -> int | None:
        """The process id of the child, None for a job that was finished before."""
        return self._process.pid if self._process else None

    @property
    def seconds(self) -> float:
        """How long ago it was started, by the monotonic clock."""
        return time.monotonic() - self._started

    def poll(self, now: float | None = None) -> JobResult | None:
        """How the job ended; None while it is at work. Ends it when its time is over.

        `now` is in seconds of the monotonic clock (the default reads it): a virtual clock says nothing of how long a
        real process has worked.
        """
        if not self._at_work():
            return self._conclude()
        passed = (time.monotonic() if now is None else now) - self._started
        if passed < self._limits.wall_seconds:
            return None
        self.kill()
        late = f"the job was ended after {passed:.0f} s: its limit is {self._limits.wall_seconds:.0f} s"
        return read_result(self.folder) or self._fail(late)

    def has_news(self) -> bool:
        """Whether `poll` has something to say, which costs far more to ask."""
        process = self._process
        known = process is None or process.returncode is not None or process.has_ended()
        return known or self.seconds >= self._limits.wall_seconds

    def kill(self) -> None:
        """End the child and all that it started. The folder stays unfinished unless the child had finished it."""
        if self._process is None or self._process.returncode is not None:
            return
        kill_family(self._process.pid)
        self._process.reap()
        drop_scratch(self.folder)  # its keeper can do so no more

    def _at_work(self) -> bool:
        """Whether the child still runs.

        When it has ended, what it left behind is ended too, and only then is it reaped: until then its number
        cannot be given to another process.
        """
        if self._process is None or self._process.returncode is not None:
            return False
        if not self._process.has_ended():
            return True
        kill_family(self._process.pid)
        self._process.reap()
        return False

    def _conclude(self) -> JobResult:
        if (result := read_result(self.folder)) is not None:
            return result
        code = self._process.returncode if self._process else 0
        return self._fail(_why(code or 0, self._limits))

    def _fail(self, sentence: str) -> JobResult:
        result = JobResult(ok=False, error=sentence, tail=log_tail(self.folder))
        write_result(self.folder, result)
        return result


def await_news(jobs: Collection[Job], until: float) -> None:
    """Wait for the first of some jobs that has news, if any, or until a time of the monotonic clock."""
    pause = _FIRST_PAUSE
    while jobs and time.monotonic() < until and not any(job.has_news() for job in jobs):
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def start_job(
    folder: Path,
    task: str,
    arguments: Mapping[str, object],
    limits: JobLimits | None = None,
    server: ForkServer | None = None,
) -> Job:
    """Start a task of `driftd.training.tasks` as a child process in its own session, or take up a finished folder.

    With a `server`, the child is forked from it where that can be. Call it from a thread that lives as long as its
    process: the child dies with the thread that started it.
    """
    limits = limits or JobLimits()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # parameters of trainers may hold passwords
    if read_result(folder) is not None:
        return Job(folder, limits, None, time.monotonic())
    order = {"task": task, "arguments": dict(arguments), "limits": limits.to_dict(), "parent": os.getpid()}
    temporary = folder / f".{JOB}-new"
    temporary.unlink(missing_ok=True)
    with open(temporary, "w", opener=_for_us_alone) as file:
        file.write(json.dumps(order, indent=2))
    temporary.replace(folder / JOB)
    environment = job_environment(limits)
    (folder / LOG_BEFORE).unlink(missing_ok=True)
    shutil.rmtree(folder / SCRATCH, ignore_errors=True)  # of a run that was killed
    with open(folder / LOG, "wb", opener=_for_us_alone) as log:
        forked = server.fork(folder, folder / LOG, environment) if server is not None else None
        process = forked or SpawnedProcess(
            [sys.executable, "-m", "driftd.training.job_main", str(folder)], log, environment
        )
    return Job(folder, limits, process, time.monotonic())


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def job_environment(limits: JobLimits) -> dict[str, str]:
    """The parent's environment, with its import paths, its thread limits, and hashes that repeat from run to run.

    What is between systemd and the daemon stays there: a trainer needs neither its socket nor its credentials.
    """
    own = [path for path in sys.path if path and not path.startswith((sys.base_prefix, sys.prefix))]
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = list(dict.fromkeys(path for path in [*own, *given] if path))
    os_environment = {name: value for name, value in os.environ.items() if name not in _OF_THE_DAEMON}
    fixed = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}
    return {**os_environment, **limits.environment(), **fixed}


def kill_family(pid: int) -> None:
    """Kill a job: first all that descends from its keeper, which adopts what would get away, and then the keeper."""
    end_below(pid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _why(code: int, limits: JobLimits) -> str:
    """What an exit without a result means, in one sentence."""
    if code == 0:
        return "the child ended with exit code 0 but wrote no result: did the trainer call sys.exit or os._exit?"
    if code > 0:
        return f"the child ended with exit code {code} and wrote no result"
    name = signal.Signals(-code).name
    if -code == signal.SIGXFSZ:
        return f"a file of the child grew over {limits.disk_bytes or 0:,} bytes (limits.disk)"
    if -code == signal.SIGXCPU:
        return f"the child used up its {limits.cpu_seconds} s of CPU time (SIGXCPU)"
    if -code == signal.SIGKILL:
        return "the child was killed (SIGKILL): most likely the system ran out of memory, or it used up its CPU time"
    return f"the child crashed ({name})"
