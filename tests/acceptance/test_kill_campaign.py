"""Many a `kill -9`, at drawn moments of everything that writes, and a twin that nobody disturbed.

`make test` kills about 40 times, `make soak` more than 300.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pandas as pd
import pytest

from driftd.config.load import load
from driftd.loop.disk import sweep
from driftd.paths import Places
from driftd.registry import Registry
from driftd.store.events.reader import EventReader
from driftd.store.integrity import examine
from driftd.store.schema_versions import pending_steps
from driftd.store.state.reader import StateReader
from driftd.training.bootstrap import FileColumns, make_first_version
from fault_counts import ROOT, Counts, daemon, environment, events_of, open_kinds, window_indices
from limits import HANG, time_limit, wait
from loop_world import hour
from mortal_programs import PIECE

pytestmark = pytest.mark.slow

MODEL, OTHER = "demand", "orders"
BUILD = ("snapshot", "train", "judge", "swap")
STEPS = (*BUILD, "shadow")
DECIDED = dict.fromkeys(BUILD, "promoted") | {"shadow": "confirmed"}  # after it a step does not come again
FIRST, TURN, LAST = 60, 84, 90  # hours: of the first version, then of ingestion, then of probation
CONFIG = """\
state_dir: {state}
http: {{listen: "127.0.0.1:0"}}
serve: {{listen: "127.0.0.1:0"}}
models:
  demand:
    task: regression
    target: y
    window: {{rows: 200}}
    parameters: {{max_iter: 10}}
    retrain: {{on: [performance]}}
    promote: {{block: 1s}}  # the rows of a window have one time, and windows are independent by construction
    probation: {{span: 1s, min_labels: 300}}
  orders: {{task: regression, target: y, window: {{every: 1h}}, parameters: {{max_iter: 5}}}}
