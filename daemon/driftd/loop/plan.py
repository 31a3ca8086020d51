"""What would be built of a model now, why, from what and at what cost: by the daemon's own policy, over its state.

Nothing is written, and nothing is begun: the state is what `state.db` has, the facts are counted as the daemon counts
them, and `driftd.policy.advance` decides.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from driftd.config.model_schema import ModelConfig
from driftd.config.schema import Config
from driftd.config.trainer_schema import watched_part
from driftd.errors import DriftdError
from driftd.events import Event, Trigger
from driftd.formatting import format_duration
from driftd.loop.check_schedule import CheckScheduler
from driftd.loop.config_history import counts_of, monitor_settings, rules_of
from driftd.loop.decide import Counts, Rules
from driftd.loop.model_runner import ROUNDS
from driftd.loop.resume import MonitorState
from driftd.loop.supervision import TimeoutWorker
from driftd.loop.trainer_watch import SETTLED_AFTER
from driftd.paths import Places
from driftd.policy import ClockTick, Facts, advance
from driftd.policy.alarms import actionable
from driftd.policy.trigger_states import trigger_states
from driftd.records import ActionKind, BuildSpec, ModelState
from driftd.registry import Manifest, Registry
from driftd.sources.open import hang_seconds, open_watched_source, paths_of
from driftd.sources.protocol import default_lateness
from driftd.store.state.reader import StateReader
from driftd.store.state.records import StoredAction
from driftd.training.trainer_code import build_settings, changed_settings, settings_digest
from driftd.training.trainer_files import TrainerDigest, TrainerReader
from driftd.views.status import model_status
from driftd_detectors.performance.label_delay import LabelDelay

LAST_BUILDS = 3  # whose time and memory are shown
_LOOKED_BACK = 400  # actions
_EVIDENCE = {  # of which kinds of evidence the alarms of a trigger are
    Trigger.PERFORMANCE: ("performance",),
    Trigger.HARM: ("harm",),
    Trigger.DATA_DRIFT: ("data", "prediction"),
}


class TriggerLine(msgspec.Struct, frozen=True, kw_only=True):
    """One trigger: whether `retrain.on` names it, whether it has fired, and how far it is."""

    trigger: str
    is_on: bool
    has_fired: bool
    sentence: str


class SettingChange(msgspec.Struct, frozen=True, kw_only=True):
    """A setting that differs from what the champion was made by."""

    name: str
    before: object
    after: object


class CodePlan(msgspec.Struct, frozen=True, kw_only=True):
    """The trainer as it is now, beside the one that made the champion."""

    trainer: str
    fingerprint: str | None = None
    lock: str | None = None
    champion_fingerprint: str | None = None
    champion_lock: str | None = None
    champion_commit: str | None = None
    settings: tuple[SettingChange, ...] = ()
    fault: str | None = None  # why the trainer cannot be read, or is not whole
    waits: str = ""  # why it does not count yet

    @property
    def source_changed(self) -> bool:
        """Whether the source, or the lock file, is another than the champion's."""
        now, before = (self.fingerprint, self.lock), (self.champion_fingerprint, self.champion_lock)
        return None not in (now[0], before[0]) and now != before


class DataPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The rows that a snapshot would hold, about: labels that came late for older rows are not counted."""

    rows: int | None = None
    new_rows: int | None = None  # of the source, later than those of the champion's snapshot
    base: str | None = None  # the champion's snapshot, whose rows come first
    base_rows: int = 0
    first_at: float | None = None
    last_at: float | None = None
    bytes: int | None = None
    fault: str | None = None  # why the rows could not be counted


class CostPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the last builds took: the longest time, and the largest memory of one of their processes."""

    builds: int = 0
    seconds: float | None = None
    peak_bytes: int | None = None
    cost: float | None = None  # by `retrain.cost`, of so long a build
    unit: str | None = None


class ModelPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What would be built now of one model."""

    model: str
    starts: bool  # a build would start at the daemon's next look
    reason: str  # why, or why not
    trigger: str | None = None  # of the build that starts, or that is wanted and waits
    champion: int | None = None
    phase: str | None = None
    triggers: tuple[TriggerLine, ...] = ()
    code: CodePlan | None = None
    data: DataPlan | None = None
    cost: CostPlan | None = None


def plan_model(name: str, config: Config, places: Places, store: StateReader, now: float) -> ModelPlan:
    """Plan one model. Raises what its versions, its reference and its source raise."""
    state, model, registry = store.model(name), config.models[name], Registry(places)
    if state is None or state.champion is None:
        served = registry.current(name)
        known = "it has no version yet: `driftd init` makes the first"
        watched = f"version {served} serves, but no daemon has watched it yet: start `driftd run`"
        return ModelPlan(model=name, starts=False, reason=known if served is None else watched)
    champion = registry.readable(name, state.champion)
    code, spec = plan_code(model, champion, time.time())
    scheduler, fault = _open_scheduler(name, config, places, champion, now)
    counts = counts_of(name, model, registry, lambda _: (spec, code.fault or code.waits), counts_labels=True)
    try:
        delay = _label_delay(name, model, registry, state, store)
        after, reason, facts = _decide(state, counts, rules_of(config, name), scheduler, delay, store, now)
        data = _plan_data(config, places, champion, scheduler, now) if fault is None else DataPlan(fault=fault)
    finally:
        scheduler.rest()
        scheduler.guard.close()
    wanted = after.build.trigger if after.build is not None else None if after.want is None else after.want.trigger
    return ModelPlan(
        model=name,
        starts=after.build is not None and after.build != state.build,
        reason=reason,
        trigger=wanted,
        champion=state.champion,
        phase=str(state.phase),
        triggers=tuple(_lines(state, facts, rules_of(config, name), store, now)),
        code=code,
        data=data,
        cost=plan_cost(store.actions(name, _LOOKED_BACK), model),
    )


def _decide(
    state: ModelState,
    counts: Counts,
    rules: Rules,
    scheduler: CheckScheduler,
    delay: LabelDelay | None,
    store: StateReader,
    now: float,
) -> tuple[ModelState, str, Facts]:
    """What policy makes of this moment, as far as nothing has to be done first; and the facts that it began with."""
    first = facts = counts.facts(state, store, scheduler, delay, now)
    reason = ""
    for _ in range(ROUNDS):
        transition = advance(state, ClockTick(), facts, rules.settings, rules.override, now)
        state, reason = transition.state, transition.reason
        if transition.actions or transition.event is None or transition.event is Event.BUILD_STARTED:
            break
        counts.forget()
        facts = counts.facts(state, store, scheduler, delay, now)
    return state, reason, first


def _lines(state: ModelState, facts: Facts, rules: Rules, store: StateReader, now: float) -> Iterator[TriggerLine]:
    override = rules.override.with_orders(state.orders, now)
    standing = tuple(actionable(state, rules.settings, override, now))
    evidence = model_status(store, state).evidence
    for found in trigger_states(state, facts, rules.settings, standing, now):
        sentence = found.sentence
        shares = [evidence[kind].share for kind in _EVIDENCE.get(found.trigger, ()) if kind in evidence]
        if shares and not found.has_fired:
            sentence = f"{sentence}; its evidence is at {max(shares):.0%} of an alarm"
        yield TriggerLine(trigger=found.trigger, is_on=found.is_on, has_fired=found.has_fired, sentence=sentence)


def plan_code(model: ModelConfig, champion: Manifest, wall: float) -> tuple[CodePlan, BuildSpec | None]:
    """The code of a build beside the champion's; and what it would be made by, once its files rest at `wall`."""
    if model.trainer is None:
        return CodePlan(trainer="none: a new version is asked for"), None
    trainer = watched_part(model.trainer)
    reader = TrainerReader(trainer if isinstance(trainer, str) else list(trainer))
    made_by = champion.trainer if _is_made_by_trainer(champion) else None
    settings = build_settings(model)
    before = champion.data.get("settings") or {**settings, "parameters": dict(champion.parameters)}
    changes = (
        ()
        if made_by is None
        else tuple(
            SettingChange(name=name, before=was, after=is_now)
            for name, was, is_now in changed_settings(before, settings)
        )
    )
    plan = CodePlan(
        trainer=reader.reference,
        champion_fingerprint=None if made_by is None else made_by.fingerprint,
        champion_lock=None if made_by is None else made_by.lock,
        champion_commit=None if made_by is None else made_by.commit,
        settings=changes,
    )
    try:
        found = reader.read()
    except (DriftdError, OSError) as error:
        return msgspec.structs.replace(plan, fault=str(error)), None
    plan = msgspec.structs.replace(plan, fingerprint=found.source, lock=found.lock, fault=found.fault)
    if found.fault is not None:
        return plan, None
    age = _age_of(found, wall)
    if 0 <= age < SETTLED_AFTER:
        rests = f"its files changed {format_duration(age)} ago; they count once they have rested for a minute"
        return msgspec.structs.replace(plan, waits=rests), None
    return plan, BuildSpec(found.source, found.lock, settings_digest(settings))


def _is_made_by_trainer(champion: Manifest) -> bool:
    """Whether a version was made by a trainer of the config, and neither adopted nor submitted."""
    return champion.adopted is None and champion.trigger != Trigger.SUBMITTED


