"""A fleet on one host: start, memory, idle CPU, a round with every model due, scrape, page, descriptors.

Run: PYTHONPATH=daemon:detectors python benchmarks/fleet.py [--models 300] [--hours 3] [--folder DIR]

One small model is trained and its first version copied for all the others, each with an event store of its own: the
same hourly events, 100 rows of 20 features, with labels. The daemon is real, with its HTTP; its clock is virtual.
*Start* is the time until every model is under watch (at the *first start* each is adopted); *idle* the share of one
core while ticks come once a second and no window ends; *an hour* the time until every model has checked one more, and
its CPU as a share of one core for an hour; *override* the time from saving one until it is in force, while a day of
every model is caught up.
`--open-files` bounds the descriptors of the process, as a small host does.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

FEATURES, ROWS, HOUR = 20, 100, 3600.0
START = 1_750_000_000.0 // HOUR * HOUR
TRAINED = 60  # hours that version 1 is made from; the daemon begins after them
TOOK = 5  # scrapes and pages, of which the median counts
MODEL = """\
  {name}:
    task: regression
    target: y
    window: {{every: 1h, lateness: 1s}}
    parameters: {{max_iter: 20}}
    retrain: {{on: [performance]}}
"""


def name_of(number: int) -> str:
    """The name of a model of the fleet."""
    return f"model_{number:04d}"


def prepare(folder: Path, models: int, hours: int) -> Path:
    """A state directory with so many models under one config, and their events of so many hours to come."""
    import numpy as np
    import pandas as pd

    from driftd.config.load import load
    from driftd.paths import Places
    from driftd.serving.client import Driftd
    from driftd.training.bootstrap import FileColumns, make_first_version
    from first_versions import copy_model

    config = folder / "config.yaml"
    head = f"state_dir: {folder / 'state'}\nhttp: {{listen: 127.0.0.1:0}}\nmodels:\n"
    config.write_text(head + MODEL.format(name=name_of(0)))
    places = Places(folder / "state")
    rng = np.random.default_rng(7)

    def an_hour(number: int) -> pd.DataFrame:
        values = rng.normal(size=(ROWS, FEATURES))
        frame = pd.DataFrame(values, columns=[f"feature_{at:02d}" for at in range(FEATURES)])
        at = START + number * HOUR + np.arange(ROWS) * HOUR / ROWS
        return frame.assign(y=3 * frame["feature_00"] + rng.normal(0, 0.5, ROWS), at=at, label_at=at + 600.0)

    past = pd.concat([an_hour(number) for number in range(TRAINED)])
    columns = FileColumns(time="at", label_time="label_at")
    model = load(config).models[name_of(0)]
    make_first_version(name_of(0), model, past, columns, places, now=START + TRAINED * HOUR)
    with Driftd(places.root, name_of(0)) as application:
        for number in range(TRAINED, TRAINED + hours):
            rows = an_hour(number)
            ids = [f"{number}-{row}" for row in range(ROWS)]
            application.predict(rows.drop(columns=["y", "at", "label_at"]), ids=ids, at=rows["at"].to_numpy())
            application.feedback(ids, rows["y"].to_numpy(), at=rows["label_at"].to_numpy())
    for number in range(1, models):
        copy_model(places, name_of(0), name_of(number))
    config.write_text(head + "".join(MODEL.format(name=name_of(number)) for number in range(models)))
    return config


class Measured:
    """A daemon over a prepared folder, and the process that it runs in."""

    def __init__(self, config_path: Path) -> None:
        from driftd.clock import VirtualClock
        from driftd.config.load import load
        from driftd.loop.daemon import Daemon
        from driftd.loop.factory import Assembly
        from driftd.loop.run import ALLOCATIONS
        from driftd.observe.http import HttpThread, Wiring, application
        from driftd.observe.logs import configure_logs
        from driftd.observe.metrics import Metrics
        from driftd.paths import Places
        from driftd.store.state.writer import StateStore
        from driftd.views.routes import PageWiring, StatusPage

        configure_logs(level="error")
        gc.set_threshold(ALLOCATIONS)
        config = load(config_path)
        self.config_path = config_path
        places = Places(config.state_dir)
        self.clock = VirtualClock(START + TRAINED * HOUR)
        assembly = Assembly(config_path, config, places, StateStore.open(places.state_db), Metrics())
        self.daemon = daemon = Daemon(assembly)
        page = StatusPage(
            PageWiring(
                places,
                config_path,
                models=lambda: tuple(config.models),
                obstacles=lambda: dict(daemon.obstacles),
                metrics=assembly.metrics.board,
                now=self.clock.now,
                url=lambda: None,
                source_faults=dict,
                last_round=lambda: daemon.rounded_at,
            )
        )
        wiring = Wiring(assembly.metrics, daemon.is_ready, lambda: None, dict, lambda _model, _alarm: Path("/none"))
        self.http = HttpThread(application(wiring, page.routes()), config.http)
        self.http.start()

    def watch(self) -> tuple[float, float]:
        """Wall and CPU seconds until every model is under watch and had its first step."""
        from driftd.loop.step_schedule import ROUND_SECONDS

        began, cpu = time.perf_counter(), time.process_time()
        self.daemon.steps.limit = ROUND_SECONDS
        self.daemon.begin(self.clock.now())
        self.rounds()
        if self.daemon.obstacles:
            name, reason = next(iter(self.daemon.obstacles.items()))
            print(f"{len(self.daemon.obstacles)} models are not under watch; {name}: {reason}")
        return time.perf_counter() - began, time.process_time() - cpu

    def close(self) -> None:
        """End the daemon."""
        self.http.stop()
        self.daemon.close()

    def rounds(self) -> tuple[float, float, float]:
        """Rounds until nothing is due: wall and CPU seconds, and the longest round."""
        began, cpu, longest = time.perf_counter(), time.process_time(), 0.0
        while True:
            before = time.perf_counter()
            self.clock.advance_to(self.clock.now() + 1e-3)
            behind = self.daemon.round(self.clock.now())
            longest = max(longest, time.perf_counter() - before)
            if not behind:
                return time.perf_counter() - began, time.process_time() - cpu, longest

    def idle_share(self, seconds: float) -> float:
        """The share of one core that ticks take while nothing is due."""
        began, cpu = time.perf_counter(), time.process_time()
        while time.perf_counter() - began < seconds:
            self.clock.advance_to(self.clock.now() + 1.0)
            before = time.perf_counter()
            self.daemon.round(self.clock.now())
            time.sleep(max(0.0, 1.0 - (time.perf_counter() - before)))
        return (time.process_time() - cpu) / (time.perf_counter() - began)

    def override_seconds(self, hours: int) -> float:
        """From saving an override until it is in force, in the middle of catching up so many hours of every model.

        The daemon looks at the file once a second, which comes before this.
        """
        from driftd.loop.messages import Reload
        from driftd.loop.step_schedule import ROUND_SECONDS

        saved: list[float] = []

        def save() -> None:
            with self.config_path.open("a") as file:
                file.write("override: {reason: an outage, pause: [checks]}\n")
            saved.append(time.perf_counter())
            self.daemon.inbox.put(Reload())

        before = self.config_path.read_text()
        self.clock.advance_to(self.clock.now() + hours * HOUR)
        self.daemon.steps.limit = ROUND_SECONDS
        threading.Timer(1.3, save).start()
        while not self.daemon.assembly.config.override.pause:
            self.clock.advance_to(self.clock.now() + 1e-3)
            self.daemon.round(self.clock.now())
            if not self.daemon.inbox.empty():
                self.daemon.handle(self.daemon.inbox.get(), self.clock.now())
        self.config_path.write_text(before)
        return time.perf_counter() - saved[0]

    def seconds_of(self, path: str) -> tuple[float, int]:
        """The median seconds and the bytes of some answers to the same question."""
        taken, size = [], 0
        for _ in range(TOOK):
            began = time.perf_counter()
            with urllib.request.urlopen(f"http://{self.http.address}{path}", timeout=60) as answer:
                size = len(answer.read())
            taken.append(time.perf_counter() - began)
        return statistics.median(taken), size


def descriptors() -> int:
    """How many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def resident_mb() -> float:
    """The resident memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def bytes_used(path: Path) -> int:
    """The bytes of a SQLite database that are in use, what is not yet checkpointed among them."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        pages, free, size = (
            int(connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
    return (pages - free) * size


def measure(config_path: Path, hours: int) -> None:
    """Run the daemon and print what it takes."""
    fleet = Measured(config_path)
    models = len(fleet.daemon.assembly.config.models)
    empty = resident_mb()
    for what in ("first start", "start"):
        started, cpu = fleet.watch()
        each = f"{cpu / models * 1e3:.1f} ms each"
        print(
            f"{what:11}         {started:8.2f} s   {models} models under watch, {cpu:.2f} s of CPU, {each}", flush=True
        )
        if what == "first start":
            fleet.close()
            fleet = Measured(config_path)
    print(f"idle                {fleet.idle_share(10.0):8.1%} of one core, ticks once a second")
    rounds, sizes = [], []
    for hour in range(1, hours + 1):
        fleet.clock.advance_to(START + (TRAINED + hour) * HOUR + 60.0)
        rounds.append(fleet.rounds())
        sizes.append(bytes_used(fleet.daemon.assembly.places.state_db))
    wall, cpu, longest = (statistics.median(each) for each in zip(*rounds, strict=True))
    share = f"{cpu:.2f} s of CPU, {cpu / HOUR:.2%} of one core"
    print(f"an hour, all due    {wall:8.2f} s   {share}; longest round {longest:.2f} s")
    scrape, size = fleet.seconds_of("/metrics")
    print(f"scrape              {scrape:8.2f} s   {size / 1e6:.1f} MB")
    page, size = fleet.seconds_of("/api/fleet")
    print(f"page                {page:8.2f} s   {size / 1e6:.2f} MB")
    print(f"resident            {resident_mb():8.0f} MB  {(resident_mb() - empty) / models:.2f} MB a model")
    print(f"descriptors         {descriptors():8}     threads {threading.active_count()}")
    window = (sizes[-1] - sizes[0]) / models / max(1, hours - 1)
    each, year = f"{window / FEATURES:,.0f} bytes a window and feature", f"{window * 8766 / 1e6:,.0f} MB a model-year"
    print(f"state.db            {sizes[-1] / 1e6:8.1f} MB  grows by {each}, {year} of hours")
    print(
        f"override            {fleet.override_seconds(24):8.2f} s   from saving it while every model catches up a day"
    )
    fleet.close()


def main() -> None:
    """Prepare the fleet (or take the one in `--folder`), then measure in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=300)
    parser.add_argument("--hours", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--open-files", type=int)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        if options.open_files:
            resource.setrlimit(resource.RLIMIT_NOFILE, (options.open_files, options.open_files))
        measure(options.folder / "config.yaml", options.hours)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        if not (folder / "config.yaml").exists():
            folder.mkdir(parents=True, exist_ok=True)
            prepare(folder, options.models, options.hours)
        limit = ["--open-files", str(options.open_files)] if options.open_files else []
        command = [
            sys.executable,
            __file__,
            "--measure",
            "--folder",
            str(folder),
            "--hours",
            str(options.hours),
            *limit,
        ]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
