"""What a state from a backup becomes beside versions and a link that are newer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from driftd.events import Event
from driftd.policy import reconcile_restored
from driftd.records import Build, BuildRequest, BuildStep, ModelState, Phase, Probation, Transition, Trigger

NOW, MADE = 2000.0, 1000.0
STEADY = ModelState("demand", Phase.STEADY, champion=6, previous=5)


def build(number: int, step: BuildStep) -> Build:
    return Build(number, Trigger.PERFORMANCE, "mae rose", step, 900.0)


def after(
    state: ModelState, served: int | None, versions: frozenset[int] = frozenset(range(1, 8)), asked: str | None = None
) -> Transition:
    return reconcile_restored(state, served, versions, asked, made_at=MADE, now=NOW)


def test_what_serves_as_the_backup_says_stays() -> None:
    """Where link and backup agree nothing changes, and the versions that the backup did not know are named."""
    transition = after(STEADY, 6)
    assert transition.state == STEADY
    assert transition.event == Event.RESTORED
    assert "does not know the versions 7" in transition.reason


def test_a_later_version_goes_on_serving_and_is_watched() -> None:
    """A version that won its gate after the backup is not taken from service; it is watched beside the one before."""
    wanting = replace(STEADY, want=BuildRequest(Trigger.PERFORMANCE, "mae rose", 900.0))
    state = after(wanting, 7).state
    assert (state.champion, state.previous, state.phase) == (7, 6, Phase.PROBATION)
    assert state.probation == Probation(6, NOW)
    assert state.want is None


def test_an_earlier_version_was_gone_back_to_and_stays() -> None:
    """A rollback after the backup is not undone, and what was under watch then is not any more."""
    watched = replace(STEADY, phase=Phase.PROBATION, probation=Probation(5, 900.0))
    state = after(watched, 5).state
    assert (state.champion, state.phase, state.probation) == (5, Phase.STEADY, None)


@pytest.mark.parametrize("step", list(BuildStep))
@pytest.mark.parametrize("phase", [Phase.RETRAINING, Phase.AWAITING_APPROVAL])
def test_the_build_that_serves_is_over(step: BuildStep, phase: Phase) -> None:
    """A build whose version serves has ended, at whatever step the backup saw it."""
    state = after(replace(STEADY, phase=phase, build=build(7, step)), 7).state
    assert (state.champion, state.phase, state.build) == (7, Phase.PROBATION, None)


def test_a_build_under_way_goes_on() -> None:
    """A build whose version does not serve is taken up again at its step."""
    building = replace(STEADY, phase=Phase.RETRAINING, build=build(7, BuildStep.TRAIN))
    assert after(building, 6).state == building


def test_a_swap_that_was_under_way_is_not_begun_again() -> None:
    """The swap of a backup that did not last is over: nobody knows any more why."""
    swapping = replace(STEADY, phase=Phase.RETRAINING, build=build(7, BuildStep.SWAP))
    transition = after(swapping, 6)
    assert (transition.state.champion, transition.state.phase, transition.state.build) == (6, Phase.STEADY, None)
    assert "build 7 ended" in transition.reason


def test_a_paused_model_stays_paused() -> None:
    """The override's pause holds; the watch over the later version begins when it ends."""
    state = after(replace(STEADY, phase=Phase.PAUSED, resumes=Phase.STEADY), 7).state
    assert (state.phase, state.resumes, state.champion) == (Phase.PAUSED, Phase.PROBATION, 7)


def test_a_link_that_cannot_be_served_leaves_the_champion() -> None:
    """Where what the link names cannot be loaded, the backup's champion serves."""
    assert after(STEADY, None).state.champion == 6


def test_nothing_that_the_config_asked_is_done_twice() -> None:
    """The retrain text of the override counts as begun."""
    transition = after(STEADY, 6, asked="after the fix")
    assert transition.state.asked == ("after the fix",)
    assert "after the fix" in transition.reason
