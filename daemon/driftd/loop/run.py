"""`driftd run`: the process around the loop. Signals, the scheduler and HTTP only post messages to it."""

from __future__ import annotations

import gc
import platform
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from types import FrameType

import structlog
from apscheduler.events import EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobExecutionEvent
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from driftd.api.builds import BuildApi
from driftd.api.looks import LookApi, LookWiring
from driftd.api.routes import ApiWiring, RequestApi
from driftd.api.submissions import SubmissionApi
from driftd.clock import Clock, RealClock
from driftd.config.load import ConfigWatch, load
from driftd.config.schema import Config
from driftd.loop.daemon import Daemon
from driftd.loop.factory import Assembly
from driftd.loop.integrity import check_versions, require_whole_state
from driftd.loop.looks import LookJobs
from driftd.loop.maintenance import (
    BACKUP_FIRST_SECONDS,
    BACKUP_LOOK_SECONDS,
    EVERY_SECONDS,
    DoneUpkeep,
    back_up,
    disk_free,
    maintain_events,
    sizes,
)
from driftd.loop.messages import DeliveryConfirmed, Message, Reload, Stop
from driftd.loop.model_runner import ModelRunner
from driftd.loop.supervision import Service, describe_faults
from driftd.notify import Notifier
from driftd.observe.http import HttpThread, Wiring, application
from driftd.observe.logs import configure_logs
from driftd.observe.metrics import Metrics
from driftd.observe.systemd import ServiceManager, hangups
from driftd.paths import Places
from driftd.sources.engines.protocol import AGAIN
from driftd.store.descriptors import raise_limit
from driftd.store.integrity import DamagedError
from driftd.store.ownership import hold_lock
from driftd.store.state.writer import StateStore
from driftd.store.subprocesses import end_children
from driftd.views.routes import PageWiring, StatusPage

log = structlog.get_logger()

TICK_SECONDS = 1.0
ALLOCATIONS = 20_000  # between two looks for cyclic garbage; Python's 700 were a fifth of the start of a fleet
PATIENCE_SECONDS = 0.5  # that a round waits for one source; the others' windows are due too
WATCH_SECONDS = 1.0
RELOAD_SECONDS = 30.0
ROOM_SECONDS = 15.0
VERSIONS_LOOK_SECONDS = 3600.0


def run(config_path: Path, *, log_level: str = "info") -> int:
    """Watch every model of a config until SIGTERM or SIGINT; returns the exit code.

    Raises ConfigError when the config is bad, DatabaseError when the state cannot be used (DamagedError when it must be
    restored first), StateInUseError when another daemon works on it.
    """
    service = Service(ServiceManager.from_environment())
    configure_logs(level=log_level)
    raise_limit()
    gc.set_threshold(ALLOCATIONS)
    config = load(config_path)
    places = Places(config.state_dir)
    places.root.mkdir(parents=True, exist_ok=True, mode=0o750)
    with hold_lock(places.lock, "driftd run"):
        require_whole_state(config, config_path, places)
        return _run(config_path, config, places, service)


