"""Builds that are made outside: ordered by a webhook or a program, given back or asked for, and verified."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
import skops.io
from sklearn.linear_model import LinearRegression

from driftd.registry import Registry
from driftd.store.state.request_queue import post_request
from driftd_processes import driftd
from limits import wait
from loop_world import MODEL, World
from outside_world import EXAMPLES, Order, outside_world, pipelines, run_example

pytestmark = pytest.mark.slow

HOOK = "{webhook: '%s/start?token=s3cret', deadline: %s, poll: 1s, url: 'http://127.0.0.1:{port}'}"


def want_build(world: World) -> float:
    """A person wants a build now."""
    now = world.clock.now()
    post_request(world.places.state_db, at=now, who="ada", model=MODEL, kind="retrain", arguments={"text": "try"})
    return now


def work_until(world: World, condition: Callable[[], object], what: str) -> None:
    """Let the daemon work until something is so."""
    wait(lambda: world.daemon.round(world.clock.now()) is None or condition(), what, pause=0.05)


def reasons(world: World, event: str) -> list[str]:
    """What the history says of such decisions, oldest first."""
    return [line.reason for line in reversed(world.daemon.assembly.store.history(MODEL, 100)) if line.event == event]


def test_the_shipped_script_builds_what_a_webhook_ordered(tmp_path: Path) -> None:
    """It fetches the rows with its token, trains, calls back, and its version is judged as any other."""
    ended: list[Any] = []
    with (
        pipelines(act=lambda order: ended.append(run_example(order))) as outside,
        outside_world(tmp_path, HOOK % (outside.url, "3m")) as world,
    ):
        world.daemon.catch_up(want_build(world))
        wait(lambda: ended, "the builder, whose model came back, ends")
        assert ended[0].returncode == 0, ended[0].stderr
        assert {"gate_inconclusive", "challenger_rejected", "promotion_started"} & {*world.events}
        manifest = Registry(world.places).manifest(MODEL, 2)
        assert manifest.trainer.reference.startswith("outside 127.0.0.1:")
        assert manifest.gate is not None
        (order,) = outside.orders
        page = (EXAMPLES.parents[1] / "docs" / "outside-builds.md").read_text("utf-8")
        told = re.findall(
            r"`(\w+)`", "".join(re.findall(r"(?m)^(\| `[^|]*)\|", page.partition("## The order")[2].partition("##")[0]))
        )
        assert set(told) == set(order)
        assert outside.headers[0]["Idempotency-Key"] == order["key"]
        again = httpx.get(order["url"], headers={"Authorization": f"Bearer {order['token']}"})
        assert again.status_code == 410
        stored = [path.read_text("utf-8", "replace") for path in world.places.root.rglob("*.json")]
        assert not any(order["token"] in text for text in stored)
        assert not list(world.places.root.rglob("rows.parquet"))


def test_a_model_of_another_schema_and_a_failure_leave_the_champion(tmp_path: Path) -> None:
    """Each ends the build with the sentence that says what is wrong; nothing of it serves."""

    def give_another(order: Order) -> None:
        model = LinearRegression().fit(pd.DataFrame({"a": [0.0, 1.0], "z": [1.0, 1.0]}), [0.0, 1.0])
        content = skops.io.dumps(model)
        headers = {"Authorization": f"Bearer {order['token']}", "X-Driftd-SHA256": hashlib.sha256(content).hexdigest()}
        httpx.put(f"{order['url']}/artefact/m.skops", content=content, headers=headers).raise_for_status()

    def fail(order: Order) -> None:
        assert run_example({**order, "snapshot": {"sha256": "0" * 64}}).returncode == 1

    with pipelines(act=give_another) as outside, outside_world(tmp_path, HOOK % (outside.url, "3m")) as world:
        world.daemon.catch_up(want_build(world))
        assert "the model was made for other features: it lacks b, c and has z" in reasons(world, "build_failed")[-1]
        outside.act = fail
        world.clock.advance_to(world.clock.now() + 3600.0)
        world.daemon.catch_up(want_build(world))
        assert "ValueError: the rows are not those that were ordered" in reasons(world, "build_failed")[-1]
        assert Registry(world.places).current(MODEL) == 1
        assert not list(world.places.root.rglob("artefact-*"))


def test_a_build_that_is_waited_for_outlives_the_daemon_and_is_started_once(tmp_path: Path) -> None:
    """After a restart it is waited for again, and where it came back meanwhile it is taken in."""
    with pipelines() as outside, outside_world(tmp_path, HOOK % (outside.url, "10m")) as world:
        world.daemon.round(want_build(world))
        performer = world.daemon.models[MODEL].performer
        work_until(world, lambda: performer.waiting, "the build is waited for")
        assert performer.slots.used == 0
        said = driftd(tmp_path, "status")
        assert "version 2 is being built, waits for the builder outside until" in said.stdout
        world.close()
        assert run_example(outside.orders[0]).returncode == 0
        world.reopen()
        world.daemon.catch_up(world.clock.now())
        assert len(outside.orders) == 1
        assert Registry(world.places).manifest(MODEL, 2).gate is not None


def test_a_build_is_recorded_with_what_was_ordered(tmp_path: Path) -> None:
    """A config that is saved while the builder trains changes nothing of what the version says of itself."""
    with pipelines() as outside, outside_world(tmp_path, HOOK % (outside.url, "10m")) as world:
        world.daemon.round(want_build(world))
        performer = world.daemon.models[MODEL].performer
        work_until(world, lambda: performer.waiting, "the build is waited for")
        path = tmp_path / "config.yaml"
        path.write_text(path.read_text().replace("max_iter: 30", "max_iter: 31"))
        assert world.daemon.reload(world.clock.now()) is None
        assert run_example(outside.orders[0]).returncode == 0
        world.daemon.catch_up(world.clock.now())
        manifest = Registry(world.places).manifest(MODEL, 2)
        assert outside.orders[0]["parameters"] == manifest.parameters == {"max_iter": 30}
        assert manifest.data["settings"]["parameters"] == {"max_iter": 30}


def test_a_build_that_nobody_waits_for_any_more_is_given_up(tmp_path: Path) -> None:
    """A build that came back too late has failed; its builder is told that it is not wanted, and is refused."""
    with pipelines() as outside:
        outside.answer = lambda _: (201, {"cancel_url": f"{outside.url}/cancel"})
        with outside_world(tmp_path, HOOK % (outside.url, "3s")) as world:
            world.daemon.catch_up(want_build(world))
            assert "gave nothing back by" in reasons(world, "build_failed")[-1]
            assert outside.asked == ["/cancel"]
            late = run_example(outside.orders[0])
            assert late.returncode == 1
            assert "410" in late.stderr
