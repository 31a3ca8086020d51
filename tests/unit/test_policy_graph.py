"""The reachable graph of policy: every state that some order of findings leads to, with time in steps of a day."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

import policy_graph
from driftd.policy import RegistrySettings
from driftd.records import Build, BuildStep, Phase, RegistryState, Trigger
from policy_graph import (
    ORDERED,
    REFRESHED,
    STAGES,
    STAGES_IN_REVIEW,
    STAGES_OF_REFRESHES,
    STAGES_UNDER_TEST,
    START,
    hold_the_graph,
)
from policy_states import DAY, NOW, SETTINGS, World, canonical

WORLDS = {
    "builds": START,
    "refreshes": REFRESHED,
    "orders": ORDERED,
    "stages": STAGES,
    "stages_under_test": STAGES_UNDER_TEST,
    "stages_in_review": STAGES_IN_REVIEW,
    "stages_of_refreshes": STAGES_OF_REFRESHES,
}


@pytest.mark.parametrize("start", WORLDS.values(), ids=WORLDS)
def test_the_near_graph_holds_every_law(start: World) -> None:
    """Within a few hundred states: alarms are acted on or told of, swaps have a reason, wishes are kept."""
    assert hold_the_graph(start, 300) >= 300


@pytest.mark.slow
@pytest.mark.parametrize("states", [8_000, pytest.param(15_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize(
    "start",
    [
        START,
        REFRESHED,
        STAGES_UNDER_TEST,
        STAGES_IN_REVIEW,
        STAGES_OF_REFRESHES,
        pytest.param(ORDERED, marks=pytest.mark.soak),
    ],
    ids=["builds", "refreshes", "stages_under_test", "stages_in_review", "stages_of_refreshes", "orders"],
)
def test_the_far_graph_holds_every_law(start: World, states: int) -> None:
    """The same of the first thousands of states, breadth first: all that a dozen or so steps lead to."""
    assert hold_the_graph(start, states) >= states


@pytest.fixture(params=[frozenset(), frozenset({1})], ids=["artefacts", "logged"])
def external(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> World:
    """Where a model that another system serves begins; its earlier version has an artefact or only a log."""
    monkeypatch.setattr(policy_graph, "LOGGED", request.param)
    return replace(START, settings=replace(SETTINGS, is_external=True, can_tell=True, confirm_within=2 * DAY))


def test_the_near_graph_of_an_external_model_holds_every_law(external: World) -> None:
    """Where a swap is a hand-over too, the champion changes by a finished swap alone, and alarms are acted on."""
    assert hold_the_graph(external, 400) >= 400


@pytest.mark.soak
def test_the_far_graph_of_an_external_model_holds_every_law(external: World) -> None:
    """The same of the first three thousand states."""
    assert hold_the_graph(external, 3_000) >= 3_000


def registered(moved: Literal["tell", "restore", "follow"], *, is_held: bool = False) -> World:
    """A model whose alias is due for a look, or whose challenger has won its gate and waits for the alias."""
    place = RegistrySettings("http://ml demand@champion", look_every=2 * DAY, moved=moved)
    known = RegistryState(place.where, registered=(1, 2), alias=2, looked_at=NOW - 2 * DAY)
    settings, state = replace(SETTINGS, registry=place), replace(START.state, registry=known)
    if not is_held:
        return canonical(replace(START, state=state, settings=settings, named=2))
    build = Build(3, Trigger.PERFORMANCE, "", BuildStep.SWAP, NOW, judged_against=2)
    held = replace(state, phase=Phase.RETRAINING, build=build)
    return canonical(replace(START, state=held, settings=settings, passed=True, named=2))


REGISTERED = {
    "unknown": replace(START, settings=registered("tell").settings),
    "held": registered("tell", is_held=True),
    "told": registered("tell"),
    "restored": registered("restore"),
    "followed": registered("follow"),
    "followed_and_held": registered("follow", is_held=True),
}


@pytest.mark.parametrize("start", REGISTERED.values(), ids=REGISTERED)
def test_the_near_graph_with_a_registry_holds_every_law(start: World) -> None:
    """A promotion waits for the alias, nothing else does, and the alias comes to name what serves from every state."""
    assert hold_the_graph(start, 300) >= 300


@pytest.mark.soak
@pytest.mark.parametrize("start", REGISTERED.values(), ids=REGISTERED)
def test_the_far_graph_with_a_registry_holds_every_law(start: World) -> None:
    """The same of the first three thousand states."""
    assert hold_the_graph(start, 3_000) >= 3_000
