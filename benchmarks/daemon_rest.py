"""The size of the daemon at rest, and how soon it is ready.

Run: PYTHONPATH=daemon:detectors python benchmarks/daemon_rest.py [--starts 5]

`driftd init` makes a model from the demonstration's flights, then `driftd run` is started several times. *Started*
is the time from the start of the process until `/-/ready` answers 200; *at rest* is its resident memory after ten
seconds without events. The modules that must never be in it are looked for too.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from driftd.demonstration import stream

REST_SECONDS = 10.0
MOST_MB, MOST_SECONDS = 160.0, 2.0


def driftd(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "driftd.cli.main", *map(str, arguments)]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def prepare(folder: Path) -> tuple[Path, str]:
    """A config with one model that has a version, and the address that its daemon will listen on."""
    first, _ = stream.split(stream.load())
    rows = first[[*stream.FEATURES, stream.TARGET, "at"]].copy()
    rows["at"] = rows["at"].map(lambda seconds: f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(seconds))}")
    rows.to_parquet(folder / "flights.parquet", index=False)
    made = subprocess.run(
        driftd(
            *("init", folder / "flights.parquet", "--target", stream.TARGET, "--time", "at", "--name", stream.MODEL),
            *("--state-dir", folder / "state", "--output", folder / "config.yaml"),
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise SystemExit(f"driftd init failed:\n{made.stdout}\n{made.stderr}")
    path = folder / "config.yaml"
    address = f"127.0.0.1:{free_port()}"
    path.write_text(path.read_text().replace("127.0.0.1:9464", address))
    return path, address


def seconds_until_ready(process: subprocess.Popen[bytes], address: str, began: float) -> float:
    while time.perf_counter() - began < 30:
        if process.poll() is not None:
            raise SystemExit(f"driftd run ended with exit code {process.returncode}")
        try:
            with urllib.request.urlopen(f"http://{address}/-/ready", timeout=1) as answer:
                if answer.status == 200:
                    return time.perf_counter() - began
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.01)
    raise SystemExit("driftd run was not ready within 30 s")


def resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def heavy_libraries(pid: int) -> list[str]:
    """Shared objects in the process that belong to what it must never load."""
    mapped = Path(f"/proc/{pid}/maps").read_text()
    return [name for name in ("pandas", "sklearn", "evidently", "plotly", "scipy", "pyarrow") if f"/{name}/" in mapped]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config, address = prepare(Path(folder))
        started, memory, heavy = [], float("nan"), []
        for number in range(options.starts):
            with (Path(folder) / "daemon.log").open("ab") as log:
                began = time.perf_counter()
                process = subprocess.Popen(driftd("run", "--config", config), stdout=log, stderr=log, env=os.environ)
            try:
                started.append(seconds_until_ready(process, address, began))
                if number == options.starts - 1:
                    time.sleep(REST_SECONDS)
                    memory, heavy = resident_mb(process.pid), heavy_libraries(process.pid)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=20)
    print(f"started (ready)     {statistics.median(started):6.2f} s   median of {options.starts}, "
          f"slowest {max(started):.2f} s   (wanted: within {MOST_SECONDS:g} s)")  # fmt: skip
    print(f"at rest             {memory:6.0f} MB resident   (wanted: at most {MOST_MB:g} MB)")
    print(
        f"ratio to the limits {statistics.median(started) / MOST_SECONDS:6.2f} of the time,"
        f" {memory / MOST_MB:.2f} of the memory"
    )
    print(f"loaded although heavy: {', '.join(heavy) or 'nothing'}")


if __name__ == "__main__":
    main()
