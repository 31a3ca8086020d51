"""Resumes after a restart: the monitor of the served version, and the metrics of a model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import structlog

from driftd.errors import DriftdError
from driftd.observe.decision_counts import DecisionCounts, DecisionEvent
from driftd.observe.model_metrics import CheckContext, ModelMetrics
from driftd.records import ModelState, Verdict, Window
from driftd.registry import ManifestError, Registry
from driftd.store.state.reader import StateReader
from driftd.store.state.records import StoredCheck
from driftd.store.state.writer import StateStore
from driftd_detectors.assessment import Assessment, EvidenceKind, Fault, KindAssessment, Score
from driftd_detectors.monitor import Monitor, MonitorSettings
from driftd_detectors.reference import Reference
from driftd_detectors.schema import display_name

log = structlog.get_logger()


class EvidenceUnreadableError(DriftdError):
    """The stored evidence of a model cannot be read; the message says what to do."""


@dataclass(slots=True)
class MonitorState:
    """The evidence against the champion of one model."""

    model: str
    registry: Registry
    settings: MonitorSettings
    monitor: Monitor | None = None

    @property
    def current(self) -> Monitor:
        """The monitor; only asked for a model under watch, whose evidence was resumed or begun."""
        assert self.monitor is not None
        return self.monitor

    def fresh(self, version: int) -> Monitor:
        """New evidence against a version, from its own reference; how losses vary is known from the one before."""
        return Monitor.begin(self._reference(version), self.settings, self.monitor)

    def begin_anew(self, version: int | None) -> tuple[Monitor | None, str]:
        """Evidence that owes nothing to what was gathered before; or why there can be none, in one sentence."""
        try:
            return (None if version is None else Monitor.begin(self._reference(version), self.settings)), ""
        except ManifestError as error:
            return None, f"the evidence cannot begin anew, because its reference is damaged: {error}"

    def put_aside(self, version: int | None, fresh: Monitor | None, store: StateStore, at: float) -> None:
        """Keep fresh evidence in place of what was gathered, whose alarms end; call it inside the transaction."""
        if version is None or fresh is None:
            return
        self.save(version, fresh, store)
        for kind in EvidenceKind:
            store.clear_alarms(self.model, str(kind), at)

    @property
    def features(self) -> frozenset[str] | None:
        """The features of the version under watch; None before there is one."""
        return None if self.monitor is None else frozenset(self.monitor.reference.schema.names)

    def silence(self, features: frozenset[str]) -> None:
        """Have these features raise no alarm; all others as before. What was gathered is kept."""
        if features == self.settings.silenced:
            return
        log.info(
            "features_silenced", model=self.model, silenced=sorted(features), before=sorted(self.settings.silenced)
        )
        self.settings = replace(self.settings, silenced=features)
        if self.monitor is not None:
            self.monitor = Monitor.from_bytes(self.monitor.reference, self.settings, self.monitor.to_bytes())

    def save(self, version: int, monitor: Monitor, store: StateStore) -> None:
        """Keep the evidence; call it inside the transaction of the check or the swap that changed it."""
        store.save_monitor(self.model, version, {}, monitor.to_bytes())

    def resume(self, version: int, store: StateStore) -> None:
        """Load the stored evidence; begin anew when it belongs to another version.

        Raises EvidenceUnreadableError: what was gathered is never thrown away without being asked to.
        """
        if self.read(version, store):
            self._warn_of_renewal(version)
            return
        self.monitor = self.fresh(version)
        self.save(version, self.monitor, store)
        log.info("evidence_begun", model=self.model, version=version)

    def read(self, version: int, store: StateReader) -> bool:
        """Load the stored evidence, where it is against this version. Raises EvidenceUnreadableError."""
        stored = store.monitor(self.model)
        if stored is None or stored[0] != version:
            return False
        self.monitor = read_monitor(self._reference(version), self.settings, self.model, stored[2])
        return True

    def _warn_of_renewal(self, version: int) -> None:
        renewed = self.current.renewed
        if renewed:
            log.warning(
                "evidence_begun_anew",
                model=self.model,
                version=version,
                kinds=list(renewed),
                reason="what was stored is of an earlier edition of the detector; it begins again from the reference",
            )

    def _reference(self, version: int) -> Reference:
        def read() -> bytes:
            return self.registry.file(self.model, version, "reference.bin").read_bytes()

        return Reference.from_bytes(read(), read)


def read_monitor(reference: Reference, settings: MonitorSettings, model: str, stored: bytes) -> Monitor:
    """The evidence of a model as it is stored. Raises EvidenceUnreadableError."""
    try:
        return Monitor.from_bytes(reference, settings, stored)
    except Exception as error:
        said = f"its stored evidence cannot be read ({type(error).__name__}: {error}), so nothing is checked"
        todo = f"`driftd reset-evidence {model} --why ...` begins it anew, `driftd restore` goes back to a backup"
        raise EvidenceUnreadableError(f"{said}: {todo}") from error


def restore(
    metrics: ModelMetrics, store: StateReader, evidence: MonitorState, state: ModelState, every: float | None
) -> None:
    """Begin a model's series where the last daemon left them. `every` is the length of a time window."""
    version = state.champion
    assert version is not None  # a model without a version is not under watch
    monitor = evidence.current
    thresholds = {kind: monitor.settings.budget.threshold(kind) for kind in EvidenceKind}
    metrics.begin(count_decisions(store, evidence.model), window_seconds=every, thresholds=thresholds)
    show_version(metrics, evidence, version)
    for kind in ("window", "labels"):
        last = store.checks(evidence.model, limit=1, kind=kind)
        check = store.last_check(evidence.model, kind, version)
        failed = [newest for newest in last if newest.verdict is Verdict.ERROR and newest.version == version]
        for stored in (check, *failed):
            if stored is not None and stored.at > state.evidence_since:
                _show(metrics, store, stored, monitor, every)


