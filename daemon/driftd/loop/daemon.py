"""The daemon: one inbox, one writer, a round over every model."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue

import structlog

from driftd.clock import Clock
from driftd.config.load import ABSENT, ConfigError, digest_of
from driftd.config.schema import Config
from driftd.errors import DriftdError
from driftd.loop.config_history import ConfigHistory, active_overrides, log_fields, rules_of
from driftd.loop.factory import Assembly, NoVersionError
from driftd.loop.integrity import state_sentence
from driftd.loop.maintenance import PRUNE_AGAIN, prune
from driftd.loop.messages import DeliveryConfirmed, Message, Reload, Stop, Tick
from driftd.loop.model_runner import ModelRunner, await_jobs
from driftd.loop.step_schedule import ROUND_SECONDS, OpenSources, StepSchedule
from driftd.loop.supervision import LogThrottle, SourceDamagedError, StopAskedError, describe_faults, status_line
from driftd.notify import Notifier
from driftd.store.integrity import DamagedError, damage_marked, handle_failure, is_damage, mark_damaged

log = structlog.get_logger()

DAY = 86_400.0
JUMP_SECONDS = 2.0  # between two messages: more than any slewing of the clock does


@dataclass(slots=True)
class Daemon:
    """Owns the state database and every model under watch; everybody else only posts messages."""

    assembly: Assembly
    models: dict[str, ModelRunner] = field(default_factory=dict)
    obstacles: dict[str, str] = field(default_factory=dict)  # why a model of the config is not under watch
    versionless: set[str] = field(default_factory=set)  # of them, those that have no version yet: nothing fails there
    failures: dict[str, str] = field(default_factory=dict)  # why the last step of a model under watch failed
    inbox: SimpleQueue[Message] = field(default_factory=SimpleQueue)
    stopping: str | None = None
    rounds: int = 0  # in which every model had its step, since the first such
    is_behind: bool = False  # whether the last round left something that is due
    rounded_at: float = 0.0  # when the last round ended
    pruned_at: float = 0.0
    notifier: Notifier | None = None
    receivers_kept: bool = True  # whether the store knows the receivers of the config
    damage: str | None = None  # why the state database cannot be trusted any more: the daemon then ends
    configs: ConfigHistory = field(init=False)
    config_read: str = ""  # the hash of the config that was read last, applied or refused
    refusal: str | None = None  # why that one was refused; None when it is in force
    repeats: LogThrottle = field(default_factory=LogThrottle)
    on_clock_jump: Callable[[], None] = lambda: None
    clock_offset: float | None = None  # of the wall clock to the monotonic one, when last looked at
    steps: StepSchedule = field(init=False)
    open_sources: OpenSources = field(default_factory=OpenSources)

    def __post_init__(self) -> None:
        self.configs = ConfigHistory(self.assembly.store, self.assembly.metrics)
        self.steps = StepSchedule(has_messages=lambda: not self.inbox.empty())
        self.assembly.has_time = self.steps.has_time
        self.assembly.on_wake(self.post_tick)

    def begin(self, now: float) -> None:
        """Put the first config in force; it is recorded and shown from here on. Raises where it cannot be recorded."""
        if not self.config_read:
            self._record_applied(self.assembly.config, now)
            self.configs.keep()

    def run(self, clock: Clock, idle_seconds: float = 5.0) -> None:
        """The main loop: put the first config in force, then take a message, act on it, until told to stop."""
        manager = self.assembly.service.manager
        try:
            self.begin(clock.now())
            self.watch(clock.now())
            manager.ready()
            self.steps.limit, self.is_behind = ROUND_SECONDS, True
            while self.stopping is None:
                manager.status(self.status_line())
                self.assembly.service.alive()  # raises when a stop is asked for: no message may be in hand by then
                message = self._next(min(idle_seconds, manager.cadence))
                self._check_clock(clock)
                self._handle_message(message, clock.now())
        except StopAskedError as stop:
            self.stopping = str(stop)
        manager.announce_stop()
        self.close()

    def post_tick(self) -> None:
        """Have a round made soon; ticks that find others waiting are dropped."""
        if self.inbox.empty():
            self.inbox.put(Tick())

    def is_ready(self) -> str | None:
        """None once every model had its first step and one is watched without a fault; else what is missing."""
        if not self.rounds:
            return "the first round over all models is not over yet"
        faults, models = self.faults(), self.assembly.config.models
        return describe_faults(faults, len(models)) if faults and len(faults) >= len(models) else None

    def faults(self) -> dict[str, str]:
        """Why models are not checked, or their last step failed; called in other threads."""
        hanging = {name: model.hang for name, model in list(self.models.items()) if model.hang is not None}
        faults = {**hanging, **self.failures, **self.unwatched}
        return {name: reason for name, reason in faults.items() if name not in self.versionless}

    def _handle_message(self, message: Message, now: float) -> None:
        """Act on a message; what fails is told and tried again with a later one: a full disk must not end the daemon.

        Only a state database that turns out to be damaged ends it, before it writes more.
        """
        try:
            self.handle(message, now)
        except Exception as error:
            if is_damage(error):
                self._state_damaged(error)
                return
            name, kind = type(message).__name__.lower(), type(error).__name__
            self.assembly.metrics.count_failed_message(name)
            untold = self.repeats.due("message_failed", name, kind, now=now)
            if untold is not None:
                log.error("message_failed", message=name, error=str(error), kind=kind, untold=untold, exc_info=True)

    def _check_clock(self, clock: Clock) -> None:
        """Notice when the wall clock was set, by the monotonic one: what waits for a moment of it must be told."""
        offset = clock.now() - time.monotonic()
        before, self.clock_offset = self.clock_offset, offset
        if before is None or abs(offset - before) < JUMP_SECONDS:
            return
        self.assembly.metrics.count_clock_jump()
        log.warning("clock_jumped", seconds=round(offset - before, 1))
        self.on_clock_jump()

    def handle(self, message: Message, now: float) -> None:
        """Act on one message."""
        match message:
            case Tick():
                self.round(now)
            case Reload(answer):
                self.assembly.service.manager.announce_reload()
                refusal: str | None = "the reload failed and will be tried again; the log says why"
                try:
                    refusal = self.reload(now)
                finally:
                    self.assembly.service.manager.ready()
                    if answer is not None:
                        answer(refusal)
            case DeliveryConfirmed():
                self._save_told(message)
            case Stop(reason):
                self.stopping = reason

    def reload(self, now: float) -> str | None:
        """Take the config on disk up, whole or not at all. Returns why it was refused, None when it is in force."""
        in_force = self.assembly.config
        read = digest_of(self.assembly.config_path) or ABSENT  # before the content: what comes later is seen later
        try:
            config = self.assembly.reread()
        except ConfigError as error:
            self.config_read, self.refusal = read, str(error)
            self.assembly.metrics.count_reload("refused")
            self.configs.record_refused(read, str(error), now)
            log.error("config_refused", error=str(error), hash=read, still_in_force=in_force.hash)
            return str(error)
        if config.hash != in_force.hash:
            self._apply_config(config, now)
            self.assembly.metrics.count_reload("applied")
            log.info("config_applied", hash=config.hash, before=in_force.hash, **log_fields(config, now))
        else:
            self.assembly.metrics.count_reload("unchanged")
            log.info("config_unchanged", hash=config.hash)
        self._record_applied(config, now)
        return None

    def notify_by(self, notifier: Notifier) -> None:
        """Have the receivers of the config told of what is decided from now on."""
        self.notifier = notifier
        self._apply_receivers()

    def status_line(self) -> str:
        """Where every model stands, in one short line."""
        standings = [(model.state, model.verdicts) for model in self.models.values() if model.obstacle is None]
        return status_line(standings, self.unwatched, self.refusal)

    def watch(self, now: float) -> bool:
        """Take under watch what is not yet; what cannot be is told once and tried again. True while some were left."""
        missing = [name for name in self.assembly.config.models if name not in self.models]
        for name in self.steps.due(missing, (), now):  # those that could not be opened before come last, now and then
            self.assembly.service.alive()
            self._watch(name, now)
            if not self.steps.has_time():
                break
        return any(name not in self.models and name not in self.obstacles for name in missing)

    def round(self, now: float) -> bool:
        """Step every model that is due, as many as the time of a round allows. True while there is more to do now."""
        started = time.perf_counter()
        self.steps.begin_round()
        self.begin(now)
        self.configs.try_again()
        self._show_override(now)
        if not self.receivers_kept:
            self._apply_receivers()
        self.is_behind = self._step_due(now, self.watch(now))
        self._prune(now)
        known = self.models.keys() | self.obstacles.keys()
        if self.rounds or (self.steps.were_stepped(self.models) and known >= self.assembly.config.models.keys()):
            self.rounds += 1
        self.rounded_at = now
        self.assembly.metrics.record_round(now, time.perf_counter() - started)
        return self.is_behind

    def _step_due(self, now: float, behind: bool) -> bool:  # noqa: FBT001 - what the round knows so far
        """Step the models that are due, the one that waits longest first. True while there is more to do now."""
        due = self.steps.due(self.models, self.assembly.asked_models(now), now)
        for number, name in enumerate(due, start=1):
            self.assembly.service.alive()
            model = self.models[name]
            with handle_failure(partial(self._report_failed_step, name, model, now)):
                behind = self._step(name, model, now) or behind
            if number < len(due) and not self.steps.has_time():
                return True
        return behind

    def _step(self, name: str, model: ModelRunner, now: float) -> bool:
        """Step one model. True while it has more to check at this very moment."""
        self.steps.save_step(name, now, now)  # one that fails is tried again by the next round
        for idle in self.open_sources.hold(name):
            if idle in self.models:
                self.models[idle].scheduler.rest()
        try:
            self.assembly.events.require_unmarked(name)
            behind = model.step(now)
        except (SourceDamagedError, DamagedError) as error:
            self._events_damaged(name, model, str(error))
            return False
        self.failures.pop(name, None)
        if model.is_blind and model.evidence.monitor is not None:  # a sound version serves again
            self._let_go(name)
            return True  # it is taken under watch anew by the next round, at once
        self.steps.save_step(name, now, now if behind else model.next_step(now))
        return behind

    def _let_go(self, name: str) -> None:
        """Watch a model no more, or take it under watch anew later."""
        self.models.pop(name).close()
        self.steps.forget(name)
        self.failures.pop(name, None)

    def catch_up(self, now: float, patience: float = 600.0) -> None:
        """Step until nothing is due and no child works: how a virtual clock waits, in real time, for real work."""
        end = time.monotonic() + patience
        while (behind := self.round(now)) or any(model.jobs for model in self.models.values()):
            if time.monotonic() > end:
                raise TimeoutError(f"work is still going on after {patience:.0f} s")
            if not behind:  # until a child ends, a round finds nothing new
                await_jobs(self.models.values(), end)

    def close(self) -> None:
        """Kill the children, close the store. What was intended is begun again at the next start."""
        for model in self.models.values():
            model.close()
        if self.notifier is not None:
            self.notifier.stop()
            if self.damage is None:
                self._save_confirmations()
        self.assembly.helper.close()
        self.assembly.store.close()
        log.info("stopped", reason=self.stopping)

    def _show_override(self, now: float) -> None:
        kinds, expires = active_overrides(self.assembly.config.override, now)
        self.assembly.metrics.override(kinds, expires, self.configs.asked_since)

    def _record_applied(self, config: Config, now: float) -> None:
        self.configs.record_applied(config, now)
        self.config_read, self.refusal = config.hash, None
        self.assembly.metrics.record_config(config.hash, now)

    def _apply_receivers(self) -> None:
        """Tell whom the config names; one that cannot be put into the store just now waits for a later round."""
        if self.notifier is None:
            return
        with handle_failure(self._report_unkept_receivers):
            with self.assembly.store.transaction():
                self.assembly.store.keep_receivers(self.assembly.config.notify)
            self.receivers_kept = True
        self.notifier.apply(self.assembly.config.notify)

    def _report_unkept_receivers(self, error: Exception) -> None:
        if self.receivers_kept:
            log.error("receivers_not_kept", error=str(error))
        self.receivers_kept = False

    def _save_confirmations(self) -> None:
        """The last confirmations, which else would be told again after the next start."""
        with contextlib.suppress(Empty):
            while True:
                message = self.inbox.get_nowait()
                if isinstance(message, DeliveryConfirmed):
                    self._save_told(message)

    def _save_told(self, confirmation: DeliveryConfirmed) -> None:
        """Where this cannot be kept just now (a full disk), the receiver is told twice after a restart, no worse."""

        def report(error: Exception) -> None:
            log.warning("told_not_kept", receiver=confirmation.receiver, until=confirmation.until, error=str(error))

        with handle_failure(report):
            self.assembly.store.save_told(confirmation.receiver, confirmation.until)

    def _apply_config(self, config: Config, now: float) -> None:
        """Replace what changed; a model whose settings are as before keeps its eyes, evidence and children."""
        before = self.assembly.config
        self.assembly.config = config
        shared = (config.limits, config.retention) != (before.limits, before.retention)
        for name in list(self.models):
            if shared or config.models.get(name) != before.models[name]:
                self._let_go(name)
            else:
                self.models[name].rules = rules_of(config, name)
            if name not in config.models:
                self.assembly.metrics.remove_model(name)
        self.assembly.trainers.keep(config.models)
        self.assembly.helper.close()  # it begins anew with the user's code as it is now
        self.obstacles.clear()
        self.steps.hasten()
        self._apply_receivers()
        self.watch(now)
        self.is_behind = True

    def _watch(self, name: str, now: float) -> None:
        self.versionless.discard(name)
        with handle_failure(partial(self._report_obstacle, name, now)):
            self.models[name] = self.assembly.open_model(name, self.assembly.config, now)
            self.steps.forget(name)
            self.obstacles.pop(name, None)

    def _report_obstacle(self, name: str, now: float, error: Exception) -> None:
        """Note why a model is not under watch; the log is told only of another reason than before."""
        if isinstance(error, DamagedError):
            self.assembly.metrics.model(name).mark_events_damaged()
        if isinstance(error, NoVersionError):
            self.versionless.add(name)
        obstacle = str(error) if isinstance(error, DriftdError) else f"{type(error).__name__}: {error}"
        if self.obstacles.get(name) != obstacle:
            log.error("model_not_watched", model=name, reason=obstacle)
        self.obstacles[name] = obstacle
        self.steps.save_obstacle(name, now, len(self.obstacles))
        self.assembly.metrics.model(name).mark_unwatched()

    def _prune(self, now: float) -> None:
        """Once a day, remove what is left over or beyond its retention; what fails is tried again the next hour."""
        if 0 <= now - self.pruned_at < DAY:
            return
        done = prune(
            self.assembly.places, self.models, self.assembly.store, self.assembly.config, self.assembly.metrics, now
        )
        self.pruned_at = now if done else now - DAY + PRUNE_AGAIN

    @property
    def unwatched(self) -> dict[str, str]:
        """Why models of the config are not checked, as far as the daemon knows."""
        blind = {name: model.obstacle for name, model in list(self.models.items()) if model.obstacle is not None}
        return {**blind, **self.obstacles}

    def _next(self, idle_seconds: float) -> Message:
        try:
            return self.inbox.get(block=not self.is_behind, timeout=idle_seconds)
        except Empty:
            return Tick()

    def _report_failed_step(self, name: str, model: ModelRunner, now: float, error: Exception) -> None:
        model.metrics.count_failed_step()
        kind = type(error).__name__
        model.standing = f"the last round failed: {kind}: {error}"
        self.failures[name] = f"{kind}: {error}"
        untold = self.repeats.due("model_step_failed", name, kind, now=now)
        if untold is not None:
            log.error("model_step_failed", model=name, error=str(error), kind=kind, untold=untold, exc_info=True)

    def _events_damaged(self, name: str, model: ModelRunner, finding: str) -> None:
        """Let go of a model whose event store is broken; the others go on. It is taken up again once restored."""
        self._let_go(name)
        marked = damage_marked(self.assembly.places.events_db(name))
        self.obstacles[name] = self.assembly.events.keep_damaged(name, marked or finding)
        model.metrics.mark_unwatched()
        model.metrics.mark_events_damaged()

    def _state_damaged(self, error: Exception) -> None:
        """Nothing may be decided on a broken store: leave word for the next start, and end."""
        path = self.assembly.places.state_db
        mark_damaged(path, str(error))
        self.assembly.metrics.mark_state_damaged()
        self.damage = state_sentence(path, str(error), self.assembly.config_path)
        self.stopping = "state.db is damaged"
