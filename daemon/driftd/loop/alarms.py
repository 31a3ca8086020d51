"""What an assessment says to policy: faults of the data, alarms that are raised, that stand and that end."""

from __future__ import annotations

import structlog

from driftd.loop.check_schedule import CheckRun
from driftd.loop.checks import alarm_of, fault_in, is_conclusive, is_level_fault
from driftd.loop.decide import Decision
from driftd.policy import LEVELS, AlarmCleared, AlarmRaised, AlarmStanding, Facts, QualityFault, QualityOk
from driftd.records import Phase, Verdict, Window
from driftd_detectors.assessment import EvidenceKind, KindAssessment
from driftd_detectors.evidence.history import level_windows
from driftd_detectors.monitor import Monitor
from driftd_detectors.performance.label_delay import FEWEST_LABELS

log = structlog.get_logger()

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
            sentence = "the level of the last windows is taken for normal from now on"
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
