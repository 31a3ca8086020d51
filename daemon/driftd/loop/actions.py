"""Performs what policy intended: each action is a child process, or a child process and one rename."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import structlog

from driftd.actions import ShadowResult, decode_result
from driftd.errors import is_shortage
from driftd.loop.outside_builds import OUTSIDE, failed_stage, next_stage
from driftd.outside.exchange import Exchange, exchange_folder
from driftd.paths import Places
from driftd.policy import Finding, ProbationResult, StepDone, StepFailed
from driftd.records import (
    ActionArguments,
    ActionKind,
    HandOverAction,
    HandOverArguments,
    ModelState,
    ShadowArguments,
    SwapArguments,
    SwapPurpose,
)
from driftd.registry import ManifestError, Registry
from driftd.registry.manifest import Manifest, content_of
from driftd.store.state.records import StoredAction, StoredVersion
from driftd.store.state.writer import StateStore
from driftd.training.fork_server import SHARED, ForkServer
from driftd.training.jobs import Job, JobLimits, JobResult, describe_failure, read_result, start_job, write_result

log = structlog.get_logger()

TASKS = {
    ActionKind.SNAPSHOT: "snapshot",
    ActionKind.CHECK_DATA: "check_data",
    ActionKind.TRAIN: "train",
    ActionKind.TEST: "model_tests",
    ActionKind.JUDGE: "judge",
    ActionKind.REFRESH: "refresh",
    ActionKind.SWAP: "verify",
    ActionKind.SHADOW: "shadow",
    ActionKind.REPORT: "report",
    ActionKind.HAND_OVER: "hand_over",
    ActionKind.REGISTRY: "registry",
}

BUILDING = (
    ActionKind.SNAPSHOT,
    ActionKind.CHECK_DATA,
    ActionKind.TRAIN,
    ActionKind.TEST,
    ActionKind.JUDGE,
    ActionKind.REFRESH,
)


MOST_ELSEWHERE = 1  # children that ask a registry of others: while it hangs, builds go on beside it


@dataclass(slots=True)
class JobSlots:
    """How many children may work at once, over all models."""

    most: int
    used: int = 0
    elsewhere: int = 0  # those that wait for a registry of others
    server: ForkServer = SHARED  # forks what follows in quick succession


@dataclass(slots=True)
class Performer:
    """The children of one model. Re-entrant: after a crash the same actions are begun again or read back."""

    places: Places
    registry: Registry
    model: str
    slots: JobSlots
    arguments_of: Callable[[StoredAction], dict[str, Any]]
    limits: JobLimits
    running: dict[int, Job] = field(default_factory=dict)
    elsewhere: set[int] = field(default_factory=set)  # the actions among them that ask a registry of others
    waiting: set[int] = field(default_factory=set)  # those that only wait for a builder outside: they take no slot
    took: dict[int, float] = field(default_factory=dict)  # seconds, of the actions that ended in this process
    shortage: OSError | None = None  # why the last job could not be started: the host takes no more

    def folder(self, action: StoredAction) -> Path:
        """The job folder of an action: one for ever, so that a finished job is read back and not run again."""
        return self.places.job(f"{self.model}-{action.id}-{action.kind}")

    def result_of(self, action: StoredAction) -> JobResult | None:
        """Begin an action, or look how it goes; None while it is not over."""
        folder, job = self.folder(action), self.running.get(action.id)
        if job is None:
            if (failed := failed_stage(folder)) is not None and read_result(folder) is None:
                write_result(folder, failed)
            if (finished := read_result(folder)) is not None:
                Exchange(exchange_folder(folder)).drop_content()
                return finished
            self._start(action)
            return None
        result = job.poll()
        if result is not None:
            self.took[action.id] = job.seconds
            self._forget(action.id)
            if job.folder != folder:
                return self.result_of(action)  # the next of several jobs begins, or this one has failed
            Exchange(exchange_folder(folder)).drop_content()
        return result

    def hold(self, action: StoredAction) -> None:
        """Kill the child of an action, if it has one; the action is begun again when it is no longer held."""
        job = self.running.get(action.id)
        if job is not None:
            job.kill()
            self._forget(action.id)
            log.info("action_held", model=self.model, action=action.id, kind=action.kind)

    def close(self) -> None:
        """Kill every child; the next start begins their actions again."""
        for action, job in list(self.running.items()):
            job.kill()
            self._forget(action)

    def _start(self, action: StoredAction) -> None:
        is_elsewhere = action.kind is ActionKind.REGISTRY
        folder, task = self.folder(action), TASKS[action.kind]
        is_full = self.slots.used >= self.slots.most or (is_elsewhere and self.slots.elsewhere >= MOST_ELSEWHERE)
        if is_full and action.kind is not ActionKind.TRAIN:
            return
        arguments, limits, waits = self.arguments_of(action), self.limits, None
        if (outside := arguments.pop(OUTSIDE, None)) is not None:
            stage = next_stage(folder, arguments, outside)
            folder, task, arguments, waits = stage.folder, stage.task, dict(stage.arguments), stage.waits_seconds
        if is_full and waits is None:
            return
        limits = replace(limits, wall_seconds=_wall_seconds(arguments, limits, waits, is_elsewhere=is_elsewhere))
        try:
            job = start_job(folder, task, arguments, limits, self.slots.server if waits is None else None)
        except OSError as error:
            if not is_shortage(error):
                raise
            self.shortage = error
            return
        self.shortage, self.running[action.id] = None, job
        if waits is not None:
            self.waiting.add(action.id)
        else:
            self.slots.used += 1
        if is_elsewhere:
            self.elsewhere.add(action.id)
            self.slots.elsewhere += 1
        log.info("action_started", model=self.model, action=action.id, kind=action.kind)

    def _forget(self, action: int) -> None:
        del self.running[action]
        if action in self.waiting:  # a build outside
            self.waiting.remove(action)
            return
        self.slots.used -= 1
        if action in self.elsewhere:
            self.elsewhere.remove(action)
            self.slots.elsewhere -= 1


def _wall_seconds(
    arguments: Mapping[str, object], limits: JobLimits, waits: float | None, *, is_elsewhere: bool
) -> float:
    """How long a job may take: a wait for others and a stage with a time of its own by theirs."""
    if waits is not None:
        return waits
    own = arguments.get("timeout" if is_elsewhere else "wall_seconds")  # a server that hangs keeps no slot for longer
    return float(own) if isinstance(own, int | float) else limits.wall_seconds


def finding_of(action: StoredAction, result: JobResult, registry: Registry) -> Finding:
    """What a finished child means to policy. For a swap this is where the link is replaced and read back."""
    arguments = action.typed_arguments
    if not result.ok:
        return StepFailed(arguments, describe_failure(result))
    try:
        value = decode_result(action.kind, result.value)
    except msgspec.ValidationError as error:
        return StepFailed(arguments, f"what the job gave back cannot be read: {error}")
    match arguments, value:
        case ShadowArguments(new=version), ShadowResult(decision, sentence, labels):
            return ProbationResult(decision, sentence, labels, version)
        case SwapArguments(version=version), _:
            registry.point(action.model, version)
            served = registry.current(action.model)
            if served != version:
                return StepFailed(arguments, f"the link `current` names {served} after it was set to {version}")
    return StepDone(arguments, value)


def outcome_of(result: JobResult, finding: Finding) -> dict[str, object]:
    """What the store keeps of a child that has ended: its value and its memory, or why it failed."""
    if not isinstance(finding, StepDone | ProbationResult):
        return {"error": getattr(finding, "error", result.error)}
    peak = {} if result.peak_bytes is None else {"peak_bytes": result.peak_bytes}
    return {**result.value, **peak}


def chain_version(action: StoredAction, registry: Registry, store: StateStore, now: float) -> None:
    """Bind the lineage of the version that a job made or judged into the chain, as it is now."""
    version = getattr(action.typed_arguments, "version", None)
    if action.kind not in BUILDING or version is None:
        return
    with contextlib.suppress(ManifestError):  # the job failed, and made none
        store.save_version(version_record(registry.manifest(action.model, version)), now)


def version_record(manifest: Manifest) -> StoredVersion:
    """What the store tells of a version."""
    gate, rows = manifest.gate or {}, manifest.data.get("rows")
    return StoredVersion(
        model=manifest.model,
        version=manifest.version,
        created_at=manifest.created_at,
        parent=manifest.parent,
        trigger=manifest.trigger,
        reason=manifest.reason,
        trainer=manifest.trainer.reference,
        fingerprint=manifest.trainer.fingerprint,
        snapshot=manifest.snapshot,
        artefact=manifest.artefact,
        seed=manifest.seed,
        rows=None if rows is None else int(rows),
        decision=gate.get("decision"),
        metric=gate.get("metric"),
        loss=manifest.metrics.get("loss"),
        gain=gate.get("gain"),
        gain_lower=gate.get("lower"),
        gain_upper=gate.get("upper"),
        content=content_of(manifest),
    )


def is_asked_hand_over(state: ModelState, arguments: ActionArguments) -> bool:
    """Whether an action hands over what an operator asked for, or takes a hand-over back."""
    if not isinstance(arguments, HandOverArguments):
        return False
    asked = state.hand_over is not None and state.hand_over.purpose is not SwapPurpose.PROMOTE
    return asked or arguments.action is not HandOverAction.DEPLOY
