"""One decision: inputs go in, transitions come out, in one transaction. Counts the facts that policy asks for."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import numpy as np
import structlog
from apscheduler.triggers.cron import CronTrigger

from driftd.loop.check_schedule import CheckRun, CheckScheduler
from driftd.loop.checks import alarm_of, fault_in, is_conclusive, is_level_fault
from driftd.loop.label_counts import count_sound_labels, labels_count_from, merge_spans
from driftd.loop.stages import record_transition
from driftd.loop.supervision import SourceUnansweredError
from driftd.observe.decision_counts import DecisionEvent
from driftd.observe.model_metrics import ModelMetrics
from driftd.policy import (
    LEVELS,
    AlarmCleared,
    AlarmRaised,
    AlarmStanding,
    Facts,
    Finding,
    Override,
    PolicySettings,
    QualityFault,
    QualityOk,
    advance,
    pending_request,
)
from driftd.records import BuildSpec, HandOverStage, ModelState, Phase, RefreshState, Transition, Verdict, Window
from driftd.registry import Manifest, ManifestError, Registry
from driftd.sources.protocol import WindowSpec, window_index
from driftd.store.state.reader import StateReader
from driftd.store.state.writer import StateStore
from driftd.training.trainer_code import settings_digest
from driftd_detectors.assessment import EvidenceKind, KindAssessment
from driftd_detectors.evidence.history import level_windows
from driftd_detectors.monitor import Monitor
from driftd_detectors.performance.label_delay import FEWEST_LABELS, LabelDelay
from driftd_detectors.window_data import ServedBy

log = structlog.get_logger()


@dataclass(slots=True)
class Rules:
    """The inputs of policy besides the finding and the facts."""

    settings: PolicySettings
    override: Override
    config_hash: str


@dataclass(slots=True)
class Decision:
    """The findings of one moment, decided in order. `state` is what the model will be once this has landed."""

    state: ModelState
    rules: Rules
    store: StateStore
    now: float
    transitions: list[tuple[ModelState, Transition]] = field(default_factory=list)

    def advance(self, finding: Finding, facts: Facts, *, actor: str = "driftd") -> Transition:
        """Decide on one finding and write the decision into the open transaction."""
        before = self.state
        transition = advance(before, finding, facts, self.rules.settings, self.rules.override, self.now)
        if transition.event is not None or transition.actions or transition.state != before:
            who, config_hash = transition.actor or actor, self.rules.config_hash
            self.store.save_transition(before, transition, at=self.now, actor=who, config_hash=config_hash)
            record_transition(self.store, before, transition, self.now)
        self.transitions.append((before, transition))
        self.state = transition.state
        return transition


@contextmanager
def open_decision(state: ModelState, rules: Rules, store: StateStore, now: float) -> Iterator[Decision]:
    """Open a transaction for a decision; `report` follows once it has landed."""
    decision = Decision(state, rules, store, now)
    with store.transaction():
        yield decision


def report(decision: Decision, metrics: ModelMetrics) -> None:
    """Count and log what was decided, in order."""
    for before, transition in decision.transitions:
        _report(before, transition, metrics, decision.now)


def _report(before: ModelState, transition: Transition, metrics: ModelMetrics, now: float) -> None:
    if transition.event is None:
        return
    state = transition.state
    metrics.count_decision(DecisionEvent(transition.event, now, transition.figures, before.phase, state.phase))
    log.info(
        "transition",
        model=state.model,
        happened=transition.event,
        phase_from=before.phase,
        phase_to=state.phase,
        reason=transition.reason,
        **{key: value for key, value in transition.figures.to_dict().items() if key not in {"model", "event", "parts"}},
    )


ABSORB_AFTER = 2  # times as long as the level of a window is taken from; an alarm that only informs is then normal
ABSORBABLE = (EvidenceKind.DATA, EvidenceKind.PREDICTION)  # an alarm of harm is a level, and clears by its own rule
FAULT_LOOK_BACK = 24  # windows: a fault that becomes certain later is rarer


def save_fault(decision: Decision, run: CheckRun) -> None:
    """Remember a window with a fault beyond doubt, and those just before it in which the fault was not sure yet."""
    model, store, now = decision.state.model, decision.store, decision.now
    faults = {(fault.subject, fault.fault) for fault in run.result.assessment.faults if fault.alarm}
    if run.kind != "window" or not faults or run.result.span is None:
        return
    store.save_faulty_window(model, run.window.index, run.result.span, now)
    for index in range(run.window.index - 1, run.window.index - 1 - FAULT_LOOK_BACK, -1):
        check = store.check(model, "window", index) if run.window.by == "time" else None
        before = () if check is None else check.figures.get("faults", ())
        if check is None or not faults & {(seen["subject"], seen["fault"]) for seen in before}:
            return
        store.save_faulty_window(model, index, (check.window_start, check.window_end), now)


def absorb_alarms(decision: Decision, run: CheckRun, monitor: Monitor, facts: Facts) -> Monitor:
    """Take a standing alarm that only informed into what is normal, so that the next change is seen again."""
    state, store = decision.state, decision.store
    if run.kind != "window" or state.phase is not Phase.STEADY:
        return monitor
    wait = ABSORB_AFTER * level_windows(monitor.settings.window_seconds)
    newest = {alarm.kind: alarm for alarm in store.standing_alarms(state.model, state.champion)[::-1]}
    for alarm in newest.values():
        builds = LEVELS.get(alarm.kind) in decision.rules.settings.retrain_on
        if alarm.kind in ABSORBABLE and not builds and run.window.index - alarm.window_index >= wait:
            monitor = monitor.rebaseline(EvidenceKind(alarm.kind))
            store.absorb_alarms(state.model, alarm.kind, decision.now)
            level = monitor.absorbed_level(EvidenceKind(alarm.kind))
            sentence = "the level of the last windows is accepted as the new normal"
            decision.advance(AlarmCleared(alarm.kind, sentence if level is None else f"{sentence}, {level}"), facts)
            log.info("alarm_absorbed", model=state.model, alarm=alarm.id, kind=alarm.kind)
    return monitor


def raise_alarms(decision: Decision, run: CheckRun, facts: Facts, champion: int) -> None:
    """Have policy decide on the faults and the evidence of a check; `champion` is the version that was checked."""
    _tell_faults(decision, run, facts)
    for kind in run.result.assessment.kinds:
        if kind.crossed:
            _raise_alarm(decision, kind, run.window, facts, champion)
        elif str(kind.kind) in LEVELS:
            _follow_level(decision, kind, run.window, facts, champion)


def _tell_faults(decision: Decision, run: CheckRun, facts: Facts) -> None:
    assessment = run.result.assessment
    fault = fault_in(assessment)
    if run.kind == "window" and is_conclusive(assessment, EvidenceKind.QUALITY):
        is_level = is_level_fault(assessment)
        decision.advance(QualityOk() if fault is None else QualityFault(fault, is_level=is_level), facts)
    if run.kind == "labels" and not assessment.waits:
        if fault is not None:
            decision.advance(QualityFault(fault, "labels"), facts)
        elif assessment.figures.get("labels", 0) >= FEWEST_LABELS:
            decision.advance(QualityOk("labels"), facts)


def _raise_alarm(decision: Decision, kind: KindAssessment, window: Window, facts: Facts, champion: int) -> None:
    alarm, model = alarm_of(kind), decision.state.model
    number = decision.store.save_alarm(
        model, alarm, window, at=decision.now, version=champion, leaders=kind.leaders[:20]
    )
    decision.advance(AlarmRaised(alarm, number, window), facts)


def _follow_level(decision: Decision, kind: KindAssessment, window: Window, facts: Facts, champion: int) -> None:
    """Have policy know whether the alarm of a kind stands, by the evidence and not by the crossing alone."""
    name, model, store = str(kind.kind), decision.state.model, decision.store
    is_open = any(alarm.kind == name for alarm in decision.state.open_alarms)
    if kind.verdict is Verdict.DRIFT and not is_open:
        raised = [alarm for alarm in store.standing_alarms(model, champion) if alarm.kind == name]
        if raised:
            decision.advance(AlarmStanding(alarm_of(kind), raised[0].id), facts)
        else:
            _raise_alarm(decision, kind, window, facts, champion)
    elif kind.verdict in (Verdict.OK, Verdict.SUSPECTED) and is_open:
        store.clear_alarms(model, name, decision.now)
        decision.advance(AlarmCleared(name, kind.sentence), facts)


LOOK_SECONDS = 60.0  # predictions of a version that is handed over are looked for so often
LOOK_BACK_SECONDS = 3600.0  # they may be logged so late
SET_BACK_SECONDS = 86_400.0  # more than the clock is set back when it is only made right
COUNTS_A_WINDOW = 20  # labels are counted so many times in the span of a window


@dataclass(slots=True)
class Counts:
    """The newest counts, and when they were made."""

    model: str
    registry: Registry
    schedule: CronTrigger | None
    spec: Callable[[float], tuple[BuildSpec | None, str]]  # what a build would be made by at a time, and what waits
    count_labels_since_build: bool
    recount_after: float
    window: WindowSpec
    is_refreshed: bool = False  # whether refreshes are on: then new rows with complete labels are counted
    is_external: bool = False
    _labels: tuple[float, float, int] = (-1.0, -1.0, 0)  # since, counted at, count
    _of_request: tuple[float, float, int] = (-1.0, -1.0, 0)
    _since_build: tuple[float, float, int] = (-1.0, -1.0, 0)
    _of_probation: tuple[float, float, int] = (-1.0, -1.0, 0)
    _fresh: tuple[float, float, int] = (-1.0, -1.0, 0)
    _first: tuple[int, RefreshState] | None = None  # the champion, and what its first refresh counts from
    _spec: tuple[int, BuildSpec | None] | None = None  # the champion, and what it was made by
    _seen: tuple[int, float, bool] = (0, -1.0, False)  # version handed over, looked at, whether its predictions came
    _numbers: dict[int, int | None] = field(default_factory=dict)  # by version: the largest number in its log; None: it
    # has an artefact

    def forget(self) -> None:
        """Count anew at the next question."""
        self._labels = self._of_request = self._since_build = self._of_probation = self._fresh = (-1.0, -1.0, 0)

    def facts(
        self, state: ModelState, store: StateReader, scheduler: CheckScheduler, delay: LabelDelay | None, now: float
    ) -> Facts:
        """The facts of this moment. Labels of windows with a fault of the pipeline do not count.

        `delay` says how late labels come, as the evidence has it.
        """
        versions = self.registry.versions(self.model)
        since = labels_count_from(state)
        if since is not None:
            self._labels = self._count_since(self._labels, since, store, scheduler, now)
        request = pending_request(state) if state.build is not None else None
        if request is not None:
            self._of_request = self._count_since(self._of_request, request.change_at or 0.0, store, scheduler, now)
        if self.count_labels_since_build:
            last_build = state.build_starts[-1] if state.build_starts else 0.0
            self._since_build = self._count_since(self._since_build, last_build, store, scheduler, now)
        if state.probation is not None:
            self._of_probation = self._count_since(self._of_probation, state.probation.since, store, scheduler, now)
        window, first = self._open_window(scheduler, now), self._first_refresh(state, scheduler, now)
        refresh = state.refresh or first
        if self.is_refreshed and refresh is not None:
            self._count_fresh(refresh.mature_until, delay, store, scheduler, now)
        spec, spec_wait = self.spec(now)
        numbers = [*versions, *state.barred, *([state.build.number] if state.build else [])]
        logged = self.logged_among(versions)
        numbers += [self._numbers[version] or 0 for version in logged]
        return Facts(
            next_version=max(numbers, default=0) + 1,
            logged=logged,
            is_seen=self._is_seen(state, scheduler, now),
            versions=frozenset(versions),
            labels=self._labels[2] if since is not None else 0,
            labels_of_request=None if request is None else self._of_request[2],
            labels_of_probation=None if state.probation is None else self._of_probation[2],
            labels_since_build=self._since_build[2],
            window=window,
            fresh_labels=self._fresh[2],
            first_refresh=first,
            schedule_due=self.is_due(state, now),
            next_schedule=self.next_schedule(state),
            spec=spec,
            spec_wait=spec_wait,
            champion_spec=self._champion_spec(state),
            working=frozenset(action.kind for action in store.open_actions(self.model)),
            clock_fault=scheduler.clock_fault(store, now),
        )

    def logged_among(self, versions: Iterable[int]) -> frozenset[int]:
        """The versions of which there are only logged predictions. What a version is never changes."""
        if not self.is_external:
            return frozenset()
        for version in versions:
            if version not in self._numbers:
                with contextlib.suppress(ManifestError):
                    manifest = self.registry.manifest(self.model, version)
                    number = int(manifest.data.get("logged_version", 0))
                    self._numbers[version] = number if manifest.is_logged else None
        return frozenset(version for version in versions if self._numbers.get(version) is not None)

    def _is_seen(self, state: ModelState, scheduler: CheckScheduler, now: float) -> bool:
        """Whether predictions have come that name the version that is being handed over."""
        hand_over = state.hand_over
        if hand_over is None or hand_over.stage not in (HandOverStage.DELIVER, HandOverStage.AWAIT):
            return False
        version, looked_at, seen = self._seen
        if version != hand_over.version or now < looked_at:
            looked_at, seen = hand_over.since - LOOK_BACK_SECONDS, False
        elif seen or now - looked_at < min(self.recount_after, LOOK_SECONDS):
            return seen
        window = Window(0, max(hand_over.since, looked_at - LOOK_BACK_SECONDS), now)
        try:
            cohort = scheduler.guard.resume(
                ("seen", hand_over.version),
                partial(scheduler.current_source().cohort, window, now, (), ServedBy(hand_over.version)),
            )
        except SourceUnansweredError:
            return seen
        self._seen = hand_over.version, now, bool((cohort.outcomes.version == hand_over.version).any())
        return self._seen[2]

    def _count_since(
        self, last: tuple[float, float, int], since: float, store: StateReader, scheduler: CheckScheduler, now: float
    ) -> tuple[float, float, int]:
        if last[0] == since and 0 <= now - last[1] < self.recount_after:
            return last
        spans = merge_spans(store.faulty_spans(self.model, since, now))
        count = partial(count_sound_labels, scheduler.current_source(), since, now, spans)
        try:
            return since, now, scheduler.guard.resume(("labels since", since), count)
        except SourceUnansweredError:
            return last if last[0] == since else (since, -math.inf, 0)  # what was known, until the source answers

    def _open_window(self, scheduler: CheckScheduler, now: float) -> int:
        """The index of the window that is open; of rows, as far as they are read."""
        if self.window.every is not None:
            return window_index(now, self.window.every)
        rows = 0 if scheduler.extent is None else scheduler.extent.rows
        return rows // (self.window.rows or 1)

    def _first_refresh(self, state: ModelState, scheduler: CheckScheduler, now: float) -> RefreshState | None:
        """What the first refresh counts from: the rows of the champion's snapshot, and the window after them."""
        if not self.is_refreshed or state.refresh is not None or state.champion is None:
            return None
        if self._first is None or self._first[0] != state.champion:
            data = self.registry.readable(self.model, state.champion).data
            rows = float(data.get("training_rows") or 0) + float(data.get("held_out_rows") or 0)
            last_at = float(data.get("last_at") or now)
            window = self._open_window(scheduler, min(last_at, now))
            mature_until = float(np.nextafter(last_at, np.inf))
            self._first = state.champion, RefreshState(window, max(1.0, rows), mature_until)
        return self._first[1]

    def _count_fresh(
        self, since: float, delay: LabelDelay | None, store: StateReader, scheduler: CheckScheduler, now: float
    ) -> None:
        """Count the labelled rows from `since` on whose windows have nearly all their labels."""
        if self._fresh[0] == since and 0 <= now - self._fresh[1] < self.recount_after:
            return
        mature_until = now if delay is None else delay.mature_until(now, self.window.every)
        found = 0
        if mature_until > since:
            spans = merge_spans(store.faulty_spans(self.model, since, now))
            count = partial(count_sound_labels, scheduler.current_source(), since, now, spans, mature_until)
            try:
                found = scheduler.guard.resume(("fresh", since), count)
            except SourceUnansweredError:
                self._fresh = self._fresh if self._fresh[0] == since else (since, -math.inf, 0)
                return
        self._fresh = since, now, found

    def _champion_spec(self, state: ModelState) -> BuildSpec | None:
        """What the champion was made by; only asked for while no build of it is on record."""
        if state.spec is not None or state.champion is None:
            return None
        if self._spec is None or self._spec[0] != state.champion:
            with contextlib.suppress(ManifestError):
                self._spec = state.champion, spec_of(self.registry.manifest(self.model, state.champion))
        return None if self._spec is None else self._spec[1]

    def is_due(self, state: ModelState, now: float) -> bool:
        """Whether the schedule is to request a build now."""
        if self.schedule is not None and state.last_schedule > now + SET_BACK_SECONDS:
            return True  # a clock that was ahead wrote it down: what it put off is due
        due = self.next_schedule(state)
        return due is not None and due <= now

    def next_schedule(self, state: ModelState) -> float | None:
        """When the schedule is due after it last was, epoch seconds; None without a schedule."""
        if self.schedule is None or state.last_schedule <= 0:
            return None
        last = datetime.fromtimestamp(state.last_schedule, UTC)
        due = self.schedule.get_next_fire_time(last, last)
        return None if due is None else due.timestamp()


def spec_of(manifest: Manifest) -> BuildSpec | None:
    """What a version was made by; None where its lineage does not say all of it, or another made it."""
    settings = manifest.data.get("settings")
    if manifest.adopted is not None or settings is None:
        return None
    return BuildSpec(manifest.trainer.fingerprint, manifest.trainer.lock, settings_digest(settings))