def show_version(metrics: ModelMetrics, evidence: MonitorState, version: int) -> None:
    """Show the reference of a version that begins to serve, or goes on."""
    monitor = evidence.current
    metrics.version(evidence.registry.manifest(evidence.model, version).created_at)
    if monitor.loss is not None and monitor.performance is not None:
        mean = monitor.loss.mean
        metrics.baseline(display_name(monitor.loss.metric), mean, mean + monitor.performance.tolerated)
    if monitor.harm is not None:
        expected = monitor.harm.expected
        metrics.baseline(
            display_name(expected.metric), expected.mean, expected.mean + monitor.harm.tolerated, estimated=True
        )


def check_context(monitor: Monitor, rows: int) -> CheckContext:
    """What the checks of a window of so many rows compare with."""
    metric = display_name(monitor.loss.metric) if monitor.loss is not None else None
    estimated = display_name(monitor.harm.expected.metric) if monitor.harm is not None else None
    return CheckContext(monitor.tolerances(rows), metric, estimated, monitor.label_age())


def without_absorbed(assessment: Assessment, monitor: Monitor) -> Assessment:
    """An assessment without the alarms that were absorbed since: their evidence has begun anew."""
    parts = {
        EvidenceKind.DATA: monitor.data_evidence,
        EvidenceKind.PREDICTION: monitor.prediction,
        EvidenceKind.HARM: monitor.harm,
    }

    def without_absorbed_alarm(kind: KindAssessment) -> KindAssessment:
        part = parts.get(kind.kind)
        if kind.verdict is not Verdict.DRIFT or part is None or part.alarmed:
            return kind
        return replace(kind, verdict=Verdict.OK, evidence=part.value)

    return replace(assessment, kinds=tuple(without_absorbed_alarm(kind) for kind in assessment.kinds))


def count_decisions(store: StateReader, model: str) -> DecisionCounts:
    """A model's whole history, counted."""
    tally = DecisionCounts()
    for line in reversed(store.history(model, limit=-1)):
        tally.take(DecisionEvent(line.event, line.at, line.decision_figures, line.phase_from, line.phase_to))
    return tally


def _show(metrics: ModelMetrics, store: StateReader, check: StoredCheck, monitor: Monitor, every: float | None) -> None:
    index, start, end = check.window_index, check.window_start, check.window_end
    window = Window(index, start, end, by="rows" if every is None else "time")
    metrics.show_check(
        check.kind,
        without_absorbed(_assessment(store, check), monitor),
        window,
        check_context(monitor, check.rows),
        at=check.at,
    )


def _assessment(store: StateReader, check: StoredCheck) -> Assessment:
    """The assessment that a stored check was made from, as far as it is shown."""
    kinds = tuple(
        KindAssessment(EvidenceKind(kind), found.verdict, found.evidence, found.threshold, "")
        for kind, found in check.evidence.items()
    )
    kinds_by_name = {str(kind): kind for kind in EvidenceKind}
    stored = store.window_scores(check.model, check.window_index) if check.kind == "window" else ()
    scores = tuple(
        Score(kinds_by_name[score.kind], score.subject, score.component, score.value, 0.0, score.evidence)
        for score in stored
        if score.kind != EvidenceKind.PERFORMANCE and score.value is not None
    )
    faults = tuple(Fault(**fault, sentence="") for fault in check.figures.get("faults", ()))
    figures = {name: value for name, value in check.figures.items() if isinstance(value, float)}
    learning = check.figures.get("learning")
    return Assessment(check.verdict, check.reason, check.rows, kinds, scores, faults, learning, figures)
