"""Which models a round steps, and which sources stay open."""

from __future__ import annotations

from driftd.loop.step_schedule import LONGEST_REST, SHORT_REST, OpenSources, StepSchedule, rest_of
from driftd.store.descriptors import most_open_sources

MODELS = ["a", "b", "c"]


def test_only_models_that_are_due_are_stepped() -> None:
    """A model rests until its time, unless somebody asks something of it or the clock was set back."""
    steps = StepSchedule(has_messages=lambda: False)
    assert steps.due(MODELS, (), 100.0) == MODELS
    for name, next_at in (("a", 160.0), ("b", 101.0), ("c", 130.0)):
        steps.save_step(name, 100.0, next_at)
    assert steps.due(MODELS, (), 101.0) == ["b"]
    assert steps.due(MODELS, {"c", "unknown"}, 101.0) == ["b", "c"]
    assert steps.due(MODELS, (), 100.0) == MODELS
    assert steps.due(MODELS, (), 50.0) == MODELS
    steps.hasten()
    assert steps.due(MODELS, (), 101.0) == MODELS


def test_the_model_that_waits_longest_comes_first() -> None:
    """A round that was cut short goes on with those that it left; a new model comes before all."""
    steps = StepSchedule(has_messages=lambda: False)
    for name in MODELS:
        steps.save_step(name, 1.0, 1.0)
    steps.save_step("a", 2.0, 2.0)
    assert steps.due([*MODELS, "new"], (), 3.0) == ["new", "b", "c", "a"]
    steps.forget("c")
    assert steps.due(MODELS, (), 3.0) == ["c", "b", "a"]
    assert not steps.were_stepped(MODELS)


def test_a_round_ends_for_a_message_and_after_its_time() -> None:
    """On a virtual clock a round has all the time; in the daemon it ends when somebody waits, or after its limit."""
    waiting: list[str] = []
    steps = StepSchedule(has_messages=lambda: bool(waiting))
    waiting.append("a reload")
    steps.begin_round()
    assert steps.has_time()
    steps.limit = 1000.0
    steps.begin_round()
    assert not steps.has_time()
    waiting.clear()
    assert steps.has_time()
    steps.limit = -1.0
    steps.begin_round()
    assert not steps.has_time()


def test_models_rest_by_their_windows_and_not_all_alike() -> None:
    """A model with short windows rests shortly, one with windows of rows too; a fleet is spread over time."""
    rests = [rest_of(f"model_{number}", 3600.0) for number in range(200)]
    assert all(LONGEST_REST / 2 <= rest <= LONGEST_REST for rest in rests)
    assert len({round(rest) for rest in rests}) > 20
    assert rest_of("a", 60.0) <= 3.0
    assert rest_of("a", None) <= SHORT_REST


def test_so_many_sources_stay_open() -> None:
    """The source that was used longest ago is closed for one more than the bound."""
    sources = OpenSources(others=0)
    most = most_open_sources()
    assert [idle for number in range(most) for idle in sources.hold(str(number))] == []
    assert sources.hold("0") == []
    assert sources.hold("another") == ["1"]
