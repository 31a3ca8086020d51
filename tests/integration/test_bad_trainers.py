"""Every way in which a trainer can go wrong, in a real child process: one sentence, no version, nobody left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from driftd.config.model_schema import ModelConfig
from driftd.paths import Places
from driftd.registry import Registry
from driftd.training.fork_server import ForkServer
from driftd.training.job_output import SCRATCH
from driftd.training.jobs import JobLimits, JobResult, start_job
from driftd.training.process_tree import descendants
from driftd.training.snapshots import take_snapshot
from driftd_detectors.schema import Feature, Kind, Schema, Task
from fault_counts import environment
from limits import wait
from warm_server import finish, warm_server

pytestmark = pytest.mark.slow

SCHEMA = Schema(Task.REGRESSION, "y", (Feature("x", Kind.NUMBER), Feature("c", Kind.CATEGORY)))
ROWS = 400

TRAINERS = """
import os, signal, subprocess, sys, time
import numpy as np
from sklearn.linear_model import LinearRegression
from sklearn.dummy import DummyRegressor


def good(data, context):
    print("training on", len(data), "rows")
    return DummyRegressor().fit(data[list(context.features)], data[context.target])

def raises(data, context):
    raise RuntimeError("the lake is closed")

def crashes(data, context):
    os.kill(os.getpid(), signal.SIGSEGV)

def leaves(data, context):
    os._exit(0)

def exits(data, context):
    sys.exit(3)

def hangs(data, context):
    child = subprocess.Popen(["sleep", "600"])
    stray = subprocess.Popen(["setsid", "sleep", "600"])
    open(context.parameters["pids"], "w").write(f"{child.pid} {stray.pid}")
    time.sleep(600)

def hides(data, context):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            pids = context.parameters["pids"]
            open(pids + "-new", "w").write(str(os.getpid()))
            os.rename(pids + "-new", pids)
            time.sleep(600)
        os._exit(0)
    os.wait()
    while not os.path.exists(context.parameters["pids"]):
        time.sleep(0.01)
    time.sleep(context.parameters["seconds"])
    return good(data, context)

def eats(data, context):
    return np.ones((1 << 34,))

def returns_none(data, context):
    return None

class Rubbish:
    def __init__(self, answer): self.answer = answer
    def predict(self, frame): return self.answer(frame)

def nan(data, context):
    return Rubbish(lambda frame: np.full(len(frame), np.nan))

def short(data, context):
    return Rubbish(lambda frame: np.zeros(3))

def unstorable(data, context):
    return Rubbish(lambda frame: np.zeros(len(frame)))

class Mine(DummyRegressor):
    pass

def foreign(data, context):
    return Mine().fit(data[["x"]], data["y"])

def cannot(data, context):
    return LinearRegression().fit(data[["x"]], data["y"])

class Forgetful(DummyRegressor):
    def __getstate__(self):
        state = super().__getstate__()
        return {**state, "constant_": state["constant_"] + 1}

def forgetful(data, context):
    return Forgetful().fit(data[["x"]], data["y"])
