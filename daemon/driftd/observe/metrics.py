"""Every metric of the daemon, in one place. `docs/metrics.md` is generated from here and tested."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from driftd.records import ActionKind, ModelState, Phase, Verdict
from driftd_detectors.assessment import Assessment, EvidenceKind

FEATURES_SHOWN = 200  # a model's features beyond so many get no series of their own; see driftd_features_hidden
Family = TypeVar("Family", Gauge, Counter, Histogram)
CHECK_KINDS = ("window", "labels")


@dataclass(frozen=True, slots=True)
class MetricDocument:
    """One line of docs/metrics.md."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


class Metrics:
    """The families, and one method for each thing that happens."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._documents: list[MetricDocument] = []
        self._of_model: list[Gauge | Counter | Histogram] = []
        self._features: dict[str, set[tuple[str, str]]] = {}
        self._daemon_families()
        self._check_families()
        self._build_families()
        self._notification_families()

    def _daemon_families(self) -> None:
        self.started = self._gauge("driftd_started_timestamp_seconds", "When this daemon started.")
        self.last_step = self._gauge("driftd_last_step_timestamp_seconds", "When the main loop last ended a round.")
        self.reload_ok = self._gauge(
            "driftd_config_last_reload_successful", "1 when the last config read was applied, 0 when it was refused."
        )
        self.reload_at = self._gauge(
            "driftd_config_last_reload_success_timestamp_seconds", "When a config was last applied."
        )
        self.config = self._gauge("driftd_config_info", "The hash of the config in force (always 1).", "hash")
        self.missed = self._counter(
            "driftd_ticks_missed_total", "Scheduled ticks that came too late or while one ran; none is lost.", "job"
        )
        self.override = self._gauge("driftd_override_active", "1 while the config's override has an effect.")

    def _check_families(self) -> None:
        self.verdict = self._gauge(
            "driftd_verdict",
            "1 for the verdict of the last check of each kind, 0 for the others.",
            "model",
            "kind",
            "verdict",
        )
        self.evidence = self._gauge(
            "driftd_evidence", "Accumulated evidence of drift; an alarm when it reaches the threshold.", "model", "kind"
        )
        self.threshold = self._gauge(
            "driftd_evidence_threshold",
            "The evidence at which a kind alarms, from the false-alarm budget.",
            "model",
            "kind",
        )
        self.score = self._gauge(
            "driftd_score", "Effect size of a feature in the last window.", "model", "feature", "component"
        )
        self.hidden = self._gauge(
            "driftd_features_hidden",
            f"Features without series of their own, because a model shows {FEATURES_SHOWN}.",
            "model",
        )
        self.loss = self._gauge("driftd_performance_loss", "Mean loss of the last evaluated cohort of labels.", "model")
        self.baseline = self._gauge("driftd_performance_baseline", "Mean loss on the reference.", "model")
        self.coverage = self._gauge(
            "driftd_label_coverage_ratio", "Share of the last cohort that had its label.", "model"
        )
        self.faults = self._gauge(
            "driftd_quality_faults", "Faults of the pipeline in the last window.", "model", "fault"
        )
        self.rows = self._counter("driftd_rows_checked_total", "Predictions that checks have evaluated.", "model")
        self.checks = self._counter("driftd_checks_total", "Checks by kind and verdict.", "model", "kind", "verdict")
        self.checked_at = self._gauge(
            "driftd_last_check_timestamp_seconds",
            "When a check of a kind last ended without an error.",
            "model",
            "kind",
        )
        self.check_seconds = self._histogram(
            "driftd_check_duration_seconds",
            "How long one check took.",
            (0.005, 0.02, 0.1, 0.5, 2, 10, 60),
            "model",
            "kind",
        )
        self.lag = self._gauge("driftd_windows_behind", "Complete windows that wait for their check.", "model")
        self.alarms = self._counter("driftd_alarms_total", "Alarms by kind.", "model", "kind")
        self.model_errors = self._counter(
            "driftd_model_step_errors_total", "Rounds in which a model's step failed as a whole.", "model"
        )

    def _build_families(self) -> None:
        self.phase = self._gauge("driftd_phase", "1 for the phase a model is in, 0 for the others.", "model", "phase")
        self.version = self._gauge("driftd_served_version", "The number of the version that serves.", "model")
        self.builds = self._counter("driftd_builds_total", "Builds started, by trigger.", "model", "trigger")
        self.events = self._counter("driftd_transitions_total", "Decisions by their event.", "model", "event")
        self.swapped_at = self._gauge(
            "driftd_last_swap_timestamp_seconds", "When the served version last changed.", "model"
        )
        self.action_seconds = self._histogram(
            "driftd_action_duration_seconds",
            "How long an action took.",
            (0.1, 1, 5, 30, 120, 600, 3600),
            "model",
            "kind",
        )
        self.action_failures = self._counter("driftd_action_failures_total", "Actions that failed.", "model", "kind")
        self.approval = self._gauge("driftd_approval_waiting", "1 while a challenger waits for a person.", "model")
        self.blocked = self._gauge("driftd_builds_blocked", "1 while a broken pipeline blocks builds.", "model")

    def _notification_families(self) -> None:
        self._receivers: set[str] = set()
        self.notifications_sent = self._counter(
            "driftd_notifications_sent_total", "Notifications that a receiver took.", "receiver"
        )
        self.notifications_failed = self._counter(
            "driftd_notifications_failed_total", "Tries that failed; each is repeated until it is taken.", "receiver"
        )
        self.notified_at = self._gauge(
            "driftd_notification_last_success_timestamp_seconds",
            "When a receiver last took one.",
            "receiver",
        )
        self.notifications_pending = self._gauge(
            "driftd_notifications_pending", "Decisions that a receiver wants to know and was not told yet.", "receiver"
        )

    def receivers(self) -> set[str]:
        """The receivers of notifications that have series."""
        return set(self._receivers)

    def add_receiver(self, receiver: str) -> None:
        """Make the series of a receiver exist, at zero."""
        self._receivers.add(receiver)
        for family in (self.notifications_sent, self.notifications_failed, self.notifications_pending):
            family.labels(receiver)

    def remove_receiver(self, receiver: str) -> None:
        """Make every series of a receiver disappear."""
        self._receivers.discard(receiver)
        for family in (
            self.notifications_sent,
            self.notifications_failed,
            self.notified_at,
            self.notifications_pending,
        ):
            family.remove_by_labels({"receiver": receiver})

    def notified(self, receiver: str, now: float) -> None:
        """Show that a receiver took a notification."""
        self.notifications_sent.labels(receiver).inc()
        self.notified_at.labels(receiver).set(now)

    @property
    def documents(self) -> tuple[MetricDocument, ...]:
        """Name, type, labels and help of every family, in order."""
        return tuple(self._documents)

    def config_applied(self, digest: str, now: float) -> None:
        """Show which config is in force."""
        self.config.clear()
        self.config.labels(digest).set(1)
        self.reload_ok.set(1)
        self.reload_at.set(now)

    def add_model(self, model: str) -> None:
        """Make the label sets of a model exist, at zero, before anything happened."""
        for kind in CHECK_KINDS:
            for verdict in Verdict:
                self.checks.labels(model, kind, verdict)
        for evidence in EvidenceKind:
            self.alarms.labels(model, evidence)
            self._set_states(self.verdict, Verdict, None, model, evidence)
        for action in ActionKind:
            self.action_failures.labels(model, action)
        self.rows.labels(model)
        self.model_errors.labels(model)

    def remove_model(self, model: str) -> None:
        """Make every series of a model disappear."""
        self._features.pop(model, None)
        for family in self._of_model:
            family.remove_by_labels({"model": model})

    def state(self, state: ModelState) -> None:
        """Show where a model stands."""
        self._set_states(self.phase, Phase, state.phase, state.model)
        self.version.labels(state.model).set(state.champion or 0)
        self.approval.labels(state.model).set(state.phase is Phase.AWAITING_APPROVAL)
        self.blocked.labels(state.model).set(state.blocked is not None)

    def check(self, model: str, kind: str, assessment: Assessment, *, seconds: float, now: float) -> None:
        """Show what a check said."""
        self.checks.labels(model, kind, assessment.verdict).inc()
        self.check_seconds.labels(model, kind).observe(seconds)
        if assessment.verdict is not Verdict.ERROR:
            self.checked_at.labels(model, kind).set(now)
        for one in assessment.kinds:
            self._set_states(self.verdict, Verdict, one.verdict, model, one.kind)
            self.evidence.labels(model, one.kind).set(one.evidence)
            self.threshold.labels(model, one.kind).set(one.threshold)
        if kind == "window":
            self.rows.labels(model).inc(assessment.rows)
            self._show_faults(model, assessment)
        self._show_scores(model, assessment)
        self._show_performance(model, assessment)

    def _show_faults(self, model: str, assessment: Assessment) -> None:
        self.faults.remove_by_labels({"model": model})
        for fault in assessment.faults:
            self.faults.labels(model, fault.fault).inc()

    def _show_scores(self, model: str, assessment: Assessment) -> None:
        shown = self._features.setdefault(model, set())
        hidden = set()
        for score in assessment.scores:
            series = (score.subject, score.component)
            if series not in shown and len({subject for subject, _ in shown} | {score.subject}) > FEATURES_SHOWN:
                hidden.add(score.subject)
            elif math.isfinite(score.value):
                shown.add(series)
                self.score.labels(model, *series).set(score.value)
        self.hidden.labels(model).set(len(hidden))

    def _show_performance(self, model: str, assessment: Assessment) -> None:
        for name, family in (("loss", self.loss), ("baseline", self.baseline), ("coverage", self.coverage)):
            value = assessment.figures.get(name)
            if value is not None and math.isfinite(value):
                family.labels(model).set(value)

    def _set_states(
        self, family: Gauge, states: type[Verdict | Phase], now: Verdict | Phase | None, *labels: str
    ) -> None:
        for state in states:
            family.labels(*labels, state).set(state == now)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return self._remember(Gauge(name, text, labels, registry=self.registry), name, "gauge", labels, text)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return self._remember(Counter(name, text, labels, registry=self.registry), name, "counter", labels, text)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        family = Histogram(name, text, labels, buckets=buckets, registry=self.registry)
        return self._remember(family, name, "histogram", labels, text)

    def _remember(self, family: Family, name: str, kind: str, labels: tuple[str, ...], text: str) -> Family:
        self._documents.append(MetricDocument(name, kind, labels, text))
        if "model" in labels:
            self._of_model.append(family)
        return family
