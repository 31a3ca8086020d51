"""What presses: the page and the terminal say what the alert rules fire on."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from driftd.doctor.scrape import Scrape
from driftd.observe import alert_rule, families, model_families
from driftd.observe.alerts import ALERTS
from driftd.observe.exposition import MetricStore
from driftd.observe.metric_family import Family
from driftd.views.conditions import ActiveCondition, blind_spots, pressings, with_source_faults

NOW, HOUR, DAY = 1_700_000_000.0, 3600.0, 86_400.0
Series = tuple[Family, float, str]  # a family, its value, its labels with commas between

CALM: tuple[Series, ...] = (
    (model_families.WATCHED, 1, "demand"),
    (model_families.STEP_FAILING, 0, "demand"),
    (families.LAST_STEP, NOW - 10, ""),
    (model_families.WINDOW_SECONDS, HOUR, "demand"),
    (model_families.NEWEST_PREDICTION, NOW - 60, "demand"),
    (model_families.NEWEST_FEEDBACK, NOW - HOUR, "demand"),
    (model_families.CHECKED_AT, NOW - 60, "demand,window"),
    (model_families.SWAPPED_AT, NOW - 90 * DAY, "demand"),
    (model_families.LABEL_WAIT, HOUR, "demand"),
    (model_families.COHORTS, 1, "demand"),
    (model_families.COHORTS_NOT_EVALUATED, 6, "demand"),
    (model_families.SERVED, 3, "demand"),
    (model_families.ASKED, 3, "demand"),
    (model_families.REFUSALS, 2, "demand"),
    (model_families.UNATTENDED, 0, "demand"),
    (model_families.ALARM_SINCE, NOW - DAY, "demand,performance"),
    (model_families.SOURCE_FAULTS, 0, "demand"),
    (families.VERSION_DAMAGED, 0, "demand"),
    (model_families.ROLLED_BACK_AT, NOW - 30 * DAY, "demand,done"),
    (model_families.AHEAD, 0, "demand"),
    (model_families.CLOCK_DOUBTED, 0, "demand"),
    (families.DELETION_HELD, 0, "demand,events"),
    (families.DISK_FULL_AT, NOW + 30 * DAY, ""),
    (families.DISK_FREE, 50 * 2**30, ""),
    (families.DISK_SIZE, 100 * 2**30, ""),
    (families.STARTED, NOW - DAY, ""),
    (families.BACKED_UP_AT, NOW - DAY, ""),
    (families.BACKUP_FAILURES, 2, ""),
    (families.NOTIFICATIONS_PENDING, 1, "team"),
    (families.NOTIFICATIONS_FAILED, 1, "team"),
)
PRESSING: dict[str, tuple[Series, ...]] = {
    "DriftdPredictionFeedSilent": ((model_families.NEWEST_PREDICTION, NOW - 3.5 * HOUR, "demand"),),
    "DriftdNoCheckSucceeded": ((model_families.CHECKED_AT, NOW - 3.5 * HOUR, "demand,window"),),
    "DriftdLabelFeedSilent": (
        (model_families.NEWEST_FEEDBACK, NOW - 9 * HOUR, "demand"),
        (model_families.COHORTS, 9, "demand"),
    ),
    "DriftdLabelsNotEvaluated": ((model_families.COHORTS_NOT_EVALUATED, 7, "demand"),),
    "DriftdSourceFaults": ((model_families.SOURCE_FAULTS, 2, "demand"),),
    "DriftdAlarmUnattended": ((model_families.UNATTENDED, 1, "demand"),),
    "DriftdGateRefusedRepeatedly": ((model_families.REFUSALS, 3, "demand"),),
    "DriftdRolledBack": ((model_families.ROLLED_BACK_AT, NOW - HOUR, "demand,done"),),
    "DriftdRollbackRefused": ((model_families.ROLLED_BACK_AT, NOW - HOUR, "demand,refused"),),
    "DriftdHandOverTakenBack": ((model_families.TAKEN_BACK_AT, NOW - HOUR, "demand"),),
    "DriftdServedVersionNotAsked": ((model_families.ASKED, 4, "demand"),),
    "DriftdModelNotWatched": ((model_families.WATCHED, 0, "demand"),),
    "DriftdModelStepFails": ((model_families.STEP_FAILING, 1, "demand"),),
    "DriftdHangs": ((families.LAST_STEP, NOW - 1000, ""),),
    "DriftdDamagedVersion": ((families.VERSION_DAMAGED, 1, "demand"),),
    "DriftdDamagedDatabase": ((families.EVENTS_DAMAGED, 1, "demand"),),
    "DriftdWindowsAhead": ((model_families.AHEAD, 11_000, "demand"),),
    "DriftdClockDoubted": ((model_families.CLOCK_DOUBTED, 1, "demand"),),
    "DriftdDeletionHeld": ((families.DELETION_HELD, 1, "demand,events"),),
    "DriftdDiskFillsUp": ((families.DISK_FULL_AT, NOW + 3 * DAY, ""),),
    "DriftdDiskAlmostFull": ((families.DISK_FREE, 2 * 2**30, ""),),
    "DriftdBackupFails": ((families.BACKED_UP_AT, NOW - 3 * DAY, ""), (families.BACKUP_FAILURES, 9, "")),
    "DriftdNotificationsFail": ((families.NOTIFICATIONS_FAILED, 9, "team"),),
}
ELSEWHERE = {
    "DriftdDriftConfirmed": "the evidence itself (attention)",
    "DriftdPerformanceBelowTolerance": "the evidence itself (attention)",
    "DriftdEstimatedPerformanceFalling": "the evidence itself (attention)",
    "DriftdDataQualityBroken": "a broken pipeline (attention)",
    "DriftdRetrainFailed": "failures in a row (attention)",
    "DriftdApprovalWaiting": "the phase (attention)",
    "DriftdHandOverWaiting": "the hand-over (attention)",
    "DriftdRegistryFails": "the registry (attention)",
    "DriftdAliasMoved": "the registry (attention)",
    "DriftdCheckFails": "the last verdict (attention)",
    "DriftdFallsBehind": "the time of the last check; where it stands still, DriftdNoCheckSucceeded",
    "DriftdConfigReloadFailed": "a band above every view",
    "DriftdOverrideActiveLong": "a band above every view",
    "DriftdDown": "a band above every view: driftd does not answer",
    "DriftdRestartsOften": "only Prometheus remembers earlier processes",
    "DriftdServeDown": "another process",
    "DriftdServerBehind": "another process",
    "DriftdEventsNotKept": "another process",
}


def board(*changes: Series) -> MetricStore:
    made = MetricStore()
    for family, value, labels in (*CALM, *changes):
        made.set(family, value, *filter(None, labels.split(",")))
    return made


def found(shown: MetricStore | Scrape) -> list[ActiveCondition]:
    seen = pressings(shown, ["demand"], NOW)
    return [*seen.host, *seen.of.get("demand", ())]


def alerts(output: Iterable[ActiveCondition]) -> list[str]:
    return [item.alert for item in output]


def test_nothing_presses_on_a_calm_day() -> None:
    """Figures just inside of every limit press nobody."""
    assert found(board()) == []


@pytest.mark.parametrize("alert", PRESSING)
def test_what_an_alert_fires_on_presses(alert: str) -> None:
    """Each condition is told by itself, as a whole sentence, with a command to begin with."""
    output = found(board(*PRESSING[alert]))
    assert alerts(output) == [alert]
    assert output[0].sentence.endswith(".")
    assert output[0].command.startswith("driftd ")


def test_log_files_of_last_year_are_said_to_be_history() -> None:
    """Predictions months older than the watch are a silent feed that is called history; the clock is not doubted."""
    output = found(board((model_families.NEWEST_PREDICTION, NOW - 200 * DAY, "demand")))
    assert alerts(output) == ["DriftdPredictionFeedSilent"]
    assert output[0].sentence.startswith("All predictions are history: the newest is of ")


def test_every_alert_has_its_place_on_the_page() -> None:
    """No pager rings for something that the page does not tell; what it tells elsewhere says where."""
    assert {*PRESSING, *ELSEWHERE} == {alert.name for alert in ALERTS}
    assert not {*PRESSING} & {*ELSEWHERE}


@pytest.mark.parametrize("alert", PRESSING)
def test_the_terminal_hears_the_same_as_the_page(alert: str) -> None:
    """`driftd status` reads a scrape, the page the values themselves: both say the same."""
    shown = board(*PRESSING[alert])
    assert found(Scrape.of(shown.text(openmetrics=False).decode())) == found(shown)


def test_what_never_began_presses_from_when_the_version_began_to_serve() -> None:
    """A model without any prediction, and a fortnight later one without any label, is told of."""
    made = MetricStore()
    made.set(model_families.WINDOW_SECONDS, HOUR, "demand")
    made.set(model_families.SWAPPED_AT, NOW - 3 * HOUR, "demand")
    assert found(made) == []
    made.set(model_families.SWAPPED_AT, NOW - 4 * HOUR, "demand")
    assert alerts(found(made)) == ["DriftdPredictionFeedSilent"]
    made.set(model_families.NEWEST_PREDICTION, NOW, "demand")
    assert alerts(found(made)) == ["DriftdNoCheckSucceeded"]
    made.set(model_families.CHECKED_AT, NOW, "demand", "window")
    made.set(model_families.COHORTS, alert_rule.COHORTS, "demand")
    assert found(made) == []
    made.set(model_families.SWAPPED_AT, NOW - 15 * DAY, "demand")
    assert [item.sentence for item in found(made)] == ["No label ever came."]


def test_rows_that_do_not_come_are_silent_after_days_and_no_late_check() -> None:
    """Windows of rows never fall due: only a feed that is silent for days presses."""
    rows = (model_families.WINDOW_SECONDS, 0.0, "demand")
    quiet = (model_families.NEWEST_PREDICTION, NOW - 2 * DAY, "demand")
    unchecked = (model_families.CHECKED_AT, NOW - 2 * DAY, "demand,window")
    assert found(board(rows, quiet, unchecked)) == []
    assert alerts(found(board(rows, unchecked, (model_families.BEHIND, 2, "demand")))) == ["DriftdNoCheckSucceeded"]
    late = (model_families.NEWEST_PREDICTION, NOW - 4 * DAY, "demand")
    assert alerts(found(board(rows, late))) == ["DriftdPredictionFeedSilent"]


def test_a_swap_that_is_under_way_and_a_pause_press_nobody() -> None:
    """What the loop is doing, or was told not to do, needs no person."""
    swapping = ((model_families.ASKED, 4, "demand"), (families.RUNNING, 1, "demand,swap"))
    assert found(board(*swapping)) == []
    paused = ((model_families.CHECKED_AT, NOW - DAY, "demand,window"), (model_families.PHASE, 1, "demand,paused"))
    assert found(board(*paused)) == []


BLIND: tuple[tuple[Series, str], ...] = (
    ((model_families.COHORTS_NOT_EVALUATED, 6, "demand"), "labels of the last 6 windows were not evaluated"),
    ((model_families.ESTIMATE_OFF, 1, "demand"), "estimate without labels raises no alarm"),
    ((model_families.DETECTORS_FAILED, 2, "demand"), "2 of your own detectors gave no score"),
    ((model_families.LABEL_DELAY_CHANGED, 1, "demand"), "labels arrive otherwise"),
    ((families.WAITING, 1, "demand,train"), "an action is put off until a process is free or a pause ends: train"),
)


def test_what_is_not_watched_now_is_said_though_no_alert_fires_on_it() -> None:
    """Cohorts given up, watches that stopped and actions that are put off have a sentence each."""
    for series, words in BLIND:
        (only,) = blind_spots(board((model_families.COHORTS_NOT_EVALUATED, 0, "demand"), series), "demand")
        assert words in only.lower()
        assert found(board(series)) == []


def test_a_source_that_is_away_says_why() -> None:
    """The page, the status and doctor repeat what the daemon was told; without that they say what it may be."""
    found = pressings(board((model_families.SOURCE_FAULTS, 1, "demand")), ["demand"], NOW)
    said = with_source_faults(found, {"demand": "postgresql://db/app: Connection refused: does the server run?"})
    assert [condition.sentence for condition in said.of["demand"]] == [
        "Its source has 1 fault: postgresql://db/app: Connection refused: does the server run?"
    ]
    assert with_source_faults(found, {"other": "it is away"}) == found
