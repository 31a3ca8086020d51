"""The reachable graph of policy: every state that some order of findings leads to, with time in steps of a day."""

from __future__ import annotations

from dataclasses import replace

import pytest

import policy_graph
from policy_graph import ORDERED, REFRESHED, START, hold_the_graph
from policy_states import DAY, SETTINGS, World


@pytest.mark.parametrize("start", [START, REFRESHED, ORDERED], ids=["builds", "refreshes", "orders"])
def test_the_near_graph_holds_every_law(start: World) -> None:
    """Within a few hundred states: alarms are acted on or told of, swaps have a reason, wishes are kept."""
    assert hold_the_graph(start, 300) >= 300


@pytest.mark.slow
@pytest.mark.parametrize("states", [8_000, pytest.param(15_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize(
    "start",
    [START, REFRESHED, pytest.param(ORDERED, marks=pytest.mark.soak)],
    ids=["builds", "refreshes", "orders"],
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
