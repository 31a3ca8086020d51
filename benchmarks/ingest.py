"""Durable ingestion over HTTP against two limits measured in the same run: bare fsyncs, and the server without storage.

Run: PYTHONPATH=daemon:detectors python benchmarks/ingest.py [--seconds 8]

A real `driftd serve` in a process of its own, predictions with 50 features, every answer after the group commit is
synced. The load generator shares the cores with it; then a process profiles windows beside them, as a check does.
"Without storage" is the same server, reading and validating the same events, with a store that keeps nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import re
import tempfile
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from subjects.server import server

from driftd.config.load import load
from driftd.paths import Places
from driftd.serving.event_log import EventLog
from driftd.store.events.validation import Batch, Receipt
from driftd.training.bootstrap import FileColumns, make_first_version

FEATURES = 50
CONFIG = """\
state_dir: {state}
serve: {{listen: 127.0.0.1:0}}
models:
  bench: {{task: regression, target: y, window: {{every: 1h}}, parameters: {{max_iter: 5}}}}
"""


# A client library would cost more processor time than the server: this is HTTP/1.1 by hand.
HEAD = "POST /v1/models/bench/predictions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n"
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def prepare(folder: Path) -> Path:
    """A state directory with a version, so that the server knows the schema."""
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(state=folder / "state"))
    rng = np.random.default_rng(1)
    rows = pd.DataFrame({f"f{i}": rng.normal(size=3000) for i in range(FEATURES)}).assign(y=rng.normal(size=3000))
    make_first_version(
        "bench", load(path).models["bench"], rows, FileColumns(), Places(folder / "state"), now=time.time()
    )
    return path


def serving(path: Path, *, storage: bool = True) -> contextlib.AbstractContextManager[int]:
    """`driftd serve` on a port of its own choosing, or all of it but its storage."""
    real = ("-m", "driftd.cli.main", "serve", "--config", str(path))
    return server(*(real if storage else (__file__, "--serve-without-storage", str(path))))


def body(start: int, size: int, rng: np.random.Generator) -> bytes:
    """A batch, or one event when `size` is 1."""
    values = rng.normal(size=(size, FEATURES)).round(4)
    events = [
        {
            "prediction_id": f"p{os.getpid()}-{start + row}",
            "features": {f"f{i}": value for i, value in enumerate(values[row].tolist())},
            "prediction": 0.5,
        }
        for row in range(size)
    ]
    return json.dumps(events if size > 1 else events[0]).encode()


@dataclass(frozen=True)
class Load:
    """What came of a load: events a second, and the wait of a request in milliseconds, from when it was due."""

    rate: float
    median: float
    p99: float


async def load_with(port: int, size: int, clients: int, seconds: float, rate: float | None = None) -> Load:
    """Post batches for so many seconds: as fast as answers come, or `rate` requests a second.

    At a rate, a wait counts from the moment at which the request was due, whether or not the answer before it had
    come by then, and every request that was due is made: a server that stands still for a second has a second's
    requests wait, and not one (Tene's "coordinated omission").
    """
    rng = np.random.default_rng(int(time.time()))
    count = int(seconds * (400 if size > 1 else 3000) if rate is None else seconds * rate)
    made = [body(int(time.time() * 1000) % 10**9 * 1000 + at * size, size, rng) for at in range(min(count, 4000))]
    waits: list[float] = []
    began = time.perf_counter()

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for turn in range(number, count if rate is not None else len(made), clients):
            due = time.perf_counter() if rate is None else began + turn / rate
            if rate is None and due - began > seconds:
                break
            await asyncio.sleep(due - time.perf_counter())
            content = made[turn % len(made)]
            writer.write(HEAD.format(len(content)).encode() + content)
            head = await reader.readuntil(b"\r\n\r\n")
            length = LENGTH.search(head)
            assert length is not None, head
            await reader.readexactly(int(length[1]))
            assert head.startswith(b"HTTP/1.1 200"), head
            waits.append(time.perf_counter() - due)
        writer.close()

    await asyncio.gather(*(client(at) for at in range(clients)))
    took = time.perf_counter() - began
    return Load(len(waits) * size / took, float(np.median(waits)) * 1000, float(np.quantile(waits, 0.99)) * 1000)


def bare_fsyncs(folder: Path, seconds: float = 1.5) -> float:
    """How often a second this disk syncs one 4 KB append."""
    with (folder / "bare").open("wb") as file:
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            file.write(bytes(4096))
            file.flush()
            os.fdatasync(file.fileno())
            count += 1
    return count / seconds


class KeepsNothing(EventLog):
    """The event log of a server without storage: whatever is validated is acknowledged at once."""

    is_open = True

    def submit(self, batch: Batch) -> Future[Receipt]:
        future: Future[Receipt] = Future()
        future.set_result(Receipt(len(batch.predictions), len(batch.feedback)))
        return future


def serve_without_storage(path: Path) -> None:
    """The server in all its parts but the store."""
    from driftd.observe.logs import configure_logs
    from driftd.serving.http import Serving
    from driftd.serving.metrics import ServingMetrics
    from driftd.serving.requests import RequestLimits
    from driftd.serving.run import endpoints_of, run_app

    configure_logs()
    config = load(path)
    endpoints = endpoints_of(config)
    for name, endpoint in endpoints.items():
        endpoint.log = KeepsNothing(Places(config.state_dir), name)
    app = Serving(
        endpoints, RequestLimits(config.serve.max_body, config.serve.max_batch), ServingMetrics(list(endpoints))
    )
    run_app(app, config.serve.listen, models=list(endpoints))


def check_without_end(stop: multiprocessing.synchronize.Event) -> None:
    """What a check does all day: count columns into bins."""
    from driftd_detectors.columns import Columns
    from driftd_detectors.profile.layout import learn_layout
    from driftd_detectors.profile.profile import profile_of
    from driftd_detectors.schema import Feature, Kind, Schema, Task

    rng = np.random.default_rng(2)
    rows = Columns(100_000, {f"f{i}": rng.normal(size=100_000) for i in range(10)}, {})
    layout = learn_layout(
        rows, None, Schema(Task.REGRESSION, "y", tuple(Feature(f"f{i}", Kind.NUMBER) for i in range(10)))
    )
    while not stop.is_set():
        profile_of(rows, None, layout)


LOADS = ((100, 4, 10_000), (1, 24, 1_000))  # events of a request, clients, events a second that are wanted


def measure(port: int, seconds: float, beside: str, syncs: float, bare: dict[int, float]) -> None:
    """Both loads, at most and at the wanted rate."""
    for size, clients, wanted in LOADS:
        most = asyncio.run(load_with(port, size, clients, seconds)).rate
        kept = asyncio.run(load_with(port, size, clients, seconds, wanted / size))
        print(
            f"{beside:15} batches of {size:3}: {most:8.0f} events/s at most ({most / wanted:.1f} x the {wanted:,} "
            f"wanted, {most / bare[size]:.2f} x without storage, {most / syncs:.1f} x bare syncs); "
            f"at {wanted:,}/s p50 {kept.median:.1f} ms, p99 {kept.p99:.1f} ms from when it was due (wanted < 50)"
        )


def main() -> None:
    """Print the figures and their ratios."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=8.0)
    options.add_argument("--serve-without-storage", type=Path, metavar="CONFIG")
    given = options.parse_args()
    if given.serve_without_storage is not None:
        serve_without_storage(given.serve_without_storage)
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as name:
        folder = Path(name)
        path, syncs = prepare(folder), bare_fsyncs(folder)
        print(f"bare fdatasync of 4 KB: {syncs:.0f}/s")
        with serving(path, storage=False) as port:
            bare = {size: asyncio.run(load_with(port, size, clients, given.seconds)).rate for size, clients, _ in LOADS}
        for size, rate in bare.items():
            print(f"without storage batches of {size:3}: {rate:8.0f} events/s at most")
        with serving(path) as port:
            measure(port, given.seconds, "alone", syncs, bare)
            stop = multiprocessing.Event()
            check = multiprocessing.Process(target=check_without_end, args=(stop,))
            check.start()
            try:
                measure(port, given.seconds, "beside a check", syncs, bare)
            finally:
                stop.set()
                check.join()


if __name__ == "__main__":
    main()
