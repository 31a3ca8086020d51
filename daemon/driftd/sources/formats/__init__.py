"""JSON lines of other systems, by name: each reader turns one line into rows.

A row has `prediction_id`, `at`, `prediction` and `score` where the line says them, and features under their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from driftd.sources.formats import sagemaker_capture
from driftd.sources.formats.event_logs import read_bentoml, read_cloudevent
from driftd.sources.formats.inference_logs import read_mlflow_inference, read_v2_inference
from driftd.sources.formats.payloads import Adapter

FileFormat = Literal[
    "auto", "parquet", "csv", "jsonl", "sagemaker_capture", "v2_inference", "cloudevents", "bentoml", "mlflow_inference"
]
ADAPTERS: Mapping[str, Adapter] = {
    "sagemaker_capture": sagemaker_capture.read_line,
    "v2_inference": read_v2_inference,
    "cloudevents": read_cloudevent,
    "bentoml": read_bentoml,
    "mlflow_inference": read_mlflow_inference,
}
