"""The trainer that driftd calls where a shared cluster has no spark-submit: a job API runs the job.

    trainer: {command: [python, /opt/training/submit_by_api.py]}

JOBS_URL is the address of the API, JOBS_TOKEN_FILE a file with its token. The calls are those of Databricks' Jobs API
2.1 (`runs/submit`, `runs/get`); the job writes the model to a folder that this host reads too (SHARED_FOLDER). It ends
by itself after JOBS_TIMEOUT seconds, also where this program is killed.
"""

import os
import shutil
import sys
import time
import uuid
from pathlib import Path

import httpx

SECONDS = float(os.environ.get("JOBS_POLL_SECONDS", "10"))
TOKEN = Path(os.environ["JOBS_TOKEN_FILE"]).read_text().strip()
API = httpx.Client(
    base_url=os.environ["JOBS_URL"].rstrip("/") + "/api/2.1/jobs/",
    headers={"Authorization": f"Bearer {TOKEN}"},
    timeout=30,
)


def main():
    """Start the job, wait for its end, take the model over."""
    shared = Path(os.environ["SHARED_FOLDER"]) / uuid.uuid4().hex
    shared.mkdir(parents=True)
    shutil.copy(os.environ["DRIFTD_ROWS"], shared / "rows.json")
    program = str(Path(__file__).with_name("train_on_spark.py"))
    job = {
        "run_name": "driftd training",
        "timeout_seconds": int(os.environ.get("JOBS_TIMEOUT", "3600")),
        "spark_python_task": {"python_file": program, "parameters": [str(shared / "rows.json"), str(shared)]},
    }
    run = API.post("runs/submit", json=job).raise_for_status().json()["run_id"]
    sys.stdout.write(f"run {run} is submitted\n")
    state = {}
    while state.get("life_cycle_state") not in {"TERMINATED", "SKIPPED", "INTERNAL_ERROR"}:
        time.sleep(SECONDS)
        state = API.get("runs/get", params={"run_id": run}).raise_for_status().json()["state"]
    if state.get("result_state") != "SUCCESS":
        sys.exit(f"run {run} ended with {state.get('result_state')}: {state.get('state_message', '')}")
    shutil.copy(shared / "model.skops", os.environ["DRIFTD_OUTPUT"])


if __name__ == "__main__":
    main()