"""


World = tuple[Places, str, ForkServer | None]  # the state, the snapshot's digest, and what forks the jobs


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with warm_server(tmp_path_factory.mktemp("server"), JobLimits(threads=1)) as found:
        yield found


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: ForkServer) -> World:
    return make_world(tmp_path, monkeypatch, server)


@pytest.fixture(params=["started", "forked"])
def any_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: ForkServer, request: pytest.FixtureRequest
) -> World:
    return make_world(tmp_path, monkeypatch, server if request.param == "forked" else None)


def make_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: ForkServer | None) -> World:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "shop_trainers.py").write_text(TRAINERS)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "x": rng.normal(size=ROWS),
            "c": rng.choice(["a", "b"], ROWS).tolist(),
            "y": rng.normal(size=ROWS),
            "driftd_id": [str(n) for n in range(ROWS)],
            "driftd_at": np.arange(ROWS) * 60.0,
            "driftd_label_at": np.arange(ROWS) * 60.0,
            "driftd_version": np.zeros(ROWS, dtype=np.int64),
        }
    )
    places = Places(tmp_path / "state")
    return places, take_snapshot(places, "demand", [table], SCHEMA).digest, server


def train(world: World, trainer: Any, limits: JobLimits | None = None, **more: Any) -> JobResult:
    limits = limits or JobLimits(threads=1)
    return finish(start_job(world[0].job("train"), "train", arguments(world, trainer, **more), limits, world[2]))


def arguments(world: World, trainer: Any, **more: Any) -> dict[str, Any]:
    places, digest, _ = world
    config = ModelConfig.model_validate(
        {"task": "regression", "target": "y", "trainer": trainer, "retrain": {"data": "all"}, **more}
    )
    return {
        "model": "demand",
        "model_config": config.model_dump(mode="json"),
        "state_dir": str(places.root),
        "version": 1,
        "snapshot": digest,
        "change_at": None,
        "trigger": "manual",
        "reason": "a test",
        "parent": None,
        "seed": 1,
        "until": 1e6,
    }


@pytest.mark.parametrize(
    ("trainer", "sentence"),
    [
        ("raises", "the trainer shop_trainers:raises raised RuntimeError: the lake is closed"),
        ("crashes", "the child crashed (SIGSEGV)"),
        ("leaves", "ended with exit code 0 but wrote no result"),
        ("exits", "the trainer called sys.exit(3)"),
        ("returns_none", "returned NoneType, which has no predict method"),
        ("nan", "NaN or infinite"),
        ("short", "shape (3,) where"),
        ("unstorable", "cannot be stored as skops"),
        ("foreign", "types that are not trusted: shop_trainers.Mine"),
        ("cannot", "predict of the estimator raised ValueError"),
        ("no_such_function", "cannot be imported"),
    ],
)
def test_a_bad_trainer_fails_with_one_sentence(world: World, trainer: str, sentence: str) -> None:
    """The result says what was wrong, the log's tail is with it, and no version comes to be."""
    result = train(world, f"shop_trainers:{trainer}")
    assert not result.ok
    assert sentence in result.error
    assert Registry(world[0]).versions("demand") == ()
    assert not list(world[0].model("demand").glob("versions/.staged*")) or trainer in {"crashes", "leaves"}


def test_a_trainer_that_eats_memory_meets_its_limit(any_world: World) -> None:
    """128 GiB are not had under a limit of 4 GiB."""
    result = train(any_world, "shop_trainers:eats", JobLimits(threads=1, memory_bytes=4 << 30))
    assert not result.ok
    assert "ran out of the memory that its limits allow" in result.error


def test_a_hanging_trainer_is_ended_with_all_that_it_started(world: World, tmp_path: Path) -> None:
    """After the wall time, the child, its children, and one that fled into its own session are gone."""
    pids = tmp_path / "pids"
    result = train(world, "shop_trainers:hangs", JobLimits(threads=1, wall_seconds=25), parameters={"pids": str(pids)})
    assert "its limit is 25 s" in result.error
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2
    assert not any(_runs(pid) for pid in started)


def test_a_trainer_that_ends_well_leaves_no_process_behind(any_world: World, tmp_path: Path) -> None:
    """A process that was forked twice, into a session of its own, ends with the job; the version stands."""
    pids = tmp_path / "pids"
    result = train(any_world, "shop_trainers:hides", parameters={"pids": str(pids), "seconds": 0})
    assert result.ok, result.error
    assert not _runs(int(pids.read_text()))


def test_a_killed_job_takes_along_what_fled_from_it(any_world: World, tmp_path: Path) -> None:
    """Ending a training ends also the process that has neither its session nor its parent any more."""
    pids = tmp_path / "pids"
    output = arguments(any_world, "shop_trainers:hides", parameters={"pids": str(pids), "seconds": 600})
    job = start_job(any_world[0].job("train"), "train", output, JobLimits(threads=1), any_world[2])
    wait(pids.exists, "the training")
    assert _runs(int(pids.read_text()))
    assert (job.folder / SCRATCH).exists()
    job.kill()
    assert not _runs(int(pids.read_text()))
    wait(lambda: not [*job.folder.glob(f"{SCRATCH}*")], "its temporary files are gone")


STARTER = """
import json, sys, time
from pathlib import Path
from driftd.training.jobs import JobLimits, start_job
job = start_job(Path(sys.argv[1]), "train", json.loads(sys.argv[2]), JobLimits(threads=1))
print(job.pid, flush=True)
time.sleep(600)
"""


