"""Every alert as data: when it fires, how bad that is, and the sentence that wakes somebody up.

From this one definition `alert_document` writes the rules of Prometheus, the same for Grafana, and docs/alerts.md.
Metric names may be renamed only here and in `families` together: a test runs every rule with promtool.
"""

from __future__ import annotations

from driftd.observe import alert_rule
from driftd.observe.alert_rule import Alert, Figure
from driftd.observe.host_alerts import HOST_ALERTS

NOT_PAUSED = 'unless on (instance, job, model) driftd_phase{phase="paused"} == 1'


def _since(moment: str, began: str = "driftd_last_swap_timestamp_seconds") -> str:
    """Seconds since a moment that may never have come; then since the version began to serve."""
    return f"time() - ({moment} or on (instance, job, model) {began})"


_CHECKED = 'max without (kind) (driftd_last_check_timestamp_seconds{kind="window"})'
_BEGAN_WITH_PREDICTIONS = "(driftd_last_swap_timestamp_seconds and driftd_newest_prediction_timestamp_seconds)"
_WINDOWS_LATE = (
    f"{alert_rule.GRACE:g} + {alert_rule.WINDOWS} * (driftd_window_seconds"
    f" + (driftd_window_seconds == bool 0) * {alert_rule.WINDOW_OF_ROWS:g})"
)
_LABELS_LATE = (
    f"{alert_rule.LABEL_GRACE:g} + {alert_rule.WINDOWS} * driftd_window_seconds"
    f" + {alert_rule.LABEL_WAITS} * driftd_label_wait_seconds"
)
_COHORTS_WAIT = f"driftd_cohorts_waiting >= {alert_rule.COHORTS}"
_NO_LABEL_EVER = (
    f"(time() - driftd_last_swap_timestamp_seconds > {_LABELS_LATE} + {alert_rule.NEVER_LABELLED:.0f})"
    f" and {_COHORTS_WAIT} unless driftd_newest_feedback_timestamp_seconds"
)

THRESHOLD = Figure("driftd_evidence_threshold{$only}", "large")
SERVED = Figure("driftd_served_version{$only}", "count")

