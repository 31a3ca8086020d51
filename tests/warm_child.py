"""What a child of the warm process does instead of a job: it becomes the program that it was asked for."""

from __future__ import annotations

import json
import os
import runpy
import signal
import socket
import sys
import traceback
from pathlib import Path

from driftd.training import fork_server, job_main
from driftd.training.process_tree import die_with_parent


class _JobServer:
    """The process of a daemon that forks its jobs, used as the `subprocess.Popen` that it would be."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._ended(os.WNOHANG)

    def wait(self) -> int | None:
        return self._ended(0)

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def _ended(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


def _fork_job_server() -> None:
    """Give the daemon that this process becomes a server of jobs that has its libraries, as after its second job."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    daemon, pid = os.getpid(), os.fork()
    if pid == 0:
        ours.close()
        os.dup2(theirs.fileno(), 0)
        theirs.close()
        fork_server.main(daemon, 900.0, ())
        os._exit(0)
    theirs.close()
    server = fork_server.SHARED
    server._process, server._socket = _JobServer(pid), ours  # type: ignore[assignment]
    server._fixed = fork_server._read_at_start(os.environ)


def run_folder(_folder: Path, parent: int) -> int:
    """Run the program that a variable names, as `python PROGRAM` or `python -m MODULE` would; returns its exit code."""
    order = json.loads(os.environ.pop("DRIFTD_TEST_PROGRAM"))
    die_with_parent(parent)
    os.chdir(order["folder"])
    errors = os.open(order["errors"], os.O_WRONLY | os.O_APPEND)
    os.dup2(errors, 2)
    os.close(errors)
    first, *more = order["command"]
    try:
        if first == "-m":
            sys.argv = more
            if more[1:2] == ["run"]:
                _fork_job_server()
            runpy.run_module(more[0], run_name="__main__", alter_sys=True)
        else:
            sys.argv = [first, *more]
            sys.path[0] = str(Path(first).absolute().parent)
            runpy.run_path(first, run_name="__main__")
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)  # noqa: T201 - as the interpreter does
        return 1
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        return 1
    return 0


job_main.run_folder = run_folder
