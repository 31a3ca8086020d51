"""Logs of other systems, read by the name of their format; the samples are of our own making."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from driftd.config.source_schema import FilesSourceConfig as ConfiguredFiles
from driftd.paths import Places
from driftd.sources.files import FilesSettings, FilesSource
from driftd.sources.formats import ADAPTERS, FileFormat
from driftd_detectors.columns import Coded
from driftd_detectors.schema import Feature, Kind, Schema, Task
from event_samples import ALL, START

SCHEMA = Schema(
    Task.CLASSIFICATION, "bought", (Feature("age", Kind.NUMBER), Feature("city", Kind.CATEGORY)), ("0", "1")
)
NOW = START + 1e6
AT = "2023-11-14T22:13:20Z"  # START
KSERVE = "org.kubeflow.serving.inference"


@dataclass(frozen=True)
class Sample:
    """Lines of one format that all say the same two rows: (34, rome, class 1, .9) and (51, oslo, class 0, .2)."""

    lines: tuple[Any, ...]
    ids: tuple[str | None, ...] = ("r-0", "r-1")
    columns: Mapping[str, str] = field(default_factory=dict)
    broken: Any = field(default_factory=dict)
    scores: tuple[float, ...] = (0.9, 0.2)


def tensor(name: str, kind: str, data: list[Any], width: int = 1) -> dict[str, Any]:
    shape = [len(data) // width] if width == 1 else [len(data) // width, width]
    return {"name": name, "shape": shape, "datatype": kind, "data": data}


V2_IN = [tensor("age", "FP64", [34.0, 51.0]), tensor("city", "BYTES", ["rome", "oslo"])]
V2_OUT = [tensor("predict", "INT64", [1, 0]), tensor("predict_proba", "FP64", [0.1, 0.9, 0.8, 0.2], 2)]
RECORDS = [{"age": 34, "city": "rome"}, {"age": 51, "city": "oslo"}]


def capture(given: str, answered: str, encoding: str, kind: str) -> dict[str, Any]:
    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode() if encoding == "BASE64" else text

    def part(mode: str, text: str) -> dict[str, Any]:
        return {"observedContentType": kind, "mode": mode, "data": encoded(text), "encoding": encoding}

    about = {"eventId": "r", "inferenceTime": AT}
    parts = {"endpointInput": part("INPUT", given), "endpointOutput": part("OUTPUT", answered)}
    return {"captureData": parts, "eventMetadata": about, "eventVersion": "0"}


def event(identity: str, kind: str, **rest: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": identity, "source": "/s", "type": kind, "time": AT, **rest}


TWO = [{"predicted_label": 1, "score": 0.9}, {"predicted_label": 0, "score": 0.2}]
ROWS = tuple(
    {**row, "prediction": answer["predicted_label"], "score": answer["score"]}
    for row, answer in zip(RECORDS, TWO, strict=True)
)
SAMPLES: dict[str, tuple[str, Sample]] = {
    "SageMaker, CSV": (
        "sagemaker_capture",
        Sample((capture("34,rome\n51,oslo", "1,0.9\n0,0.2", "CSV", "text/csv"),), columns={"score": "output_1"}),
    ),
    "SageMaker, base64": (
        "sagemaker_capture",
        Sample(
            (
                capture(
                    json.dumps({"instances": RECORDS}), json.dumps({"predictions": TWO}), "BASE64", "application/json"
                ),
            )
        ),
    ),
    "SageMaker, JSON": (
        "sagemaker_capture",
        Sample((capture(json.dumps(RECORDS), json.dumps({"predictions": TWO}), "JSON", "application/json"),)),
    ),
    "V2, both in a line": (
        "v2_inference",
        Sample(({"id": "r", "at": START, "request": {"inputs": V2_IN}, "response": {"outputs": V2_OUT}},)),
    ),
    "V2, a line each": (
        "v2_inference",
        Sample(({"id": "r", "inputs": V2_IN, "time": AT}, {"id": "r", "model_name": "m", "outputs": V2_OUT})),
    ),
    "CloudEvents, any": (
        "cloudevents",
        Sample(tuple(event(f"r-{place}", "com.example.prediction", data=row) for place, row in enumerate(ROWS))),
    ),
    "CloudEvents, base64": (
        "cloudevents",
        Sample(
            tuple(
                event(f"r-{place}", "prediction", data_base64=base64.b64encode(json.dumps(row).encode()).decode())
                for place, row in enumerate(ROWS)
            )
        ),
    ),
    "CloudEvents of KServe": (
        "cloudevents",
        Sample(
            (
                event("r", f"{KSERVE}.request", data={"instances": RECORDS}),
                event(
                    "r", f"{KSERVE}.response", data={"predictions": [1, 0], "probabilities": [[0.1, 0.9], [0.8, 0.2]]}
                ),
            )
        ),
    ),
    "BentoML": (
        "bentoml",
        Sample(
            tuple(
                {**row, "timestamp": "2023-11-14T22:13:20.000000", "request_id": f"r-{place}", "trace_id": "t"}
                for place, row in enumerate(ROWS)
            ),
            broken={"meta_data": {"bento_name": "b"}, "columns": []},
        ),
    ),
    "MLflow, split": (
        "mlflow_inference",
        Sample(
            (
                {
                    "databricks_request_id": "r",
                    "timestamp_ms": START * 1000,
                    "status_code": 200,
                    "request": json.dumps(
                        {"dataframe_split": {"columns": ["age", "city"], "data": [[34, "rome"], [51, "oslo"]]}}
                    ),
                    "response": json.dumps({"predictions": TWO}),
                },
            ),
            broken={"request": "{}", "response": "{}", "status_code": 400},
        ),
    ),
    "MLflow, records": (
        "mlflow_inference",
        Sample(
            ({"id": "r", "at": START, "request": {"dataframe_records": RECORDS}, "response": {"predictions": TWO}},)
        ),
    ),
    "MLflow, columns": (
        "mlflow_inference",
        Sample(
            (
                {
                    "id": "r",
                    "at": START,
                    "request": {"inputs": {"age": [34, 51], "city": ["rome", "oslo"]}},
                    "response": {"predictions": TWO},
                },
            )
        ),
    ),
}


def source_of(root: Path, name: str, lines: tuple[Any, ...], columns: Mapping[str, str]) -> FilesSource:
    (root / "logs").mkdir()
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    (root / "logs" / "data.log").write_text(text)
    settings = FilesSettings(str(root / "logs"), name, columns)  # type: ignore[arg-type]
    return FilesSource("m", SCHEMA, Places(root / "state"), settings)


@pytest.mark.parametrize("case", SAMPLES)
def test_a_format_is_read(tmp_path: Path, case: str) -> None:
    """Features, predictions, probabilities, identities and times of a line come out as they went in."""
    name, sample = SAMPLES[case]
    source = source_of(tmp_path, name, sample.lines, sample.columns)
    extent = source.refresh(NOW)
    assert (extent.rows, extent.faults, extent.counts["malformed"]) == (2, (), 0)
    ((columns, outcomes),) = source.chunks(ALL)
    city = columns.values["city"]
    assert isinstance(city, Coded)
    assert [city.labels[code] for code in city.codes] == ["rome", "oslo"]
    np.testing.assert_array_equal(np.asarray(columns.values["age"]), [34, 51])
    assert [outcomes.classes[int(code)] for code in outcomes.prediction] == ["1", "0"]
    assert outcomes.score.tolist() == list(sample.scores)
    assert outcomes.at.tolist() == [START, START]
    ids = source.sample(ALL, 5, 1).column("driftd_id").to_pylist()
    assert sorted(ids) == sorted(str(item) for item in sample.ids)


@pytest.mark.parametrize("case", SAMPLES)
def test_a_line_of_another_format_is_counted(tmp_path: Path, case: str) -> None:
    """A line that is not of the format is malformed, with its reason; it costs its neighbours nothing."""
    name, sample = SAMPLES[case]
    lines = (*sample.lines, sample.broken, "text", {"inputs": 3, "outputs": "x", "specversion": 1, "request": 3})
    source = source_of(tmp_path, name, lines, sample.columns)
    extent = source.refresh(NOW)
    assert (extent.rows, extent.counts["malformed"]) == (2, 3)
    assert "data.log, line" in extent.faults[0]


@pytest.mark.parametrize("case", [case for case in SAMPLES if case != "BentoML"])  # its features stand at the top
def test_a_format_read_as_plain_lines_is_a_fault(tmp_path: Path, case: str) -> None:
    """Lines of another system without their format are never rows without features: the file is named, and not read."""
    sample = SAMPLES[case][1]
    source = source_of(tmp_path, "auto", sample.lines, sample.columns)
    extent = source.refresh(NOW)
    assert extent.rows == 0
    assert "data.log is not read: it has no" in extent.faults[0]


@pytest.mark.parametrize("given", ["34", "34,rome,7", "0:34 1:7", '{"instances": [{"features": [34]}]}'])
def test_values_without_names_are_as_many_as_the_features(tmp_path: Path, given: str) -> None:
    """With another number nobody knows which value is which: the line is malformed."""
    encoding, kind = ("JSON", "application/json") if given.startswith("{") else ("CSV", "text/csv")
    source = source_of(tmp_path, "sagemaker_capture", (capture(given, "1", encoding, kind),), {})
    extent = source.refresh(NOW)
    assert (extent.rows, extent.counts["malformed"]) == (0, 1)
    assert "for 2 names" in extent.faults[0]


def test_amazons_lists_of_features_are_read(tmp_path: Path) -> None:
    """`features` inside an instance holds the values in the order of the model."""
    given, answered = '{"instances": [{"features": [34, "rome"]}]}', '{"predictions": [{"predicted_label": 1}]}'
    line = capture(given, answered, "JSON", "application/json")
    source = source_of(tmp_path, "sagemaker_capture", (line,), {})
    assert source.refresh(NOW).faults == ()
    ((columns, _),) = source.chunks(ALL)
    assert np.asarray(columns.values["age"]).tolist() == [34]


def test_a_response_without_its_request_is_counted(tmp_path: Path) -> None:
    """Predictions whose inputs are in no line are no rows: they are counted, not read with empty features."""
    responses = [{"id": f"s{number}", "outputs": V2_OUT} for number in range(2)]
    source = source_of(tmp_path, "v2_inference", (*SAMPLES["V2, a line each"][1].lines, *responses), {})
    extent = source.refresh(NOW)
    assert (extent.rows, extent.counts["malformed"]) == (2, 4)
    assert "without their requests" in extent.faults[0]


def test_the_config_names_every_format() -> None:
    """What the config allows is what there is an adapter for, besides the plain formats."""
    configured = get_args(ConfiguredFiles.model_fields["format"].annotation)
    assert configured == get_args(FileFormat)
    assert set(configured) == {"auto", "parquet", "csv", "jsonl", *ADAPTERS}
