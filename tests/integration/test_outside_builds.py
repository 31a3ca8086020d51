"""Builds that are made outside: ordered by a webhook or a program, given back or asked for, and verified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from driftd.registry import Registry
from driftd.store.state.writer import post_request
from loop_world import MODEL, World
from outside_world import outside_world, pipelines, run_example

pytestmark = pytest.mark.slow

HOOK = "{webhook: %s/start?token=s3cret, deadline: %s, poll: 1s, url: 'http://127.0.0.1:{port}'}"


def ask_for_build(world: World) -> None:
    """A person wants a build now; the daemon works until nothing is left to do."""
    now = world.clock.now()
    post_request(world.places.state_db, at=now, who="ada", model=MODEL, kind="retrain", arguments={"text": "try"})
    world.daemon.catch_up(now)


def last_reason(world: World, event: str) -> str:
    """What the history says of the newest such decision."""
    found = [line.reason for line in world.daemon.assembly.store.history(MODEL, 100) if line.event == event]
    return found[0] if found else ""


def test_the_shipped_script_builds_what_a_webhook_ordered(tmp_path: Path) -> None:
    """It fetches the rows with its token, trains, calls back, and its version is judged as any other."""
    ended: list[Any] = []
    with (
        pipelines(act=lambda order: ended.append(run_example(order))) as outside,
        outside_world(tmp_path, HOOK % (outside.url, "3m")) as world,
    ):
        world.live(3)
        ask_for_build(world)
        assert ended[0].returncode == 0, ended[0].stderr
        assert "gate_inconclusive" in world.events or "challenger_rejected" in world.events
        manifest = Registry(world.places).manifest(MODEL, 2)
        assert manifest.trainer.reference.startswith("outside 127.0.0.1:")
        assert manifest.gate is not None
        (order,) = outside.orders
        assert outside.headers[0]["Idempotency-Key"] == order["key"]
        again = httpx.get(order["url"], headers={"Authorization": f"Bearer {order['token']}"})
        assert again.status_code == 410
        assert order["token"] not in "".join(
            path.read_text("utf-8", "replace") for path in world.places.root.rglob("*.json")
        )
        assert "s3cret" not in manifest.trainer.reference
