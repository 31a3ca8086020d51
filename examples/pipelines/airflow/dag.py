"""A build that driftd starts as a DAG run. The order is the run's conf."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from airflow.decorators import dag, task
from airflow.operators.python import get_current_context

BUILD = Path(__file__).with_name("build.py")


@dag(dag_id="driftd_build", schedule=None, catchup=False, max_active_runs=4, tags=["driftd"])
def driftd_build() -> None:
    """Build what driftd ordered; nothing runs until it does."""

    @task(execution_timeout=timedelta(hours=5), retries=0)
    def build() -> None:
        order = get_current_context()["dag_run"].conf["order"]
        environment = {**os.environ, "DRIFTD_ORDER": json.dumps(order)}
        subprocess.run([sys.executable, str(BUILD)], env=environment, check=True)

    build()


driftd_build()
