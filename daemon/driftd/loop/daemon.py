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
from driftd.loop.config_history import ConfigHistory, active_overrides, rules_of
from driftd.loop.factory import Assembly
from driftd.loop.integrity import state_sentence
from driftd.loop.maintenance import PRUNE_AGAIN, prune
from driftd.loop.model_runner import ModelRunner
from driftd.loop.supervision import LogThrottle, SourceDamagedError, StopAskedError, status_line
from driftd.notify import Notifier
from driftd.store.integrity import DamagedError, damage_marked, handle_failure, is_damage, mark_damaged

log = structlog.get_logger()

DAY = 86_400.0
JUMP_SECONDS = 2.0  # between two messages: more than any slewing of the clock does


@dataclass(frozen=True, slots=True)
class Tick:
    """Time went by."""


@dataclass(frozen=True, slots=True)
class Reload:
    """The config may have changed. `answer`, if any, is called with None or with why it was refused."""

    answer: Callable[[str | None], None] | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """End cleanly."""

    reason: str


@dataclass(frozen=True, slots=True)
class DeliveryConfirmed:
    """A receiver of notifications was told of every decision up to one."""

    receiver: str
    until: int


Message = Tick | Reload | Stop | DeliveryConfirmed


@dataclass(slots=True)
class Daemon:
    """Owns the state database and every model under watch; everybody else only posts messages."""

    assembly: Assembly
    models: dict[str, ModelRunner] = field(default_factory=dict)
    obstacles: dict[str, str] = field(default_factory=dict)  # why a model of the config is not under watch
    inbox: SimpleQueue[Message] = field(default_factory=SimpleQueue)
    stopping: str | None = None
    rounds: int = 0
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

    def __post_init__(self) -> None:
        self.configs = ConfigHistory(self.assembly.store, self.assembly.metrics)
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
        """None once every model had its first round; else what is missing."""
        return None if self.rounds else "the first round over all models is not over yet"

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
            log.info("config_applied", hash=config.hash, before=in_force.hash, **_log_fields(config, now))
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
        standings = ((model.state, model.verdicts) for model in self.models.values() if model.obstacle is None)
        return status_line(standings, self.unwatched, self.refusal)

    def watch(self, now: float) -> None:
        """Take under watch what the config names and is not yet; what cannot be is told once and tried again."""
        for name in self.assembly.config.models:
            if name not in self.models:
                self.assembly.service.alive()
                self._watch(name, now)

    def round(self, now: float) -> bool:
        """Step every model once. True while one has more to check at this very moment."""
        started = time.perf_counter()
        self.begin(now)
        self.configs.try_again()
        self._show_override(now)
        if not self.receivers_kept:
            self._apply_receivers()
        self.watch(now)
        behind = False
        for name, model in list(self.models.items()):
            self.assembly.service.alive()
            with handle_failure(partial(self._report_failed_step, name, model, now)):
                behind = self._step(name, model, now) or behind
        self._prune(now)
        self.rounds += 1
        self.rounded_at = now
        self.assembly.metrics.record_round(now, time.perf_counter() - started)
        if behind:
            self.post_tick()
        return behind

    def _step(self, name: str, model: ModelRunner, now: float) -> bool:
        """Step one model. True while it has more to check at this very moment."""
        try:
            self.assembly.events.require_unmarked(name)
            behind = model.step(now)
        except (SourceDamagedError, DamagedError) as error:
            self._events_damaged(name, model, str(error))
            return False
        if model.is_blind and model.evidence.monitor is not None:  # a sound version serves again
            self.models.pop(name).close()
            return True  # it is taken under watch anew by the next round, at once
        return behind

    def catch_up(self, now: float, patience: float = 600.0) -> None:
        """Step until nothing is due and no child works: how a virtual clock waits, in real time, for real work."""
        end = time.monotonic() + patience
        while self.round(now) or any(model.is_working for model in self.models.values()):
            if time.monotonic() > end:
                raise TimeoutError(f"work is still going on after {patience:.0f} s")
            if any(model.is_working for model in self.models.values()):
                time.sleep(0.02)

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
                self.models.pop(name).close()
            else:
                self.models[name].rules = rules_of(config, name)
            if name not in config.models:
                self.assembly.metrics.remove_model(name)
        self.assembly.helper.close()  # it begins anew with the user's code as it is now
        self.obstacles.clear()
        self._apply_receivers()
        self.watch(now)

    def _watch(self, name: str, now: float) -> None:
        with handle_failure(partial(self._report_obstacle, name)):
            self.models[name] = self.assembly.open_model(name, self.assembly.config, now)
            self.obstacles.pop(name, None)

    def _report_obstacle(self, name: str, error: Exception) -> None:
        """Note why a model is not under watch; the log is told only of another reason than before."""
        if isinstance(error, DamagedError):
            self.assembly.metrics.model(name).mark_events_damaged()
        obstacle = str(error) if isinstance(error, DriftdError) else f"{type(error).__name__}: {error}"
        if self.obstacles.get(name) != obstacle:
            log.error("model_not_watched", model=name, reason=obstacle)
        self.obstacles[name] = obstacle
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
            return self.inbox.get(timeout=idle_seconds)
        except Empty:
            return Tick()

    def _report_failed_step(self, name: str, model: ModelRunner, now: float, error: Exception) -> None:
        model.metrics.count_failed_step()
        kind = type(error).__name__
        model.standing = f"the last round failed: {kind}: {error}"
        untold = self.repeats.due("model_step_failed", name, kind, now=now)
        if untold is not None:
            log.error("model_step_failed", model=name, error=str(error), kind=kind, untold=untold, exc_info=True)

    def _events_damaged(self, name: str, model: ModelRunner, finding: str) -> None:
        """Let go of a model whose event store is broken; the others go on. It is taken up again once restored."""
        self.models.pop(name)
        model.close()
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


def _log_fields(config: Config, now: float) -> dict[str, object]:
    """What the log says of a config that comes into force."""
    fields: dict[str, object] = {"models": sorted(config.models)}
    override = config.override.model_dump(mode="json", exclude_defaults=True)
    if override:
        expires = config.override.expires
        lapsed = expires is not None and expires.timestamp() <= now
        fields["override"] = {**override, "has_expired": True} if lapsed else override
    return fields