def _run(config_path: Path, config: Config, places: Places, service: Service) -> int:
    store = StateStore.open(places.state_db)
    assembly = Assembly(config_path, config, places, store, Metrics(), service, patience=PATIENCE_SECONDS)
    daemon, clock = Daemon(assembly), RealClock()
    page = StatusPage(_page_wiring(daemon, assembly, places, clock))
    api = RequestApi(ApiWiring(places.state_db, lambda: tuple(assembly.config.models), daemon.post_tick))
    looks = LookJobs(places, lambda: assembly.config, clock.now)
    models = lambda: tuple(assembly.config.models)  # noqa: E731 - of the config in force
    look_api = LookApi(LookWiring(models, lambda: assembly.config.http.show_rows, looks.ask))
    outside = (*BuildApi(places).routes(), *SubmissionApi(places, api).routes())
    routes = [*outside, *api.routes(), *look_api.routes(), *page.routes()]
    app = application(_wiring(daemon, assembly, places), routes)
    http = HttpThread(app, config.http, assembly.metrics.count_refused_request)
    scheduler = _scheduler(daemon.post_tick, assembly.metrics)
    watch = ConfigWatch(config_path, lambda: daemon.config_read, lambda: daemon.inbox.put(Reload()))
    scheduler.add_job(watch.look, Interval(WATCH_SECONDS), id="config")
    _add_upkeep(scheduler, assembly, places, clock)
    daemon.on_clock_jump = lambda: _run_all_soon(scheduler)
    _on_signals(daemon.inbox.put, service)
    http.start()
    scheduler.start()
    assembly.metrics.record_start(
        version=version("driftd"), python=platform.python_version(), now=clock.now(), messages=daemon.inbox.qsize
    )
    log.info(
        "started", config=str(config_path), config_hash=config.hash, models=sorted(config.models), http=http.address
    )
    try:
        daemon.notify_by(_notifier(daemon, places, clock))
        daemon.post_tick()
        daemon.run(clock)
    finally:
        scheduler.shutdown(wait=False)
        end_children()  # the interpreter waits for the scheduler's threads, and they for their children
        http.stop()
        looks.stop()
        page.close()
    if daemon.damage is not None:
        raise DamagedError(daemon.damage)
    return 0


def _source_faults(daemon: Daemon) -> dict[str, str]:
    """Why sources give no rows, or not all of them, by model; called in other threads."""
    found = {name: _source_fault(model) for name, model in list(daemon.models.items())}
    return {name: fault for name, fault in found.items() if fault is not None}


def _source_fault(model: ModelRunner) -> str | None:
    extent = model.scheduler.extent
    said = model.hang or next(iter(extent.faults if extent is not None else ()), None)
    return None if said is None else said.partition(f"; {AGAIN} ")[0]  # the page is kept while it says the same


def _page_wiring(daemon: Daemon, assembly: Assembly, places: Places, clock: Clock) -> PageWiring:
    return PageWiring(
        places,
        assembly.config_path,
        models=lambda: tuple(assembly.config.models),
        obstacles=lambda: daemon.unwatched,
        metrics=assembly.metrics.board,
        now=clock.now,
        url=lambda: assembly.config.http.url,
        source_faults=lambda: _source_faults(daemon),
        last_round=lambda: daemon.rounded_at,
    )


def _notifier(daemon: Daemon, places: Places, clock: Clock) -> Notifier:
    def confirm(receiver: str, until: int) -> None:
        daemon.inbox.put(DeliveryConfirmed(receiver, until))

    return Notifier(places.state_db, confirm, daemon.assembly.metrics, clock.now)