"""


@dataclass(frozen=True)
class Kills:
    """How often each part of an installation is killed; `step`: at most so often in each step of a build."""

    ingest: tuple[int, int] = (0, 0)
    start: int = 0
    step: int = 0
    reload: int = 0
    serve: int = 0
    migrate: int = 0


NONE = Kills()
SOME = Kills(ingest=(15, 5), start=1, step=1, reload=1, serve=1, migrate=8)
MANY = Kills(ingest=(120, 40), start=15, step=5, reload=8, serve=24, migrate=60)


@dataclass
class Campaign:
    """One installation, and how often its parts are killed: never in the undisturbed twin."""

    folder: Path
    begin: float
    kills: Kills = NONE
    counts: Counts = field(default_factory=Counts)
    draw: random.Random = field(default_factory=lambda: random.Random(20_261_123))

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def places(self) -> Places:
        return Places(self.folder / "state")

    def install(self, like: Path) -> None:
        """Take up a copy of a prepared state directory."""
        shutil.copytree(like, self.places.root, symlinks=True)
        self.config.write_text(CONFIG.format(state=self.places.root))

    def prepare(self) -> None:
        """Make the first versions."""
        self.folder.mkdir()
        self.config.write_text(CONFIG.format(state=self.places.root))
        rows = pd.concat([frame.assign(y=truth) for frame, truth in (hour(number) for number in range(FIRST))])
        for model in (MODEL, OTHER):
            configured = load(self.config).models[model]
            make_first_version(model, configured, rows, FileColumns(), self.places, now=self.begin - 10)

    def ingest(self, first: int, last: int, begin: float, kills: int, apart: float) -> None:
        """Have an application log hours of rows, so many seconds apart; killed, it goes on where it was told to."""
        output = self.folder / f"acknowledged-{first}"
        words = ["write", self.places.root, MODEL, first, last, output, begin, apart, first, kills]
        self.counts.kills["SDK"] += _nursery(*words)
        self.counts.acknowledged += PIECE * len(output.read_text().splitlines())

    def serve(self) -> set[str]:
        """Post events to a server that is killed at drawn moments; returns the acknowledged ids."""
        acknowledged: set[str] = set()
        for life in range(self.kills.serve):
            with _server(self.config) as (process, http):
                killer = threading.Timer(self.draw.uniform(0.0, 0.3), process.kill)
                killer.start()
                for number in range(100_000):
                    name = f"s{life}-{number}"
                    event = {"prediction_id": name, "version": 1, "prediction": 1.0, "features": {"a": 1.0, "b": 0.0}}
                    try:
                        if http.post(f"/v1/models/{OTHER}/predictions", json=event).status_code == 200:
                            acknowledged.add(name)
                    except httpx.TransportError:
                        break
                killer.join()
            self.counts.kills["serve"] += 1
        return acknowledged

    def starts(self, longest: float) -> None:
        """Kill the daemon while it starts, checks and begins to build."""
        for _ in range(self.kills.start):
            self._one_life(self.draw.uniform(0.05, longest), "daemon starting and checking")

    def steps(self, kinds: tuple[str, ...]) -> None:
        """Kill the daemon at drawn moments of each step of a build, in turn."""
        for kind in kinds:
            for _ in range(self.kills.step):
                if not self._killed_in(kind):
                    break

    def reloads(self) -> None:
        """Kill the daemon just after it was told to read a changed config."""
        before = CONFIG.format(state=self.places.root)
        place = "retrain: {on: [performance]}"
        for number in range(self.kills.reload):
            retrain = f"retrain: {{on: [performance], cooldown: {5 + number % 2}h}}"
            self._one_reload(before.replace(place, retrain))
            self.counts.kills["reload"] += 1
            self._look()
        self.config.write_text(before)

    def _one_reload(self, config: str) -> None:
        with self._started() as process:
            self.config.write_text(config)
            process.send_signal(signal.SIGHUP)
            time.sleep(self.draw.uniform(0.0, 0.4))
            assert process.poll() is None

    @contextmanager
    def _started(self) -> Iterator[subprocess.Popen[bytes]]:
        log = self.folder / "log"
        log.write_bytes(b"")
        with daemon(self.config, log) as process:
            wait(lambda: b'"started"' in log.read_bytes() or b"] started" in log.read_bytes(), "the start")
            yield process

    def until(self, event: str) -> None:
        """Leave the daemon alone until it decided something."""
        with self._started() as process:
            wait(lambda: event in events_of(self.places, MODEL), event)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=time_limit(10)) == 0

    def settle(self) -> None:
        """Leave the daemon alone until nothing is due."""
        with self._started() as process:
            last = (TURN - FIRST) + (LAST - TURN) - 1
            wait(lambda: self.indices() and max(self.indices()) >= last, "the last window")
            wait(lambda: not open_kinds(self.places, MODEL), "the end of all work")
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=time_limit(10)) == 0

    def indices(self) -> list[int]:
        return window_indices(self.places, MODEL)

    def ids(self, model: str) -> list[str]:
        registry = Registry(self.places)
        reader = EventReader(
            self.places.events_db(model), registry.manifest(model, 1).schema, self.places.segments(model)
        )
        try:
            with reader.snapshot():
                return [str(item) for item in reader.rows(reader.seqs_between(0.0, 4e9), 4e9).ids]
        finally:
            reader.close()

    def _one_life(self, delay: float, name: str) -> None:
        with daemon(self.config) as process:
            try:
                process.wait(delay)
            except subprocess.TimeoutExpired:
                self.counts.kills[name] += 1
            else:
                raise AssertionError(f"the daemon ended by itself with {process.returncode}")
        self._look()

    def _killed_in(self, kind: str) -> bool:
        with daemon(self.config) as process:
            began = time.monotonic()
            while kind not in (at_work := open_kinds(self.places, MODEL)):
                assert process.poll() is None
                assert time.monotonic() - began < HANG, f"{kind} did not come"
                if self._is_past(kind, at_work):
                    return False
                time.sleep(0.002)
            time.sleep(self.draw.choice((0.0, 0.02, 0.3, 1.0)))
        self.counts.kills[f"daemon in {kind}"] += 1
        self._look()
        return True

    def _is_past(self, kind: str, at_work: list[str]) -> bool:
        """Whether a later step is at work, or was: the killed life had finished this one."""
        return bool(set(STEPS[STEPS.index(kind) + 1 :]) & set(at_work)) or DECIDED[kind] in events_of(
            self.places, MODEL
        )

    def _look(self) -> None:
        """The link must be right at every moment, not at the end only."""
        registry = Registry(self.places)
        version = registry.current(MODEL)
        if version is None or not (self.places.current(MODEL)).exists():
            self.counts.half_swaps += 1
            return
        assert registry.fault(MODEL, version) is None


def _nursery(*words: object) -> int:
    done = subprocess.run(
        [sys.executable, str(ROOT / "mortal_programs.py"), *map(str, words)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=4 * HANG,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


class _server:  # noqa: N801 - a context manager, used like a function
    def __init__(self, config: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "driftd.cli.main", "serve", "--config", str(config)],
            env=environment(),
            stderr=subprocess.PIPE,
        )

    def __enter__(self) -> tuple[subprocess.Popen[bytes], httpx.Client]:
        assert self.process.stderr is not None
        output = (json.loads(line) for line in self.process.stderr)
        address = next(line["address"] for line in output if line["event"] == "serving")
        self.http = httpx.Client(base_url=f"http://{address}", timeout=HANG)
        return self.process, self.http

    def __exit__(self, *exc_info: object) -> None:
        self.http.close()
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()


def _played(folder: Path, begin: float, kills: Kills = NONE) -> Campaign:
    item = Campaign(folder, begin, kills)
    item.install(folder.with_name("prepared") / "state")
    item.ingest(FIRST, TURN, begin, kills.ingest[0], apart=100.0)
    item.starts(longest=1.0)
    item.steps(BUILD)
    item.starts(longest=2.5)
    item.until("promoted")
    item.reloads()
    item.ingest(TURN, LAST, time.time(), kills.ingest[1], apart=0.01)
    item.steps(("shadow",))
    item.starts(longest=2.5)
    item.until("confirmed")
    item.settle()
    return item


def _end(item: Campaign) -> dict[str, object]:
    registry = Registry(item.places)
    build = ("build_started", "promoted", "confirmed", "build_failed", "rolled_back", "rejected")
    decided = events_of(item.places, MODEL)
    manifest = registry.manifest(MODEL, 2)
    with StateReader.read_only(item.places.state_db) as reader:
        state = reader.model(MODEL)
        assert state is not None
        return {
            "events": [name for name in decided if name in build],
            "current": registry.current(MODEL),
            "versions": registry.versions(MODEL),
            "champion": (state.phase, state.champion, state.barred),
            "lineage": (manifest.parent, manifest.trigger),
            "windows": item.indices(),
            "ids": item.ids(MODEL),
            "open": len(reader.open_actions(MODEL)),
        }


def _litter(places: Places) -> list[str]:
    """Temporary names that nobody will come back for: what upkeep leaves once it is old enough to be swept."""
    sweep(places, time.time() + 120.0)
    found = [path for path in places.root.rglob("*") if re.search(r"(^\.|-new$|\.tmp|\.part)", path.name)]
    found = [path for path in found if path.parent != places.backups]  # the next backup sweeps those
    return sorted(
        str(item.relative_to(places.root)) for item in found if "jobs" not in item.parts and item.name != ".lock"
    )


@pytest.mark.parametrize(
    ("kills", "least", "least_in_a_step"),
    [
        pytest.param(SOME, 30, 1, id="some"),
        pytest.param(MANY, 300, 3, id="many", marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
    ],
)
def test_kills_change_nothing(tmp_path: Path, kills: Kills, least: int, least_in_a_step: int) -> None:
    """After so many kills the end is that of an undisturbed twin, and every acknowledged event is there."""
    begin = float(int(time.time()) - 7200)
    Campaign(tmp_path / "prepared", begin).prepare()
    with ThreadPoolExecutor(1) as beside:
        undisturbed_one = beside.submit(_played, tmp_path / "twin", begin)
        item = _played(tmp_path / "killed", begin, kills)
        twin = undisturbed_one.result()
    counts = item.counts
    served = item.serve()
    found = item.ids(OTHER)
    counts.acknowledged += len(served)
    counts.lost += len(served - set(found))
    (tmp_path / "migrations").mkdir()
    counts.kills["migration"] = _nursery("migrate", tmp_path / "migrations", 7, kills.migrate)
    kept = set(item.ids(MODEL))
    output = [line for name in item.folder.glob("acknowledged-*") for line in name.read_text().splitlines()]
    for line in output:
        number, first = line.split("-")
        counts.lost += sum(f"{number}-{row}" not in kept for row in range(int(first), int(first) + PIECE))
    print(counts.line())  # noqa: T201 - the figures are what this test is for
    assert counts.lost == 0
    assert counts.half_swaps == 0
    assert len(found) == len(set(found))
    for kind in ("state", "events"):
        migrated = list((tmp_path / "migrations").glob(f"*/{kind}.db"))
        assert len(migrated) > 1
        assert all(pending_steps(item, kind) == () and examine(item, seconds=5.0) is None for item in migrated)
    ended, undisturbed = _end(item), _end(twin)
    windows = ended["windows"]
    assert windows == list(range(len(windows)))  # type: ignore[arg-type,call-overload]
    assert ended == undisturbed
    assert _litter(item.places) == _litter(twin.places)
    assert Registry(item.places).load(MODEL, 2).version == 2
    assert counts.kills.total() >= least, counts.line()
    assert all(counts.kills[f"daemon in {kind}"] >= least_in_a_step for kind in STEPS), counts.line()
    assert os.path.realpath(item.places.current(MODEL)).endswith("2")
