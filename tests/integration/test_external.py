"""Models that are served elsewhere: watched by their logs, built, handed over, confirmed or taken back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftd.clock import VirtualClock
from driftd.config.load import load
from driftd.paths import Places
from driftd.records import Phase
from driftd.serving.client import Driftd
from driftd.sources.open import config_for_children
from driftd.training.bootstrap import make_logged_version
from driftd.training.tasks import quality
from external_world import COLUMNS, CONFIG, OWN_VERSION, ExternalWorld, logged_hours
from loop_world import HOUR, MODEL, ROWS, START

pytestmark = pytest.mark.slow


def concept(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """The meaning of a feature turns round; the features themselves do not change."""
    return frame, truth - 5 * frame["a"].to_numpy()


def begun_hand_over(world: ExternalWorld, *, before: int = 2) -> None:
    """Drift, a build and its judgement, up to the decision to hand over."""
    world.live(before)
    world.live(20, concept, until=lambda world: "swap_started" in world.events)


def test_drift_is_found_and_a_version_is_handed_over_and_confirmed_by_its_predictions(tmp_path: Path) -> None:
    """The challenger is judged against what the system logged; the command is told, and its predictions confirm it."""
    world = ExternalWorld.prepare(tmp_path)
    world.live(3)
    assert world.events == ["adopted"]
    world.live(30, concept, until=lambda world: "confirmed" in world.events)
    events = [event for event in world.events if event != "gate_inconclusive"]
    expected = ["adopted", "alarm", "build_started", "swap_started", "handed_over", "hand_over_confirmed", "promoted"]
    assert events == [*expected, "confirmed"]
    number = OWN_VERSION + 1  # no number of the system's is taken for one of driftd's
    (call,) = world.calls
    assert (call["action"], call["version"], call["from"], call["model"]) == ("deploy", number, 1, MODEL)
    registry = world.daemon.assembly.registry
    assert call["artefact"] == str(registry.file(MODEL, number, "model.skops"))
    assert call["sha256"] == registry.manifest(MODEL, number).files["model.skops"]
    assert "won its gate" in call["reason"]
    assert "compared with what version 1 logged" in world.reasons("swap_started")[0]
    assert call["sha256"] in world.reasons("handed_over")[0]
    assert "predictions of version 8 have come" in world.reasons("hand_over_confirmed")[0]
    assert "evidence against its own reference alone" in world.reasons("confirmed")[0]
    state = world.daemon.models[MODEL].state
    assert (state.champion, state.previous, state.hand_over, registry.current(MODEL)) == (number, 1, None, number)
    (alarm,) = [alarm for alarm in world.daemon.assembly.store.alarms(MODEL) if alarm.kind == "performance"]
    assert alarm.report is not None
    losses = [check.figures.get("loss") for check in world.daemon.assembly.store.checks(MODEL, 3, "labels")]
    assert max(loss for loss in losses if loss is not None) < 1.0
    refused = world.request("rollback", text="to what we had")
    assert "driftd confirm demand 1" in refused
    assert state.champion == world.daemon.models[MODEL].state.champion
    assert "version 1 is confirmed" in world.request("confirm", version=1)
    assert world.daemon.models[MODEL].state.champion == 1
    assert world.events[-1] == "rolled_back"


@pytest.mark.soak
def test_a_hand_over_that_nobody_confirms_is_taken_back(tmp_path: Path) -> None:
    """The system does not follow: in time the champion stays, the command is told so, and the next build waits."""
    world = ExternalWorld.prepare(tmp_path, confirm_within="2h")
    world.follows = False
    begun_hand_over(world)
    world.reopen()  # a crash while the command may run: it is told again, or read back, and never lost
    world.live(8, concept, until=lambda world: "hand_over_taken_back" in world.events)
    assert "nobody confirmed it within 2" in world.reasons("hand_over_taken_back")[0]
    state = world.daemon.models[MODEL].state
    assert (state.champion, state.phase, state.build, state.barred) == (1, Phase.STEADY, None, (OWN_VERSION + 1,))
    world.daemon.catch_up(world.clock.now())
    assert [(call["action"], call["version"], call["from"]) for call in world.calls[-2:]] == [
        ("deploy", 8, 1),
        ("take_back", 1, 8),
    ]
    assert world.calls[-1]["artefact"] is None
    assert world.daemon.models[MODEL].state.hand_over is None
    assert "already" in world.request("confirm", version=1)
    assert "version 8 is confirmed" in world.request("confirm", version=8)  # it serves after all
    assert world.daemon.models[MODEL].state.champion == 8


@pytest.mark.soak
def test_a_command_that_fails_or_hangs_is_told_and_tried_again(tmp_path: Path) -> None:
    """Checks go on while the command fails; once it does its work, the version awaits its confirmation."""
    world = ExternalWorld.prepare(tmp_path, confirm_within="6h")
    world.order("fail")
    world.follows = False
    begun_hand_over(world)
    world.live(1, concept)
    (failed,) = world.reasons("hand_over_failed")[:1]
    assert "exit code 1: the cluster is away" in failed
    assert "next try at" in failed
    checked = len(world.daemon.assembly.store.checks(MODEL, 1000, "window"))
    world.order("")
    world.live(2, concept, until=lambda world: "handed_over" in world.events)
    assert len(world.daemon.assembly.store.checks(MODEL, 1000, "window")) > checked
    assert "rejects it" in world.request("reject", version=8, text="not now")
    assert world.events[-1] == "hand_over_taken_back"


@pytest.mark.soak
def test_without_a_trainer_a_new_version_is_asked_for(tmp_path: Path) -> None:
    """An alarm builds nothing: the command is told `ask`, once, and a person is told while nothing follows."""
    world = ExternalWorld.prepare(tmp_path, trainer="null")
    world.live(2)
    world.live(8, concept)
    assert "build_started" not in world.events
    assert [call["action"] for call in world.calls] == ["ask"]
    assert world.calls[0]["version"] is None
    assert len(world.reasons("version_wanted")) == 1
    state = world.daemon.models[MODEL].state
    assert "no trainer is configured" in (state.waits or "")
    world.live(22, concept)
    assert "alarm_unattended" in world.events


@pytest.mark.soak
def test_rows_without_a_version_count_for_the_version_before_until_the_confirmation(tmp_path: Path) -> None:
    """A system that logs no version is confirmed by a person; what came before that is none of the new version's."""
    world = ExternalWorld.prepare(tmp_path, has_command=False)
    world.names_versions = False
    begun_hand_over(world)
    world.live(1, concept)
    assert "people do" in world.reasons("handed_over")[0]
    assert "confirmed" in world.request("confirm", version=8, text="rolled out")
    state = world.daemon.models[MODEL].state
    assert (state.champion, state.phase) == (8, Phase.PROBATION)
    world.served = {"artefact": str(world.daemon.assembly.registry.file(MODEL, 8, "model.skops"))}
    world.live(4, concept)
    assert world.events[-1] == "confirmed"
    assert not world.daemon.assembly.store.standing_alarms(MODEL, 8)


