"""Labels that come later than anybody said: their delay is learned, and until then nothing is silently switched off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from driftd.observe import alert_rule, families, model_families
from driftd.serving.client import Driftd
from driftd.store.state.records import StoredCheck
from driftd.views.conditions import pressings
from loop_world import CONFIG, HOUR, MODEL, World, hour

pytestmark = pytest.mark.slow

WATCHED = CONFIG.replace("retrain: {{on: [performance], cooldown: 1h}}", "retrain: {{on: []}}")


def live(world: World, hours: int, delay: float) -> None:
    """Let hours pass; a label is handed in `delay` hours after its prediction, not sooner."""
    with Driftd(world.places.root, MODEL) as application:
        for _ in range(hours):
            frame, _ = hour(world.hours)
            at = world.start + world.hours * HOUR + np.arange(len(frame)) * HOUR / len(frame)
            application.predict(frame, ids=[f"{world.hours}-{row}" for row in range(len(frame))], at=at)
            world.hours += 1
            world.clock.advance_to(world.start + world.hours * HOUR + 60)
            due = int(world.hours - 1 - delay)
            if due >= 120:
                _, truth = hour(due)
                ids = [f"{due}-{row}" for row in range(len(truth))]
                application.feedback(
                    ids, truth, at=world.start + due * HOUR + np.arange(len(truth)) * 18 + delay * HOUR
                )
            world.daemon.catch_up(world.clock.now())


def label_checks(world: World) -> list[StoredCheck]:
    """What was said of the labels of each window, oldest first."""
    return list(reversed(world.daemon.assembly.store.checks(MODEL, 1000, "labels")))


def shown(world: World, family: families.Family) -> float:
    """A metric of the model."""
    return float(world.daemon.assembly.metrics.board.value(family, MODEL) or 0.0)


def pressing(world: World) -> list[str]:
    """What the page says that presses."""
    found = pressings(world.daemon.assembly.metrics.board, [MODEL], world.clock.now())
    return [item.alert for item in found.of.get(MODEL, ())]


def test_without_label_times_the_delay_is_learned_from_live_labels(tmp_path: Path) -> None:
    """Labels a day late, of which the training file said nothing: no window is given up, all are evaluated."""
    world = World.begin(tmp_path, config=WATCHED, label_times=False)
    live(world, 20, 24)
    assert label_checks(world) == []
    assert shown(world, model_families.LABEL_DELAY_KNOWN) == 0
    assert shown(world, model_families.COHORTS_NOT_EVALUATED) == 0
    live(world, 10, 24)
    assert [check.figures["coverage"] for check in label_checks(world)[:2]] == [1.0, 1.0]
    assert all("loss" in check.figures for check in label_checks(world))
    assert shown(world, model_families.LABEL_DELAY_KNOWN) == 1
    assert shown(world, model_families.LABEL_WAIT) == pytest.approx(24 * HOUR, rel=0.05)
    world.close()


def test_windows_given_up_too_early_are_told_and_then_learned_from(tmp_path: Path) -> None:
    """Labels come thirty hours late instead of ten minutes: that presses, until their delay is learned."""
    world = World.begin(tmp_path, config=WATCHED)
    live(world, 12, 30)
    given_up = label_checks(world)
    assert len(given_up) >= alert_rule.NOT_EVALUATED
    assert all("given_up" in check.figures for check in given_up)
    assert shown(world, model_families.COHORTS_NOT_EVALUATED) == 0  # no label came yet: that is another alert
    live(world, 22, 30)
    assert shown(world, model_families.COHORTS_NOT_EVALUATED) >= alert_rule.NOT_EVALUATED
    assert "DriftdLabelsNotEvaluated" in pressing(world)
    live(world, 64, 30)
    assert "loss" in label_checks(world)[-1].figures
    assert shown(world, model_families.LABEL_WAIT) == pytest.approx(30 * HOUR, rel=0.05)
    assert shown(world, model_families.COHORTS_NOT_EVALUATED) == 0
    assert "DriftdLabelsNotEvaluated" not in pressing(world)
    world.close()
