"""The shipped examples of training where the data are: by a real spark-submit, and by a job API that a server plays."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skops.io
from sklearn.linear_model import LinearRegression

from driftd.registry.artefact import SKOPS
from driftd.training.call_trainer import TrainerSpec, fit
from driftd.training.rows_in_place import RowsInPlace
from driftd.training.trainer_code import TrainerError
from driftd.training.training_rows import TrainingRows
from driftd_detectors.schema import Feature, Kind, Schema, Task
from engine_servers import SERVERS

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "training_in_place"
SCHEMA = Schema(Task.REGRESSION, "y", (Feature("x", Kind.NUMBER), Feature("z", Kind.NUMBER)))
START, ROWS, CUT = 1_700_000_000.0, 3_000, 2_500


def test_spark_trains_on_the_rows_where_they_are(tmp_path: Path) -> None:
    """spark-submit gets the rows before those that judge, and the model is what scikit-learn fits on just these."""
    spark = next(SERVERS.glob("lib/python3.*/site-packages/pyspark/bin/spark-submit"), None)
    if spark is None or shutil.which("java") is None:
        pytest.skip(f"Spark is not installed in {SERVERS}, or there is no Java")
    rows = write_rows(tmp_path)
    expected = LinearRegression().fit(
        np.column_stack([rows["x"].to_numpy()[:CUT], rows["z"].to_numpy()[:CUT]]), rows["label"].to_numpy()[:CUT]
    )
    options = "--master local[2] --conf spark.ui.enabled=false --conf spark.driver.host=127.0.0.1"
    environment = {
        "SPARK_SUBMIT": f"{spark} {options}",
        "SPARK_HOME": str(spark.parents[1]),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        model = train([sys.executable, str(EXAMPLES / "submit.py")], tmp_path)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-6)
    np.testing.assert_allclose(model.intercept_, expected.intercept_, rtol=1e-6, atol=1e-9)


def test_a_job_api_trains_where_there_is_no_spark_submit(tmp_path: Path) -> None:
    """The job is submitted with the rows and a shared folder, asked for until it ends, and its model comes back."""
    write_rows(tmp_path)
    with job_api(tmp_path, ends="SUCCESS") as calls:
        model = train([sys.executable, str(EXAMPLES / "submit_by_api.py")], tmp_path)
    assert model.coef_.tolist() == [2.0, 0.5]
    assert [call for call, _ in calls] == ["runs/submit", "runs/get", "runs/get"]
    assert json.loads(Path(calls[0][1]["spark_python_task"]["parameters"][0]).read_text())["until"] == START + CUT


def test_a_job_that_fails_is_a_failed_build(tmp_path: Path) -> None:
    """The build ends with the sentence of the API."""
    write_rows(tmp_path)
    with job_api(tmp_path, ends="FAILED"), pytest.raises(TrainerError, match="ended with exit code 1"):
        train([sys.executable, str(EXAMPLES / "submit_by_api.py")], tmp_path)


def write_rows(folder: Path) -> pa.Table:
    """Log files with labels; the rows from the cut on follow another law, which a model must not have seen."""
    rng = np.random.default_rng(1)
    x, z = rng.normal(size=ROWS), rng.normal(size=ROWS)
    label = np.where(np.arange(ROWS) < CUT, 2 * x + z / 2 + 1, -9 * x) + rng.normal(size=ROWS) / 100
    rows = pa.table({"at": START + np.arange(ROWS, dtype=float), "x": x, "z": z, "label": label})
    (folder / "logs").mkdir()
    pq.write_table(rows, folder / "logs" / "rows.parquet")
    return rows


def train(command: list[str], folder: Path) -> Any:
    """What the trainer that is a program gives, with rows that stay in `folder`."""
    rows = RowsInPlace(
        source={"kind": "files", "path": str(folder / "logs")},
        features=SCHEMA.names,
        target="y",
        since=None,
        until=START + CUT,
        known_by=START + ROWS,
        labelled_rows=ROWS,
    )
    numbers = np.arange(2.0)
    frame = pd.DataFrame({"x": numbers, "z": numbers})
    few = TrainingRows(SCHEMA, frame, numbers, START + numbers, START + numbers, np.zeros(2, dtype=np.int64))
    return fit(TrainerSpec(tuple(command), seed=1, in_place=rows), few)


@contextmanager
def job_api(folder: Path, *, ends: str) -> Iterator[list[tuple[str, Any]]]:
    """A server that plays the job API: a job runs at the first question and has ended at the second."""
    calls: list[tuple[str, Any]] = []

    class Api(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.note(body)
            shared = Path(body["spark_python_task"]["parameters"][1])
            model = LinearRegression().fit(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.array([0.0, 2.0, 0.5]))
            model.coef_ = model.coef_.round(9)
            skops.io.dump(model, shared / SKOPS)
            self.answer({"run_id": 7})

        def do_GET(self) -> None:
            self.note(None)
            asked = sum(call == "runs/get" for call, _ in calls)
            state = (
                {"life_cycle_state": "RUNNING"}
                if asked == 1
                else {"life_cycle_state": "TERMINATED", "result_state": ends}
            )
            self.answer({"state": state})

        def note(self, body: Any) -> None:
            assert self.headers["Authorization"] == "Bearer secret"
            calls.append((self.path.partition("/jobs/")[2].partition("?")[0], body))

        def answer(self, content: Any) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (folder / "token").write_text("secret\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JOBS_URL", f"http://127.0.0.1:{server.server_port}")
        patch.setenv("JOBS_TOKEN_FILE", str(folder / "token"))
        patch.setenv("JOBS_POLL_SECONDS", "0.01")
        patch.setenv("SHARED_FOLDER", str(folder / "shared"))
        yield calls
    server.shutdown()
    server.server_close()
