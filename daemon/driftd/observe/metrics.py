"""What the daemon shows of itself: one method for each thing that happens. The families are in `families`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import nan

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector

from driftd.observe import families
from driftd.observe.exposition import MetricStore
from driftd.observe.model_metrics import ModelMetrics
from driftd.web.server import encoder_for

JOBS = ("tick", "config", "upkeep", "room", "sizes", "backup", "versions")


class Metrics:
    """The daemon's values. Written by its threads, read by scrapes; nothing in here waits."""

    def __init__(self) -> None:
        self.board = MetricStore()
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        GCCollector(registry=self._process)
        self._models: dict[str, ModelMetrics] = {}
        self._receivers: set[str] = set()
        for job in JOBS:
            self.board.add(families.TICKS_MISSED, 0, job)
        for message in families.MESSAGE_KINDS:
            self.board.add(families.MESSAGES_FAILED, 0, message)
        self.board.add(families.CLOCK_JUMPS, 0)
        for reason in families.REFUSALS_OF_REQUESTS:
            self.board.add(families.REQUESTS_REFUSED, 0, reason)
        for outcome in families.RELOADS:
            self.board.add(families.RELOADS_DONE, 0, outcome)
        self.board.add(families.BACKUP_FAILURES, 0)
        self.board.set(families.STATE_DAMAGED, 0)

    def expose(self, accept: str = "") -> tuple[bytes, str]:
        """Give what a scrape gets, and its content type: OpenMetrics where the `Accept` header asks for it."""
        encoder, content_type = encoder_for(accept)
        own = self.board.text(openmetrics=content_type.startswith("application/openmetrics-text"))
        return own + encoder(self._process), content_type

    def model(self, name: str) -> ModelMetrics:
        """The metrics of one model."""
        if name not in self._models:
            self._models[name] = ModelMetrics(self.board, name)
        return self._models[name]

    def remove_model(self, name: str) -> None:
        """Let every series of a model disappear."""
        self._models.pop(name, None)
        self.board.remove("model", name)

    def record_start(self, *, version: str, python: str, now: float, messages: Callable[[], int]) -> None:
        """Record that the process is up. `messages` tells how many messages wait for the main loop."""
        self.board.set(families.INFO, 1, version, python)
        self.board.set(families.STARTED, now)
        self.board.ask(families.MESSAGES, messages)

    def record_round(self, now: float, seconds: float) -> None:
        """Record the end of a round of the main loop, which took so many seconds."""
        self.board.set(families.LAST_STEP, now)
        self.board.observe(families.ROUND_TIME, seconds)

    def count_missed_tick(self, job: str) -> None:
        """Count a scheduled run that came too late, or while one ran."""
        self.board.add(families.TICKS_MISSED, 1, job)

    def count_failed_message(self, kind: str) -> None:
        """Count a message that the main loop could not act on."""
        self.board.add(families.MESSAGES_FAILED, 1, kind)

    def count_clock_jump(self) -> None:
        """Count that the wall clock was found set."""
        self.board.add(families.CLOCK_JUMPS, 1)

    def record_backup(self, at: float, size: int) -> None:
        """Record a good backup that was made, or found at the start; its size is in bytes."""
        with self.board.together():
            self.board.set(families.BACKED_UP_AT, at)
            self.board.set(families.BACKUP_SIZE, size)

    def count_failed_backup(self) -> None:
        """Count a backup that could not be made."""
        self.board.add(families.BACKUP_FAILURES, 1)

    def mark_state_damaged(self) -> None:
        """Show that the state database was found broken: the daemon ends."""
        self.board.set(families.STATE_DAMAGED, 1)

    def count_refused_request(self, reason: str) -> None:
        """Count a request that was not let in."""
        self.board.add(families.REQUESTS_REFUSED, 1, reason)

    def record_config(self, digest: str, now: float) -> None:
        """Record that this config was read and is in force."""
        with self.board.together():
            self.board.clear(families.CONFIG)
            self.board.set(families.CONFIG, 1, digest)
            self.board.set(families.RELOAD_OK, 1)
            self.board.set(families.RELOAD_AT, now)

    def count_reload(self, outcome: str) -> None:
        """Count a config that was read while the daemon runs; one that is refused leaves the old one in force."""
        self.board.add(families.RELOADS_DONE, 1, outcome)
        if outcome == "refused":
            self.board.set(families.RELOAD_OK, 0)

    def override(self, kinds: Collection[str], expires: float | None, since: Mapping[str, float]) -> None:
        """What the config's override asks for just now, and since when it has."""
        with self.board.together():
            for kind in families.OVERRIDES:
                self.board.set(families.OVERRIDE, kind in kinds, kind)
                self.board.set(families.OVERRIDE_SINCE, since.get(kind, nan) if kind in kinds else nan, kind)
            if kinds and expires is not None:
                self.board.set(families.OVERRIDE_EXPIRES, expires)
            else:
                self.board.clear(families.OVERRIDE_EXPIRES)

    def upkeep(self, model: str, now: float, *, ok: bool, held: bool = False) -> None:
        """A model's event store was sealed and pruned, or that failed; the model may be gone meanwhile."""
        metrics = self._models.get(model)
        if metrics is not None:
            metrics.upkeep(now, ok=ok, held=held)

    def room(self, free: int, size: int, now: float) -> None:
        """How much room there is on the disk, in bytes."""
        with self.board.together():
            self.board.set(families.DISK_FREE, free)
            self.board.set(families.DISK_SIZE, size)
            self.board.set(families.MEASURED, now)

    def sizes(self, parts: Mapping[str, int]) -> None:
        """What each part of the state takes, in bytes."""
        with self.board.together():
            for part, taken in parts.items():
                self.board.set(families.STORE_SIZE, taken, part)

    def forecast(self, full_at: float | None, growth: Mapping[str, float]) -> None:
        """When the disk is full at its rate, None when it does not fill; what each part grows by, in bytes a day."""
        with self.board.together():
            self.board.set(families.DISK_FULL_AT, nan if full_at is None else full_at)
            for part, grown in growth.items():
                self.board.set(families.GROWTH, grown, part)

    def receivers(self) -> set[str]:
        """The receivers of notifications that have series."""
        return set(self._receivers)

    def add_receiver(self, receiver: str) -> None:
        """Let the series of a receiver exist, at zero."""
        self._receivers.add(receiver)
        self.board.add(families.NOTIFIED, 0, receiver)
        self.board.add(families.NOTIFICATIONS_FAILED, 0, receiver)
        self.board.set(families.NOTIFICATIONS_PENDING, 0, receiver)

    def remove_receiver(self, receiver: str) -> None:
        """Let every series of a receiver disappear."""
        self._receivers.discard(receiver)
        self.board.remove("receiver", receiver)

    def record_notification(self, receiver: str, now: float) -> None:
        """Record that a receiver took a notification."""
        self.board.add(families.NOTIFIED, 1, receiver)
        self.board.set(families.NOTIFIED_AT, now, receiver)

    def count_failed_notification(self, receiver: str) -> None:
        """Count a notification that a receiver did not take; it is tried again."""
        self.board.add(families.NOTIFICATIONS_FAILED, 1, receiver)

    def set_pending_notifications(self, receiver: str, count: int) -> None:
        """So many decisions wait for a receiver."""
        self.board.set(families.NOTIFICATIONS_PENDING, count, receiver)