def test_nothing_of_a_training_outlives_a_killed_daemon(world: World, tmp_path: Path) -> None:
    """`kill -9` of the process that started a training ends its keeper, its work, and what fled from it."""
    pids = tmp_path / "pids"
    output = arguments(world, "shop_trainers:hides", parameters={"pids": str(pids), "seconds": 600})
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(world[0].job("train")), json.dumps(output)],
        env=environment(),
        stdout=subprocess.PIPE,
    )
    assert starter.stdout is not None
    try:
        keeper = int(starter.stdout.readline())
        wait(pids.exists, "the training")
        family = [keeper, *descendants(keeper)]
        assert int(pids.read_text()) in family
        assert len(family) >= 3  # the one that forked it may not have ended yet
    finally:
        starter.kill()
        starter.communicate()
    wait(lambda: not any(_runs(pid) for pid in family), "the end of the family")


def test_an_estimator_that_changes_when_stored_is_refused(world: World) -> None:
    """What is read back must predict the same; joblib is allowed here, so only the read-back can find it."""
    result = train(world, "shop_trainers:forgetful", allow_joblib=True)
    assert not result.ok
    assert "does not predict what it predicted when it was trained" in result.error
    assert Registry(world[0]).versions("demand") == ()


def test_joblib_is_used_only_where_the_config_allows_it(world: World) -> None:
    """A foreign estimator that predicts well is kept as joblib, by the config's word."""
    result = train(world, "shop_trainers:good", allow_joblib=True)
    assert result.ok, result.error
    assert "model.skops" in Registry(world[0]).manifest("demand", 1).files


def test_a_good_trainer_leaves_its_whole_lineage(any_world: World) -> None:
    """The manifest says from what, by what, why and when a version was made; its prints are in the log."""
    result = train(any_world, "shop_trainers:good", parameters={"depth": 3})
    assert result.ok, result.error
    manifest = Registry(any_world[0]).manifest("demand", 1)
    assert (manifest.snapshot, manifest.trigger, manifest.reason, manifest.seed) == (
        any_world[1],
        "manual",
        "a test",
        1,
    )
    assert manifest.trainer.reference == "shop_trainers:good"
    assert len(manifest.trainer.fingerprint) == 64
    assert manifest.parameters == {"depth": 3}
    assert {"python", "numpy", "scikit-learn", "threads"} <= set(manifest.libraries)
    assert set(manifest.files) == {"model.skops", "probe.parquet", "trainer_source.json"}
    assert manifest.data["held_out_from"] > manifest.data["trained_from"]
    assert manifest.data["last_at"] == (ROWS - 1) * 60.0
    assert manifest.created_at == 1e6
    assert "training on 200 rows" in (any_world[0].job("train") / "log.txt").read_text()


def test_a_build_that_was_published_before_a_crash_is_taken_up(world: World) -> None:
    """The same order again gives the same version; another order for that number is refused."""
    first = train(world, "shop_trainers:good")
    (world[0].job("train") / "result.json").unlink()  # killed between the rename of the version and its result
    again = train(world, "shop_trainers:raises")
    assert (again.ok, again.value) == (True, first.value)


COMMAND = """
import json, os, pandas, skops.io
from sklearn.dummy import DummyRegressor
told = json.load(open(os.environ["DRIFTD_CONTEXT"]))
data = pandas.read_parquet(os.environ["DRIFTD_SNAPSHOT"])
model = DummyRegressor().fit(data[told["features"]], data[os.environ["DRIFTD_TARGET"]])
print("rows", len(data), "seed", os.environ["DRIFTD_SEED"])
skops.io.dump(model, os.path.join(os.environ["DRIFTD_OUTPUT"], "model.skops"))
"""


def test_a_command_trains_by_its_environment(world: World, tmp_path: Path) -> None:
    """A program finds the rows that it may see, and leaves a model; it never sees the hold-out."""
    (tmp_path / "train.py").write_text(COMMAND)
    result = train(world, {"command": [sys.executable, str(tmp_path / "train.py")]})
    assert result.ok, result.error
    assert "rows 200 seed 1" in (world[0].job("train") / "log.txt").read_text()
    assert Registry(world[0]).load("demand", 1).version == 1


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["sh", "-c", "exit 7"], "ended with exit code 7"),
        (["true"], "left no model.skops, model.onnx or model.joblib"),
        (["sh", "-c", "echo rubbish > $DRIFTD_OUTPUT/model.skops"], "no artefact that this driftd can read"),
        (["no-such-program-at-all"], "ended with exit code"),
    ],
)
def test_a_bad_command_fails_with_one_sentence(world: World, command: list[str], sentence: str) -> None:
    """A program's failure, silence or rubbish is said, and makes no version."""
    result = train(world, {"command": command})
    assert not result.ok
    assert sentence in result.error
    assert Registry(world[0]).versions("demand") == ()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
