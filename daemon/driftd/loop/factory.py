"""Builds a daemon from a config, and applies a changed config atomically."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog

from driftd.config.load import ConfigError, load
from driftd.config.model_schema import ModelConfig
from driftd.config.schema import Config
from driftd.errors import DriftdError
from driftd.events import Event
from driftd.loop.actions import BUILDING, JobSlots, Performer, version_record
from driftd.loop.check_group import CheckGroup
from driftd.loop.check_schedule import CheckScheduler
from driftd.loop.config_history import counts_of, monitor_settings, rules_of
from driftd.loop.disk import DiskUse
from driftd.loop.integrity import EventsWatch, check_version, rollback_hint
from driftd.loop.model_runner import ModelRunner
from driftd.loop.outside_builds import outside_arguments, ways_to_tell
from driftd.loop.resume import EvidenceUnreadableError, MonitorState, restore
from driftd.loop.stages import stage_arguments
from driftd.loop.supervision import Service, TimeoutWorker
from driftd.loop.trainer_watch import TrainerWatch
from driftd.observe.metrics import Metrics
from driftd.paths import Places, credential
from driftd.plugins.client import WantedScore
from driftd.plugins.process import HelperProcess
from driftd.policy import reconcile_restored
from driftd.records import (
    ActionKind,
    DecisionFigures,
    HandOverArguments,
    JudgeArguments,
    ModelState,
    RefreshArguments,
    RegistryArguments,
    ReportArguments,
    SnapshotArguments,
    SwapArguments,
    TrainArguments,
    Transition,
)
from driftd.registry import Registry
from driftd.registry.manifest import Manifest, ManifestError
from driftd.sources.open import config_for_children, hang_seconds, open_watched_source, paths_of
from driftd.sources.protocol import Source, default_lateness, window_index
from driftd.store.state.records import StoredAction, StoredRestore
from driftd.store.state.writer import StateStore
from driftd.training.jobs import JobLimits
from driftd.views.status import latest_verdicts
from driftd_detectors.schema import Schema

log = structlog.get_logger()

CHILDREN = 2
READS_ROWS = (
    ActionKind.SNAPSHOT,
    ActionKind.JUDGE,
    ActionKind.REFRESH,
    ActionKind.SHADOW,
)  # not those of faulty windows


class NoVersionError(DriftdError):
    """A model of the config has no version yet: `driftd init` makes the first."""


class Assembly:
    """What all models share, and the config in force."""

    def __init__(
        self,
        config_path: Path,
        config: Config,
        places: Places,
        store: StateStore,
        metrics: Metrics,
        service: Service | None = None,
        *,
        children: int = CHILDREN,
        patience: float | None = None,
        open_source: Callable[[str, ModelConfig, Schema, Places], Source] | None = None,
    ) -> None:
        """`children` may work at once, over all models; with 0 what is decided is recorded and not performed.

        A round waits so long (`patience`, seconds) for a source before it leaves its model for a later one; for the
        whole time that a check may take unless set. `wake` is then to be told of answers that come meanwhile.
        """
        self.config_path = config_path
        self.config = config
        self.places = places
        self.store = store
        self.metrics = metrics
        self.service = service or Service()
        self.group = CheckGroup(store)
        self.registry = Registry(places)
        self.events = EventsWatch(places, config_path)
        limits = JobLimits(
            memory_bytes=config.limits.memory, threads=config.limits.threads, disk_bytes=config.limits.disk
        )
        self.helper = HelperProcess(places.helper, limits, self._alive)
        self.disk = DiskUse()
        self.trainers = TrainerWatch()
        self._slots = JobSlots(children)
        self._open_source = open_source
        self._patience = patience
        self._guards: dict[str, tuple[tuple[tuple[str, ...], float], TimeoutWorker]] = {}
        self.has_time: Callable[[], bool] = lambda: True  # whether the round under way may go on
        self._wake: Callable[[], None] = lambda: None

    def wake(self) -> None:
        """A source has answered that a round did not wait for."""
        self._wake()

    def asked_models(self, now: float) -> set[str]:
        """The models of which somebody asked something, or whose next build would be made by something else."""
        return {request.model for request in self.store.waiting_requests()} | self.trainers.look(now)

    def _alive(self) -> None:
        """Called before and during every wait: checks that were recorded need not wait too."""
        self.group.end_if_due()
        self.service.alive()

    def on_wake(self, act: Callable[[], None]) -> None:
        """What to do then; called in a thread of the source."""
        self._wake = act

    def reread(self) -> Config:
        """The config on disk now. Raises ConfigError; nothing live is touched."""
        config = load(self.config_path)
        if config.state_dir != self.config.state_dir or config.http != self.config.http:
            raise ConfigError(f"{self.config_path}: state_dir and http change only with a restart of driftd")
        return config

    def open_model(self, name: str, config: Config, now: float) -> ModelRunner:
        """One model, taken up where the store left it.

        Raises NoVersionError when it has no version, and whatever its version, reference or source raise.
        """
        model = config.models[name]
        state = self._reconcile_link(self.store.model(name) or ModelState(name), config, now)
        if state.champion is None:
            raise NoVersionError(f"model {name} has no version yet: `driftd init` trains the first one")
        self._chain_versions(name, now)  # before all that may keep it from being watched: it serves
        schema = self.registry.readable(name, state.champion).schema
        lateness = model.window.lateness if model.window.lateness is not None else default_lateness(model.window)
        if model.source.kind == "store":
            self.events.require_whole(name)
        self.trainers.use(name, model, now)
        guard = self._guard(name, config)
        opens = self._open_source or partial(open_watched_source, memory=config.limits.memory)
        open_source = partial(opens, name, model, schema, self.places)
        runner = ModelRunner(
            name=name,
            state=state,
            rules=rules_of(config, name),
            scheduler=CheckScheduler(
                name,
                model.window,
                open_source(),
                guard,
                lateness,
                frozenset(model.classes or ()),
                self.helper,
                partial(WantedScore.all_of, name, model, self.places) if model.detect.detectors else None,
                open_source=open_source,
            ),
            evidence=MonitorState(name, self.registry, monitor_settings(model)),
            counts=counts_of(name, model, self.registry, partial(self.trainers.spec, name)),
            performer=self._performer(name, config),
            store=self.store,
            metrics=self.metrics.model(name),
            group=self.group,
            disk_limits=partial(self.disk.limits, config.retention),
            has_time=self.has_time,
        )
        runner.verdicts = latest_verdicts(self.store, state)
        try:
            runner.evidence.resume(state.champion, self.store)
        except ManifestError as error:
            self._mark_blind(runner, state, str(error))
            return runner
        except EvidenceUnreadableError as error:
            self._mark_unreadable(runner, state, str(error))
            return runner
        check_version(self.registry, name, state.champion, self.metrics)
        restore(runner.metrics, self.store, runner.evidence, state, model.window.every)
        runner.show()
        return runner

    def _chain_versions(self, name: str, now: float) -> None:
        """Bind the versions into the chain that it does not know: of `driftd init`, or of before there was a chain."""
        known = self.store.chained_versions(name) & self.store.recorded_versions(name)
        for version in self.registry.versions(name):
            if version not in known:
                with contextlib.suppress(ManifestError):  # damaged: `driftd verify` and the page say so
                    self.store.save_version(version_record(self.registry.manifest(name, version)), now)

    def _guard(self, name: str, config: Config) -> TimeoutWorker:
        """The thread that reads a source: while one is at work, the same as before, so that no reload loses another."""
        model, paths = config.models[name], paths_of(name, config.models[name], self.places)
        seconds = max(config.limits.check_timeout, hang_seconds(model))
        before = self._guards.get(name)
        if before is not None and before[0] == (paths, seconds) and before[1].is_under_way:
            return before[1]
        guard = TimeoutWorker(name, seconds, self._alive, patience=self._patience, paths=paths, finished=self.wake)
        self._guards[name] = (paths, seconds), guard
        return guard

    def _mark_blind(self, runner: ModelRunner, state: ModelState, fault: str) -> None:
        """A champion whose own files are damaged is not checked, but a person can still go back from it."""
        runner.standing = f"version {state.champion} is damaged and is not checked: {fault}"
        log.error(
            "version_damaged", model=runner.name, version=state.champion, reason=fault, todo=rollback_hint(runner.name)
        )
        runner.metrics.mark_unwatched()
        runner.metrics.set_version_damaged(damaged=True)
        runner.is_blind = True
        runner.metrics.state(state, self.registry.current(runner.name))

    def _mark_unreadable(self, runner: ModelRunner, state: ModelState, fault: str) -> None:
        """A model whose evidence cannot be read is not checked, but a person can have it begin anew."""
        runner.standing = runner.obstacle = fault
        log.error("evidence_unreadable", model=runner.name, version=state.champion, reason=fault)
        runner.metrics.mark_unwatched()
        runner.is_blind = True
        runner.metrics.state(state, self.registry.current(runner.name))

    def _reconcile_link(self, state: ModelState, config: Config, now: float) -> ModelState:
        """The store is the truth and the link is derived; only a version that the store never saw is adopted."""
        restore = self.store.restore_waiting(state.model)
        if restore is not None:
            state = self._reconcile_restore(state, restore, config, now)
        served = self.registry.current(state.model)
        if state.champion is None:
            return self._adopt(state, served, config, now) if served is not None else state
        swapping = any(action.kind is ActionKind.SWAP for action in self.store.open_actions(state.model))
        is_gone = state.champion not in self.registry.versions(state.model)  # then a person must go back from it
        if served != state.champion and not swapping and not is_gone:
            self.registry.point(state.model, state.champion)
            log.warning("link_mended", model=state.model, found=served, version=state.champion)
        return state

    def _reconcile_restore(self, state: ModelState, restore: StoredRestore, config: Config, now: float) -> ModelState:
        """Compare a state from a backup with the disk, once. What serves goes on serving if it can."""
        name = state.model
        served = self.registry.current(name)
        if served is not None and (fault := self.registry.fault(name, served)) is not None:
            log.error("served_version_damaged", model=name, version=served, reason=fault)
            served = None
        retrain = config.override.retrain.get(name)
        versions = frozenset(self.registry.versions(name))
        transition = reconcile_restored(state, served, versions, retrain, made_at=restore.made_at, now=now)
        given_up = [ActionKind.SWAP, ActionKind.SHADOW, ActionKind.HAND_OVER, ActionKind.REGISTRY]
        if transition.state.build is None:
            given_up += BUILDING
        with self.store.transaction():
            self.store.drop_actions(name, given_up, at=now)
            self.store.save_transition(state, transition, at=now, actor=restore.who, config_hash=config.hash)
            self.store.finish_restore(name, now)
        log.warning("transition", model=name, happened=Event.RESTORED, reason=transition.reason, backup=restore.backup)
        return transition.state

    def _adopt(self, state: ModelState, served: int, config: Config, now: float) -> ModelState:
        """Take over the version that `driftd init` made, and begin after the rows that it was trained on."""
        adopted = replace(state, champion=served, last_schedule=now)
        reason = f"version {served} was found serving and is now under watch"
        transition = Transition(adopted, reason, Event.ADOPTED, (), DecisionFigures(version=served))
        every = config.models[state.model].window.every
        known_until = self.registry.manifest(state.model, served).data.get("last_at")
        with self.store.transaction():
            self.store.save_transition(state, transition, at=now, actor="driftd", config_hash=config.hash)
            if every is not None and known_until is not None:
                first = window_index(float(known_until), every) + 1
                self.store.save_cursor(state.model, "window", first)
                self.store.save_cursor(state.model, "labels", first)
        log.info("transition", model=state.model, happened=Event.ADOPTED, reason=reason)
        return adopted

    def _performer(self, name: str, config: Config) -> Performer:
        limits = JobLimits(
            memory_bytes=config.limits.memory,
            wall_seconds=config.limits.timeout,
            threads=config.limits.threads,
            disk_bytes=config.limits.disk,
        )
        arguments = JobArguments(name, config, self.places, self.registry, self.store)
        return Performer(self.places, self.registry, name, self._slots, arguments.build, limits)


class JobArguments:
    """What each child is told, from its action."""

    def __init__(self, name: str, config: Config, places: Places, registry: Registry, store: StateStore) -> None:
        self._name = name
        self._model, self._http = config.models[name], config.http
        self._keep = config.retention.events
        self._places = places
        self._registry = registry
        self._store = store

    def build(self, action: StoredAction) -> dict[str, object]:
        """The arguments of docs/architecture.md for the task of an action.

        They follow from the stored action alone, so that after a crash the very same job is begun again.
        """
        common = {
            "model": self._name,
            "state_dir": str(self._places.root),
            "model_config": config_for_children(self._model),
            "until": action.intended_at,
        }
        faulty = self._store.faulty_spans(self._name, 0.0, action.intended_at) if action.kind in READS_ROWS else []
        return common | {"faulty": faulty} | action.arguments | self._arguments_of_kind(action)

    def _arguments_of_kind(self, action: StoredAction) -> dict[str, object]:  # noqa: PLR0911 - one for each kind
        match action.typed_arguments:
            case SnapshotArguments():
                served = self._served_manifest()
                since = action.intended_at - self._keep
                return {"schema": served.schema.to_dict(), "since": since, "base": served.snapshot or None}
            case RefreshArguments(version=version, champion=champion, rows_until=rows_until):
                served = self._registry.readable(self._name, champion)
                since, base = action.intended_at - self._keep, served.snapshot or None
                given = {"schema": served.schema.to_dict(), "since": since, "base": base, "seed": version}
                return given if rows_until is None else given | {"until": rows_until}
            case TrainArguments(version=version) as train:
                outside = outside_arguments(self._model.trainer, self._http, self._places, action, train)
                return {"seed": version, **outside}
            case JudgeArguments(version=version):
                return {"challenger": version}
            case SwapArguments():
                return {"allow_joblib": self._model.allow_joblib, "is_external": self._model.is_external}
            case HandOverArguments():
                return ways_to_tell(self._model)
            case RegistryArguments():
                return self._place_of_versions()
            case ReportArguments(alarm=alarm, sentence=sentence):
                return self._alarm_arguments(alarm, sentence)
            case _:
                return stage_arguments(self._model.stages, action.kind)

    def _place_of_versions(self) -> dict[str, object]:
        """Where versions are registered; of its secrets the job is told where they are, and reads them itself."""
        plugin, mlflow = self._model.registry.plugin, self._model.registry.mlflow
        if plugin is not None:
            named = {"plugin": plugin.plugin, "options": plugin.options}
            return {"allow_joblib": self._model.allow_joblib, "place": None, "timeout": plugin.timeout, **named}
        if mlflow is None:  # the config was changed: the task says so, and policy puts that aside
            return {"allow_joblib": False, "place": None, "timeout": 60.0}
        files = {"token_file": mlflow.token_file, "password_file": mlflow.password_file}
        place = mlflow.model_dump(mode="json", include={"name", "alias", "tracking_uri", "username"})
        place |= {key: None if path is None else str(credential(path)) for key, path in files.items()}
        return {"allow_joblib": self._model.allow_joblib, "place": place, "timeout": mlflow.timeout}

    def _served_manifest(self) -> Manifest:
        served = self._registry.current(self._name)
        assert served is not None  # a model without a version is not under watch
        return self._registry.readable(self._name, served)

    def _alarm_arguments(self, number: int, sentence: str) -> dict[str, object]:
        alarm = self._store.alarm(number)
        assert alarm is not None  # the action was intended in the transaction that recorded it
        by = "time" if self._model.window.every is not None else "rows"
        window = {"index": alarm.window_index, "start": alarm.window_start, "end": alarm.window_end, "by": by}
        alarm_fields = {"id": number, "sentence": sentence, "kind": alarm.kind, "leaders": alarm.leaders}
        return {"version": alarm.version, "alarm": alarm_fields, "window": window}
