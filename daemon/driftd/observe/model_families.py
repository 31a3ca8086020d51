"""Every metric of a model as data: its events, its checks, its performance, its builds. See `families`."""

from __future__ import annotations

from driftd.events import BuildOutcome, GateDecision, RollbackCause, RollbackOutcome, SwapPurpose
from driftd.observe.metric_family import MetricCatalogue
from driftd.records import OrderKind, Phase, Trigger, Verdict
from driftd_detectors.assessment import EvidenceKind

FEATURES_SHOWN = 200  # a model's features beyond so many get no series of their own; see driftd_features_hidden
CHECK_SECONDS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)
SET_ASIDE = ("duplicates", "refused", "malformed", "no_time", "impossible_time", "no_label")
FAULTS = ("constant", "missing", "new_category", "range", "scale", "unreadable", "vanished")
DECISIONS = tuple(GateDecision)
OUTCOMES = tuple(BuildOutcome)
PURPOSES = tuple(SwapPurpose)
ROLLBACK_TRIGGERS = tuple(RollbackCause)
ROLLBACK_OUTCOMES = tuple(RollbackOutcome)
ORDER_KINDS = (*OrderKind, "acknowledge")


_catalogue = MetricCatalogue()
_gauge, _counter, _histogram = _catalogue.gauge, _catalogue.counter, _catalogue.histogram
ALL = _catalogue.families


# --- a model's events ------------------------------------------------------------------------------------------------

PREDICTIONS = _counter("predictions", "Predictions that ever arrived from the model's source.", "model", lasting=True)
EVENTS_SET_ASIDE = _counter(
    "events_set_aside",
    "Events and rows of files that are in no window and no label, by reason: sent before, refused, no row at all, "
    f"without a readable time, with an impossible one, feedback without a label: {', '.join(SET_ASIDE)}.",
    "model",
    "reason",
    lasting=True,
)
VALUES_IGNORED = _counter(
    "values_ignored", "Values of features that the model's schema does not have.", "model", lasting=True
)
LATE = _counter("late_predictions", "Predictions that came after the check of their window.", "model")
SOURCE_FAULTS = _gauge(
    "source_faults",
    "Faults of the source: files that cannot be read or hold other columns, rows set aside, labels of no prediction, "
    "no answer within `limits.check_timeout`.",
    "model",
)
SOURCE_HANGS = _counter(
    "source_hangs", "Reads of the source that took longer than `limits.check_timeout`; its windows wait.", "model"
)
LABEL_IDS = _gauge("label_ids", "Predictions that a label came for, known here or not, as of the last count.", "model")
LABEL_IDS_UNJOINED = _gauge(
    "label_ids_unjoined",
    "Of driftd_label_ids, those that no prediction has. Nearly all: labels have other ids than predictions.",
    "model",
)
SOURCE_ROWS_READ = _counter(
    "source_rows_read", "Rows that a database handed out, since the daemon or its connection's process began.", "model"
)
SOURCE_BYTES_READ = _counter("source_bytes_read", "Bytes of these rows, as Arrow has them.", "model")
SOURCE_REFUSED = _counter(
    "source_queries_refused",
    "Queries that would have read more than `source.most_rows` or `source.most_bytes` allow in a day.",
    "model",
)
READS = {"rows_read": SOURCE_ROWS_READ, "bytes_read": SOURCE_BYTES_READ, "queries_refused": SOURCE_REFUSED}
NEWEST_PREDICTION = _gauge(
    "newest_prediction_timestamp_seconds",
    "Event time of the newest prediction. Standing still: the feed of predictions is silent.",
    "model",
)
NEWEST_FEEDBACK = _gauge(
    "newest_feedback_timestamp_seconds",
    "Time of the newest label that is known. Standing still: the feed of labels is silent.",
    "model",
)

# --- checks ----------------------------------------------------------------------------------------------------------