class Interval(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Every so many seconds, whatever the wall clock is set to.

    APScheduler's own interval counts on from the last run: after a jump of years it makes a list of every missed one,
    which takes gigabytes. This one counts from the present moment where it is not the next.
    """

    def __init__(self, seconds: float) -> None:
        self._between = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """The run after `previous`, as APScheduler asks for it; it never lies in the past."""
        if previous is not None and previous <= now < previous + self._between:
            return previous + self._between
        return now + self._between


def _scheduler(post_tick: Callable[[], None], metrics: Metrics) -> BackgroundScheduler:
    """A scheduler that ticks. Late ticks are dropped together into one, never lost."""
    options = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
    scheduler = BackgroundScheduler(job_defaults=options, timezone="UTC")
    scheduler.add_job(post_tick, Interval(TICK_SECONDS), id="tick")

    def count(event: JobExecutionEvent) -> None:
        metrics.count_missed_tick(str(event.job_id))

    scheduler.add_listener(count, EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES)
    return scheduler


def _run_all_soon(scheduler: BackgroundScheduler) -> None:
    """After the clock was set: its jobs wait for moments of the wall clock, which may now be hours away."""
    for job in scheduler.get_jobs():
        job.modify(next_run_time=datetime.now(UTC))


def _add_upkeep(scheduler: BackgroundScheduler, assembly: Assembly, places: Places, clock: Clock) -> None:
    """What is done beside the main loop, because it takes long or may hang: upkeep, and measuring the disk."""
    metrics = assembly.metrics
    reasons_logged: dict[str, str] = {}  # why old events of a model are kept, as the log was told last

    done = DoneUpkeep()

    def upkeep() -> None:
        most = assembly.disk.event_bytes(assembly.config.retention.disk, len(assembly.config.models))
        ended = maintain_events(assembly.config, places, clock.now(), done, most_bytes=most)
        for model, ended_well in ended.items():
            reason = done.held.get(model, "")
            metrics.upkeep(model, clock.now(), ok=ended_well, held=bool(reason))
            if reason and reasons_logged.get(model) != reason:
                log.warning("deletion_held", model=model, rows="events", reason=reason)
            reasons_logged[model] = reason

    scheduler.add_job(upkeep, Interval(EVERY_SECONDS), id="upkeep")

    def backup() -> None:
        back_up(assembly.config, assembly.config_path, places, metrics, clock.now())

    def versions() -> None:
        check_versions(assembly.config, places, metrics)

    soon = datetime.now(UTC) + timedelta(seconds=BACKUP_FIRST_SECONDS)
    scheduler.add_job(backup, Interval(BACKUP_LOOK_SECONDS), id="backup", next_run_time=soon)
    scheduler.add_job(versions, Interval(VERSIONS_LOOK_SECONDS), id="versions", next_run_time=soon)

    def measure() -> None:
        taken, (free, _) = sizes(places), disk_free(places)
        assembly.disk.record(time.monotonic(), free, taken)
        metrics.sizes(taken)
        full_in = assembly.disk.full_in()
        metrics.forecast(None if full_in is None else clock.now() + full_in, assembly.disk.growth())

    for function, seconds, name in (
        (lambda: metrics.room(*disk_free(places), clock.now()), ROOM_SECONDS, "room"),
        (measure, EVERY_SECONDS, "sizes"),
    ):
        scheduler.add_job(function, Interval(seconds), id=name, next_run_time=datetime.now(UTC))


def _on_signals(post: Callable[[Message], None], service: Service) -> None:
    """SIGTERM and SIGINT stop, SIGHUP reloads; a signal only leaves a message (SimpleQueue.put is reentrant)."""

    def stop(caught: int, _frame: FrameType | None) -> None:
        service.stop_asked = signal.Signals(caught).name  # a loop that waits for a source sees this, not its inbox
        post(Stop(service.stop_asked))

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.signal(signal.SIGHUP, lambda _caught, _frame: post(Reload()))
    if hangups.take():  # during the start: the file may have changed after it was read
        log.info("reload_after_start", signal=signal.SIGHUP.name)
        post(Reload())


def _wiring(daemon: Daemon, assembly: Assembly, places: Places) -> Wiring:
    def reload() -> str | None:
        answered = threading.Event()
        answers: list[str | None] = []

        def answer(refusal: str | None) -> None:
            answers.append(refusal)
            answered.set()

        daemon.inbox.put(Reload(answer))
        if not answered.wait(RELOAD_SECONDS):
            return f"the main loop did not take the reload up within {RELOAD_SECONDS:.0f} s; it will when it is free"
        return answers[0]

    def status() -> dict[str, object]:
        watched: dict[str, dict[str, object]] = {
            name: {"phase": model.state.phase, "version": model.state.champion, "standing": model.standing}
            for name, model in list(daemon.models.items())
        }
        for name, obstacle in daemon.unwatched.items():
            watched[name] = {**watched.get(name, {}), "standing": obstacle, "obstacle": obstacle}
        for name, fault in _source_faults(daemon).items():
            watched[name] = {**watched.get(name, {}), "source_fault": fault}
        return {**watched}

    def report(model: str, alarm: int) -> Path:
        return places.report(model, alarm) if model in daemon.models else Path("/nonexistent")

    def faulty() -> str | None:
        faults = daemon.faults()
        return describe_faults(faults, len(assembly.config.models)) if faults else None

    return Wiring(assembly.metrics, daemon.is_ready, reload, status, report, assembly.service.standstill, faulty)