def test_the_quality_of_a_log_without_labels_is_shown_beside_nothing(tmp_path: Path) -> None:
    """The reference has no losses to compare with: what labels came is measured, and the usual value is not known."""
    places, path = Places(tmp_path / "state"), tmp_path / "config.yaml"
    path.write_text(CONFIG.format(state=places.root, trainer="null", deploy="deploy: {confirm_within: 6h}"))
    model, now = load(path).models[MODEL], START + 3 * HOUR
    columns = replace(COLUMNS, label_time=None)
    rows = logged_hours(3, labelled=False)
    make_logged_version(MODEL, model, rows, columns, places, source="log.parquet", now=now)
    world = ExternalWorld(tmp_path, VirtualClock(now), places, ExternalWorld.open(path, places), 3)
    with Driftd(places.root, MODEL) as application:
        world.feed(application)
    window = int(now // HOUR)
    asked = quality.Arguments(
        model=MODEL,
        model_config=config_for_children(model),
        state_dir=str(places.root),
        first=window,
        last=window,
        version=1,
        known_by=now + 2 * HOUR,
    )
    found = quality.run(asked)
    world.close()
    (whole,) = [line for line in found["segments"] if not line["segment"]]
    assert (found["labels"], whole["labels"], whole["usual"]) == (ROWS, ROWS, None)
    assert whole["value"] > 0
