"""The figures of a decision and the arguments of an action: typed inside, the same JSON as ever in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from driftd.actions import DecisionFigures, JudgeArguments, SwapArguments, decode_arguments, decode_result
from driftd.events import GateDecision, RollbackCause, SwapPurpose, Trigger
from driftd.loop.actions import finding_of
from driftd.paths import Places
from driftd.policy import StepFailed
from driftd.records import ActionKind
from driftd.registry import Registry
from driftd.store.state.records import StoredAction
from driftd.training.jobs import JobResult

STEP = {"version": 2, "snapshot": "ab", "change_at": 5.0, "trigger": "harm", "reason": "x", "parent": 1}
# As driftd wrote them before the figures had types.
STORED: list[dict[str, Any]] = [
    {"alarm": 3, "kind": "performance", "evidence": 1684.0, "threshold": 913.0},
    {"version": 2, "trigger": "performance", "labels": 800, "change_at": 1.5e9},
    {"version": 2, "step": "train", "failures": 1},
    {"version": 2, "decision": "reject", "gain": -0.1, "lower": -0.2, "upper": 0.0, "rows": 500, "blocks": 12},
    {"version": 2, "from": 1},
    {"version": 1, "who": "ada@host"},
    {"version": 2, "previous": 1, "labels": 300},
    {"asks": "checks paused (x)"},
    {"version": 2, "from": 1, "backup": 1.5e9},
    {"trigger": "manual"},
    {"version": 2, "champion": 1},
]


@pytest.mark.parametrize("stored", STORED)
def test_stored_figures_are_read_and_written_as_they_were(stored: dict[str, Any]) -> None:
    """Every figure of an older line has its typed field, and is written under its old name."""
    assert DecisionFigures.from_dict(stored).to_dict() == stored


@pytest.mark.parametrize(
    ("stored", "cause"),
    [
        ({"version": 1, "who": "ada"}, RollbackCause.PERSON),
        ({"version": 2, "previous": 1, "labels": 300}, RollbackCause.PROBATION),
        ({"version": 1, "who": "ada", "cause": "person"}, RollbackCause.PERSON),
        ({"version": 2, "previous": 1, "cause": "probation"}, RollbackCause.PROBATION),
    ],
)
def test_the_cause_of_a_rollback_is_known_of_old_lines_too(stored: dict[str, Any], cause: RollbackCause) -> None:
    """A line without a cause is a person's where it names one, and the probation's where it does not."""
    assert DecisionFigures.from_dict(stored).rollback_cause is cause


def test_a_figure_of_another_driftd_hides_no_other() -> None:
    """What cannot be read counts as absent; the figures beside it are read."""
    figures = DecisionFigures.from_dict({"version": 2, "decision": "abstain", "gain": "much", "colour": "red"})
    assert figures == DecisionFigures(version=2)


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        (ActionKind.SNAPSHOT, {"version": 2, "change_at": None, "for_refresh": False}),
        (ActionKind.TRAIN, STEP),
        (ActionKind.JUDGE, {"version": 2, "champion": 1, "trigger": "schedule"}),
        (ActionKind.SWAP, {"version": 2, "purpose": "promote", "from": 1}),
        (ActionKind.SHADOW, {"new": 2, "old": 1, "since": 5.0}),
        (ActionKind.REPORT, {"alarm": 7, "sentence": "x"}),
    ],
)
def test_stored_arguments_are_read_and_written_as_they_were(kind: ActionKind, stored: dict[str, Any]) -> None:
    """The arguments of every kind of action keep their names in the store; what came later is null there."""
    arguments = decode_arguments(kind, stored)
    assert arguments.kind is kind
    written = msgspec.to_builtins(arguments)
    assert {name: written[name] for name in stored} == stored
    assert all(written[name] is None for name in written.keys() - stored.keys())


def test_arguments_and_results_have_their_types() -> None:
    """What was text in the store is a member of its enum inside."""
    swap = decode_arguments(ActionKind.SWAP, {"version": 2, "purpose": "pin", "from": 1})
    assert swap == SwapArguments(2, SwapPurpose.PIN, 1)
    judge = decode_arguments(ActionKind.JUDGE, {"version": 2, "champion": 1, "trigger": "harm"})
    assert judge == JudgeArguments(version=2, champion=1, trigger=Trigger.HARM)
    value = {"decision": "promote", "sentence": "x", "gain": None, "rows": 9, "guards": [], "metric": "mae"}
    result = decode_result(ActionKind.JUDGE, value)
    assert result.decision is GateDecision.PROMOTE  # type: ignore[union-attr]


def test_a_result_without_its_figures_is_refused() -> None:
    """A job that gives back something else is not taken for one that ended well; the message names the figure."""
    with pytest.raises(msgspec.ValidationError, match="digest"):
        decode_result(ActionKind.SNAPSHOT, {"rows": 3})


def test_a_job_that_gives_back_something_else_has_failed(tmp_path: Path) -> None:
    """Policy never sees a result without its figures: the step fails, and its sentence names what is missing."""
    action = StoredAction(1, 1, "demand", ActionKind.TRAIN, STEP, "started", 1.0, 1.0, None, None)
    found = finding_of(action, JobResult(ok=True, value={"version": 2}), Registry(Places(tmp_path)))
    assert isinstance(found, StepFailed)
    assert "what the job gave back cannot be read" in found.error
    assert "rows" in found.error
