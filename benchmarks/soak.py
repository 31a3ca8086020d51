"""Half an hour of four models at 500 events a second, with builds and kills at random: nothing lost, nothing grows.

Run: PYTHONPATH=daemon:detectors python benchmarks/soak.py [--minutes 30] [--rate 500] [--builds 2] [--seed 1]

`store` takes events by `driftd serve`; `files` reads log files; `hung` reads files below a folder where each `open`
hangs, as on a mount whose server is gone; `talkative` has a trainer that prints megabytes. The daemon and the server
are killed at random for the first half; in the second they are left alone, and memory, open files and threads are
compared at its begin and its end. Events that were acknowledged are looked for at the end. Only addresses of this
machine are used, and it ends by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import multiprocessing
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from driftd.config.load import load
from driftd.paths import Places
from driftd.registry import Registry
from driftd.store.events.reader import EventReader
from driftd.store.state.reader import StateReader
from driftd.store.state.request_queue import post_request
from driftd.training.bootstrap import FileColumns, make_first_version

STORED, MODELS = ("store", "talkative"), ("store", "files", "hung", "talkative")
TICK = 0.5  # seconds between two batches
SEND_SECONDS = 1.0  # that sending may take of a tick: a server that comes back finds a backlog
SHARES = {
    "store": 0.4,
    "talkative": 0.1,
    "files": 0.1,
}  # of the events that are predictions; as many labels are the rest
SHARES_OF_LABELS = {"store": 0.3, "talkative": 0.1}  # of the events
CONFIG = """\
state_dir: {folder}/state
http: {{listen: "127.0.0.1:{http}"}}
serve: {{listen: "127.0.0.1:{serve}"}}
limits: {{check_timeout: 2s}}
models:
  store: {{task: regression, target: y, {common}}}
  talkative: {{task: regression, target: y, trainer: "soak_trainer:train", {common}}}
  files: {{task: regression, target: y, source: {{kind: files, path: {folder}/logs}}, {common}}}
  hung: {{task: regression, target: y, source: {{kind: files, path: {folder}/hung}}, {common}}}
"""
COMMON = "window: {every: 10s, lateness: 2s}, parameters: {max_iter: 5}, probation: {span: 20s, min_labels: 300}"
TRAINER = """
from sklearn.linear_model import LinearRegression


def train(data, context):
    for _ in range(20_000):
        print("x" * 1000)
    return LinearRegression().fit(data[list(context.features)], data[context.target])
"""
HANG_IN_OPEN = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void hang(const char *path) {
    const char *below = getenv("HANG_BELOW"), *mark = getenv("HANG_WHILE");
    if (below && mark && path && strncmp(path, below, strlen(below)) == 0)
        while (access(mark, F_OK) == 0) usleep(20000);
}
#define OPEN(name) int name(const char *path, int flags, ...) { \
    va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more); hang(path); \
    return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name))(path, flags, mode); }
#define OPENAT(name) int name(int folder, const char *path, int flags, ...) { \
    va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more); hang(path); \
    return ((int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, #name))(folder, path, flags, mode); }
OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64)
"""


@dataclass(frozen=True)
class Plan:
    """How long, how much, how often. Times are seconds."""

    seconds: float = 1800.0
    rate: int = 500  # events a second
    build_every: float = 1800.0  # of each of the two models in turn, so two an hour are 1800
    kill_every: float = 60.0  # in the mean, in the first half
    seed: int = 1


@dataclass(frozen=True)
class Use:
    """What a process takes at a moment."""

    rss: int  # bytes
    files: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Use:
        """From /proc. Raises OSError when the process is gone."""
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        rss, threads = int(status["VmRSS"].split()[0]) * 1024, int(status["Threads"])
        return cls(rss, len(os.listdir(f"/proc/{pid}/fd")), threads)  # noqa: PTH208 - names alone


@dataclass
class Figures:
    """What the soak found."""

    events: int = 0
    acknowledged: int = 0
    lost: int = 0
    rows_of_files: int = 0
    rows_read: int = 0
    half_swaps: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    windows: Counter[str] = field(default_factory=Counter)
    builds: Counter[str] = field(default_factory=Counter)
    repeated_windows: int = 0
    largest_log: int = 0
    seconds: float = 0.0
    uses: dict[str, list[Use]] = field(default_factory=lambda: {"run": [], "serve": []})

    def growth(self, command: str) -> tuple[Use, Use]:
        """The medians of the first and of the last fifth of the time in which nothing was killed."""
        uses = self.uses[command]
        part = max(1, len(uses) // 5)
        return _median(uses[:part]), _median(uses[-part:])

    def lines(self) -> Iterator[str]:
        """Everything, for people."""
        yield f"{self.events:,} events in {self.seconds:.0f} s ({self.events / self.seconds:.0f} a second)"
        kills = ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()))
        yield (
            f"faults injected: kills {self.kills.total()} ({kills}); acknowledged events {self.acknowledged}; "
            f"events lost {self.lost}; half swaps {self.half_swaps}"
        )
        yield f"rows of files: {self.rows_of_files:,} written, {self.rows_read:,} read"
        yield f"windows checked: {dict(self.windows)}, twice {self.repeated_windows}; decisions: {dict(self.builds)}"
        yield f"largest log of a job: {self.largest_log / 1e6:.1f} MB"
        for command in self.uses:
            first, last = self.growth(command)
            rss = f"RSS {first.rss / 1e6:.0f} -> {last.rss / 1e6:.0f} MB"
            yield f"{command}: {rss}, files {first.files} -> {last.files}, threads {first.threads} -> {last.threads}"


