"""What the daemon shows of one model: where it stands, what was decided, what its checks said."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from driftd.observe import check_metrics, families, model_families
from driftd.observe.decision_counts import DecisionCounts, DecisionEvent
from driftd.observe.exposition import MetricStore
from driftd.observe.metric_family import Family
from driftd.records import (
    ActionKind,
    HandOver,
    HandOverStage,
    ModelState,
    Phase,
    RegistryState,
    Trigger,
    Verdict,
    Window,
)
from driftd_detectors.assessment import Assessment, EvidenceKind


@dataclass(frozen=True, slots=True)
class CheckContext:
    """What a model's checks compare with, beyond what one assessment tells."""

    tolerances: Mapping[tuple[str, str], float]  # by subject and component, in a fixed order
    metric: str | None  # the metric that is watched; None where the reference has no labels
    estimated: str | None  # the metric that is estimated without labels, if any
    label_wait: float | None  # seconds after a window's end until its labels are looked at; None: not known


class ModelMetrics:
    """The series of one model."""

    def __init__(self, board: MetricStore, model: str) -> None:
        self._board = board
        self._model = model
        self._tally = DecisionCounts()
        self._late = self._hangs = 0
        self._read: dict[str, float] = {}
        self._shown: dict[str, object] = {}
        self._newest_label_at = float("-inf")

    def begin(
        self, tally: DecisionCounts, *, window_seconds: float | None, thresholds: Mapping[EvidenceKind, float]
    ) -> None:
        """The model is under watch: every label set that is known exists, and what lasts is taken up."""
        board, model = self._board, self._model
        with board.together():
            self._tally = tally
            self._shown.clear()
            board.set(model_families.WINDOW_SECONDS, window_seconds or 0, model)
            board.set(model_families.WATCHED, 1, model)
            board.set(families.EVENTS_DAMAGED, 0, model)
            self.doubts(ahead=0, clock=False, now=math.inf)
            for rows in families.KEPT_ROWS:
                self.hold_deletion(rows, held=False)
            for kind in families.CHECK_KINDS:
                for verdict in Verdict:
                    board.add(model_families.CHECKS, 0, model, kind, verdict)
            for action in ActionKind:
                board.add(families.ACTION_FAILURES, 0, model, action)
            for family in (
                model_families.ROWS_CHECKED,
                model_families.LABELS,
                model_families.UNSEEN_LABELS,
                model_families.STEP_ERRORS,
                families.UPKEEP_FAILURES,
                model_families.LATE,
                model_families.SOURCE_HANGS,
            ):
                board.add(family, 0, model)
            for evidence, threshold in thresholds.items():
                board.set(model_families.THRESHOLD, threshold, model, evidence)
            self.fresh()
            self._show_tally()

    def fresh(self) -> None:
        """Another version serves: nothing is held against it yet."""
        board, model = self._board, self._model
        with board.together():
            for kind in EvidenceKind:
                board.set(model_families.EVIDENCE, 0, model, kind)
                board.states(model_families.VERDICT, Verdict, None, model, kind)
            for fault in model_families.FAULTS:
                board.set(model_families.QUALITY_FAULTS, 0, model, fault)
            for family in check_metrics.OF_VERSION:
                board.clear(family, model)

    def version(self, built_at: float) -> None:
        """When the served version was built."""
        self._board.set(model_families.BUILT_AT, built_at, self._model)

    def baseline(self, metric: str, loss: float, tolerated: float, *, estimated: bool = False) -> None:
        """What the watched (or estimated) metric is on the reference, and how high its loss may become."""
        show = check_metrics.show_estimated_baseline if estimated else check_metrics.show_baseline
        show(self._board, self._model, metric, loss, tolerated)

    def mark_unwatched(self) -> None:
        """Show that the model is in the config and cannot be watched."""
        self._board.set(model_families.WATCHED, 0, self._model)
        self.count_failed_step()

    def set_version_damaged(self, *, damaged: bool) -> None:
        """Show whether the files of the version that serves differ from their hashes."""
        self._board.set(families.VERSION_DAMAGED, damaged, self._model)

    def mark_events_damaged(self) -> None:
        """Show that the event store is broken: no verdict holds any more, because nobody can look."""
        with self._board.together():
            self._board.set(families.EVENTS_DAMAGED, 1, self._model)
            for kind in EvidenceKind:
                self._board.states(model_families.VERDICT, Verdict, Verdict.ERROR, self._model, kind)

    def count_failed_step(self) -> None:
        """Count a step that failed as a whole."""
        self._board.add(model_families.STEP_ERRORS, 1, self._model)
        self._board.set(model_families.STEP_FAILING, 1, self._model)

    def state(self, state: ModelState, served: int | None) -> None:
        """Where the model stands, and which version the link `current` names."""
        board, model = self._board, self._model
        board.set(model_families.STEP_FAILING, 0, model)
        if not self._is_new("state", (state, served)):
            return
        board.states(model_families.PHASE, Phase, state.phase, model)
        board.set(model_families.SERVED, served or 0, model)
        asked = state.champion if state.hand_over is not None else state.pinned or state.champion
        board.set(model_families.ASKED, asked or 0, model)
        self._show_hand_over(state.hand_over)
        self._show_registry(state.registry)
        board.set(model_families.PINNED, state.pinned or 0, model)
        board.set(model_families.APPROVAL, state.phase is Phase.AWAITING_APPROVAL, model)
        board.set(model_families.UNATTENDED, state.unattended is not None, model)
        board.replace(model_families.ALARM_SINCE, model, {(alarm.kind,): alarm.since for alarm in state.open_alarms})
        kinds = [str(order.kind) for order in state.orders]
        kinds += ["acknowledge" for alarm in state.open_alarms if alarm.acknowledged is not None]
        for kind in model_families.ORDER_KINDS:
            board.set(model_families.ORDERS, kinds.count(kind), model, kind)
        board.set(model_families.BLOCKED, state.blocked is not None, model)
        wanted = state.build.trigger if state.build is not None else state.want.trigger if state.want else None
        board.states(model_families.WANTED, Trigger, wanted, model)

    def _show_hand_over(self, hand_over: HandOver | None) -> None:
        board, model = self._board, self._model
        awaited = hand_over is not None and hand_over.stage in (HandOverStage.DELIVER, HandOverStage.AWAIT)
        failed = 0 if hand_over is None else hand_over.attempts - (hand_over.retry_at is None)
        board.set(model_families.HAND_OVER, awaited, model)
        board.set(model_families.HAND_OVER_FAILURES, failed, model)
        board.replace(model_families.HAND_OVER_UNTIL, model, {(): hand_over.until} if hand_over and awaited else {})

    def _show_registry(self, registry: RegistryState | None) -> None:
        values: dict[Family, float] = {}
        if registry is not None:
            values = {
                model_families.REGISTRY_FAILURES: float(registry.failures),
                model_families.REGISTRY_ALIAS: float(registry.alias or 0),
                model_families.ALIAS_MOVED: float(registry.moved is not None),
            }
        for family in (model_families.REGISTRY_FAILURES, model_families.REGISTRY_ALIAS, model_families.ALIAS_MOVED):
            self._board.replace(family, self._model, {(): values[family]} if family in values else {})

    def count_decision(self, happened: DecisionEvent) -> None:
        """Count a decision that landed in the store."""
        self._tally.take(happened)
        self._show_tally()

    def check(
        self, kind: str, assessment: Assessment, window: Window, eye: CheckContext | None, *, seconds: float, now: float
    ) -> None:
        """A check was made and recorded; without `eye` a later one shows all that this one would."""
        board, model = self._board, self._model
        with board.together():
            board.add(model_families.CHECKS, 1, model, kind, assessment.verdict)
            if kind == "window":
                board.add(model_families.ROWS_CHECKED, assessment.rows, model)
            else:
                board.add(model_families.LABELS, assessment.figures.get("labels", 0), model)
                board.add(model_families.UNSEEN_LABELS, assessment.figures.get("unseen_labels", 0), model)
            board.observe(model_families.CHECK_TIME, seconds, model, kind)
            self._labels_until(assessment.figures.get("newest_label_at"))
            if eye is not None:
                self.show_check(kind, assessment, window, eye, at=now)

    def show_check(self, kind: str, assessment: Assessment, window: Window, eye: CheckContext, *, at: float) -> None:
        """Show what the last check of a kind said, and when: just made, or read from the store at start."""
        board, model = self._board, self._model
        with board.together():
            if assessment.verdict is not Verdict.ERROR:
                board.set(model_families.CHECKED_AT, at, model, kind)
            check_metrics.show_evidence(board, model, kind, assessment)
            if kind == "window":
                check_metrics.show_window(board, model, assessment, window, eye.tolerances)
                if eye.estimated is not None:
                    check_metrics.show_estimate(board, model, eye.estimated, assessment)
            elif eye.metric is not None:
                check_metrics.show_cohort(board, model, eye.metric, assessment)
            board.set(model_families.LABEL_WAIT, eye.label_wait or 0.0, model)
            board.set(model_families.LABEL_DELAY_KNOWN, eye.label_wait is not None, model)
            self._labels_until(assessment.figures.get("newest_label_at"))

    def waits(self, *, windows: int, cohorts: int, not_evaluated: int) -> None:
        """How many windows wait for their check, how many checked ones for their labels, and how many in vain."""
        self._board.set(model_families.BEHIND, windows, self._model)
        self._board.set(model_families.COHORTS, cohorts, self._model)
        self._board.set(model_families.COHORTS_NOT_EVALUATED, not_evaluated, self._model)

    def source_hangs(self, hangs: int, faults: int) -> None:
        """The source does not answer, `hangs` times since it was opened, beside the faults that it had."""
        with self._board.together():
            self._board.set(model_families.SOURCE_FAULTS, faults + 1, self._model)
            self._board.add(model_families.SOURCE_HANGS, hangs - self._hangs if hangs > self._hangs else 0, self._model)
            self._hangs = hangs

    def doubts(self, *, ahead: int, clock: bool, now: float) -> None:
        """How many windows were passed over that cannot have been, and whether the clock is not believed.

        A check that a clock ahead of `now` has stamped counts as of now: else no alert on missing checks could fire.
        """
        board, model = self._board, self._model
        board.set(model_families.AHEAD, ahead, model)
        board.set(model_families.CLOCK_DOUBTED, clock, model)
        for kind in families.CHECK_KINDS:
            checked_at = board.value(model_families.CHECKED_AT, model, kind)
            if checked_at is not None and checked_at > now:
                board.set(model_families.CHECKED_AT, now, model, kind)

    def hold_deletion(self, rows: str, *, held: bool) -> None:
        """Whether rows over their age are kept, of `families.KEPT_ROWS`."""
        self._board.set(families.DELETION_HELD, held, self._model, rows)

    def source(
        self,
        *,
        predictions: int,
        late: int,
        faults: int,
        newest_prediction: float | None,
        newest_feedback: float | None,
        counts: Mapping[str, float],
    ) -> None:
        """What the source has by now; `late` counts since its process began, `counts` as `Extent` does."""
        board, model = self._board, self._model
        with board.together():
            board.set(model_families.PREDICTIONS, predictions, model)
            board.add(model_families.LATE, max(0, late - self._late), model)
            self._late = late
            board.set(model_families.SOURCE_FAULTS, faults, model)
            for reason in model_families.SET_ASIDE:
                board.set(model_families.EVENTS_SET_ASIDE, counts.get(reason, 0), model, reason)
            board.set(model_families.VALUES_IGNORED, counts.get("ignored", 0), model)
            board.set(model_families.LABEL_IDS, counts.get("labels", 0), model)
            board.set(model_families.LABEL_IDS_UNJOINED, counts.get("unjoined", 0), model)
            self._count_reads(counts)
            if newest_prediction is not None:
                board.set(model_families.NEWEST_PREDICTION, newest_prediction, model)
            self._labels_until(newest_feedback)

    def _count_reads(self, counts: Mapping[str, float]) -> None:
        """What an engine handed out; its counts begin anew with the process that holds the connection."""
        for name, family in model_families.READS.items():
            total, before = counts.get(name, 0.0), self._read.get(name, 0.0)
            self._board.add(family, total - before if total >= before else total, self._model)
            self._read[name] = total

    def actions(self, running: Mapping[str, int], waiting: Mapping[str, int]) -> None:
        """How many actions are being performed, and how many wait for a free child process."""
        if not self._is_new("actions", (running, waiting)):
            return
        for kind in ActionKind:
            self._board.set(families.RUNNING, running.get(kind, 0), self._model, kind)
            self._board.set(families.WAITING, waiting.get(kind, 0), self._model, kind)

    def record_action(self, kind: str, seconds: float | None, *, ok: bool) -> None:
        """An action came to its end; how long it took is None for one that ended while no daemon ran."""
        if seconds is not None:
            self._board.observe(families.ACTION_TIME, seconds, self._model, kind)
        if not ok:
            self._board.add(families.ACTION_FAILURES, 1, self._model, kind)

    def upkeep(self, now: float, *, ok: bool, held: bool = False) -> None:
        """The model's event store was sealed and pruned, or that failed; `held` where old rows are kept for now."""
        if ok:
            self.hold_deletion("events", held=held)
            self._board.set(families.UPKEEP_AT, now, self._model)
        else:
            self._board.add(families.UPKEEP_FAILURES, 1, self._model)

    def _is_new(self, what: str, value: object) -> bool:
        """Whether a round has something else to show than the one before: hardly any has."""
        if self._shown.get(what) == value:
            return False
        self._shown[what] = value
        return True

    def _labels_until(self, newest: float | None) -> None:
        """Where the source cannot tell when the newest label came, the cohorts that were looked at do."""
        if newest is not None and newest > self._newest_label_at:
            self._newest_label_at = newest
            self._board.set(model_families.NEWEST_FEEDBACK, newest, self._model)

    def _show_tally(self) -> None:
        board, model, tally = self._board, self._model, self._tally
        with board.together():
            for (family, labels), count in tally.counts.items():
                board.set(family, count, model, *labels)
            for family, at in (
                (model_families.PHASE_SINCE, tally.phase_since),
                (model_families.SWAPPED_AT, tally.swapped_at),
                (model_families.LAST_BUILD_AT, tally.last_build_at),
                (model_families.TAKEN_BACK_AT, tally.taken_back_at),
            ):
                if at is not None:
                    board.set(family, at, model)
            for outcome, at in tally.rolled_back_at.items():
                board.set(model_families.ROLLED_BACK_AT, at, model, outcome)
            board.states(model_families.LAST_OUTCOME, model_families.OUTCOMES, tally.last_outcome, model)
            board.set(model_families.REFUSALS, tally.refusals, model)
            for family, value in zip(
                (model_families.GAIN, model_families.GAIN_LOWER, model_families.GAIN_UPPER),
                tally.gain or (),
                strict=False,
            ):
                board.set(family, value, model)
