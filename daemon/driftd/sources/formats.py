"""JSON lines of other systems, by name: each module turns one line into rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from driftd.sources.json_lines import Adapter

FileFormat = Literal[
    "auto", "parquet", "csv", "jsonl", "sagemaker_capture", "v2_inference", "cloudevents", "bentoml", "mlflow_inference"
]
ADAPTERS: Mapping[str, Adapter] = {}
