"""An engine as the daemon sees it: a child holds the libraries and the connection, and is ended when it hangs."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

import msgspec
import structlog

from driftd.formatting import describe_exit
from driftd.paths import Places
from driftd.records import Window
from driftd.sources.engines.child_messages import (
    HEAD,
    NO_MEMORY,
    Answer,
    CohortRequest,
    CountRequest,
    NewestRequest,
    OpenRequest,
    ProfileRequest,
    RefreshRequest,
    Request,
    SchemaRequest,
)
from driftd.sources.engines.protocol import ENGINE_START_SECONDS, EngineError
from driftd.sources.protocol import Extent
from driftd_detectors.cohort import Cohort
from driftd_detectors.columns import Columns, Outcomes
from driftd_detectors.schema import Schema
from driftd_detectors.window_data import Bins, ServedBy, WindowData

if TYPE_CHECKING:
    import pyarrow as pa

    from driftd.config.model_schema import ModelConfig

log = structlog.get_logger()

LEAST_REST, LONGEST_REST = 5.0, 120.0  # seconds between two looks at the extent
RESTS_OF_A_LOOK = 20  # a look takes an engine a twentieth of the time at most
END_SECONDS = 5.0  # that a child has for cancelling what is under way
_PIECE = 1 << 20
_EVER = float("inf")


class ChildSource:
    """One model's rows in an engine, asked through a child process. Windows are of time.

    A child that ends is replaced at the next call; so is one that gives no answer within `timeout` seconds and
    `ENGINE_START_SECONDS`.
    """

    def __init__(
        self,
        model: str,
        config: ModelConfig,
        schema: Schema,
        places: Places,
        timeout: float,
        memory: int | None = None,
    ) -> None:
        """`memory` is what the child may have, in bytes of address space; None: as much as there is."""
        self._model, self._config, self._schema, self._places = model, config, schema, places
        self._seconds = timeout + ENGINE_START_SECONDS
        self._memory = memory
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._extent: Extent | None = None
        self._looked_at, self._look_again_at = _EVER, -_EVER  # by the clock of the daemon
        self._failures = 0  # looks in a row that the engine did not answer

    def refresh(self, now: float) -> Extent:
        """See `Source.refresh`. An engine that cannot be asked is a fault; no window is complete meanwhile.

        While a job works, a model is stepped each second: the engine is not asked each time. The dearer a look, the
        longer what it found is given again, from five seconds to two minutes. So is a fault: a second look comes at
        once, each further one after twice the time.
        """
        if self._extent is not None and self._looked_at <= now < self._look_again_at:
            return self._extent
        began = time.monotonic()
        try:
            extent = msgspec.convert(self._ask(RefreshRequest(now=now)).value, Extent)
        except EngineError as error:
            known = self._extent or Extent(None, -_EVER, 0)
            extent = replace(known, complete_until=-_EVER, faults=(str(error),))
        self._failures = self._failures + 1 if extent.faults else 0
        self._extent, self._looked_at = extent, now
        self._look_again_at = now + self._rest(time.monotonic() - began)
        return extent

    def _rest(self, seconds: float) -> float:
        """Seconds until the next look, after one that took so many."""
        if self._failures == 1:
            return 0.0
        rest = LEAST_REST * 2.0 ** min(self._failures - 2, 10) if self._failures else RESTS_OF_A_LOOK * seconds
        return min(LONGEST_REST, max(LEAST_REST, rest))

    def profile(self, window: Window, bins: Bins, served: ServedBy) -> WindowData:
        """See `Source.profile`."""
        request = ProfileRequest(
            window=window, schema=bins.schema.to_dict(), layout=bins.layout.to_dict(), served=served.to_dict()
        )
        return WindowData.from_bytes(self._ask(request).content)

    def cohort(self, window: Window, known_by: float, features: Sequence[str], served: ServedBy) -> Cohort:
        """See `Source.cohort`."""
        limit = None if known_by == _EVER else known_by
        request = CohortRequest(window=window, known_by=limit, features=tuple(features), served=served.to_dict())
        return Cohort.from_bytes(self._ask(request).content)

    def outcomes(self, window: Window, known_by: float) -> Outcomes:
        """See `Source.outcomes`; of very many rows a sample."""
        return self.cohort(window, known_by, (), ServedBy(0)).outcomes

    def chunks(self, window: Window) -> Iterator[tuple[Columns, Outcomes]]:
        """See `Source.chunks`; of very many rows a sample."""
        cohort = self.cohort(window, _EVER, self._schema.names, ServedBy(0))
        yield cohort.columns, cohort.outcomes

    def read_labelled(self, since: float, until: float, known_by: float) -> Iterator[pa.Table]:
        """Not for the daemon: jobs read rows, in processes of their own."""
        raise NotImplementedError("rows of an engine are read by jobs")

    def count_labelled(self, since: float, known_by: float) -> int:
        """See `Source.count_labelled`."""
        return int(self._ask(CountRequest(since=_finite(since), known_by=known_by)).value)

    def newest_labelled(self, rows: int, since: float, known_by: float) -> float:
        """See `Source.newest_labelled`."""
        found = self._ask(NewestRequest(rows=rows, since=_finite(since), known_by=known_by)).value
        return since if found is None else float(found)

    def sample(self, window: Window, rows: int, seed: int) -> pa.Table:
        """Not for the daemon: jobs read rows, in processes of their own."""
        raise NotImplementedError("rows of an engine are read by jobs")

    def use_schema(self, schema: Schema) -> None:
        """See `Source.use_schema`."""
        self._schema = schema
        if self._process is not None:
            self._ask(SchemaRequest(schema=schema.to_dict()))

    def close(self) -> None:
        """End the child; it cancels what is under way in the engine."""
        self._end()

    def _end(self, *, killed: bool = False) -> int | None:
        """End the child, or see how it has ended: its exit code, None where there was no child."""
        process, self._process = self._process, None
        if process is None:
            return None
        if killed:
            process.kill()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None  # both are pipes
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return process.returncode

    def _ask(self, request: Request) -> Answer:
        """The answer of the child. Raises EngineError where there is none, and with what the engine refuses."""
        with self._lock:
            end = time.monotonic() + self._seconds
            try:
                if self._process is None or self._process.poll() is not None:
                    self.close()
                    self._begin(end)
                answer = self._exchange(request, end)
            except (OSError, TimeoutError, msgspec.DecodeError) as error:
                self._give_up(error)
            if answer.lacks_memory:
                self._end(killed=True)  # what a library holds after it failed is not known
        if answer.lacks_memory:
            log.warning("engine_child_ended", model=self._model, error="it ran out of memory")
            raise EngineError(self._lack_of_memory())
        if answer.error:
            raise EngineError(answer.error)
        return answer

    def _describe_end(self, code: int | None) -> str:
        if code == NO_MEMORY:
            return self._lack_of_memory()
        ended = f"its connection's process ended ({'no process' if code is None else describe_exit(code)})"
        if code == -signal.SIGKILL:
            return f"{ended}: most likely the host has no more memory; set a shorter window.every"
        if self._memory is None:
            return f"{ended}: see the log of driftd"
        return f"{ended}: see the log of driftd; where it names memory, raise limits.memory ({self._memory:,} bytes)"

    def _lack_of_memory(self) -> str:
        bound = "" if self._memory is None else f" ({self._memory:,} bytes)"
        return (
            f"its connection's process ran out of the memory that limits.memory allows{bound}: "
            "set a shorter window.every, or raise it"
        )

    def _begin(self, end: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "driftd.sources.engines.child_main", *self._arguments()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
        log.info("engine_child_started", model=self._model, pid=self._process.pid)
        request = OpenRequest(
            model=self._model,
            config=self._config.model_dump(mode="json"),
            state_dir=str(self._places.root),
            schema=self._schema.to_dict(),
        )
        answer = self._exchange(request, end)
        if answer.error:
            self.close()
            raise EngineError(answer.error)

    def _arguments(self) -> list[str]:
        return [] if self._memory is None else [str(self._memory)]

    def _give_up(self, error: Exception) -> NoReturn:
        late = isinstance(error, TimeoutError)
        code = self._end(killed=late)
        what = f"gave no answer within {self._seconds:.0f} s" if late else self._describe_end(code)
        log.warning("engine_child_ended", model=self._model, error=what)
        raise EngineError(f"{what}; it is asked again in the next round") from error

    def _exchange(self, request: Request, end: float) -> Answer:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None  # noqa: PT018 - begun
        message = msgspec.msgpack.encode(request)
        process.stdin.write(len(message).to_bytes(HEAD, "big") + message)
        length = int.from_bytes(self._read(process.stdout.fileno(), HEAD, end), "big")
        return msgspec.msgpack.decode(self._read(process.stdout.fileno(), length, end), type=Answer)

    def _read(self, pipe: int, size: int, end: float) -> bytes:
        found = bytearray()
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        while len(found) < size:
            if not poll.poll(1000 * max(0.0, end - time.monotonic())):
                raise TimeoutError
            piece = os.read(pipe, min(_PIECE, size - len(found)))
            if not piece:
                raise ConnectionResetError("see the log of driftd")
            found += piece
        return bytes(found)


def _finite(since: float) -> float | None:
    return None if since == -_EVER else since
