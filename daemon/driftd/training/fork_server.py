"""A process with the libraries of jobs in memory, which forks a child for each job that it is told of.

Importing pandas, scikit-learn and skops takes a second or two of CPU, longer than most jobs work; a daemon that watches
a new version looks at it again and again. The server begins with the second job within two minutes, loads beside that
job, and ends after a minute without work, so that a daemon at rest keeps nothing. While there is none, a job is started
as before: nothing depends on it. As `multiprocessing`'s fork server, but one whose dead children wait to be buried by
their owner, so that a process id is never another's; and one that goes with its parent.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from driftd.training.process_tree import die_with_parent

WITHIN = 120.0  # seconds between two jobs that make a server worth its memory
IDLE = 60.0  # seconds without a job, after which it ends
PRELOADED = (
    "sklearn.ensemble",
    "driftd.training.tasks.snapshot",
    "driftd.training.tasks.train",
    "driftd.training.tasks.judge",
    "driftd.training.tasks.verify",
    "driftd.training.tasks.shadow",
    "driftd.training.tasks.refresh",
    "driftd.training.job_main",
    "driftd_detectors.batches.arrow_columns",
)
_MOST_BYTES = 1 << 20
_READ_AT_START = ("OMP_", "OPENBLAS_", "MKL_", "NUMEXPR_", "ARROW_", "LOKY_", "PYTHON", "LD_", "LC_", "MALLOC_")
_READ_AT_START_NAMES = ("LANG", "TZ", "LANGUAGE", "HOME")


class ForkOrder(msgspec.Struct, frozen=True, tag="fork"):
    """A job to fork: its folder, its log, and the world in which it works."""

    folder: str
    log: str
    cwd: str
    environment: dict[str, str]


class ReapOrder(msgspec.Struct, frozen=True, tag="reap"):
    """A child to bury."""

    pid: int


class Reply(msgspec.Struct, frozen=True):
    """What the server answers: the process id of a child (0: there was none), or the exit code of one.

    The first says that it is ready.
    """

    number: int


_encode = msgspec.json.Encoder().encode
_decode_order = msgspec.json.Decoder(ForkOrder | ReapOrder).decode
_decode_reply = msgspec.json.Decoder(Reply).decode


class ForkedProcess:
    """The child of a job that the server forked. Until `reap` its process id is not given to another process."""

    def __init__(self, pid: int, server: ForkServer) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server
        try:
            self._pidfd: int | None = os.pidfd_open(pid)
        except ProcessLookupError:  # the server died meanwhile, and its children with it
            self._pidfd = None

    def has_ended(self) -> bool:
        """Whether the child has ended; it may be a zombie."""
        return self._pidfd is None or bool(select.select([self._pidfd], [], [], 0)[0])

    def reap(self) -> int:
        """Wait for the end, bury the child and return its exit code, negative for a signal as in `subprocess`."""
        if self.returncode is None:
            if self._pidfd is not None:
                select.select([self._pidfd], [], [])
                os.close(self._pidfd)
                self._pidfd = None
            self.returncode = self._server.reap(self.pid)
        return self.returncode


class ForkServer:
    """The daemon's side: begins the server when jobs come in quick succession, and asks it for children."""

    def __init__(self, idle: float = IDLE) -> None:
        self.idle = idle  # this and the modules that are loaded: of the next server that begins
        self.preloaded = PRELOADED
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._fixed: dict[str, str] = {}
        self._is_warm = False
        self._last_job = -WITHIN

    @property
    def pid(self) -> int | None:
        """The process id of the server; None while there is none."""
        return None if self._process is None else self._process.pid

    @property
    def is_ready(self) -> bool:
        """Whether it has loaded everything; asks without waiting."""
        if not self._is_warm and self._socket is not None and select.select([self._socket], [], [], 0)[0]:
            self._is_warm = self._receive() is not None
        return self._is_warm

    def begin(self, environment: Mapping[str, str]) -> None:
        """Begin the server, for jobs with such an environment."""
        if not hasattr(os, "pidfd_open"):
            return
        self.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "driftd.training.fork_server",
                    str(os.getpid()),
                    str(self.idle),
                    *self.preloaded,
                ],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=dict(environment),
                start_new_session=True,  # Ctrl-C ends the parent, which ends this one
            )
        self._socket, self._fixed = ours, _read_at_start(environment)

    def ensure(self, environment: Mapping[str, str]) -> None:
        """Begin the server unless there is one."""
        if self._process is None or self._process.poll() is not None:
            self.begin(environment)

    def await_ready(self) -> None:
        """Wait until the server has loaded its libraries, or has ended instead."""
        if self._socket is not None and not self._is_warm:
            select.select([self._socket], [], [])

    def fork(self, folder: Path, log: Path, environment: Mapping[str, str]) -> ForkedProcess | None:
        """Fork a child that runs the job of a folder; None when it must be started in another way."""
        recent = time.monotonic() - self._last_job < WITHIN
        self._last_job = time.monotonic()
        if self._process is None or self._process.poll() is not None:
            if recent:
                self.begin(environment)
            return None
        if not self.is_ready or _read_at_start(environment) != self._fixed:
            return None
        order = ForkOrder(str(folder.absolute()), str(log.absolute()), str(Path.cwd()), dict(environment))
        reply = self._ask(order)
        return ForkedProcess(reply.number, self) if reply is not None and reply.number else None

    def reap(self, pid: int) -> int:
        """The exit code of a child that has ended; that of SIGKILL when the server is gone."""
        reply = self._ask(ReapOrder(pid))
        return -signal.SIGKILL if reply is None else reply.number

    def close(self) -> None:
        """End the server, and with it every child that it still has."""
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._socket = self._process = None
        self._is_warm = False

    def _ask(self, order: ForkOrder | ReapOrder) -> Reply | None:
        """One question and its answer; None when the server has ended (it does, when idle) or cannot."""
        if self._socket is None or not self.is_ready:
            return None
        try:
            self._socket.sendall(_encode(order))
        except OSError as error:
            if not isinstance(error, BrokenPipeError | ConnectionError):
                return None  # a message that is too large for the socket: this job goes the other way
            self.close()
            return None
        return self._receive()

    def _receive(self) -> Reply | None:
        assert self._socket is not None
        try:
            answer = self._socket.recv(_MOST_BYTES)
        except ConnectionError:
            answer = b""
        if not answer:
            self.close()
            return None
        return _decode_reply(answer)


