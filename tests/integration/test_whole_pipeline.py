"""The whole road of a build: changes of data, code and a parameter, built outside, tested, approved, handed over."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from driftd.config.load import load
from driftd.events import Stage
from driftd.loop.plan import ModelPlan, plan_model
from driftd.loop.trainer_watch import SETTLED_AFTER
from driftd.records import Phase
from driftd.registry import Manifest
from driftd.store.state.reader import StateReader
from driftd.store.state.stages import StageRun
from driftd_processes import driftd
from external_world import OWN_VERSION, ExternalWorld
from limits import HANG
from loop_world import HOUR, MODEL
from outside_world import Pipelines, build_api, free_port, pipelines, run_example

pytestmark = pytest.mark.slow

OPERATOR = "an-operator-of-some-length"
FIRST, SECOND, THIRD = OWN_VERSION + 1, OWN_VERSION + 2, OWN_VERSION + 3
CONFIG = """\
state_dir: {state}
http: {{listen: 127.0.0.1:0}}
models:
  demand:
    task: regression
    target: y
    serving: external
    trainer: {{start: {start}, deadline: 90s, poll: 1s, url: 'http://127.0.0.1:{port}'}}
    deploy: {{webhook: '{url}/deploy', confirm_within: 2h, timeout: 20s}}
    window: {{every: 1h, lateness: 1s}}
    parameters: {{max_iter: 30}}
    retrain:
      on: [performance, code_changed, parameters_changed]
      cooldown: 1h
      refresh: "off"
      data: {{use: recent, rows: 800}}
    promote: {{block: 1h, approval: manual}}
    probation: {{span: 2h, min_labels: 300}}
    stages:
      check_data: {{rows: {{min: 1000}}, columns: {{c: {{values: [red, green, blue], nulls: 0}}}}}}
      test: {{tests: {tests}}}
"""
START = dedent("""
    import os, sys, urllib.request

    STEPS = 1
    order, headers = os.environ["DRIFTD_ORDER"].encode(), {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(sys.argv[1] + "/start", order, headers))
""")
TESTS = dedent("""
    def test_it_predicts(model, snapshot):
        rows = snapshot.frame(since=model.seen_until)
        assert abs(model.predict(rows) - rows[snapshot.target]).mean() < {limit}
