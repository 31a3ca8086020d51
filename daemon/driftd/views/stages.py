"""The stages of a build as people see them: those that ended, the one at work, and what a review waits for."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from driftd.events import Stage
from driftd.formatting import format_time
from driftd.paths import Places
from driftd.records import Build, HandOverStage, ModelState, Phase
from driftd.store.state.reader import StateReader
from driftd.store.state.stages import STAGE_OF, StageRun, log_of

LOG_BYTES = 1 << 20  # of the log of a stage that are shown: its end


class StageStatus(StrEnum):
    """How a stage ended, or that it has not."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"
    SKIPPED = "skipped"
    RUNNING = "running"
    WAITING = "waiting"


class StageLine(msgspec.Struct, frozen=True, kw_only=True):
    """A stage of a build. Times are epoch seconds."""

    stage: Stage
    attempt: int  # counts how often the build came to it
    result: StageStatus
    sentence: str
    started_at: float | None
    ended_at: float | None
    log: str | None  # the file of its job below state_dir, as long as that is kept
    details: Mapping[str, object]  # of a check its expectations; of tests the failures, and the end of the output


def stage_lines(reader: StateReader, model: str, version: int) -> list[StageLine]:
    """The stages of a build in the order in which they ended; at the end the one that is under way."""
    lines = [_ended_line(run) for run in reader.stages(model, version)]
    state = reader.model(model)
    if state is None:
        return lines
    build, probation = state.build, state.probation
    if build is not None and build.number == version:
        lines += _under_way(reader, state, build)
    if probation is not None and state.champion == version:
        sentence = probation.sentence or "no labels yet"
        lines.append(_open(Stage.WATCH, 1, StageStatus.RUNNING, sentence, probation.since))
    return lines


def stage_log(
    reader: StateReader, places: Places, model: str, version: int, stage: str, attempt: int | None
) -> bytes | None:
    """The end of what the job of a stage printed, of its newest attempt unless one is named; None where none is kept.

    Raises OSError.
    """
    lines = stage_lines(reader, model, version)
    logs = [line.log for line in lines if line.stage == stage and line.log and attempt in (None, line.attempt)]
    return _end_of(places.root / logs[-1]) if logs else None


def _end_of(path: os.PathLike[str]) -> bytes | None:
    """The end of a plain file; a job may have put a link or a pipe in its place, which is nobody's log."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        found = os.fstat(file)
        is_plain = stat.S_ISREG(found.st_mode)
        return os.pread(file, LOG_BYTES, max(0, found.st_size - LOG_BYTES)) if is_plain else None
    finally:
        os.close(file)


def _ended_line(run: StageRun) -> StageLine:
    return StageLine(
        stage=run.stage,
        attempt=run.attempt,
        result=StageStatus(run.result),
        sentence=run.sentence,
        started_at=run.started_at,
        ended_at=run.ended_at,
        log=run.log,
        details=run.details,
    )


def _under_way(reader: StateReader, state: ModelState, build: Build) -> list[StageLine]:
    if Phase.AWAITING_APPROVAL in (state.phase, state.resumes):
        attempt = reader.count_stages(state.model, build.number, Stage.REVIEW) + 1
        return [_open(Stage.REVIEW, attempt, StageStatus.WAITING, describe_review(build), build.review_since or None)]
    if (waiting := _hand_over_line(reader, state, build)) is not None:
        return [waiting]
    found = []
    for action in reader.open_actions(state.model):
        stage = STAGE_OF.get(action.kind)
        if stage is not None and action.arguments.get("version") in (build.number, build.candidate):
            attempt = reader.count_stages(state.model, build.number, stage) + 1
            line = _open(stage, attempt, StageStatus.RUNNING, "", action.started_at)
            found.append(msgspec.structs.replace(line, log=log_of(state.model, action.id, action.kind)))
    return found


def _hand_over_line(reader: StateReader, state: ModelState, build: Build) -> StageLine | None:
    """The deployment of a version that another system is to serve; None where there is none."""
    hand_over = state.hand_over
    if hand_over is None or hand_over.stage is HandOverStage.TAKE_BACK or hand_over.version != build.candidate:
        return None
    attempt = reader.count_stages(state.model, build.number, Stage.DEPLOY) + 1
    sentence = f"handed over to the system that serves; to be confirmed until {format_time(hand_over.until)}"
    return _open(Stage.DEPLOY, attempt, StageStatus.WAITING, sentence, hand_over.since)


def _open(stage: Stage, attempt: int, result: StageStatus, sentence: str, since: float | None) -> StageLine:
    return StageLine(
        stage=stage,
        attempt=attempt,
        result=result,
        sentence=sentence,
        started_at=since,
        ended_at=None,
        log=None,
        details={},
    )


def describe_review(build: Build) -> str:
    """What the review of a challenger waits for: whose yes is there, how many lack, and until when it waits."""
    lacking = build.reviewers - len(build.approved_by)
    who = "one person" if lacking == 1 else f"{lacking} people"
    if build.approved_by:
        said = f"approved by {' and '.join(build.approved_by)}; {who} more must say yes"
    else:
        said = f"{who} must say yes"
    until = f"; it is put aside at {format_time(build.review_until)}" if build.review_until is not None else ""
    return f"{said}{until}"
