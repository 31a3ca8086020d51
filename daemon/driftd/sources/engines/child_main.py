"""The child that holds the connection to an engine: `python -m driftd.sources.engines.child_main`, asked on stdin.

It ends with the daemon: when stdin ends, what is under way in the engine is cancelled, also after a kill of the daemon.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO

import msgspec

from driftd.config.model_schema import ModelConfig
from driftd.paths import Places
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
from driftd.sources.engines.engine_source import EngineSource
from driftd.sources.engines.protocol import lacks_memory
from driftd.sources.open import open_engine_source
from driftd_detectors.profile.layout import Layout
from driftd_detectors.schema import Schema
from driftd_detectors.window_data import ServedBy, WindowBins

_CANCEL_SECONDS = 3.0  # for telling an engine to stop
_OOM_SCORE = "500"  # that of a job
_EVER = float("inf")


class Connection:
    """The source that the first request opens, and what the later ones ask of it."""

    def __init__(self) -> None:
        self.source: EngineSource | None = None

    def answer(self, request: Request) -> Answer:
        """What a request asks for; a failure is told in one sentence."""
        try:
            return self._answer(request)
        except Exception as error:  # noqa: BLE001 - whatever an engine's library raises: the daemon is told, and asks again
            return Answer(error=str(error) or type(error).__name__, lacks_memory=lacks_memory(error))

    def _answer(self, request: Request) -> Answer:
        if isinstance(request, OpenRequest):
            config = ModelConfig.model_validate(request.config)
            schema = Schema.from_dict(request.schema)
            places = Places(Path(request.state_dir))
            self.source = open_engine_source(request.model, config, schema, places, watches=True)
            return Answer()
        assert self.source is not None  # it is opened first
        return _answer_of(self.source, request)


def _answer_of(source: EngineSource, request: Request) -> Answer:
    value, content = None, b""
    match request:
        case RefreshRequest(now=now):
            value = msgspec.to_builtins(source.refresh(now))
        case ProfileRequest(window=window):
            bins = WindowBins(Schema.from_dict(request.schema), Layout.from_dict(request.layout))
            content = source.profile(window, bins, ServedBy.from_dict(request.served)).to_bytes()
        case CohortRequest(window=window, features=features):
            known_by = _EVER if request.known_by is None else request.known_by
            content = source.cohort(window, known_by, features, ServedBy.from_dict(request.served)).to_bytes()
        case CountRequest(known_by=known_by):
            value = source.count_labelled(_since(request.since), known_by)
        case NewestRequest(rows=rows, known_by=known_by):
            newest = source.newest_labelled(rows, _since(request.since), known_by)
            value = newest if newest > -_EVER else None
        case SchemaRequest(schema=stored):
            source.use_schema(Schema.from_dict(stored))
    return Answer(value=value, content=content)


def _since(since: float | None) -> float:
    return -_EVER if since is None else since


def _bound(memory: int) -> None:
    """Take no more address space than so many bytes; where the host's memory ends, end before the daemon.

    A hardened unit (`SystemCallFilter=~@resources`) forbids this; its own cgroup bounds us then.
    """
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    most = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"limits.memory={memory} could not be set: {error}\n")


def main() -> None:
    """Answer requests until stdin ends, within so many bytes of address space as the first argument says."""
    if len(sys.argv) > 1:
        _bound(int(sys.argv[1]))
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints is no answer
    requests: SimpleQueue[Request] = SimpleQueue()
    connection = Connection()
    try:
        threading.Thread(target=_take_in, args=(sys.stdin.buffer, requests, connection), daemon=True).start()
    except RuntimeError:  # there is no memory for a thread's stack
        sys.exit(NO_MEMORY)
    while True:
        answer = msgspec.msgpack.encode(connection.answer(requests.get()))
        out.write(len(answer).to_bytes(HEAD, "big") + answer)


def _take_in(pipe: BinaryIO, requests: SimpleQueue[Request], connection: Connection) -> None:
    """Read requests beside the work; at their end stop the engine and the process."""
    decoder = msgspec.msgpack.Decoder(Request)
    while head := pipe.read(HEAD):
        requests.put(decoder.decode(pipe.read(int.from_bytes(head, "big"))))
    if connection.source is not None:
        cancelling = threading.Thread(target=connection.source.cancel, daemon=True)
        cancelling.start()
        cancelling.join(_CANCEL_SECONDS)
    os._exit(0)


if __name__ == "__main__":
    main()
