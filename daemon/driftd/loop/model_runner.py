"""Runs the loop of one model. Read `step` first."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import structlog

from driftd.actions import ReportResult
from driftd.events import Event
from driftd.formatting import encodable
from driftd.loop.actions import BUILDING, Performer, chain_version, finding_of, is_asked_hand_over, outcome_of
from driftd.loop.alarm_figures import with_alarm_figures
from driftd.loop.check_group import CheckGroup, GroupOwner, RecordedCheck
from driftd.loop.check_schedule import CheckRun, CheckScheduler, show_source
from driftd.loop.decide import Counts, Decision, Rules, absorb_alarms, open_decision, raise_alarms, report, save_fault
from driftd.loop.disk import DiskLimits, prune_model
from driftd.loop.outside_builds import put_aside
from driftd.loop.requests import (
    PRUNE_CHECKS,
    RESET_CURSOR,
    RESET_EVIDENCE,
    count_old_checks,
    find_reset_obstacle,
    request_of,
    reset_cursor,
    with_snapshot,
)
from driftd.loop.resume import MonitorState, show_version
from driftd.loop.stages import has_snapshot, record_action
from driftd.loop.step_schedule import SHORT_REST
from driftd.loop.supervision import SourceHangsError, SourceRefusesError, SourceUnansweredError
from driftd.observe.model_metrics import ModelMetrics
from driftd.policy import (
    ClockTick,
    Facts,
    Override,
    ProbationResult,
    StepDone,
    registry_due,
)
from driftd.records import (
    ActionKind,
    ModelState,
    Phase,
    ReportArguments,
    SwapArguments,
    SwapPurpose,
    Window,
)
from driftd.store.state.records import StoredAction, StoredRequest
from driftd.store.state.writer import StateStore
from driftd.training.jobs import Job, JobResult, await_news
from driftd_detectors.assessment import LatestVerdicts
from driftd_detectors.window_data import ServedBy

log = structlog.get_logger()

ROUNDS = 8  # decisions that may follow from one another within one step
NOT_CHECKED = LatestVerdicts()


@dataclass(slots=True)
class ModelRunner:
    """The state, checks, evidence and child processes of one model."""

    name: str
    state: ModelState
    rules: Rules
    scheduler: CheckScheduler
    evidence: MonitorState
    counts: Counts
    performer: Performer
    store: StateStore
    metrics: ModelMetrics
    group: CheckGroup
    disk_limits: Callable[[], DiskLimits]
    has_time: Callable[[], bool] = lambda: True  # whether the round under way may go on
    is_blind: bool = False  # the champion's files, or its evidence, are damaged: only requests are answered
    obstacle: str | None = None  # why its evidence cannot be read; None: it can, or the champion's files are damaged
    standing: str = "not looked yet"  # the last step in one sentence
    verdicts: LatestVerdicts = NOT_CHECKED  # of the champion
    hang: str | None = None  # why nothing is checked just now: its source hangs
    _is_unanswered: bool = False  # whether the source has not answered the last look yet
    _refusal: str = "\0"  # what an engine said last when it gave no rows
    _has_actions: bool = False

    def step(self, now: float) -> bool:
        """Check, decide and act once. True while there is more to check now.

        A job that the host cannot start just now costs no check; it is raised at the end.
        """
        self.performer.shortage = None
        self._harvest(now)
        self._answer_requests(now)
        self.evidence.silence(self._demands(now).silenced)
        was_paused = self._is_paused(now)
        behind = self._check(now)
        self._settle(now)
        while self._harvest(now):  # begins what was just intended, and what follows from what ended meanwhile
            self._settle(now)
        self.show()
        if self.performer.shortage is not None:
            raise self.performer.shortage
        return behind or (was_paused and not self._is_paused(now))

    def show(self) -> None:
        """Update the metrics of the model's state and actions."""
        self.metrics.state(self.state, self.performer.registry.current(self.name))
        actions = self.store.open_actions(self.name)
        at_work = self.performer.running
        self._has_actions = bool(actions)
        self.metrics.actions(
            Counter(action.kind for action in actions if action.id in at_work),
            Counter(action.kind for action in actions if action.id not in at_work),
        )

    def next_step(self, now: float) -> float:
        """When the model is to be stepped next, unless somebody asks something of it before (epoch seconds)."""
        if self._has_actions or self._is_unanswered:
            return now
        state = self.state
        waits = any((state.build, state.want, state.probation, state.hand_over))
        longest = [now + SHORT_REST] if waits or state.phase not in (Phase.STEADY, Phase.PAUSED) else []
        asked = self.rules.override.ends, (order.until for order in state.orders if order.until is not None)
        ends = [at for at in chain(*asked, registry_due(state, self.rules.settings.registry)) if at > now]
        return min([self.scheduler.next_look(self.store, now), *longest, *ends])

    @property
    def jobs(self) -> list[Job]:
        """The child processes at work for this model."""
        return list(self.performer.running.values())

    def close(self) -> None:
        """Kill the children and let go of the source; everything intended is begun again at the next start."""
        self.performer.close()
        self.scheduler.rest()
        self.scheduler.guard.close()

    @contextmanager
    def _decide(self, now: float) -> Iterator[Decision]:
        """Decide; the state in memory follows the one in the store, never the other way round."""
        with open_decision(self.state, self.rules, self.store, now) as decision:
            yield decision
        report(decision, self.metrics)
        self._follow(decision)

    def _follow(self, decision: Decision) -> None:
        before, self.state = self.state, decision.state
        if self.state != before:
            self.metrics.state(self.state, self.performer.registry.current(self.name))

    def _demands(self, now: float) -> Override:
        """What the config's override and the orders of people ask for now."""
        return self.rules.override.with_orders(self.state.orders, now)

    def _facts(self, now: float, state: ModelState | None = None) -> Facts:
        delay = None if self.evidence.monitor is None else self.evidence.monitor.maturity.delay
        facts = self.counts.facts(state or self.state, self.store, self.scheduler, delay, now)
        kept = has_snapshot(self.performer.places, self.state)
        return replace(facts, features=self.evidence.features, has_snapshot=kept)

    def _is_paused(self, now: float) -> bool:
        return self.state.phase is Phase.PAUSED or self._demands(now).pause_of("checks") is not None

    # --- check --------------------------------------------------------------------------------------------------------

    def _check(self, now: float) -> bool:
        champion = self.state.champion
        self.hang, self._is_unanswered = None, False
        if self._is_paused(now) or self.evidence.monitor is None or champion is None:
            return False  # a pause holds the very next window, before it is decided on
        try:
            return self._check_due(champion, now)
        except SourceUnansweredError as error:  # it costs this model its checks, not what people and jobs ask of it
            self._show_unanswered(error, now)
            return False

    def _check_due(self, champion: int, now: float) -> bool:
        self.scheduler.refresh(now)
        due, waiting = self.scheduler.due(self.store, now), self.scheduler.count_due(self.store, now)
        show_source(self.metrics, self.scheduler.extent)
        with self.group.hold(GroupOwner(partial(self._save_evidence, champion), self._remember, self.metrics)):
            cohorts = self._record_due(due, champion, now)
        if cohorts is None:
            return True
        left = self.scheduler.count_due(self.store, now)
        self.metrics.doubts(
            ahead=self.scheduler.count_ahead(self.store, now),
            clock=self.scheduler.doubts_clock(self.store, now),
            now=now,
        )
        self._show_waiting(now)
        return bool(cohorts) or (len(due) > 1 and left < waiting)

    def _record_due(self, due: list[Window], champion: int, now: float) -> int | None:
        """Check windows, then cohorts; how many cohorts were checked, None where a round ended amid the windows."""
        served = self._served_by(champion)
        for run in self.scheduler.windows(due, self.evidence, served):
            self._record(run, champion, now)
            if not self.has_time():
                return None
        cohorts = 0
        for run in self.scheduler.cohorts(self.store, self.evidence, served, now):
            self._record(run, champion, now)
            cohorts += 1
            if not self.has_time():
                break
        return cohorts

    def _save_evidence(self, champion: int) -> None:
        self.evidence.save(champion, self.evidence.current, self.store)

    def _remember(self) -> Callable[[], None]:
        """What puts memory back to this moment, where the checks after it cannot land."""
        state, monitor, verdicts = self.state, self.evidence.monitor, self.verdicts

        def put_back() -> None:
            self.state, self.evidence.monitor, self.verdicts = state, monitor, verdicts
            self.counts.forget()
            self.scheduler.forget()

        return put_back

    def _show_waiting(self, now: float) -> None:
        self.metrics.waits(
            windows=self.scheduler.behind(self.store, now),
            cohorts=self.scheduler.cohorts_waiting(self.store),
            not_evaluated=self.scheduler.cohorts_not_evaluated(self.store),
        )

    def _show_unanswered(self, error: SourceUnansweredError, now: float) -> None:
        """What is known of a source that is still being read, hangs, or refuses."""
        self._show_waiting(now)
        self._is_unanswered = True
        if isinstance(error, SourceRefusesError) and not str(error).startswith(self._refusal):
            self._refusal = str(error)  # what follows it says when it is tried again
            log.warning("source_refuses", model=self.name, error=self._refusal)
        if isinstance(error, SourceHangsError):
            self.hang = str(error)
            extent = self.scheduler.extent
            self.metrics.source_hangs(self.scheduler.guard.hangs, len(extent.faults) if extent is not None else 0)

    def _served_by(self, champion: int) -> ServedBy:
        """Whose predictions the windows should hold; a system that serves by itself may name no version."""
        versions = frozenset(self.performer.registry.versions(self.name))
        is_logged = champion in self.counts.logged_among(versions)
        return ServedBy(champion, versions - {champion} if is_logged else None, self.state.served_since or -math.inf)

    def _record(self, run: CheckRun, champion: int, now: float) -> None:
        """One check, its evidence, its alarms and what policy makes of them: whole, and landing with its group."""
        run = with_alarm_figures(run, self.store, self.name, champion)
        assessment, monitor = run.result.assessment, run.result.monitor
        facts = self._facts(now)
        with self.group.record(), open_decision(self.state, self.rules, self.store, now) as decision:
            monitor = absorb_alarms(decision, run, monitor, facts)
            self.store.save_check(self.name, run.kind, run.window, assessment, at=now, version=champion)
            save_fault(decision, run)
            if run.result.profile is not None:
                profile = run.result.profile
                self.store.save_profile(
                    self.name, run.window, version=champion, rows=profile.rows, profile=profile.to_bytes()
                )
            raise_alarms(decision, run, facts, champion)
        self.state, self.evidence.monitor = decision.state, monitor
        is_window = run.kind == "window"
        self.verdicts = (self.verdicts.after_window if is_window else self.verdicts.after_labels)(assessment)
        self.group.add(RecordedCheck(run, decision, monitor))

    # --- decide ------------------------------------------------------------------------------------------------------

    def _settle(self, now: float) -> None:
        """Decide until nothing more follows."""
        for _ in range(ROUNDS):
            facts = self._facts(now)
            with self._decide(now) as decision:
                transition = decision.advance(ClockTick(), facts)
            self.standing = transition.reason
            if transition.event is None and not transition.actions:
                return

    def _answer_requests(self, now: float) -> None:
        for request in self.store.waiting_requests():
            if request.model == self.name:
                self._answer_or_refuse(request, now)

    def _answer_or_refuse(self, request: StoredRequest, now: float) -> None:
        """A request that makes no sense costs an answer; it must not fail each round of its model for ever."""
        try:
            self._answer(request, now)
        except (TypeError, ValueError) as error:
            outcome = f"it cannot be answered: {type(error).__name__}: {encodable(str(error))}"
            self.store.answer_request(request.id, at=now, outcome=outcome, is_refused=True)
            log.error("request_failed", model=self.name, kind=request.kind, who=request.who, exc_info=True)

    def _answer(self, request: StoredRequest, now: float) -> None:
        finding = with_snapshot(request_of(request), self.performer.places, self.name)
        facts, monitor = self._facts(now), self.evidence.monitor
        champion, keep = self.state.champion, self.disk_limits().checks
        is_reset = finding.kind == RESET_EVIDENCE
        fresh, obstacle = self.evidence.begin_anew(champion) if is_reset else (None, finding.obstacle)
        if finding.kind == RESET_CURSOR:
            obstacle = find_reset_obstacle(request, self.store, now)
        with self._decide(now) as decision:
            if finding.kind == PRUNE_CHECKS:
                finding = count_old_checks(finding, self.store, self.name, keep, now)
            if finding.kind == RESET_CURSOR and not obstacle:
                finding, monitor = reset_cursor(finding, self.scheduler, self.evidence, champion, self.store, now)
            transition = decision.advance(replace(finding, obstacle=obstacle), facts, actor=request.who)
            is_refused = transition.event is Event.REQUEST_REFUSED
            self.store.answer_request(request.id, at=now, outcome=transition.reason, is_refused=is_refused)
            if transition.event is Event.EVIDENCE_RESET:
                self.evidence.put_aside(decision.state.champion, fresh, self.store, now)
        self.evidence.monitor = monitor
        if transition.event is Event.EVIDENCE_RESET:
            self.evidence.monitor, self.verdicts = fresh, NOT_CHECKED
            self.metrics.fresh()
        if transition.event is Event.CHECKS_FORGOTTEN:
            self.store.prune(self.name, before=now - keep)  # in pieces of its own: it may be much
            self.metrics.hold_deletion("checks", held=False)
        reason = transition.reason
        log.info("request_answered", model=self.name, kind=request.kind, who=request.who, outcome=reason)

    # --- act ---------------------------------------------------------------------------------------------------------

    def _harvest(self, now: float) -> bool:
        """Begin intended actions and apply those that have ended; whether any has."""
        ended = False
        for action in self.store.open_actions(self.name):
            put_aside(self.performer.places, self.state, action)
            if self._is_held(action, now):
                self.performer.hold(action)
                continue
            if action.status == "intended":
                self.store.begin_action(action.id, now)
            result = self.performer.result_of(action)
            if result is not None:
                self._finish(action, result, now)
                ended = True
        return ended

    def _is_held(self, action: StoredAction, now: float) -> bool:
        """A pause of checks holds all but reports, the registry and operators' swaps; one of retraining, builds."""
        if self.state.phase is Phase.PAUSED:
            arguments = action.typed_arguments
            is_swap = isinstance(arguments, SwapArguments) and arguments.purpose is not SwapPurpose.PROMOTE
            is_apart = action.kind in (ActionKind.REPORT, ActionKind.REGISTRY)
            return not (is_swap or is_apart or is_asked_hand_over(self.state, arguments))
        return action.kind in BUILDING and self._demands(now).pause_of("retraining") is not None

    def _finish(self, action: StoredAction, result: JobResult, now: float) -> None:
        finding = finding_of(action, result, self.performer.registry)
        done = isinstance(finding, StepDone | ProbationResult)
        facts, monitor, verdicts = self._facts(now), self.evidence.monitor, self.verdicts
        with self._decide(now) as decision:
            outcome = outcome_of(result, finding)
            self.store.finish_action(action.id, at=now, status="done" if done else "failed", result=outcome)
            match finding:
                case StepDone(ReportArguments(alarm), ReportResult(path, stattests)):
                    self.store.save_report(alarm, path, stattests)
            chain_version(action, self.performer.registry, self.store, now)
            record_action(self.store, self.state, action, finding, now)
            decision.advance(finding, facts)
            champion = decision.state.champion
            if champion is not None and champion != self.state.champion:
                monitor = self.evidence.fresh(champion)
                self.evidence.save(champion, monitor, self.store)
                self.counts.forget()
                verdicts = NOT_CHECKED  # those of the version before say nothing of this one
                self.metrics.set_version_damaged(damaged=False)  # it was loaded and compared just now
        self.verdicts = verdicts
        served_before, self.evidence.monitor = self.evidence.monitor, monitor
        if monitor is not served_before and self.state.champion is not None:
            if monitor is not None:
                self.scheduler.use_schema(monitor.reference.schema)
            self.metrics.fresh()
            show_version(self.metrics, self.evidence, self.state.champion)
        self.metrics.record_action(action.kind, self.performer.took.pop(action.id, None), ok=done)
        if action.kind in (*BUILDING, ActionKind.SWAP) and self.state.build is None:
            self.prune_disk()

    def prune_disk(self) -> None:
        """Let the oldest snapshots, versions, jobs and reports go, where there are too many and none is in use."""
        busy = {action.id for action in self.store.open_actions(self.name)}
        prune_model(self.performer.places, self.state, self.rules.override, busy, self.disk_limits())


def await_jobs(models: Iterable[ModelRunner], until: float) -> None:
    """Wait for the first child of any model that has news, or until a time of the monotonic clock."""
    await_news([job for model in models for job in model.jobs], until)
