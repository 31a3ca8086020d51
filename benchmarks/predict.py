"""How long one prediction takes: scikit-learn's pipeline, the SDK, `driftd serve`, a uvicorn app, and MLflow's server.

Run: PYTHONPATH=daemon:detectors python benchmarks/predict.py [--rounds 400] [--servers .venv-servers]

The model is the default trainer's, on 20 features (six of text) and 100 trees. The SDK and `driftd serve` answer after
the prediction is synced to the disk; what one bare sync takes is printed beside it. The minimal app makes a frame of
the request, asks the same pipeline and keeps nothing. Each is asked once a round, one after the other, so that what
else the machine does meets all of them. `mlflow models serve --env-manager local` serves the same pipeline where the
environment `--servers` (or $DRIFTD_SERVERS) has the whole of MLflow; it keeps nothing either. The pipeline may use one
thread, with which it is quicker on one row.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from subjects.mlflow_server import mlflow_server
from subjects.server import server

from driftd import Driftd
from driftd.config.load import load
from driftd.paths import Places
from driftd.registry import Registry
from driftd.registry.features import feature_frame
from driftd.serving.served_version import ServedVersion
from driftd.training.bootstrap import FileColumns, make_first_version

MANY = 1000  # rows of a batch
SERVERS = Path(__file__).resolve().parents[1] / ".venv-servers"
MLFLOW = "mlflow models serve, keeps nothing"
CONFIG = """\
state_dir: {state}
serve: {{listen: 127.0.0.1:0}}
models:
  bench: {{task: classification, target: y, window: {{every: 1h}}, parameters: {{max_iter: 100}}}}
"""
HEAD = "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def drawn_rows(count: int, seed: int) -> pd.DataFrame:
    """14 numbers, some missing, and 6 texts of 5 to 55 categories, with a target that depends on both."""
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({f"x{i}": rng.normal(size=count) for i in range(14)})
    rows.loc[rng.random(count) < 0.05, "x5"] = np.nan
    for i in range(6):
        rows[f"c{i}"] = [f"v{number}" for number in rng.integers(0, 5 + 10 * i, count)]
    signal = rows["x0"] + rows["x1"] * rows["x2"] + rows["c3"].str.len() + np.sin(3 * rows["x4"]) - 2.5
    return rows.assign(y=np.where(signal + rng.logistic(size=count) > 0, "yes", "no"))


def prepare(folder: Path) -> Path:
    """A state directory with a version of the default trainer."""
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(state=folder / "state"))
    config, places = load(path).models["bench"], Places(folder / "state")
    make_first_version("bench", config, drawn_rows(5000, 1), FileColumns(), places, now=time.time())
    return path


def serve_minimal(state: Path) -> None:
    """What one writes in an afternoon: JSON in, the pipeline, JSON out; nothing is validated or kept."""
    import uvicorn

    version = Registry(Places(state)).load("bench", 1, allow_joblib=False)
    pipeline, names = version.estimator, list(version.schema.names)

    async def app(_: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        shares = pipeline.predict_proba(pd.DataFrame([json.loads(body)["features"]], columns=names))
        answer = json.dumps({"score": float(shares[0, 1])}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print(f"127.0.0.1:{listening.getsockname()[1]}", file=sys.stderr, flush=True)
    uvicorn.Server(uvicorn.Config(app, lifespan="off", access_log=False)).run(sockets=[listening])


def connect(port: int) -> socket.socket:
    """A connection that stays; its first request loads the model."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def ask(connection: socket.socket, path: str, body: bytes) -> bytes:
    """One request on a connection that stays; HTTP by hand, since a client library takes longer than the answer."""
    connection.sendall(HEAD.format(path, len(body)).encode() + body)
    answer, length = b"", None
    while length is None or len(answer) < length:
        part = connection.recv(65536)
        assert part, "the server closed the connection"
        answer += part
        if length is None and b"\r\n\r\n" in answer:
            head = answer.partition(b"\r\n\r\n")[0]
            assert head.startswith(b"HTTP/1.1 200"), answer
            stated = LENGTH.search(head)
            assert stated is not None, head
            length = len(head) + 4 + int(stated[1])
    return answer


def mlflow_calls(connection: socket.socket, frames: dict[str, pd.DataFrame]) -> dict[str, Callable[[], bytes]]:
    """Ask MLflow's server for the rows of each frame, which are JSON already."""

    def body_of(frame: pd.DataFrame) -> bytes:
        plain = frame.astype(object).where(frame.notna(), None)
        return json.dumps({"dataframe_split": {"columns": list(plain), "data": plain.to_numpy().tolist()}}).encode()

    return {name: partial(ask, connection, "/invocations", body_of(frame)) for name, frame in frames.items()}


