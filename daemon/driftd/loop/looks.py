"""Child processes for what people look at: one at a time, bounded, and each answer kept for a while."""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from driftd.api.looks import LookOrder, LookView
from driftd.config.schema import Config
from driftd.errors import DriftdError
from driftd.paths import Places
from driftd.registry import Registry
from driftd.sources.open import config_for_children
from driftd.store.state.chart_queries import SeriesReader, StateUnreadableError
from driftd.store.state.reader import StateAbsentError
from driftd.training.jobs import JobLimits, JobResult, describe_failure, start_job

log = structlog.get_logger()

MOST_WAITING = 4  # looks that wait for their turn; who comes then is asked to come again
MOST_KEPT = 24  # answers
WALL_SECONDS, LOOK_SECONDS = 120.0, 0.1
FOLDERS = "look-*"

Mark = tuple[int | None, int | None]


@dataclass(slots=True)
class LookJobs:
    """Performs looks in a thread of its own, which its children live as long as.

    An answer is kept until another window was checked, of predictions or of labels: until then it cannot change but by
    labels that came meanwhile.
    """

    places: Places
    config: Callable[[], Config]  # in force
    now: Callable[[], float]
    _orders: queue.Queue[tuple[LookOrder, Mark]] = field(default_factory=lambda: queue.Queue(MOST_WAITING))
    _answers: OrderedDict[LookOrder, tuple[Mark, LookView]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None
    _stopped: threading.Event = field(default_factory=threading.Event)

    def ask(self, order: LookOrder) -> LookView:
        """What a look found, or how far it is; the first to ask begins it."""
        try:
            with SeriesReader.read_only(self.places.state_db) as reader:
                mark = (reader.last_window(order.model, "window"), reader.last_window(order.model, "labels"))
        except (StateAbsentError, StateUnreadableError) as error:
            return LookView(status="failed", sentence=str(error))
        with self._lock:
            kept = self._answers.get(order)
            if kept is not None and (kept[0] == mark or kept[1].status == "working"):
                self._answers.move_to_end(order)
                return self._answer_once(order, kept[1])
            return self._begin(order, mark)

    def stop(self) -> None:
        """Begin nothing more; a child at work ends with the thread that started it."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=2)

    def _answer_once(self, order: LookOrder, view: LookView) -> LookView:
        if view.status == "failed":
            del self._answers[order]  # told once; who asks again tries again
        return view

    def _begin(self, order: LookOrder, mark: Mark) -> LookView:
        try:
            self._orders.put_nowait((order, mark))
        except queue.Full:
            return LookView(status="busy", sentence="other looks are under way; this one is not begun yet")
        working = LookView(status="working", sentence="a child process reads the rows")
        self._answers[order] = (mark, working)
        while len(self._answers) > MOST_KEPT:
            self._answers.popitem(last=False)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="looks", daemon=True)
            self._thread.start()
        return working

    def _work(self) -> None:
        for folder in self.places.job("x").parent.glob(FOLDERS):
            shutil.rmtree(folder, ignore_errors=True)  # of a daemon that was killed
        while not self._stopped.is_set():
            try:
                order, mark = self._orders.get(timeout=1)
            except queue.Empty:
                continue
            found = self._perform(order)
            with self._lock:
                self._answers[order] = (mark, found)

    def _perform(self, order: LookOrder) -> LookView:
        began = time.monotonic()
        try:
            result = self._run(order)
        except (DriftdError, OSError) as error:
            result = JobResult(ok=False, error=str(error))
        seconds = round(time.monotonic() - began, 2)
        log.info("look_finished", look=order.kind, model=order.model, ok=result.ok, seconds=seconds)
        if result.ok:
            return LookView(status="done", value=result.value)
        return LookView(status="failed", sentence=describe_failure(result))

    def _run(self, order: LookOrder) -> JobResult:
        config = self.config()
        limits = JobLimits(memory_bytes=config.limits.memory, wall_seconds=WALL_SECONDS, threads=1, disk_bytes=1 << 30)
        folder = self.places.job(f"look-{time.time_ns()}")
        job = start_job(folder, order.kind, self._arguments(order, config), limits)
        try:
            while (result := job.poll()) is None:
                if self._stopped.wait(LOOK_SECONDS):
                    job.kill()
                    return JobResult(ok=False, error="driftd stops")
            return result
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _arguments(self, order: LookOrder, config: Config) -> dict[str, object]:
        with SeriesReader.read_only(self.places.state_db) as reader:
            version = reader.profiled_version(order.model, order.last)
        common: dict[str, object] = {
            "model": order.model,
            "model_config": config_for_children(config.models[order.model]),
            "state_dir": str(self.places.root),
            "first": order.first,
            "last": order.last,
            "version": version or Registry(self.places).current(order.model) or 0,
        }
        return common | ({"known_by": self.now()} if order.kind == "quality" else {})
