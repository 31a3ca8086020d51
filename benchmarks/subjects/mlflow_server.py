"""`mlflow models serve` of a pipeline, from an environment of its own that has the whole of MLflow."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib

from driftd.training.process_tree import die_with_parent

STARTS_WITHIN = 180.0  # seconds
SAVE = """
import sys
import joblib, mlflow.sklearn
mlflow.sklearn.save_model(
    joblib.load(sys.argv[1]), sys.argv[2],
    pyfunc_predict_fn="predict_proba", serialization_format="cloudpickle", pip_requirements=[],
)
"""


@contextlib.contextmanager
def mlflow_server(servers: Path, folder: Path, pipeline: Any) -> Iterator[int | None]:
    """Serve a fitted pipeline by the `mlflow` of an environment until the block ends; the port of the loopback.

    None where the environment has no `mlflow`. Files go into `folder`. Raises RuntimeError where MLflow does not save
    the pipeline, or serves nothing in three minutes.
    """
    python, program = servers.absolute() / "bin" / "python", servers.absolute() / "bin" / "mlflow"
    if not program.is_file():
        yield None
        return
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PATH": path}
    joblib.dump(pipeline, folder / "pipeline.joblib")
    model, log = folder / "mlflow-model", folder / "mlflow.log"
    saved = subprocess.run(
        [python, "-c", SAVE, folder / "pipeline.joblib", model],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if saved.returncode:
        raise RuntimeError(f"MLflow did not save the pipeline:\n{saved.stderr[-2000:]}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    parent = os.getpid()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "models", "serve", "--model-uri", model, "--env-manager", "local", "--port", str(port)],
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,  # it begins a server of its own, which ends with the group
            preexec_fn=lambda: die_with_parent(parent, signal.SIGTERM),  # noqa: PLW1509 - no thread forks here
        )
    try:
        _await_ping(process, port, log)
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _await_ping(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + STARTS_WITHIN
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
            return
        time.sleep(0.2)
    raise RuntimeError(f"mlflow models serve does not answer:\n{log.read_text()[-2000:]}")
