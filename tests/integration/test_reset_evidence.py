"""Evidence that cannot be read, or that is poisoned: nothing is checked by it, and a person has it begin anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from structlog.testing import capture_logs

from driftd.events import Event
from driftd.observe import model_families
from driftd.store.state.request_queue import post_request
from driftd.views.status import model_status
from driftd_detectors.assessment import EvidenceKind
from loop_world import MODEL, World

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    begun = World.begin(tmp_path_factory.mktemp("reset"), hours=60)
    yield begun
    begun.close()


def moved(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """Test traffic: a feature that the target does not depend on is elsewhere."""
    return frame.assign(b=frame["b"] + 2.0), truth


def ask(world: World, reason: str) -> str:
    """Ask for a reset, and what the daemon answers in its next round."""
    at = world.clock.now()
    number = post_request(
        world.places.state_db, at=at, who="ada@host", model=MODEL, kind="reset_evidence", arguments={"text": reason}
    )
    world.daemon.catch_up(at)
    request = world.daemon.assembly.store.request(number)
    assert request is not None
    return request.outcome or ""


def watched(world: World) -> float | None:
    return world.daemon.assembly.metrics.board.value(model_families.WATCHED, MODEL)


def test_evidence_that_cannot_be_read_is_told_and_begins_anew_only_when_asked(world: World) -> None:
    """Zeros in its place: nothing is checked, the obstacle says what to do, and a reset with a reason mends it."""
    world.live(2)
    world.close()
    with sqlite3.connect(world.places.state_db) as connection:
        connection.execute("update monitors set monitor = zeroblob(40)")
    connection.close()
    world.reopen()
    with capture_logs() as logs:
        world.live(1)
    assert [line["event"] for line in logs].count("evidence_unreadable") == 1
    obstacle = world.daemon.unwatched[MODEL]
    assert f"driftd reset-evidence {MODEL}" in obstacle
    assert watched(world) == 0
    assert obstacle in world.daemon.status_line()
    checked = len(world.daemon.assembly.store.checks(MODEL, 100, "window"))
    assert "needs a reason" in ask(world, " ")
    answer = ask(world, "a block of zeros")
    assert answer.startswith("ada@host resets the evidence against version 1: a block of zeros")
    world.daemon.catch_up(world.clock.now())
    assert world.daemon.unwatched == {}
    assert watched(world) == 1
    assert len(world.daemon.assembly.store.checks(MODEL, 100, "window")) == checked + 1  # that of the hour meanwhile
    line = world.daemon.assembly.store.history(MODEL, 1)[0]
    assert (line.event, line.actor, line.decision_figures.version) == (Event.EVIDENCE_RESET, "ada@host", 1)


def test_poisoned_evidence_is_put_aside_with_its_alarm(world: World) -> None:
    """An alarm of test traffic ends, nothing of what it gathered is shown, and the next clean windows say ok."""
    world.live(12, moved, until=lambda item: "alarm" in item.events)
    store = world.daemon.assembly.store
    assert store.standing_alarms(MODEL, 1)
    ask(world, "two days of test traffic")
    assert not store.standing_alarms(MODEL, 1)
    assert world.daemon.models[MODEL].state.open_alarms == ()
    status = model_status(store, world.daemon.models[MODEL].state)
    assert (status.worst, status.evidence, status.standing_alarms) == ("-", {}, [])
    board = world.daemon.assembly.metrics.board
    assert board.value(model_families.EVIDENCE, MODEL, EvidenceKind.DATA) == 0
    world.close()
    world.reopen()
    world.daemon.catch_up(world.clock.now())  # a restart brings nothing of it back
    board = world.daemon.assembly.metrics.board
    assert board.value(model_families.EVIDENCE, MODEL, EvidenceKind.DATA) == 0
    world.live(4)
    newest = world.daemon.assembly.store.checks(MODEL, 1, "window")[0]
    assert newest.evidence["data"].verdict in ("ok", "suspected")
