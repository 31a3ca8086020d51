"""JSON lines of other systems, by name: each module turns one line into rows.

A row has `prediction_id`, `at`, `prediction` and `score` where the line says them, and features under their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from driftd.sources.formats import bentoml, cloudevents, mlflow_inference, sagemaker_capture, v2_inference
from driftd.sources.formats.payloads import Adapter

FileFormat = Literal[
    "auto", "parquet", "csv", "jsonl", "sagemaker_capture", "v2_inference", "cloudevents", "bentoml", "mlflow_inference"
]
ADAPTERS: Mapping[str, Adapter] = {
    "sagemaker_capture": sagemaker_capture.read_line,
    "v2_inference": v2_inference.read_line,
    "cloudevents": cloudevents.read_line,
    "bentoml": bentoml.read_line,
    "mlflow_inference": mlflow_inference.read_line,
}