def _age_of(found: TrainerDigest, wall: float) -> float:
    """Seconds since the newest change of the files of a trainer."""
    times = [path.stat().st_mtime for path in (*found.files, *found.locks) if path.exists()]
    return wall - max(times) if times else math.inf


def _open_scheduler(
    name: str, config: Config, places: Places, champion: Manifest, now: float
) -> tuple[CheckScheduler, str | None]:
    """The source of a model, read in a thread that may hang; and why it gives no rows now."""
    model = config.models[name]
    lateness = model.window.lateness if model.window.lateness is not None else default_lateness(model.window)
    seconds = max(config.limits.check_timeout, hang_seconds(model))
    guard = TimeoutWorker(name, seconds, paths=paths_of(name, model, places))
    source = open_watched_source(name, model, champion.schema, places, memory=config.limits.memory)
    scheduler = CheckScheduler(name, model.window, source, guard, lateness)
    try:
        scheduler.refresh(now)
    except (DriftdError, OSError) as error:
        return scheduler, str(error)
    return scheduler, None


def _label_delay(
    name: str, model: ModelConfig, registry: Registry, state: ModelState, store: StateReader
) -> LabelDelay | None:
    """How late labels come, as the stored evidence of the champion has it."""
    evidence = MonitorState(name, registry, monitor_settings(model))
    if state.champion is None or not evidence.read(state.champion, store):
        return None
    return evidence.current.maturity.delay


HELD_OUT = 0.25  # see driftd.training.snapshots, which imports Arrow


class _StoredSnapshot(msgspec.Struct, frozen=True):
    """What the manifest of a snapshot says."""

    rows: int
    first_at: float
    last_at: float


def _plan_data(config: Config, places: Places, champion: Manifest, scheduler: CheckScheduler, now: float) -> DataPlan:
    """The rows that a snapshot would be taken of, counted and not read."""
    name, wanted = champion.model, config.models[champion.model].retrain.data
    folder = places.snapshot(name, champion.snapshot or "none")
    known = _describe_snapshot(folder)
    base = known if wanted.keep == "copy" else None
    since = now - config.retention.events
    if base is not None:
        since = max(since, float(np.nextafter(base.last_at, np.inf)))
    count = partial(scheduler.current_source().count_labelled, since, now)
    try:
        new = scheduler.guard.resume(("plan", since), count)
    except (DriftdError, OSError) as error:
        return DataPlan(base=champion.snapshot or None, fault=str(error))
    rows = new if base is None else base.rows + new
    if wanted.rows is not None:
        rows = min(rows, math.ceil(wanted.rows / (1 - HELD_OUT)))
    size = None if known is None else (folder / "data.parquet").stat().st_size / max(1, known.rows) * rows
    extent = scheduler.extent
    return DataPlan(
        rows=rows,
        new_rows=new,
        base=champion.snapshot or None,
        base_rows=0 if base is None else base.rows,
        first_at=base.first_at if base is not None else None if extent is None else extent.first_at,
        last_at=None if extent is None else extent.newest_at,
        bytes=None if size is None else round(size),
    )


def _describe_snapshot(folder: Path) -> _StoredSnapshot | None:
    try:
        return msgspec.json.decode((folder / "manifest.json").read_bytes(), type=_StoredSnapshot)
    except (OSError, msgspec.DecodeError):
        return None  # it is gone: the build goes on without it


BUILD_KINDS = (ActionKind.SNAPSHOT, ActionKind.TRAIN, ActionKind.JUDGE, ActionKind.REFRESH)


def plan_cost(actions: Iterable[StoredAction], model: ModelConfig) -> CostPlan:
    """What the last builds took, and what as long a one costs by `retrain.cost`."""
    seconds: dict[int, float] = {}
    peaks: dict[int, int] = {}
    for action in actions:  # the newest first
        is_whole = action.status == "done" and action.started_at is not None and action.finished_at is not None
        version = action.arguments.get("version")
        if action.kind not in BUILD_KINDS or not is_whole or version is None:
            continue
        if version not in seconds and len(seconds) == LAST_BUILDS:
            break
        assert action.started_at is not None
        assert action.finished_at is not None
        seconds[version] = seconds.get(version, 0.0) + max(0.0, action.finished_at - action.started_at)
        peaks[version] = max(peaks.get(version, 0), int((action.result or {}).get("peak_bytes") or 0))
    if not seconds:
        return CostPlan()
    longest, price = max(seconds.values()), model.retrain.cost
    return CostPlan(
        builds=len(seconds),
        seconds=longest,
        peak_bytes=max(peaks.values()) or None,
        cost=None if price is None else price.per_hour * longest / 3600.0,
        unit=None if price is None else price.unit,
    )
