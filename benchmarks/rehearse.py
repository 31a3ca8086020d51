"""How many rows a minute a rehearsal lives through, builds included, and what that costs of the processors.

`driftd rehearse` is run as a user runs it, over the flights of the demonstration at the demonstration's settings:
version 1, the daemon with its builds, the rivals that are asked for, and the report. Rows are those that are replayed.
CPU seconds are of all processes together; on two cores that have nothing else to do, no run can take less than half of
them, and none of these takes more than all of them.

Run: PYTHONPATH=daemon:detectors python benchmarks/rehearse.py [--every 28,7] [--vary KEY=A,B] [--rows N] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from driftd.demonstration.run import PARAMETERS
from driftd.demonstration.stream import FEATURES, MODEL, TARGET, flights

CONFIG = """\
state_dir: {state}
models:
  {model}:
    task: regression
    target: {target}
    window: {{every: {window}}}
    parameters: {parameters}
"""
FIRST_ROWS_UNTIL = "2013-03-01"


def measure(folder: Path, window: str, rows: int | None, every: str, vary: list[str]) -> dict[str, Any]:
    """Run one rehearsal in a folder; the figures."""
    frame = flights().frame
    frame = frame if rows is None else frame.iloc[:rows]
    frame[["prediction_id", "at", "label_at", *FEATURES, TARGET]].to_parquet(folder / "flights.parquet")
    text = CONFIG.format(
        state=folder / "state", model=MODEL, target=TARGET, window=window, parameters=json.dumps(PARAMETERS)
    )
    (folder / "config.yaml").write_text(text)
    command = [sys.executable, "-m", "driftd.cli.main", "rehearse", "--data", "flights.parquet", "--json"]
    command += [
        "--train-until",
        FIRST_ROWS_UNTIL,
        "--every",
        every,
        *(part for key in vary for part in ("--vary", key)),
    ]
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path if path)  # noqa: PTH100 - strings go in and out
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    said = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": paths}, check=True, capture_output=True, text=True
    )
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    report = json.loads(said.stdout)
    configs = [way for way in report["ways"] if way["is_config"]]
    replayed = report["rows"] * len(configs)
    return {
        "rows": report["rows"],
        "configs": len(configs),
        "windows": report["windows"],
        "builds": sum(way["builds"] for way in configs),
        "rivals": {way["name"]: way["builds"] for way in report["ways"] if not way["is_config"]},
        "error": {way["name"]: way["error"] for way in report["ways"]},
        "seconds": seconds,
        "cpu_seconds": cpu,
        "rows_per_minute": 60 * replayed / seconds,
        "rows_per_cpu_minute": 60 * replayed / cpu,
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--every", default="28,7", help="windows between the builds of the rivals (28,7)")
    parser.add_argument("--vary", action="append", default=[], help="as of `driftd rehearse`")
    parser.add_argument("--window", default="2d", help="the length of a window (2d)")
    parser.add_argument("--rows", type=int, help="of the flights, the first so many")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="driftd-rehearse-") as folder:
        found = measure(Path(folder), given.window, given.rows, given.every, given.vary)
    if given.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{found['rows']:,} rows, {found['windows']} windows, {found['configs']} configs, {found['builds']} builds; "
          f"rivals: {', '.join(f'{name} ({builds})' for name, builds in found['rivals'].items())}")  # fmt: skip
    print(f"{found['seconds']:.0f} s, {found['cpu_seconds']:.0f} s of CPU (load {found['load']:.1f}): "
          f"{found['rows_per_minute']:,.0f} rows a minute, {found['rows_per_cpu_minute']:,.0f} a core")  # fmt: skip


if __name__ == "__main__":
    main()
