"""Spark as a source, on a real Spark Connect server whose workers have numpy and pyarrow alone."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from driftd.records import Window
from driftd.sources.engines.engine_source import EngineSource
from driftd_detectors.batches.rows import RowNames
from driftd_detectors.columns import Columns, Outcomes
from driftd_detectors.window_data import ServedBy
from engine_servers import spark_connect
from spark_tables import SparkWorld, narrow_python, table_of

pytestmark = pytest.mark.slow


def conformance() -> ModuleType:
    """The checks that every source passes."""
    spec = importlib.util.spec_from_file_location(
        "source_conformance", Path(__file__).with_name("test_source_conformance.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


CHECKS = conformance()
SCHEMA, START = CHECKS.SCHEMA, CHECKS.START
PREDICTIONS = pa.schema(
    {
        "prediction_id": pa.string(),
        "at": pa.float64(),
        "version": pa.int64(),
        "prediction": pa.string(),
        "score": pa.float64(),
        "age": pa.float64(),
        "city": pa.string(),
        "member": pa.bool_(),
        "joined": pa.float64(),
    }
)
LABELS = pa.schema(
    {"prediction_id": pa.string(), "label": pa.string(), "label_at": pa.float64(), "received_at": pa.float64()}
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    python = narrow_python(tmp_path_factory.mktemp("narrow"))
    with spark_connect(tmp_path_factory.mktemp("spark"), python) as remote:
        yield remote


@pytest.fixture
def spark(server: str, tmp_path: Path) -> SparkWorld:
    return SparkWorld(server, tmp_path)


class InOrder(EngineSource):
    """Rows in the order of their times: a table has no order of arrival, which the checks are written in."""

    def chunks(self, window: Window) -> Iterator[tuple[Columns, Outcomes]]:
        cohort = self.cohort(window, np.inf, SCHEMA.names, ServedBy(0))
        if cohort.total:
            yield cohort.columns, cohort.outcomes

    def read_labelled(self, since: float, until: float, known_by: float) -> Iterator[pa.Table]:
        parts = list(super().read_labelled(since, until, known_by))
        if parts:
            yield pa.concat_tables(parts).sort_by("driftd_at")


@pytest.fixture
def world(spark: SparkWorld) -> Iterator[Any]:
    spark.create("predictions", PREDICTIONS)
    spark.create("labels", LABELS)

    def predict(rows: Sequence[dict[str, Any]], now: float) -> None:
        spark.append("predictions", table_of(rows, PREDICTIONS))

    def label(labels: Sequence[tuple[str, str, float]], now: float) -> None:
        rows = [{"prediction_id": key, "label": text, "label_at": at, "received_at": now} for key, text, at in labels]
        spark.append("labels", table_of(rows, LABELS))

    source = InOrder(spark.engine(), SCHEMA, RowNames())
    yield CHECKS.World(source, predict, label, numbers_rows=False)
    source.close()


SHARED = {
    name: check
    for name, check in vars(CHECKS).items()
    if name.startswith("test_") and list(inspect.signature(check).parameters) == ["world"]
}


@pytest.mark.parametrize("name", SHARED)
def test_spark_keeps_the_promises_of_a_source(world: Any, name: str) -> None:
    """What every source promises holds for tables of Spark too."""
    SHARED[name](world)