def measure(subjects: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """The milliseconds of each, once a round in turn; the first rounds warm up."""
    waits: dict[str, list[float]] = {name: [] for name in subjects}
    for turn in range(rounds + 20):
        for name, run in subjects.items():
            began = time.perf_counter()
            run()
            if turn >= 20:
                waits[name].append((time.perf_counter() - began) * 1000)
    return waits


def show(title: str, waits: dict[str, list[float]], base: str) -> None:
    """The quantiles of each, and how many times quicker than the first it is."""
    print(title)
    for name, found in waits.items():
        p10, p50, p99 = np.quantile(found, [0.1, 0.5, 0.99])
        ratio = p50 / np.median(waits[base])
        print(f"  {name:44} p10 {p10:8.2f}  p50 {p50:8.2f}  p99 {p99:8.2f} ms   {ratio:5.2f} x the pipeline")


def sync_once(file: Any) -> None:
    """One append of 4 KB, as a commit's, durably."""
    file.write(bytes(4096))
    file.flush()
    os.fdatasync(file.fileno())


def main() -> None:
    """Print the figures and their ratios."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=400)
    options.add_argument("--serve-minimal", type=Path, metavar="STATE")
    options.add_argument("--servers", type=Path, default=os.environ.get("DRIFTD_SERVERS", SERVERS), metavar="VENV")
    given = options.parse_args()
    if given.serve_minimal is not None:
        serve_minimal(given.serve_minimal)
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        path = prepare(folder)
        state = folder / "state"
        ports = (
            stack.enter_context(server("-m", "driftd.cli.main", "serve", "--config", str(path))),
            stack.enter_context(server(__file__, "--serve-minimal", str(state))),
        )
        model = stack.enter_context(Driftd(state, "bench"))
        file = stack.enter_context((folder / "bare").open("wb"))
        rows = drawn_rows(MANY, 2).drop(columns="y")
        records = [
            {str(name): value for name, value in record.items()}
            for record in rows.astype(object).where(rows.notna(), None).to_dict("records")
        ]
        version = ServedVersion(Places(state), "bench").get()
        assert version.direct is not None
        schema, pipeline, row = version.schema, version.estimator, records[0]
        single, many = feature_frame(rows[:1], schema), feature_frame(rows, schema)
        columns = {feature: [record[feature] for record in records] for feature in schema.names}
        body, batch = (
            json.dumps(events).encode() for events in ({"features": row}, [{"features": r} for r in records])
        )
        route = "/v1/models/bench/predict"
        served = stack.enter_context(mlflow_server(given.servers, folder, pipeline))
        rivals = (
            {} if served is None else mlflow_calls(stack.enter_context(connect(served)), {"one": single, "many": many})
        )
        if rivals:
            answer = json.loads(rivals["one"]().partition(b"\r\n\r\n")[2])["predictions"]
            assert np.allclose(answer, pipeline.predict_proba(single)), answer
        real, minimal = (stack.enter_context(connect(port)) for port in ports)
        waits = measure(
            {
                "scikit-learn's pipeline, frame at hand": lambda: pipeline.predict_proba(single),
                "the trees, values at hand": lambda: version.predict_columns({key: [row[key]] for key in row}),
                "a bare sync of 4 KB": lambda: sync_once(file),
                "SDK, durable": lambda: model.predict(row),
                "driftd serve, durable": lambda: ask(real, route, body),
                "minimal uvicorn app, keeps nothing": lambda: ask(minimal, "/", body),
                **({MLFLOW: rivals["one"]} if rivals else {}),
            },
            given.rounds,
        )
        show("one row", waits, "scikit-learn's pipeline, frame at hand")
        waits = measure(
            {
                "scikit-learn's pipeline, frame at hand": lambda: pipeline.predict_proba(many),
                "the trees, values at hand": lambda: version.predict_columns(columns),
                "SDK, durable": lambda: model.predict(records),
                "driftd serve, durable": lambda: ask(real, route, batch),
                **({MLFLOW: rivals["many"]} if rivals else {}),
            },
            max(10, given.rounds // 10),
        )
        show(f"{MANY} rows", waits, "scikit-learn's pipeline, frame at hand")
        if not rivals:
            print(f"mlflow models serve: not installed ({given.servers}/bin/mlflow is not there)")


if __name__ == "__main__":
    main()