WATCHED = _gauge(
    "model_watched",
    "1 for a model of the config that is under watch, 0 for one that cannot be; the log says why.",
    "model",
)
STEP_ERRORS = _counter("model_step_errors", "Rounds in which a model's step failed as a whole.", "model")
STEP_FAILING = _gauge("model_step_failing", "1 while the last round of a model failed as a whole, else 0.", "model")
WINDOW_SECONDS = _gauge("window_seconds", "Length of the model's windows; 0 for windows of rows.", "model")
VERDICT = _gauge(
    "verdict",
    f"1 for the verdict of the last check on each kind of evidence ({', '.join(EvidenceKind)}), 0 for the others: "
    f"{', '.join(Verdict)}; all 0 before the first.",
    "model",
    "kind",
    "verdict",
)
EVIDENCE = _gauge(
    "evidence",
    "Evidence of drift accumulated over windows; an alarm when it reaches driftd_evidence_threshold.",
    "model",
    "kind",
)
THRESHOLD = _gauge(
    "evidence_threshold", "The evidence at which a kind alarms; follows from the false-alarm budget.", "model", "kind"
)
LEARNING = _gauge(
    "learning", "1 while the model's checks still learn what is normal; they then see less, or nothing.", "model"
)
SCORE = _gauge(
    "score",
    "Size of a feature's shift in the last window beyond what its windows normally do, never negative: in standard "
    "deviations of the reference for location, spread and proportion, as 2 asin sqrt(share) for missing and outside "
    "(values that the reference never held), in sds of chance for the other components.",
    "model",
    "feature",
    "component",
)
SCORE_THRESHOLD = _gauge(
    "score_threshold",
    "The score up to which a shift of this size does not matter (detect.data.tolerance) and counts as no evidence.",
    "model",
    "feature",
    "component",
)
HIDDEN = _gauge(
    "features_hidden", f"Features without series of their own, because a model shows {FEATURES_SHOWN}.", "model"
)
DETECTORS_FAILED = _gauge(
    "detectors_failed",
    "Detectors of detect.detectors that gave no score of the last window: the log says why.",
    "model",
)
QUALITY_FAULTS = _gauge(
    "quality_faults", f"Columns with this fault in the last window: {', '.join(FAULTS)}.", "model", "fault"
)
QUALITY_SHARE = _gauge(
    "quality_fault_ratio",
    "Share of the last window's rows in which a feature has a fault; absent for features that have none.",
    "model",
    "feature",
    "fault",
)
CHECKS = _counter("checks", "Checks by kind (window or labels) and verdict.", "model", "kind", "verdict")
CHECKED_AT = _gauge(
    "last_check_timestamp_seconds",
    "When a check of this kind (window or labels) last ended without an error.",
    "model",
    "kind",
)
CHECK_TIME = _histogram("check", "How long one check took.", CHECK_SECONDS, "model", "kind")
ROWS_CHECKED = _counter("rows_checked", "Predictions that window checks have evaluated.", "model")
WINDOW_ROWS = _gauge("window_rows", "Predictions in the last window that was checked.", "model")
WINDOW_END = _gauge(
    "window_end_timestamp_seconds", "End of the last window that was checked; absent for windows of rows.", "model"
)
AHEAD = _gauge(
    "windows_ahead",
    "Windows that cannot have been yet and were passed over, because the clock was ahead: until then none is checked.",
    "model",
)
CLOCK_DOUBTED = _gauge(
    "clock_doubted",
    "1 while the clock is months ahead of the newest prediction, which came under watch: no window after that is "
    "checked, no row is deleted, and nothing is decided because time has passed.",
    "model",
)
BEHIND = _gauge("windows_behind", "Windows that have ended and wait for their check, by the clock.", "model")
ALARMS = _counter("alarms", "Alarms by kind of evidence.", "model", "kind", lasting=True)

# --- performance and labels ------------------------------------------------------------------------------------------

