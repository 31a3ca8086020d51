"""Starting, watching and ending child processes. The daemon imports this: standard library only.

A job is a folder. `job.json` says what to do, `log.txt` is what the child printed, `result.json` is written last and
by rename; a folder that has it is finished and is never run again, so that a daemon that was killed in between reads
the result back or runs the job anew, whichever is right.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from driftd.build.family import end_below
from driftd.build.limits import Limits
from driftd.build.results import JOB, LOG, JobResult, log_tail, read_result, write_result

__all__ = ["Job", "JobResult", "Limits", "read_result", "start_job"]

_OF_THE_DAEMON = {"NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID"}


class Job:
    """A child process at work, or a finished folder."""

    def __init__(self, folder: Path, limits: Limits, process: subprocess.Popen[bytes] | None, started: float) -> None:
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
            return self._concluded()
        passed = (time.monotonic() if now is None else now) - self._started
        if passed < self._limits.wall_seconds:
            return None
        self.kill()
        late = f"the job was ended after {passed:.0f} s: its limit is {self._limits.wall_seconds:.0f} s"
        return read_result(self.folder) or self._failed(late)

    def kill(self) -> None:
        """End the child and all that it started. The folder stays unfinished unless the child had finished it."""
        if self._process is None or self._process.returncode is not None:
            return
        _kill_family(self._process.pid)
        self._process.wait()

    def _at_work(self) -> bool:
        """Whether the child still runs.

        When it has ended, what it left behind is ended too, and only then is it reaped: until then its number
        cannot be given to another process.
        """
        if self._process is None or self._process.returncode is not None:
            return False
        if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return True
        _kill_family(self._process.pid)
        self._process.wait()
        return False

    def _concluded(self) -> JobResult:
        if (result := read_result(self.folder)) is not None:
            return result
        code = self._process.returncode if self._process else 0
        return self._failed(_why(code, self._limits))

    def _failed(self, sentence: str) -> JobResult:
        result = JobResult(ok=False, error=sentence, tail=log_tail(self.folder))
        write_result(self.folder, result)
        return result


def start_job(folder: Path, task: str, arguments: Mapping[str, Any], limits: Limits | None = None) -> Job:
    """Start a task of `driftd.build.tasks` as a child process in its own session, or take up a finished folder.

    Call it from a thread that lives as long as its process: the child dies with the thread that started it.
    """
    limits = limits or Limits()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # parameters of trainers may hold passwords
    if read_result(folder) is not None:
        return Job(folder, limits, None, time.monotonic())
    order = {"task": task, "arguments": dict(arguments), "limits": limits.to_dict(), "parent": os.getpid()}
    temporary = folder / f".{JOB}-new"
    temporary.unlink(missing_ok=True)
    with open(temporary, "w", opener=_for_us_alone) as file:
        file.write(json.dumps(order, indent=2))
    temporary.replace(folder / JOB)
    with open(folder / LOG, "wb", opener=_for_us_alone) as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "driftd.build.child", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(limits),
            start_new_session=True,
        )
    return Job(folder, limits, process, time.monotonic())


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _environment(limits: Limits) -> dict[str, str]:
    """The parent's environment, with its import paths, its thread limits, and hashes that repeat from run to run.

    What is between systemd and the daemon stays there: a trainer needs neither its socket nor its credentials.
    """
    own = [path for path in sys.path if path and not path.startswith((sys.base_prefix, sys.prefix))]
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = list(dict.fromkeys(path for path in [*own, *given] if path))
    os_environment = {name: value for name, value in os.environ.items() if name not in _OF_THE_DAEMON}
    fixed = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}
    return {**os_environment, **limits.environment(), **fixed}


def _kill_family(pid: int) -> None:
    """Kill a job: first all that descends from its keeper, which adopts what would get away, and then the keeper."""
    end_below(pid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _why(code: int, limits: Limits) -> str:
    """What an exit without a result means, in one sentence."""
    if code == 0:
        return "the child ended with exit code 0 but wrote no result: did the trainer call sys.exit or os._exit?"
    if code > 0:
        return f"the child ended with exit code {code} and wrote no result"
    name = signal.Signals(-code).name
    if -code == signal.SIGXCPU:
        return f"the child used up its {limits.cpu_seconds} s of CPU time (SIGXCPU)"
    if -code == signal.SIGKILL:
        return "the child was killed (SIGKILL): most likely the system ran out of memory, or it used up its CPU time"
    return f"the child crashed ({name})"