SHARED = ForkServer()  # one for each process, as `multiprocessing` has it


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that libraries read as they load: a job with other values cannot be forked from this server."""
    return {
        name: value
        for name, value in environment.items()
        if name != "PYTHONPATH" and (name.startswith(_READ_AT_START) or name in _READ_AT_START_NAMES)
    }


def main(parent: int, idle: float, preloaded: Sequence[str]) -> None:
    """Load, say so, and fork as told until the parent has gone or nothing was to do for a minute."""
    die_with_parent(parent)
    for name in preloaded:
        importlib.import_module(name)
    if "sklearn.ensemble" in sys.modules:
        _use_encoders()
    gc.collect()
    gc.freeze()  # what was loaded is not touched again, so that the children share its pages
    if threading.active_count() > 1:
        return  # a fork would copy locks that no thread will ever release
    own_paths = _own_paths(sys.path[1:], os.environ.get("PYTHONPATH", ""))
    with socket.socket(fileno=os.dup(0)) as client:
        client.sendall(_encode(Reply(os.getpid())))
        children: set[int] = set()
        while message := _next(client, children, idle):
            order = _decode_order(message)
            if isinstance(order, ReapOrder):
                children.discard(order.pid)
                number = os.waitstatus_to_exitcode(os.waitpid(order.pid, 0)[1])
            else:
                number = _fork(client, order, own_paths)
                children |= {number} if number else set()
            client.sendall(_encode(Reply(number)))


def _own_paths(paths: Sequence[str], given: str) -> list[str]:
    """The import paths that no variable gave: each job brings its own.

    What is installed beside the interpreter stays, though the variable may name it too: a later job may not name it.
    """
    named = given.split(os.pathsep)
    return [path for path in paths if path not in named or path.startswith((sys.prefix, sys.base_prefix))]


def _use_encoders() -> None:
    """Fit, store and load encoders, with which libraries load what they load only then: no job pays for it again.

    Encoders alone: an estimator would begin threads, which a process that is to be forked must not have.
    """
    import pandas as pd  # noqa: PLC0415 - the daemon's side of this module never needs them
    import pyarrow.pandas_compat  # noqa: PLC0415, F401 - what makes a frame of Arrow's columns needs it
    import skops.io  # noqa: PLC0415
    from sklearn.compose import ColumnTransformer  # noqa: PLC0415
    from sklearn.preprocessing import OrdinalEncoder  # noqa: PLC0415

    rows = pd.DataFrame({"text": ["a", "b"], "number": [0.0, 1.0]})
    columns = ColumnTransformer([("text", OrdinalEncoder(), ["text"]), ("number", "passthrough", ["number"])])
    content = skops.io.dumps(columns.fit(rows))
    skops.io.loads(content, trusted=skops.io.get_untrusted_types(data=content)).transform(rows)


def _fork(client: socket.socket, order: ForkOrder, own_paths: list[str]) -> int:
    """The process id of the child that does the job; 0 where there can be none. In the child it does not return."""
    server = os.getpid()
    try:
        child = os.fork()
    except OSError:  # the jobs that are at work would end with this process
        return 0
    if child == 0:
        client.close()
        _work(order, own_paths, server)
    return child


def _next(client: socket.socket, children: set[int], idle: float) -> bytes:
    """The next message; empty when there will be none, or none came for long and no child is at work."""
    while not select.select([client], [], [], idle)[0]:
        if not any(_lives(pid) for pid in children):
            return b""
    with contextlib.suppress(ConnectionError):
        return client.recv(_MOST_BYTES)
    return b""


def _lives(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _work(order: ForkOrder, own_paths: list[str], server: int) -> None:
    """Become the process that `python -m driftd.training.job_main FOLDER` would be, and end as it ends."""
    code = 1
    try:
        os.setsid()
        for descriptor, path, flags in ((0, os.devnull, os.O_RDONLY), (1, order.log, os.O_WRONLY | os.O_APPEND)):
            opened = os.open(path, flags)
            os.dup2(opened, descriptor)
            os.close(opened)
        os.dup2(1, 2)
        if str(Path.cwd()) != order.cwd:  # a folder that was entered as root may be closed to the owner of the state
            os.chdir(order.cwd)
        os.environ.clear()
        os.environ.update(order.environment)
        given = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        sys.path[:] = [order.cwd, *given, *own_paths]
        importlib.invalidate_caches()
        from driftd.training.job_main import run_folder  # noqa: PLC0415 - the parent never needs it

        code = run_folder(Path(order.folder), parent=server)
    except BaseException:  # noqa: BLE001 - the end of a process: what it died of goes into its log
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
