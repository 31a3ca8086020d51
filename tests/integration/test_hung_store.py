"""A real daemon whose object store stalls: the hang is told, it is looked at by a child, and the daemon still stops."""

from __future__ import annotations

import io
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftd.config.load import load
from driftd.paths import Places
from driftd.store.state.reader import StateReader
from driftd.training.bootstrap import FileColumns
from driftd_processes import driftd
from fault_counts import address, daemon
from first_versions import first_version_of
from limits import HANG, time_limit, wait
from object_store_worlds import Store, store
from store_proxy import Proxy, proxy_of

__all__ = ["store"]
pytestmark = pytest.mark.slow

CONFIG = """\
state_dir: {folder}/state
http: {{listen: "127.0.0.1:0"}}
limits: {{check_timeout: 3s}}
models:
  orders:
    task: regression
    target: y
    window: {{every: 4s, lateness: 1s}}
    parameters: {{max_iter: 10}}
    source:
      kind: files
      path: s3://hung-store/logs
      object_store: {{endpoint: "{endpoint}", region: us-east-1, credentials_file: "{keys}", timeout: 1m}}
"""


def made(count: int, seed: int) -> pd.DataFrame:
    """Labelled rows."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": rng.normal(size=count)})
    return frame.assign(y=3 * frame["a"] + rng.normal(0, 0.3, count))


@pytest.fixture
def proxy(store: Store) -> Iterator[Proxy]:
    """A proxy in front of the store."""
    with proxy_of(store.endpoint) as running:
        yield running


def test_a_daemon_whose_store_stalls_goes_on_and_stops(store: Store, proxy: Proxy, tmp_path: Path) -> None:
    """Its windows wait and are checked in order afterwards; doctor ends, and SIGTERM does within systemd's patience."""
    bucket, config, log = store.bucket("hung-store"), tmp_path / "config.yaml", tmp_path / "log"
    config.write_text(CONFIG.format(folder=tmp_path, endpoint=proxy.endpoint, keys=store.keys))
    places, now = Places(tmp_path / "state"), time.time()
    rows = made(600, 1).assign(at=now - 700 + np.arange(600.0), label_at=now - 60)
    columns = FileColumns(time="at", label_time="label_at")
    first_version_of("orders", load(config).models["orders"], rows, columns, places, now=now)

    def feed() -> None:
        at, out = time.time(), io.BytesIO()
        made(30, int(at)).drop(columns="y").assign(prediction=0.0, at=at).to_parquet(out)
        store.put(f"{bucket}/logs/{time.time_ns()}.parquet", out.getvalue())

    def checked() -> list[int]:
        with StateReader.read_only(places.state_db) as reader:
            return [check.window_index for check in reversed(reader.checks("orders", 1000, "window"))]

    feed()
    with daemon(config, log) as process:
        address(log)
        wait(checked, "a window is checked", pause=0.2)
        proxy.trouble = "stalls"
        wait(lambda: "source_hangs" in log.read_text(), "the hang is told", pause=0.2)
        found = driftd(tmp_path, "doctor", "--config", str(config), "--json")
        assert "its source (files) does not answer within 10 s" in found.stdout
        before = len(checked())
        proxy.release()
        feed()
        wait(lambda: "source_answers_again" in log.read_text(), "the read ends", pause=0.2)
        wait(lambda: len(checked()) > before, "its windows are checked", pause=0.2)
        windows = checked()
        assert windows == list(range(windows[0], windows[-1] + 1))
        proxy.released.clear()
        proxy.trouble, asked = "stalls", len(proxy.asked)
        wait(lambda: len(proxy.asked) > asked, "a request stalls", pause=0.2)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANG) == 0
        assert time.monotonic() - began < time_limit(8.0)
    assert log.read_text().rstrip().splitlines()[-1].count("stopped")