""")


def turned(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """The meaning of a feature turns round; the features themselves do not change."""
    return frame, truth - 5 * frame["a"].to_numpy()


@dataclass
class Pipeline(ExternalWorld):
    """A model that is built outside and served elsewhere; both are played by one server."""

    outside: Pipelines = field(default_factory=Pipelines)
    http: httpx.Client = field(default_factory=httpx.Client)

    @property
    def calls(self) -> list[dict[str, Any]]:
        """What the system that serves was told by the webhook, oldest first."""
        return self.outside.messages

    def pass_seconds(self, seconds: float) -> None:
        """Let time pass without predictions, and rounds be made."""
        self.clock.advance_to(self.clock.now() + seconds)
        self.daemon.catch_up(self.clock.now())

    def ask(self, action: str, **arguments: Any) -> str:
        """Ask by the API, as an operator with a token does; the answer of the loop."""
        posted = self.http.post(f"/api/v1/models/{MODEL}/{action}", json=arguments)
        assert posted.status_code == 202, posted.text
        self.daemon.catch_up(self.clock.now())
        answer = self.http.get(posted.headers["location"]).json()
        assert answer["status"] == "done", answer
        return str(answer["outcome"])

    def plan(self) -> ModelPlan:
        """What `driftd plan` says now."""
        with StateReader.read_only(self.places.state_db) as store:
            return plan_model(MODEL, load(self.folder / "config.yaml"), self.places, store, self.clock.now())

    def stages(self, version: int) -> list[StageRun]:
        """How the stages of a build ended."""
        return self.daemon.assembly.store.stages(MODEL, version)

    def results(self, version: int) -> list[str]:
        """The stages of a build with their results."""
        return [f"{run.stage} {run.result}" for run in self.stages(version)]

    def stage(self, version: int, stage: Stage) -> StageRun:
        """How a stage of a build ended last."""
        return [run for run in self.stages(version) if run.stage == stage][-1]

    def manifest(self, version: int) -> Manifest:
        """The lineage of a version."""
        return self.daemon.assembly.registry.manifest(MODEL, version)

    @property
    def champion(self) -> int | None:
        """What serves, as far as driftd knows."""
        return self.daemon.models[MODEL].state.champion


@contextmanager
def pipeline(folder: Path) -> Iterator[Pipeline]:
    """The daemon with its HTTP, and beside it the systems that build and serve."""
    tokens, port, program = folder / "tokens", free_port(), folder / "start.py"
    tokens.write_text(f"{OPERATOR} role=operate name=ada\n")
    tokens.chmod(0o600)
    program.write_text(START)
    (folder / "test_demand.py").write_text(TESTS.format(limit=5))
    with pipelines(act=run_example) as outside:
        start = json.dumps([sys.executable, str(program), outside.url])
        tests, state = folder / "test_demand.py", folder / "state"
        config = CONFIG.format(state=state, start=start, port=port, url=outside.url, tests=tests)
        world = Pipeline.prepare(folder, config=config)
        assert isinstance(world, Pipeline)
        world.outside = outside
        headers = {"Authorization": f"Bearer {OPERATOR}"}
        with (
            build_api(world.places, port, tokens) as address,
            httpx.Client(base_url=address, headers=headers, timeout=HANG) as world.http,
        ):
            try:
                yield world
            finally:
                world.close()


def awaits_approval(world: object) -> bool:
    """Whether a challenger waits for a person."""
    assert isinstance(world, Pipeline)
    return world.daemon.models[MODEL].state.phase is Phase.AWAITING_APPROVAL


def is_decided(event: str) -> Callable[[object], bool]:
    """Whether a decision was made, by its event."""

    def is_there(world: object) -> bool:
        assert isinstance(world, Pipeline)
        return event in world.events

    return is_there


def change_data(world: Pipeline) -> None:
    """The world turns: an alarm, a build outside, tests, an approval by API, a hand-over that predictions confirm."""
    world.live(2)
    world.ask("pause", what=["retraining"], until="1d", reason="to look first")
    world.live(20, turned, until=is_decided("alarm"))
    plan = world.plan()
    assert not plan.starts
    assert "retraining is paused" in plan.reason
    assert [line.trigger for line in plan.triggers if line.has_fired] == ["performance"]
    assert not world.outside.orders
    world.ask("resume", what=["retraining"])
    world.live(20, turned, until=awaits_approval)
    assert awaits_approval(world), world.events
    asked = world.clock.now()
    assert f"version {FIRST} is approved by ada by API" in world.ask("approve", version=FIRST)
    assert world.champion == 1
    assert world.stages(FIRST)[-1].stage == "review"  # deployed once it is confirmed
    world.live(6, turned, until=is_decided("confirmed"))
    assert world.champion == FIRST
    assert world.results(FIRST) == [
        "take_data passed",
        "check_data passed",
        "train passed",
        "test passed",
        *[line for line in world.results(FIRST) if line == "judge undecided"],
        "judge passed",
        "review passed",
        "deploy passed",
        "watch passed",
    ]
    deployed = world.stage(FIRST, Stage.DEPLOY)
    assert deployed.started_at == asked
    assert deployed.ended_at > asked + HOUR / 2
    assert "version 8 serves instead of 1" in deployed.sentence
    assert "predictions of version 8 have come" in world.reasons("hand_over_confirmed")[0]
    (order,) = world.outside.orders
    assert (order["build"], order["trigger"]) == (FIRST, "performance")
    again = httpx.get(order["url"], headers={"Authorization": f"Bearer {order['token']}"})
    assert again.status_code == 410  # the token was for one build
    manifest = world.manifest(FIRST)
    assert (manifest.trigger, manifest.snapshot) == ("performance", order["snapshot"]["digest"])


def change_code(world: Pipeline) -> None:
    """The program that starts builds is edited; the user's tests, which ask for more, refuse what it builds.

    Once they are mended, a retry begins at the tests: nothing is built again.
    """
    tests, program = world.folder / "test_demand.py", world.folder / "start.py"
    tests.write_text(TESTS.format(limit=0.01))
    program.write_text(START.replace("STEPS = 1", "STEPS = 2"))
    os.utime(program, ns=(10**18, 10**18))  # it has rested, by the clock of the plan
    plan = world.plan()
    assert (plan.starts, plan.trigger) == (True, "code_changed")
    assert plan.code is not None
    assert plan.code.source_changed
    assert not plan.code.settings
    world.pass_seconds(1)
    world.pass_seconds(SETTLED_AFTER)
    assert world.reasons("build_started")[-1] == plan.reason
    assert f"version {SECOND} is refused by its tests: 1 of 1 tests failed: " in world.reasons("tests_failed")[-1]
    failed = world.stage(SECOND, Stage.TEST)
    assert (failed.result, failed.log is not None) == ("failed", True)
    assert "assert" in failed.details["output"]
    assert world.champion == FIRST
    tests.write_text(TESTS.format(limit=5))
    assert world.ask("retry", reason="the limit was a typing error") == (
        f"ada by API from 127.0.0.1 retries build {SECOND} from test: the limit was a typing error"
    )
    world.live(10, turned, until=awaits_approval)
    assert awaits_approval(world), world.events
    assert [order["build"] for order in world.outside.orders] == [FIRST, SECOND]  # nothing was started again
    assert not world.plan().starts
    world.ask("approve", version=SECOND)
    world.live(12, turned, until=lambda _: len(world.reasons("confirmed")) == 2)
    assert world.champion == SECOND
    runs = [(run.attempt, str(run.result)) for run in world.stages(SECOND) if run.stage is Stage.TEST]
    assert runs == [(1, "failed"), (2, "passed")]
    assert world.results(SECOND).count("train passed") == 1
    assert world.manifest(SECOND).trigger == "code_changed"
    code = world.plan().code
    assert code is not None
    assert not code.source_changed  # what serves was started by the program as it is


def change_parameter(world: Pipeline) -> None:
    """A saved config builds by another parameter; the system never serves the version, so it is taken back."""
    path = world.folder / "config.yaml"
    path.write_text(path.read_text().replace("max_iter: 30", "max_iter: 40"))
    plan = world.plan()
    assert (plan.starts, plan.trigger) == (True, "parameters_changed")
    assert plan.code is not None
    assert not plan.code.source_changed
    assert [(each.name, each.before, each.after) for each in plan.code.settings] == [("parameters.max_iter", 30, 40)]
    world.follows = False
    assert world.daemon.reload(world.clock.now()) is None
    world.pass_seconds(1)
    world.pass_seconds(SETTLED_AFTER)
    assert world.reasons("build_started")[-1] == plan.reason
    world.live(10, turned, until=awaits_approval)
    assert awaits_approval(world), world.events
    assert world.outside.orders[-1]["parameters"] == {"max_iter": 40}
    asked = world.clock.now()
    world.ask("approve", version=THIRD)
    world.live(6, turned, until=is_decided("hand_over_taken_back"))
    assert "nobody confirmed it within 2" in world.reasons("hand_over_taken_back")[-1]
    told = [(call["action"], call["version"], call["from"]) for call in world.calls]
    assert told == [
        ("deploy", FIRST, 1),
        ("deploy", SECOND, FIRST),
        ("deploy", THIRD, SECOND),
        ("take_back", SECOND, THIRD),
    ]
    assert (world.champion, world.daemon.assembly.registry.current(MODEL)) == (SECOND, SECOND)
    assert world.results(THIRD)[-2:] == ["review passed", "deploy failed"]
    deployed = world.stage(THIRD, Stage.DEPLOY)
    assert deployed.started_at == asked
    assert "nobody confirmed it within 2" in deployed.sentence


def edit_snapshot(copy: Path, world: Pipeline) -> str:
    """Change a byte of the rows that a version was built from."""
    digest = world.manifest(SECOND).snapshot
    path = copy / "snapshots" / MODEL / digest / "data.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)
    return f"snapshot {digest[:12]} of {MODEL}"


def edit_manifest(copy: Path, world: Pipeline) -> str:
    """Have a version say that it was built for another reason."""
    path = copy / "models" / MODEL / "versions" / str(FIRST) / "manifest.json"
    content = path.read_text()
    assert '"performance"' in content
    path.unlink()
    path.write_text(content.replace('"performance"', '"manual"'))
    return f"version {FIRST} of {MODEL}: its manifest was changed"


def edit_history(copy: Path, world: Pipeline) -> str:
    """Have somebody else have approved."""
    with sqlite3.connect(copy / "state.db") as connection:
        (number,) = connection.execute("select id from transitions where event = 'tests_failed'").fetchone()
        connection.execute("update transitions set reason = 'nothing was wrong' where id = ?", (number,))
    return f"decision {number} of {MODEL} was changed"


def test_changes_of_data_code_and_a_parameter_travel_the_whole_pipeline(tmp_path: Path) -> None:
    """Built outside, tested, approved, handed over: one confirmed, one refused and retried, one taken back; verified.

    Each change afterwards, of a snapshot, of a manifest and of a row of the history, is found and named.
    """
    with pipeline(tmp_path) as world:
        change_data(world)
        change_code(world)
        change_parameter(world)
        for version in (FIRST, SECOND, THIRD):
            for run in world.stages(version):
                assert run.ended_at >= run.started_at, run
                assert run.sentence, run
                is_job = run.stage not in (Stage.REVIEW, Stage.WATCH, Stage.DEPLOY)
                assert not is_job or (run.log is not None and (world.places.root / run.log).exists()), run
        verified = driftd(tmp_path, "verify", "--json")
        assert verified.returncode == 0, verified.stdout
        assert json.loads(verified.stdout)["snapshots"] >= 3
    for edit in (edit_snapshot, edit_manifest, edit_history):
        folder = tmp_path / edit.__name__
        shutil.copytree(world.places.root, folder / "state", symlinks=True)
        config = (tmp_path / "config.yaml").read_text().replace(f"{tmp_path / 'state'}", f"{folder / 'state'}")
        (folder / "config.yaml").write_text(config)
        named = edit(folder / "state", world)
        found = driftd(folder, "verify", "--json")
        assert found.returncode == 1
        faults = json.loads(found.stdout)["faults"]
        assert len(faults) == 1, faults
        assert named in faults[0]