PERFORMANCE = _gauge(
    "performance",
    "The watched metric on the last cohort whose labels were evaluated, in the metric's usual direction.",
    "model",
    "metric",
)
PERFORMANCE_LOWER = _gauge("performance_lower", "Lower end of its 95 % band.", "model", "metric")
PERFORMANCE_UPPER = _gauge("performance_upper", "Upper end of its 95 % band.", "model", "metric")
PERFORMANCE_BASELINE = _gauge(
    "performance_baseline", "The watched metric on the reference of the served version.", "model", "metric"
)
PERFORMANCE_TOLERATED = _gauge(
    "performance_tolerated",
    "The worst value of the watched metric that is tolerated: the baseline and detect.performance.tolerated_loss.",
    "model",
    "metric",
)
LOSS = _gauge(
    "performance_loss",
    "The last cohort's mean loss under the watched metric: lower is better, always.",
    "model",
    "metric",
)
LOSS_TOLERATED = _gauge("performance_loss_tolerated", "The highest mean loss that is tolerated.", "model", "metric")
ESTIMATED = _gauge(
    "performance_estimated",
    "The metric as it is estimated without labels for the last window, in its usual direction.",
    "model",
    "metric",
)
ESTIMATED_LOWER = _gauge("performance_estimated_lower", "Lower end of the estimate's 95 % band.", "model", "metric")
ESTIMATED_UPPER = _gauge("performance_estimated_upper", "Upper end of the estimate's 95 % band.", "model", "metric")
ESTIMATED_BASELINE = _gauge(
    "performance_estimated_baseline", "The estimated metric on the reference of the served version.", "model", "metric"
)
ESTIMATED_TOLERATED = _gauge(
    "performance_estimated_tolerated", "The worst estimate that is tolerated.", "model", "metric"
)
ESTIMATED_LOSS = _gauge(
    "performance_estimated_loss", "The estimated mean loss of the last window: lower is better.", "model", "metric"
)
ESTIMATE_OFF = _gauge(
    "performance_estimate_off",
    "1 while the estimate raises no alarm, because labels have shown that it cannot be believed.",
    "model",
)
ESTIMATE_HELD = _gauge(
    "performance_estimate_held_ratio",
    "Share of the last windows with labels whose loss the estimate's band held; absent while they are too few.",
    "model",
)
COVERAGE = _gauge(
    "label_coverage_ratio", "Share of the last evaluated cohort's predictions that had their label.", "model"
)
LABEL_DELAY = _gauge(
    "label_delay_seconds", "Median time from prediction to label in the last evaluated cohort.", "model"
)
LABEL_WAIT = _gauge(
    "label_wait_seconds",
    "How long after a window's end its labels are waited for at first; 0 while that is not learned yet.",
    "model",
)
LABEL_DELAY_CHANGED = _gauge(
    "label_delay_changed", "1 while labels arrive otherwise than they did and the new way is not learned yet.", "model"
)
LABEL_DELAY_KNOWN = _gauge(
    "label_delay_known",
    "1 where it is known how late labels come; 0 while cohorts wait for nearly all of theirs, because it is not.",
    "model",
)
LABELS = _counter("labels_evaluated", "Labels that checks have evaluated.", "model")
UNSEEN_LABELS = _counter(
    "unseen_labels", "Evaluated labels that are no class of the served version; each counts as wrong.", "model"
)
COHORTS = _gauge("cohorts_waiting", "Checked windows whose labels are not evaluated yet.", "model")
COHORTS_NOT_EVALUATED = _gauge(
    "cohorts_not_evaluated",
    "Checked windows in a row whose labels come and are not evaluated: given up too early, or waiting in vain.",
    "model",
)

# --- builds, gate, versions ------------------------------------------------------------------------------------------

