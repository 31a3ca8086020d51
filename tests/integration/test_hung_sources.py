"""A real daemon whose one source hangs in `open`, as on a mount whose server is gone: the other model goes on."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
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

pytestmark = pytest.mark.slow

EVERY = 4.0
MODEL = "    task: regression\n    target: y\n    window: {every: 4s, lateness: 1s}\n    parameters: {max_iter: 10}\n"
CONFIG = f"""\
state_dir: {{folder}}/state
http: {{{{listen: "127.0.0.1:0"}}}}
limits: {{{{check_timeout: 3s}}}}
models:
  stuck:
{MODEL}    source: {{{{kind: files, path: {{folder}}/logs}}}}
  sound:
{MODEL}    source: {{{{kind: files, path: {{folder}}/others}}}}
""".replace("{every: 4s, lateness: 1s}", "{{every: 4s, lateness: 1s}}").replace("{max_iter: 10}", "{{max_iter: 10}}")
HANG_IN_OPEN = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void hang(const char *path) {
    const char *below = getenv("HANG_BELOW"), *mark = getenv("HANG_WHILE");
    if (below && mark && strncmp(path, below, strlen(below)) == 0)
        while (access(mark, F_OK) == 0) usleep(20000);
}
#define OPEN(name) \\
    int name(const char *path, int flags, ...) { \\
        va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more); \\
        hang(path); \\
        return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name))(path, flags, mode); \\
    }
#define OPENAT(name) \\
    int name(int folder, const char *path, int flags, ...) { \\
        va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more); \\
        hang(path); \\
        return ((int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, #name))(folder, path, flags, mode); \\
    }
OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64)
"""


class World:
    """Two models, one of which reads files that hang while a mark is there; both get rows all the time."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.logs, self.mark = folder, folder / "logs", folder / "hangs"
        self.config, self.log = folder / "config.yaml", folder / "log"
        self.logs.mkdir()
        (folder / "others").mkdir()
        self.config.write_text(CONFIG.format(folder=folder))
        self.places = Places(folder / "state")
        (folder / "hang.c").write_text(HANG_IN_OPEN)
        library = folder / "hang.so"
        command = ["gcc", "-shared", "-fPIC", "-O2", "-o", str(library), str(folder / "hang.c"), "-ldl"]
        subprocess.run(command, check=True, timeout=HANG)
        self.preload = {"LD_PRELOAD": str(library), "HANG_BELOW": str(self.logs), "HANG_WHILE": str(self.mark)}
        now, config = time.time(), load(self.config)
        for model in ("stuck", "sound"):
            rows = made(600, 1).assign(at=now - 700 + np.arange(600.0), label_at=now - 60)
            columns = FileColumns(time="at", label_time="label_at")
            first_version_of(model, config.models[model], rows, columns, self.places, now=now)

    def write(self) -> None:
        """A file with rows of this moment."""
        rows = made(30, int(time.time() * 10) % 1000)
        rows = rows.assign(prediction=rows["y"], prediction_id="", at=time.time()).drop(columns="y")
        lines = [
            json.dumps({**row, "prediction_id": f"{row['at']}-{n}"}) for n, row in enumerate(rows.to_dict("records"))
        ]
        for folder in (self.logs, self.folder / "others"):
            (folder / "unfinished.tmp").write_text("\n".join(lines) + "\n")
            (folder / "unfinished.tmp").rename(folder / f"{time.time_ns()}.jsonl")

    def checked(self, model: str) -> list[int]:
        """The windows that were checked, oldest first."""
        with StateReader.read_only(self.places.state_db) as reader:
            return [check.window_index for check in reversed(reader.checks(model, 1000, "window"))]


def made(count: int, seed: int) -> pd.DataFrame:
    """Labelled rows."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": rng.normal(size=count), "b": rng.normal(size=count)})
    return frame.assign(y=3 * frame["a"] + rng.normal(0, 0.3, count))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """The two models, fed until the test is over."""
    if shutil.which("gcc") is None:
        pytest.skip("Debian package gcc is not installed")
    built, over = World(tmp_path), threading.Event()

    def feed() -> None:
        while not over.wait(0.5):
            built.write()

    feeder = threading.Thread(target=feed)
    feeder.start()
    yield built
    over.set()
    feeder.join()


def value(http: httpx.Client, metric: str) -> float:
    """The value of one series."""
    lines = http.get("/metrics").text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{metric} ")), 0.0)


def test_a_hung_source_costs_its_own_model_alone(world: World) -> None:
    """The other model is checked at its time, one thread is lost, and afterwards no window is left out."""
    world.mark.touch()
    with (
        daemon(world.config, world.log, **world.preload) as process,
        httpx.Client(base_url=address(world.log), timeout=HANG) as http,
    ):
        wait(lambda: value(http, 'driftd_source_hangs_total{model="stuck"}') == 1, "the hang is counted")
        threads = Path(f"/proc/{process.pid}/task")
        before, count = len(list(threads.iterdir())), len(world.checked("sound"))
        wait(lambda: len(world.checked("sound")) >= count + 3, "the other model's windows are checked")
        assert len(list(threads.iterdir())) <= before + 1  # of the page, which answers in threads
        behind = value(http, 'driftd_windows_behind{model="stuck"}')
        assert behind > max(2, value(http, 'driftd_windows_behind{model="sound"}'))
        assert value(http, 'driftd_source_faults{model="stuck"}') == 1
        assert value(http, 'driftd_model_step_errors_total{model="stuck"}') == 0
        began = time.monotonic()
        assert http.get("/api/models/stuck").status_code == 200
        assert time.monotonic() - began < time_limit(2.0)
        assert "source_hangs" in world.log.read_text()
        released = int(time.time() / EVERY) - 1  # the last window that ended while it hung
        world.mark.unlink()
        wait(lambda: "source_answers_again" in world.log.read_text(), "the read ends")
        wait(lambda: (world.checked("stuck") or [0])[-1] >= released, "its windows are checked")
        wait(lambda: value(http, 'driftd_source_faults{model="stuck"}') == 0, "its fault is over")
        checked = world.checked("stuck")
        assert checked == list(range(checked[0], checked[-1] + 1))


def test_a_daemon_with_a_hung_source_stops_and_doctor_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM ends the daemon within seconds, and `driftd doctor` says what does not answer."""
    world.write()
    world.mark.touch()
    with daemon(world.config, world.log, **world.preload) as process:
        wait(lambda: "source_hangs" in world.log.read_text(), "the hang")
        for name, setting in world.preload.items():
            monkeypatch.setenv(name, setting)
        found = driftd(world.folder, "doctor", "--config", str(world.config), "--json")
        assert "its source (files) does not answer within 10 s" in found.stdout
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANG) == 0
    assert world.log.read_text().rstrip().splitlines()[-1].count("stopped")