ALERTS = (
    # --- the model -----------------------------------------------------------------------------------------------
    Alert(
        "DriftdDriftConfirmed",
        'driftd_evidence{kind=~"data|prediction"} >= driftd_evidence_threshold',
        "warning",
        "{model}: drift of the {kind} is confirmed; `driftd status --model {model}` says what changed"
        " (evidence {value}, threshold {threshold})",
        "The evidence over all windows crossed the threshold that follows from the false-alarm budget.",
        labels=("model", "kind"),
        value="large",
        figures={"threshold": THRESHOLD},
    ),
    Alert(
        "DriftdPerformanceBelowTolerance",
        'sum without (kind) (driftd_evidence{kind="performance"} >= driftd_evidence_threshold)',
        "critical",
        "{model}: performance got worse to {performance}; at worst {tolerated} is tolerated (evidence {value})",
        "Labels prove that the served version is worse than its reference by more than is tolerated.",
        value="large",
        figures={
            "performance": Figure("sum without (metric) (driftd_performance{$only})"),
            "tolerated": Figure("sum without (metric) (driftd_performance_tolerated{$only})"),
        },
    ),
    Alert(
        "DriftdAlarmUnattended",
        "driftd_alarm_unattended == 1",
        "warning",
        "{model}: performance has been too low for {stood}, and no build for it is under way",
        "The alarm stands, and no build could start, or none was better. `driftd status` says what it waits for.",
        figures={
            "stood": Figure("time() - min without (kind) (driftd_alarm_since_timestamp_seconds{$only})", "span"),
        },
    ),
    Alert(
        "DriftdEstimatedPerformanceFalling",
        'sum without (kind) (driftd_evidence{kind="harm"} >= driftd_evidence_threshold)',
        "warning",
        "{model}: estimated performance is {estimated}, {baseline} on the reference; no labels confirm it yet"
        " (evidence {value})",
        "The inputs have moved to where the model is worse. Labels have not said so yet, and may not.",
        value="large",
        figures={
            "estimated": Figure("sum without (metric) (driftd_performance_estimated{$only})"),
            "baseline": Figure("sum without (metric) (driftd_performance_estimated_baseline{$only})"),
        },
    ),
    Alert(
        "DriftdDataQualityBroken",
        "driftd_builds_blocked == 1",
        "critical",
        "{model}: the pipeline is broken, {faults} columns have a fault; no model is built on it",
        "A column is missing, constant, unreadable, rescaled or out of range beyond doubt. Builds are blocked until it "
        "is whole, or until values that were never seen have come for seven windows, and a day, with labels.",
        figures={"faults": Figure("sum without (fault) (driftd_quality_faults{$only})", "count")},
    ),
    # --- builds, gate and versions -------------------------------------------------------------------------------
    Alert(
        "DriftdRetrainFailed",
        'sum without (outcome) (driftd_last_build_outcome{outcome="failed"}) == 1',
        "warning",
        "{model}: the last build failed {ago} ago, {failed} have failed so far; the champion still serves",
        "A step of a build failed (snapshot, training, gate or swap). It is tried again with growing pauses.",
        figures={
            "ago": Figure("time() - driftd_last_build_timestamp_seconds{$only}", "span"),
            "failed": Figure(
                'sum without (trigger, outcome) (driftd_builds_ended_total{outcome="failed",$only})', "count"
            ),
        },
    ),
    Alert(
        "DriftdGateRefusedRepeatedly",
        f"driftd_gate_refusals_in_a_row >= {alert_rule.REFUSALS}",
        "warning",
        "{model}: the gate let none of the last {refusals} builds through (last gain {gain})",
        "Retraining does not help: the data do not hold what the model would need, or the trainer does not fit them.",
        figures={
            "refusals": Figure("driftd_gate_refusals_in_a_row{$only}", "count"),
            "gain": Figure("driftd_gate_gain{$only}"),
        },
    ),
    Alert(
        "DriftdRolledBack",
        'sum without (outcome) (time() - driftd_last_rollback_timestamp_seconds{outcome="done"})'
        f" < {alert_rule.RECENT:.0f}",
        "critical",
        "{model}: rolled back to version {version} {value} ago",
        "A new version was worse in production than the one before it, or a person went back. It serves again by now.",
        value="span",
        figures={"version": SERVED},
    ),
    Alert(
        "DriftdRollbackRefused",
        'sum without (outcome) (time() - driftd_last_rollback_timestamp_seconds{outcome="refused"})'
        f" < {alert_rule.RECENT:.0f}",
        "critical",
        "{model}: a rollback failed {value} ago, version {version} still serves",
        "The version to go back to cannot be loaded. The one that was found worse goes on serving.",
        value="span",
        figures={"version": SERVED},
    ),
    Alert(
        "DriftdApprovalWaiting",
        "driftd_approval_waiting == 1",
        "warning",
        "{model}: a challenger has won its gate (gain {gain}) and waits for a person for {waited}",
        "`driftd approve` or `driftd reject`, or the same in the override. The champion serves until then.",
        figures={
            "gain": Figure("driftd_gate_gain{$only}"),
            "waited": Figure("time() - driftd_phase_since_timestamp_seconds{$only}", "span"),
        },
    ),
    Alert(
        "DriftdHandOverWaiting",
        "driftd_hand_over_waiting == 1",
        "warning",
        "{model}: a version is handed over and not confirmed; it is taken back in {left} ({failed} tries failed)",
        "`driftd confirm`, or the first prediction that names the version, confirms it; else it is taken back.",
        figures={
            "left": Figure("driftd_hand_over_confirm_by_timestamp_seconds{$only} - time()", "span"),
            "failed": Figure("driftd_hand_over_failures{$only}", "count"),
        },
    ),
    Alert(
        "DriftdHandOverTakenBack",
        f"time() - driftd_last_take_back_timestamp_seconds < {alert_rule.RECENT:.0f}",
        "warning",
        "{model}: a hand-over was taken back {value} ago, version {version} stays",
        "Nobody confirmed in time that the system that serves has taken the version up.",
        value="span",
        figures={"version": SERVED},
    ),
    Alert(
        "DriftdRegistryFails",
        f"driftd_registry_failures >= {alert_rule.REGISTRY_FAILURES}",
        "warning",
        "{model}: the registry of models has failed {value} tries in a row, version {version} serves",
        "MLflow is away, refuses, or cannot take a version. Promotions wait for it; rollbacks and pins do not.",
        value="count",
        figures={"version": SERVED},
    ),
    Alert(
        "DriftdAliasMoved",
        "driftd_registry_alias_moved == 1",
        "warning",
        "{model}: somebody moved the alias in the registry, version {version} serves",
        "The alias names another version than the one that serves. Who loads by the alias gets that one.",
        figures={"version": SERVED},
    ),
    Alert(
        "DriftdServedVersionNotAsked",
        "driftd_served_version != driftd_asked_version",
        "critical",
        "{model}: version {value} serves, but version {asked} was asked for",
        "The pin or the champion does not serve: it cannot be loaded, does not exist, or the link was changed by hand.",
        value="count",
        figures={"asked": Figure("driftd_asked_version{$only}", "count")},
        hold="5m",
    ),
    Alert(
        "DriftdServerBehind",
        "driftd_serve_version != driftd_serve_linked_version",
        "critical",
        "{model}: `driftd serve` answers with version {value}, but version {linked} should answer",
        "The server cannot load the version that should serve. It goes on with the one that it has, if any (0: none).",
        value="count",
        figures={"linked": Figure("driftd_serve_linked_version{$only}", "count")},
        hold="5m",
    ),
    # --- feeds and checks ----------------------------------------------------------------------------------------
    Alert(
        "DriftdPredictionFeedSilent",
        f"{_since('driftd_newest_prediction_timestamp_seconds')} > {_WINDOWS_LATE}",
        "warning",
        "{model}: no prediction for {value}",
        "The application makes no predictions, does not log them, or logs them elsewhere.",
        value="span",
    ),
    Alert(
        "DriftdSourceFaults",
        "driftd_source_faults > 0",
        "warning",
        "{model}: its source has {value} faults",
        "Log files are broken, hold other columns, rows without usable times or labels of strangers, or cannot be "
        "read; where they are gone as a whole, or do not answer, windows wait until they are back.",
        value="count",
        hold="15m",
    ),
    Alert(
        "DriftdLabelFeedSilent",
        f"((time() - driftd_newest_feedback_timestamp_seconds > {_LABELS_LATE}) and {_COHORTS_WAIT})"
        f" or ({_NO_LABEL_EVER})",
        "warning",
        "{model}: no label for {value}, {cohorts} windows wait for theirs",
        "Labels stopped coming, or never came. Without them performance is not watched and no build can be judged.",
        value="span",
        figures={"cohorts": Figure("driftd_cohorts_waiting{$only}", "count")},
    ),
    Alert(
        "DriftdLabelsNotEvaluated",
        f"driftd_cohorts_not_evaluated >= {alert_rule.NOT_EVALUATED}",
        "warning",
        "{model}: labels come, but those of the last {value} windows were not evaluated",
        "Labels come later than they are waited for, or for too few predictions. Performance is not watched.",
        value="count",
    ),
    Alert(
        "DriftdNoCheckSucceeded",
        f"({_since(_CHECKED, _BEGAN_WITH_PREDICTIONS)}"
        f" > {alert_rule.GRACE:g} + {alert_rule.WINDOWS} * driftd_window_seconds)"
        " and (driftd_window_seconds > 0 or driftd_windows_behind > 0)"
        f" {NOT_PAUSED}",
        "critical",
        "{model}: no check succeeded for {value}, {behind} windows wait for theirs",
        "The model is not watched: its source cannot be read, its checks fail, or the daemon hangs.",
        value="span",
        figures={"behind": Figure("driftd_windows_behind{$only}", "count")},
    ),
    Alert(
        "DriftdCheckFails",
        'max without (kind, verdict) (driftd_verdict{verdict="error"}) == 1',
        "warning",
        "{model}: the last check failed, {failed} have failed since the daemon started",
        "A check could not look, three times in a row. The log says why (`check_failed`); the next window is tried.",
        figures={"failed": Figure('sum without (kind, verdict) (driftd_checks_total{verdict="error",$only})', "count")},
    ),
    Alert(
        "DriftdFallsBehind",
        f"driftd_windows_behind > 3 {NOT_PAUSED}",
        "warning",
        "{model}: {value} complete windows wait for their check",
        "Checks take longer than windows come, or the daemon catches up after it was down for long.",
        value="count",
        hold="1h",
    ),
    Alert(
        "DriftdModelNotWatched",
        "driftd_model_watched == 0",
        "critical",
        "{model}: in the config and not under watch, {errors} failed tries since the daemon started",
        "The model has no version yet (`driftd init`), or its version, reference or source cannot be opened.",
        figures={"errors": Figure("driftd_model_step_errors_total{$only}", "count")},
        hold="5m",
    ),
    Alert(
        "DriftdModelStepFails",
        "increase(driftd_model_step_errors_total[10m]) > 5 and driftd_model_watched == 1",
        "critical",
        "{model}: its rounds fail, about {value} times in ten minutes",
        "Reading its source, its state or its registry fails as a whole. The log says why (`model_step_failed`).",
        value="count",
    ),
    # --- the daemon ----------------------------------------------------------------------------------------------
    Alert(
        "DriftdDown",
        'up{job="driftd"} == 0 or absent(up{job="driftd"})',
        "critical",
        "driftd cannot be scraped: no model is watched",
        "The process is down, does not answer, or Prometheus has no such job (scrape it as `job_name: driftd`).",
        labels=(),
        hold="2m",
        keep="0m",
    ),
    Alert(
        "DriftdServeDown",
        'up{job="driftd-serve"} == 0',
        "critical",
        "`driftd serve` cannot be scraped: it answers nobody and takes no events in",
        "The process is down or does not answer. Applications that send their events to it keep them and try again.",
        labels=(),
        hold="2m",
        keep="0m",
    ),
    Alert(
        "DriftdHangs",
        f"time() - driftd_last_step_timestamp_seconds > {alert_rule.STANDSTILL:.0f}",
        "critical",
        "the main loop ended its last round {value} ago, {messages} messages wait for it",
        "The process answers scrapes, but its main loop stands still.",
        labels=(),
        value="span",
        figures={"messages": Figure("driftd_messages_waiting{$only}", "count")},
    ),
    Alert(
        "DriftdRestartsOften",
        "changes(driftd_started_timestamp_seconds[1h]) >= 3",
        "warning",
        "driftd was started {value} times more within an hour",
        "The daemon ends again and again and is started anew. It goes on where it was, but the cause stays.",
        labels=(),
        value="count",
    ),
    Alert(
        "DriftdConfigReloadFailed",
        "driftd_config_last_reload_successful == 0",
        "warning",
        "the config on disk is refused; one that was read {age} ago stays in force",
        "The file has an error; `driftd check-config` shows it with its line. A restart would fail.",
        labels=(),
        figures={"age": Figure("time() - driftd_config_last_reload_success_timestamp_seconds{$only}", "span")},
    ),
    Alert(
        "DriftdOverrideActiveLong",
        'time() - driftd_override_since_timestamp_seconds{kind=~"pause_.*|pin"} > 86400',
        "warning",
        "the override has asked for {kind} for {value}",
        "Pauses and pins are for incidents: while one holds, the loop is not closed. Give it an `expires`, or lift it.",
        labels=("kind",),
        value="span",
    ),
    Alert(
        "DriftdEventsNotKept",
        "sum without (route, status) (increase(driftd_serve_not_kept_total[10m])) > 0",
        "critical",
        "{model}: `driftd serve` could not keep about {value} requests in ten minutes",
        "The disk is full, read-only or broken: events are refused with 503, so that nothing is acknowledged and lost.",
        value="count",
    ),
    Alert(
        "DriftdDamagedDatabase",
        "driftd_events_damaged == 1",
        "critical",
        "{model}: its event store is damaged",
        "A database failed its check. The model's events are not read; what is damaged is kept aside.",
    ),
    Alert(
        "DriftdDamagedVersion",
        "driftd_version_damaged == 1",
        "critical",
        "{model}: the files of version {served}, which serves, do not match their hashes",
        "It goes on serving from memory and is never loaded from these files: a restarted server has none to load.",
        figures={"served": SERVED},
    ),
    *HOST_ALERTS,
)
