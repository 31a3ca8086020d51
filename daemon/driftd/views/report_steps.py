"""What was done, in few lines: the decisions that belong together, and the stages of a build."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from driftd.decisions import meaning_of
from driftd.formatting import format_duration
from driftd.sentences.decisions import parts_of
from driftd.store.state.records import StoredTransition
from driftd.views.stages import StageLine, StageStatus

MOST_STEPS = 8


class ReportStep(msgspec.Struct, frozen=True):
    """One of the decisions that belong together, in one line."""

    id: int
    at: float
    title: str
    sentence: str
    is_here: bool  # the one that the report is of


def report_steps(lines: Sequence[StoredTransition], here: int | None) -> tuple[list[ReportStep], int]:
    """Of decisions, oldest first, the first and the last ones with that of the id `here`; and how many are left out."""
    steps = [
        ReportStep(
            line.id,
            line.at,
            meaning_of(line.event).title,
            parts_of(line.model, line.event, line.reason, line.decision_figures).what,
            line.id == here,
        )
        for line in lines
    ]
    over = len(steps) - MOST_STEPS
    if over <= 0:
        return steps, 0
    kept = [steps[0], *steps[over + 1 :]]
    own = [step for step in steps[1 : over + 1] if step.is_here]
    return [kept[0], *own, *kept[1 + len(own) :]], over


def stages_in_words(lines: Sequence[StageLine]) -> str:
    """The stages of the build that were not skipped, each with how it ended and how long it took."""
    said = []
    for line in lines:
        if line.result is StageStatus.SKIPPED:
            continue
        took = 0.0 if line.started_at is None or line.ended_at is None else line.ended_at - line.started_at
        duration = f" in {format_duration(took)}" if took >= 1.0 else ""
        said.append(f"{str(line.stage).replace('_', ' ')} {line.result}{duration}")
    return ", ".join(said)
