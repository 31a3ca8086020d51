"""What a person may do about an alarm or a decision as its model stands now, as commands."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import msgspec

from driftd.decisions import meaning_of
from driftd.records import ModelState
from driftd.store.state.reader import StateReader
from driftd.store.state.records import StoredAlarm
from driftd.views.choices import Choices, choices_of
from driftd.views.decision import DecisionView


class ReportCommand(msgspec.Struct, frozen=True):
    """A command that can be copied, and what it does."""

    command: str
    effect: str


def report_commands(
    reader: StateReader,
    state: ModelState | None,
    view: DecisionView,
    *,
    features: Sequence[str],
    by_time: bool,
    can_train: bool,
) -> list[ReportCommand]:
    """What may be asked now; always how to see the whole decision. `features` may be silenced."""
    whole = _explain(view)
    if state is None:
        return [whole]
    choices, model = choices_of(reader, state, by_time=by_time, can_train=can_train), shlex.quote(state.model)
    found = _about_version(choices, model)
    if view.alarm is not None and any(alarm.id == view.alarm.id for alarm in choices.alarms):
        found += _about_alarm(view.alarm, model, choices, features)
    if _serves(view, state) and choices.previous is not None:
        found.append(ReportCommand(f'driftd rollback {model} --why "..."', f"version {choices.previous} serves again"))
    return [*found, whole]


def _about_version(choices: Choices, model: str) -> list[ReportCommand]:
    if choices.awaits_approval is not None:
        number = choices.awaits_approval
        return [
            ReportCommand(f"driftd approve {model} {number}", f"version {number} serves"),
            ReportCommand(f"driftd reject {model} {number}", "the champion serves on"),
        ]
    if choices.hand_over is not None:
        return [ReportCommand(f"driftd confirm {model} {choices.hand_over}", "once the other system serves it")]
    return []


def _about_alarm(alarm: StoredAlarm, model: str, choices: Choices, features: Sequence[str]) -> list[ReportCommand]:
    found = []
    if any(each.id == alarm.id and each.opens_builds for each in choices.alarms):
        found.append(
            ReportCommand(f'driftd acknowledge {model} {alarm.id} --why "..."', "nothing is done about it for a week")
        )
    moved = next((name for name, _ in alarm.leaders if name in features), None)
    if alarm.kind == "data" and moved is not None:
        named = shlex.quote(moved)
        found.append(
            ReportCommand(f'driftd silence {model} {named} --why "..."', "this feature raises no alarm for a week")
        )
    if alarm.kind != "quality":
        effect = "a new version is built and compared" if choices.can_train else "a new version is asked for"
        found.append(ReportCommand(f"driftd retrain {model}", effect))
    return found


def _serves(view: DecisionView, state: ModelState) -> bool:
    """Whether it is about the swap of the version that serves now."""
    if view.decision is None or meaning_of(view.decision.event).swap is None:
        return False
    return view.decision.figures.get("version") == state.champion


def _explain(view: DecisionView) -> ReportCommand:
    if view.decision is not None:
        return ReportCommand(f"driftd explain {view.decision.id}", "evidence, threshold, config and all that followed")
    number = 0 if view.alarm is None else view.alarm.id
    return ReportCommand(f"driftd explain --alarm {number}", "evidence, threshold and the window")