PHASE = _gauge("phase", f"1 for the phase a model is in, 0 for the others: {', '.join(Phase)}.", "model", "phase")
PHASE_SINCE = _gauge("phase_since_timestamp_seconds", "When the model entered its phase.", "model")
SERVED = _gauge("served_version", "The version that the link `current` names: what applications load.", "model")
ASKED = _gauge(
    "asked_version",
    "The version that should serve: the override's pin, else the champion. Another one than driftd_served_version "
    "for longer than a swap takes: something stands in the way.",
    "model",
)
PINNED = _gauge("pinned_version", "The version that the override pins; 0 without a pin.", "model")
ORDERS = _gauge(
    "model_orders", f"What people ordered of a model and holds now, by kind: {', '.join(ORDER_KINDS)}.", "model", "kind"
)
SWAPPED_AT = _gauge("last_swap_timestamp_seconds", "When the served version began to serve.", "model")
BUILT_AT = _gauge("served_version_built_timestamp_seconds", "When the served version was built.", "model")
WANTED = _gauge(
    "build_wanted",
    f"1 for the trigger of a build that is requested and waits or is under way, 0 for others: {', '.join(Trigger)}.",
    "model",
    "trigger",
)
UNATTENDED = _gauge("alarm_unattended", "1 while performance is too low and nothing can be done about it.", "model")
ALARM_SINCE = _gauge("alarm_since_timestamp_seconds", "Since when an alarm of performance stands.", "model", "kind")
BLOCKED = _gauge("builds_blocked", "1 while a broken pipeline blocks builds.", "model")
APPROVAL = _gauge("approval_waiting", "1 while a challenger waits for a person.", "model")
HAND_OVER = _gauge(
    "hand_over_waiting", "1 while a version is handed over to the system that serves and not confirmed yet.", "model"
)
HAND_OVER_UNTIL = _gauge(
    "hand_over_confirm_by_timestamp_seconds",
    "By when the version that is handed over must be confirmed; absent while there is none.",
    "model",
)
HAND_OVER_FAILURES = _gauge(
    "hand_over_failures", "Tries to tell the system that serves that failed, of the hand-over under way.", "model"
)
TAKEN_BACK_AT = _gauge(
    "last_take_back_timestamp_seconds",
    "When a hand-over was last taken back, because nobody confirmed it; absent before the first.",
    "model",
)
REGISTRY_FAILURES = _gauge(
    "registry_failures",
    "Tries in a row to reach the registry of models that failed; absent where no registry is configured.",
    "model",
)
REGISTRY_ALIAS = _gauge(
    "registry_alias_version",
    "The version that the alias in the registry was moved to and read back to name; 0 while that is owed.",
    "model",
)
ALIAS_MOVED = _gauge("registry_alias_moved", "1 while the alias in the registry is where somebody moved it.", "model")
BUILDS_STARTED = _counter("builds_started", "Builds that started, by trigger.", "model", "trigger", lasting=True)
BUILDS_ENDED = _counter(
    "builds_ended",
    f"Builds that ended, by trigger and outcome: {', '.join(OUTCOMES)} (turned_down: by a person, or by none in time).",
    "model",
    "trigger",
    "outcome",
    lasting=True,
)
LAST_OUTCOME = _gauge(
    "last_build_outcome", "1 for the outcome of the last build that ended, 0 for the others.", "model", "outcome"
)
LAST_BUILD_AT = _gauge("last_build_timestamp_seconds", "When a build last ended, whatever its outcome.", "model")
REFUSALS = _gauge(
    "gate_refusals_in_a_row", "Builds that did not get through the gate since the last one that did.", "model"
)
GATE = _counter(
    "gate_decisions", f"Judgements of the gate by decision: {', '.join(DECISIONS)}.", "model", "decision", lasting=True
)
GAIN = _gauge(
    "gate_gain", "How much lower the challenger's loss was than the champion's at the last judgement.", "model"
)
GAIN_LOWER = _gauge("gate_gain_lower", "Lower end of that gain's confidence band.", "model")
GAIN_UPPER = _gauge("gate_gain_upper", "Upper end of that gain's confidence band.", "model")
SWAPS = _counter(
    "swaps", f"Changes of the served version by purpose: {', '.join(PURPOSES)}.", "model", "purpose", lasting=True
)
ROLLBACKS = _counter(
    "rollbacks",
    f"Rollbacks by what asked for them ({', '.join(ROLLBACK_TRIGGERS)}) and outcome ({', '.join(ROLLBACK_OUTCOMES)}).",
    "model",
    "trigger",
    "outcome",
    lasting=True,
)
ROLLED_BACK_AT = _gauge(
    "last_rollback_timestamp_seconds",
    f"When a rollback last came to this outcome ({', '.join(ROLLBACK_OUTCOMES)}); absent before the first.",
    "model",
    "outcome",
)
TRANSITIONS = _counter(
    "transitions", "Decisions by their event, as in `driftd history`.", "model", "event", lasting=True
)