def _median(uses: list[Use]) -> Use:
    if not uses:
        raise RuntimeError("no process was measured in the quiet half: the machine is too busy, or the time too short")
    return Use(*(int(statistics.median(getattr(use, name) for use in uses)) for name in ("rss", "files", "threads")))


class Soak:
    """One installation under load."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan, self.places = folder, plan, Places(folder / "state")
        self.config, self.figures, self.draw = folder / "config.yaml", Figures(), random.Random(plan.seed)
        self.ports = {"run": _free_port(), "serve": _free_port()}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.acknowledged: dict[str, list[str]] = {model: [] for model in STORED}
        self.waiting: deque[tuple[str, str, list[str], bytes]] = deque()  # model, kind, ids, body: until acknowledged
        self.number, self.rng = 0, np.random.default_rng(plan.seed)
        self.environment = {**os.environ}

    def prepare(self) -> None:
        """The config, the shim that hangs, and version 1 of each model."""
        for name in ("logs", "hung"):
            (self.folder / name).mkdir()
        (self.folder / "soak_trainer.py").write_text(TRAINER)
        ports = {"http": self.ports["run"], "serve": self.ports["serve"]}
        self.config.write_text(CONFIG.format(folder=self.folder, common=COMMON, **ports))
        source, library, mark = (self.folder / name for name in ("hang.c", "hang.so", "hangs"))
        source.write_text(HANG_IN_OPEN)
        subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
        mark.touch()
        roots = os.pathsep.join([str(self.folder), *(path for path in sys.path if path)])
        hangs = {"LD_PRELOAD": str(library), "HANG_BELOW": str(self.folder / "hung"), "HANG_WHILE": str(mark)}
        self.environment |= {"PYTHONPATH": roots, **hangs}
        os.environ["PYTHONPATH"] = roots  # of the jobs that make version 1
        now = time.time()
        frame = self._frame(2000).assign(at=now - 2100 + np.arange(2000.0), label_at=now - 60)
        columns = FileColumns(time="at", label_time="label_at")
        with ProcessPoolExecutor(mp_context=multiprocessing.get_context("fork")) as beside:
            begun = [
                beside.submit(make_first_version, name, model, frame, columns, self.places, now=now)
                for name, model in load(self.config).models.items()
            ]
            for version in begun:
                version.result()
        (self.folder / "hung" / "rows.jsonl").write_text("{}\n")

    def run(self) -> Figures:
        """Load, builds and kills; then the counts."""
        began = time.monotonic()
        half, end = began + self.plan.seconds / 2, began + self.plan.seconds
        build_at = began + min(20.0, self.plan.seconds / 6)
        kill_at, sample_at, built = began + 5 + self._pause(), half + min(20.0, self.plan.seconds / 10), 0
        for command in self.ports:
            self._start(command)
        while (now := time.monotonic()) < end:
            self._tick()
            if now >= build_at:
                self._ask_build(STORED[built % 2])
                build_at, built = now + self.plan.build_every / 2, built + 1
            if now >= kill_at and now < half:
                self._kill()
                kill_at = now + self._pause()
            if now >= sample_at:
                self._sample()
                sample_at = now + 1.0
            time.sleep(max(0.0, TICK - (time.monotonic() - now)))
        self.figures.seconds = time.monotonic() - began
        self._drain()
        self._stop()
        self._count()
        return self.figures

    def _pause(self) -> float:
        return self.draw.uniform(0.3, 1.7) * self.plan.kill_every

    def _start(self, command: str) -> None:
        words = [sys.executable, "-m", "driftd.cli.main", command, "--config", str(self.config)]
        with (self.folder / f"{command}.log").open("ab") as log:
            self.processes[command] = subprocess.Popen(words, env=self.environment, stdout=log, stderr=log)

    def _kill(self) -> None:
        command = self.draw.choice(sorted(self.processes))
        process = self.processes[command]
        if process.poll() is not None:
            raise RuntimeError(f"driftd {command} ended by itself with {process.returncode}: see {self.folder}")
        process.kill()
        process.wait()
        self.figures.kills[command] += 1
        for model in MODELS:
            version = Registry(self.places).current(model)
            self.figures.half_swaps += version is None or Registry(self.places).fault(model, version) is not None
        self._start(command)

    def _frame(self, rows: int) -> pd.DataFrame:
        frame = pd.DataFrame(self.rng.normal(size=(rows, 2)).round(4), columns=["a", "b"])
        return frame.assign(y=(3 * frame["a"] + self.rng.normal(0, 0.5, rows)).round(4))

    def _tick(self) -> None:
        """A batch for each model; what the server did not acknowledge is sent again."""
        now, count = time.time(), self.plan.rate * TICK
        for model, share in SHARES.items():
            rows = self._frame(max(1, round(count * share)))
            ids = [f"{model}-{self.number + row}" for row in range(len(rows))]
            self.number += len(rows)
            output = {"at": now, "version": 1}
            events = [
                {"prediction_id": name, **output, "features": {"a": a, "b": b}, "prediction": round(3 * a, 4)}
                for name, a, b in zip(ids, rows["a"].tolist(), rows["b"].tolist(), strict=True)
            ]
            self.figures.events += len(events)
            if model == "files":
                self._log_files(events)
                continue
            self.waiting.append((model, "predictions", ids, json.dumps(events).encode()))
            labelled = max(1, round(count * SHARES_OF_LABELS[model]))
            labels = [
                {"prediction_id": name, "label": y, "at": now}
                for name, y in zip(ids[:labelled], rows["y"].tolist(), strict=False)
            ]
            self.figures.events += len(labels)
            self.waiting.append((model, "feedback", [], json.dumps(labels).encode()))
        self._send()

    def _log_files(self, events: list[dict[str, Any]]) -> None:
        """As an application logs: a file for each minute, to which lines are appended."""
        path = self.folder / "logs" / f"{int(time.time() // 60)}.jsonl"
        lines = [json.dumps({**event.pop("features"), **event}) for event in events]
        with path.open("a") as file:
            file.write("\n".join(lines) + "\n")
        self.figures.rows_of_files += len(lines)

    def _send(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["serve"], timeout=10)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            until = time.monotonic() + SEND_SECONDS
            while self.waiting and time.monotonic() < until:
                model, kind, ids, body = self.waiting[0]
                connection.request("POST", f"/v1/models/{model}/{kind}", body)
                answer = connection.getresponse()
                said = answer.read()
                if answer.status >= 500:
                    return
                if answer.status != 200:
                    raise RuntimeError(f"{answer.status} {said[:300]!r}")
                self.acknowledged[model] += ids
                self.waiting.popleft()

    def _drain(self) -> None:
        """Until every batch is acknowledged, a minute at most."""
        end = time.monotonic() + 60
        while self.waiting and time.monotonic() < end:
            self._send()
            time.sleep(TICK)

    def _ask_build(self, model: str) -> None:
        arguments: dict[str, str | float | None] = {"text": "soak"}
        with contextlib.suppress(Exception):  # the daemon makes the database at its first start
            at = time.time()
            post_request(self.places.state_db, at=at, who="soak", model=model, kind="retrain", arguments=arguments)
            self.figures.builds["asked"] += 1

    def _sample(self) -> None:
        for command, process in self.processes.items():
            with contextlib.suppress(OSError):
                self.figures.uses[command].append(Use.of(process.pid))

    def _stop(self) -> None:
        self.figures.rows_read = self._rows_read()
        (self.folder / "hangs").unlink()
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(timeout=120)

    def _rows_read(self) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["run"], timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        read = [line for line in lines if line.startswith('driftd_predictions_total{model="files"}')]
        return int(float(read[0].split()[-1])) if read else 0

    def _count(self) -> None:
        figures = self.figures
        for model in STORED:
            kept = self._ids(model)
            figures.acknowledged += len(self.acknowledged[model])
            figures.lost += len(set(self.acknowledged[model]) - kept)
        with StateReader.read_only(self.places.state_db) as reader:
            for model in MODELS:
                indices = [check.window_index for check in reader.checks(model, 100_000, "window")]
                figures.windows[model] = len(indices)
                figures.repeated_windows += len(indices) - len(set(indices))
                figures.builds.update(str(line.event) for line in reader.history(model, 100_000))
        logs = (path.stat().st_size for path in self.places.job("x").parent.glob("*/log.txt"))
        figures.largest_log = max(logs, default=0)

    def _ids(self, model: str) -> set[str]:
        schema = Registry(self.places).manifest(model, 1).schema
        reader = EventReader(self.places.events_db(model), schema, self.places.segments(model))
        with contextlib.closing(reader), reader.snapshot():
            return {str(name) for name in reader.rows(reader.seqs_between(0.0, 4e9), 4e9).ids}

    def close(self) -> None:
        """End what still runs after a failure."""
        (self.folder / "hangs").unlink(missing_ok=True)
        for process in self.processes.values():
            process.kill()
            process.wait()


def soak(folder: Path, plan: Plan) -> Figures:
    """Prepare, run, count."""
    made = Soak(folder, plan)
    try:
        made.prepare()
        return made.run()
    finally:
        made.close()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=int, default=500, help="events a second")
    parser.add_argument("--builds", type=float, default=2.0, help="builds an hour")
    parser.add_argument("--kill-every", type=float, default=60.0, help="seconds, in the mean")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="driftd-soak-") as folder:
        plan = Plan(given.minutes * 60, given.rate, 2 * 3600 / given.builds, given.kill_every, given.seed)
        for line in soak(Path(folder), plan).lines():
            print(line)


if __name__ == "__main__":
    main()
