"""What the daemon itself has on record of a model, as moments in time: checks, what jobs gave, requests, decisions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from pydantic import ValidationError

from driftd.actions import ShadowResult, decode_result
from driftd.config.model_schema import ModelConfig
from driftd.events import Event
from driftd.policy import Finding, ProbationResult, StepDone, StepFailed
from driftd.records import ActionKind, RefreshState, ShadowArguments
from driftd.registry import ManifestError, Registry
from driftd.rehearsal.recorded import NoRecordError
from driftd.sources.protocol import window_index
from driftd.store.state.reader import StateReader
from driftd.store.state.records import StoredAction, StoredAlarm, StoredCheck, StoredTransition

EVERYTHING = 1_000_000  # lines


@dataclass(slots=True)
class Moment:
    """Everything that is on record of one time."""

    at: float
    checks: list[StoredCheck] = field(default_factory=list)
    finished: list[StoredAction] = field(default_factory=list)
    decided: list[StoredTransition] = field(default_factory=list)


@dataclass(slots=True)
class History:
    """One model's record, oldest first; `alarms` by the kind and window of their check."""

    model: str
    moments: list[Moment]
    alarms: Mapping[tuple[str, int], StoredAlarm]
    configs: list[tuple[float, ModelConfig]]  # since when each was in force
    firsts: Mapping[int, RefreshState]  # what the first refresh of each version counts from
    cohorts: list[tuple[float, float, int]]  # when checked, start of the window, labels

    def config_at(self, at: float) -> ModelConfig:
        """The section of the model that was in force at a time."""
        before = [config for since, config in self.configs if since <= at]
        return before[-1] if before else self.configs[0][1]

    def count_labels(self, since: float, at: float) -> int:
        """How many labelled rows the cohorts hold whose windows begin at `since` or later, as checked by `at`."""
        return sum(labels for checked, start, labels in self.cohorts if checked <= at and start >= since)


def read_history(reader: StateReader, registry: Registry, model: str) -> History:
    """The record of a model. Raises NoRecordError where there is none, or the config of then cannot be read."""
    moments: dict[float, Moment] = {}

    def moment(at: float) -> Moment:
        return moments.setdefault(at, Moment(at))

    decisions = reader.decisions_of(model)
    checks = sorted(reader.checks(model, -1), key=lambda check: check.id)
    if not decisions or not checks:
        raise NoRecordError(f"no check of {model} is on record: the daemon has decided nothing yet")
    for check in checks:
        moment(check.at).checks.append(check)
    for line in decisions:
        moment(line.at).decided.append(line)
    for action in reversed(reader.actions(model, EVERYTHING)):
        if action.status in ("done", "failed") and action.finished_at is not None:
            moment(action.finished_at).finished.append(action)
    alarms = {(alarm.kind, alarm.window_index): alarm for alarm in reader.alarms(model, EVERYTHING)}
    cohorts = [
        (check.at, check.window_start, int(check.figures.get("labels") or 0))
        for check in checks
        if check.kind == "labels"
    ]
    configs = _configs(reader, model)
    firsts = _firsts(registry, model, configs[-1][1])
    return History(model, [moments[at] for at in sorted(moments)], alarms, configs, firsts, cohorts)


def _configs(reader: StateReader, model: str) -> list[tuple[float, ModelConfig]]:
    """Every section of the model that was in force; secrets are not on record, and nothing here needs them."""
    found = []
    for stored in reader.applied_configs(EVERYTHING):
        section: Any = ((stored.content or {}).get("models") or {}).get(model)
        if section is None:
            continue
        kept = {key: value for key, value in section.items() if key not in ("source", "deploy", "registry")}
        try:
            found.append((stored.at, ModelConfig.model_validate(kept)))
        except ValidationError as error:
            raise NoRecordError(
                f"the config of {model} that was in force cannot be read by this driftd: {error.errors()[0]['msg']}"
            ) from error
    if not found:
        raise NoRecordError(f"no config of {model} is on record")
    return found[::-1]


def _firsts(registry: Registry, model: str, config: ModelConfig) -> dict[int, RefreshState]:
    """What the first refresh counts from, as the loop has it: the rows of each version's snapshot."""
    found, rows_of = {}, defaultdict(float)
    for version in registry.versions(model):
        try:
            data = registry.readable(model, version).data
        except ManifestError:
            continue
        rows_of[version] = float(data.get("training_rows") or 0) + float(data.get("held_out_rows") or 0)
        last = float(data.get("last_at") or 0.0)
        window = 0 if config.window.every is None else window_index(last, config.window.every)
        found[version] = RefreshState(window, max(1.0, rows_of[version]), float(np.nextafter(last, np.inf)))
    return found


def finding_of(action: StoredAction) -> Finding:
    """What a recorded result means to policy; unlike the loop's, it moves nothing."""
    arguments = action.typed_arguments
    if action.status == "failed":
        return StepFailed(arguments, str((action.result or {}).get("error", "it failed")))
    value = decode_result(action.kind, action.result or {})
    if isinstance(arguments, ShadowArguments) and isinstance(value, ShadowResult):
        return ProbationResult(value.decision, value.sentence, value.labels, arguments.new)
    return StepDone(arguments, value)


def is_readable(action: StoredAction) -> bool:
    """Whether its arguments and result are those of this driftd."""
    try:
        finding_of(action)
    except (msgspec.ValidationError, KeyError):
        return False
    return action.kind is not ActionKind.REPORT


def told_events(moment: Moment) -> list[StoredTransition]:
    """What was decided at a moment, without the adoption that begins a record."""
    return [line for line in moment.decided if line.event != Event.ADOPTED]
