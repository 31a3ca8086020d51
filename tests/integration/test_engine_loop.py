"""The daemon over a real engine: drift is found in the same window as from files, with the same evidence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftd.serving.client import Driftd
from driftd.store.state.request_queue import post_request
from engine_servers import mlflow_server, postgres, spark_connect
from limits import wait
from loop_world import CONFIG, HOUR, LABEL_DELAY, MODEL, START, World, hour
from mlflow_world import MlflowRegistry, registered_config
from spark_tables import SparkWorld, narrow_python
from sql_tables import postgres_database

pytestmark = pytest.mark.slow

CALM, CHANGED = 6, 30
Write = Callable[[pd.DataFrame, pd.DataFrame], None]  # the predictions of an hour, and its labels


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


def with_source(source: Mapping[str, object], config: str = CONFIG) -> str:
    """The config of the world with another source than the embedded store."""
    return f"{config}    source: {json.dumps(source).replace('{', '{{').replace('}', '}}')}\n"


def files_of(folder: Path) -> tuple[Mapping[str, object], Write]:
    """Log files of Parquet, and how an hour is written to them."""
    paths = {"path": folder / "logs", "feedback": folder / "labels"}
    for path in paths.values():
        path.mkdir(parents=True)

    def write(predictions: pd.DataFrame, labels: pd.DataFrame) -> None:
        for path, frame in zip(paths.values(), (predictions, labels), strict=True):
            pq.write_table(
                pa.Table.from_pandas(frame, preserve_index=False), path / f"{frame['at'].iloc[0]:.0f}.parquet"
            )

    return {"kind": "files", **{key: str(path) for key, path in paths.items()}}, write


def tables_of(url: str) -> tuple[Mapping[str, object], Write]:
    """Tables of PostgreSQL, and how an hour is written to them."""
    database = postgres_database(url, "loop")
    database.execute(
        'create table predictions (prediction_id text, "at" double precision, version integer, '
        "prediction double precision, a double precision, b double precision, c text)",
        "create table labels (prediction_id text, label double precision, label_at double precision)",
    )

    def write(predictions: pd.DataFrame, labels: pd.DataFrame) -> None:
        columns = ["prediction_id", "at", "version", "prediction", "a", "b", "c"]
        database.run(f"insert into predictions values ({', '.join(['%s'] * 7)})", predictions[columns].values.tolist())
        database.run("insert into labels values (%s, %s, %s)", labels[["prediction_id", "label", "at"]].values.tolist())

    return {"kind": "sql", "url": database.url, "predictions": "predictions", "labels": "labels"}, write


def tables_of_spark(spark: SparkWorld) -> tuple[Mapping[str, object], Write]:
    """Tables of Spark, and how an hour is written to them: as the files that a job of another team appends."""
    text, number = pa.string(), pa.float64()
    features = {"a": number, "b": number, "c": text}
    logged = pa.schema({"prediction_id": text, "at": number, "version": pa.int64(), "prediction": number, **features})
    learned = pa.schema({"prediction_id": text, "label": number, "label_at": number})
    names = {name: spark.create(name, schema) for name, schema in {"predictions": logged, "labels": learned}.items()}

    def write(predictions: pd.DataFrame, labels: pd.DataFrame) -> None:
        spark.append("predictions", pa.Table.from_pandas(predictions[logged.names], logged, preserve_index=False))
        labels = labels.rename(columns={"at": "label_at"})
        spark.append("labels", pa.Table.from_pandas(labels[learned.names], learned, preserve_index=False))

    return {"kind": "spark", "remote": spark.remote, **names}, write


def change(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """From now on the truth is another function of `a`."""
    return frame, truth - 4 * frame["a"].to_numpy()


def live(world: World, write: Write, until: Callable[[World], bool], calm: int = CALM) -> None:
    """Hours of an application that logs elsewhere: calm ones, then ones in which the truth has changed."""
    with Driftd(world.places.root, MODEL) as application:
        for passed in range(calm + CHANGED):
            frame, truth = hour(world.hours) if passed < calm else change(*hour(world.hours))
            at = START + world.hours * HOUR + np.arange(len(frame)) * HOUR / len(frame)
            ids = [f"{world.hours}-{row}" for row in range(len(frame))]
            answers = application.predict(frame, ids=ids, at=at)
            said = {"version": answers[0].version, "prediction": [answer.prediction for answer in answers]}
            predictions = frame.assign(prediction_id=ids, at=at, **said)
            write(predictions, pd.DataFrame({"prediction_id": ids, "label": truth, "at": at + LABEL_DELAY}))
            world.pass_hour()
            world.daemon.catch_up(world.clock.now())
            if until(world):
                return


def evidence_of(world: World) -> dict[tuple[str, int], str]:
    """What each check said, by its kind and its window."""
    store = world.daemon.assembly.store
    return {
        (check.kind, check.window_index): f"{check.verdict} {check.rows} {check.reason} {check.evidence}"
        for check in store.checks(MODEL, 1000)
    }


def test_drift_is_found_in_the_same_window_and_with_the_same_evidence(server: str, tmp_path: Path) -> None:
    """The same rows in PostgreSQL and in log files raise one alarm; a version built from PostgreSQL is promoted."""
    found = {}
    alarms = {}
    for name, (source, write) in {
        "files": files_of(tmp_path / "world of files"),
        "sql": tables_of(server),
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        world = World.begin(folder, config=with_source(source))
        try:
            last = "alarm" if name == "files" else "promoted"
            live(world, write, lambda world, last=last: last in world.events)  # type: ignore[misc]
            assert last in world.events, world.events
            found[name] = evidence_of(world)
            (first, *_) = reversed(world.daemon.assembly.store.alarms(MODEL))
            alarms[name] = (first.kind, first.window_index, first.evidence, first.sentence)
        finally:
            world.close()
    assert alarms["files"] == alarms["sql"]
    until = alarms["files"][1]
    shared = {key for key in found["files"].keys() & found["sql"].keys() if key[1] <= until}
    assert len(shared) > CALM
    assert {key: found["files"][key] for key in shared} == {key: found["sql"][key] for key in shared}


@pytest.mark.soak  # two servers, a build and two swaps: five minutes of a busy host; each part has quicker tests
def test_a_build_from_spark_is_swapped_and_rolled_back_by_its_alias_in_mlflow(tmp_path: Path) -> None:
    """Drift in tables of Spark ends in a version that MLflow's alias names, and a person's rollback moves it back."""
    python = narrow_python(tmp_path / "narrow")
    with spark_connect(tmp_path / "spark", python) as remote, mlflow_server(tmp_path / "mlflow") as address:
        there = MlflowRegistry(address, "demand-of-spark")
        source, write = tables_of_spark(SparkWorld(remote, tmp_path))
        world = World.begin(tmp_path, config=with_source(source, registered_config(address, there.name)))
        served = world.daemon.assembly.registry
        try:
            live(world, write, lambda world: "promoted" in world.events, calm=0)
            assert (served.current(MODEL), there.alias(), there.versions()) == (2, 2, {"1": 1, "2": 2}), world.events
            made = there.client.get_model_version(there.name, there.number(2)).tags
            manifest = served.manifest(MODEL, 2)
            assert {"driftd_gate": "promote", "driftd_snapshot": manifest.snapshot}.items() <= made.items()
            at = world.clock.now()
            post_request(world.places.state_db, at=at, who="ada", model=MODEL, kind="rollback", arguments={})

            def follows() -> bool:
                world.daemon.catch_up(at)
                return there.alias() == 1

            wait(follows, "the alias follows the rollback")
            assert (served.current(MODEL), there.versions()) == (1, {"1": 1, "2": 2})
            assert world.events.count("registry_failed") == 0
        finally:
            world.close()
