"""`driftd run`: the process around the loop. Signals, the scheduler and HTTP only post messages to it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
from apscheduler.events import EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobExecutionEvent
from apscheduler.schedulers.background import BackgroundScheduler

from driftd.clock import Clock, RealClock
from driftd.config.load import load
from driftd.config.watching import ConfigWatch
from driftd.loop.assembling import Assembly
from driftd.loop.daemon import Daemon, Message, Reload, Stop, Told
from driftd.loop.housekeeping import EVERY_SECONDS, keep_house
from driftd.notify import Notifier
from driftd.observe.http import HttpThread, Wiring, application
from driftd.observe.logs import configure_logs
from driftd.observe.metrics import Metrics
from driftd.page.routes import Page, PageWiring
from driftd.places import Places
from driftd.store.state import StateStore

log = structlog.get_logger()

TICK_SECONDS = 1.0
WATCH_SECONDS = 1.0
RELOAD_SECONDS = 30.0


def run(config_path: Path, *, log_level: str = "info") -> int:
    """Watch every model of a config until SIGTERM or SIGINT; returns the exit code.

    Raises ConfigError when the config is bad, DatabaseError when the state cannot be used.
    """
    configure_logs(level=log_level)
    config = load(config_path)
    places = Places(config.state_dir)
    places.root.mkdir(parents=True, exist_ok=True, mode=0o750)
    assembly = Assembly(config_path, config, places, StateStore.open(places.state_db), Metrics())
    daemon, clock = Daemon(assembly), RealClock()
    page = Page(PageWiring(places, config_path, lambda: dict(daemon.obstacles), lambda: daemon.rounded_at))
    http = HttpThread(application(_wiring(daemon, assembly, places), page.routes()), config.http.listen)
    scheduler = _scheduler(daemon.post_tick, assembly.metrics)
    watch = ConfigWatch(config_path, lambda: daemon.config_read, lambda: daemon.inbox.put(Reload()))
    scheduler.add_job(watch.look, "interval", seconds=WATCH_SECONDS, id="config")
    scheduler.add_job(
        lambda: keep_house(assembly.config, places, clock.now()), "interval", seconds=EVERY_SECONDS, id="upkeep"
    )
    _on_signals(daemon.inbox.put)
    http.start()
    scheduler.start()
    assembly.metrics.started.set_to_current_time()
    log.info(
        "started", config=str(config_path), config_hash=config.hash, models=sorted(daemon.models), http=http.address
    )
    try:
        daemon.notify_by(_notifier(daemon, places, clock))
        daemon.begin(clock.now())
        daemon.post_tick()
        daemon.run(clock)
    finally:
        scheduler.shutdown(wait=False)
        http.stop()
        page.close()
    return 0


def _notifier(daemon: Daemon, places: Places, clock: Clock) -> Notifier:
    def confirm(receiver: str, until: int) -> None:
        daemon.inbox.put(Told(receiver, until))

    return Notifier(places.state_db, confirm, daemon.assembly.metrics, clock.now)


def _scheduler(post_tick: Callable[[], None], metrics: Metrics) -> BackgroundScheduler:
    """A scheduler that ticks. Late ticks are dropped together into one, never lost."""
    options = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
    scheduler = BackgroundScheduler(job_defaults=options, timezone="UTC")
    scheduler.add_job(post_tick, "interval", seconds=TICK_SECONDS, id="tick")

    def count(event: JobExecutionEvent) -> None:
        metrics.missed.labels(str(event.job_id)).inc()

    scheduler.add_listener(count, EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES)
    return scheduler


def _on_signals(post: Callable[[Message], None]) -> None:
    """SIGTERM and SIGINT stop, SIGHUP reloads; a signal only leaves a message (SimpleQueue.put is reentrant)."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda caught, _frame: post(Stop(signal.Signals(caught).name)))
    signal.signal(signal.SIGHUP, lambda _caught, _frame: post(Reload()))


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

    def status() -> dict[str, Any]:
        return {
            name: {"phase": model.state.phase, "version": model.state.champion, "standing": model.standing}
            for name, model in daemon.models.items()
        }

    def report(model: str, alarm: int) -> Path:
        return places.report(model, alarm) if model in daemon.models else Path("/nonexistent")

    return Wiring(assembly.metrics, daemon.is_ready, reload, status, report)
