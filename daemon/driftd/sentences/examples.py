"""A record of each event as policy writes it: the examples of docs/sentences.md, and of the laws of what is said."""

from __future__ import annotations

from driftd.events import Event

_BETTER = "the challenger is better: gain 0.021 (bounds 0.008 to 0.034) on 1430 later rows in 9 time blocks, surely "
_BETTER += "above the margin 0"
_WORSE = "the challenger is worse: gain -0.021 (bounds -0.034 to -0.008) on 1430 later rows in 9 time blocks"
_LOST = (
    "on 400 labelled rows the new version's loss is 0.6264 higher than the old one's; a bet against it reached 31.2 "
)
_LOST += "(limit 20): it is worse"
_KEPT = "on 400 labelled rows the new version's loss is 0.0264 lower than the old one's; a bet against it stands at "
_KEPT += "most at 1.3 of 20"
_REFRESHED = "built by recent from 5983 rows until 2026-06-28 23:59 UTC; recent stays in charge"
_AT, _LATER = "2026-07-02 06:00 UTC", "2026-07-04 06:00 UTC"
_ASKS = f"retraining paused until {_LATER}"

RECORDS: dict[Event, tuple[str, ...]] = {
    Event.ADOPTED: ("version 4 was found serving and is now under watch",),
    Event.ALARM: ("income moved up by 0.53 sd: evidence 318,622 against a threshold of 913, over 2 windows",),
    Event.ALARM_CLEARED: (
        "performance alarm 7 is cleared: evidence 41 is below the threshold of 913",
        "performance alarm 7 is cleared: evidence 41 is below the threshold of 913; the build that it requested is "
        "not needed",
    ),
    Event.ALARM_UNATTENDED: (
        "performance alarm 7 has stood for 2 d and no build is under way for it: 120 of 300 labelled rows since "
        f"{_AT}; Brier score got worse from 0.046 to 0.073",
    ),
    Event.ALARM_ACKNOWLEDGED: (
        f"ada acknowledges alarm 7 until {_LATER}: the sale ends on Friday; no build is requested for it until then",
    ),
    Event.EVIDENCE_RESET: (
        "ada resets the evidence against version 4: the labels were wrong; alarm 7 is put aside with it",
        "ada resets the evidence against version 4: the labels were wrong",
    ),
    Event.QUALITY_FAULT: (
        "the pipeline is broken, no build may start: income is missing in 64.0% of 500 rows (reference 2.0%)",
    ),
    Event.QUALITY_RESTORED: ("the pipeline is whole again; it was: income is missing in 64.0% of 500 rows",),
    Event.BUILD_WANTED: (
        "ada asks for a build: no reason given",
        "alarm 7 still stands: Brier score got worse from 0.046 to 0.073",
        "the override asks for a build: INC-12",
        f"ada submits a version that was trained until {_AT}: from the notebook",
        "1430 labels came since the last build (new_labels: 1000)",
        "the code of the trainer changed since the last build (5f1c -> 77ab)",
    ),
    Event.BUILD_STARTED: (
        "building version 4 because of performance: Brier score got worse from 0.046 to 0.073 on 165 labels",
        "building version 4 because of performance: Brier score got worse from 0.046 to 0.073; build 3 only collected "
        "rows, and ends",
    ),
    Event.BUILD_FAILED: (
        "build 4 failed at train: MemoryError: the trainer needs more than 2.0 GB; the champion still serves; next try "
        f"at {_LATER}",
    ),
    Event.BUILD_RETRIED: (
        "ada retries build 4 from train: the library is repaired",
        "ada retries build 3 as build 4 from take data: the library is repaired",
    ),
    Event.TESTS_FAILED: (
        "version 4 is refused by its tests: 1 of 12 tests failed: test_monotone; the champion still serves",
    ),
    Event.GATE_INCONCLUSIVE: (
        "not yet clear whether version 4 is better: neither is surely better: gain 0.002 (bounds -0.01 to 0.014) on "
        "300 later rows in 3 time blocks; the champion stays; the champion stays while rows are collected",
    ),
    Event.JUDGED_AGAIN: (
        "the judgement of version 4 is put aside: version 2 serves now, and it was compared with 3; judging again",
    ),
    Event.CHALLENGER_REJECTED: (
        f"version 4 is refused: {_WORSE}",
        f"version 4 is refused: segment city = south: {_WORSE}",
        "version 4 is rejected by ada: the data of June were wrong",
    ),
    Event.CHAMPION_KEPT: (
        f"version 3 serves on, and not the refreshed 4: {_REFRESHED}",
        "version 4 is put aside: version 2 serves since it was begun",
    ),
    Event.REFIT_REFUSED: (f"version 4 is refused: {_REFRESHED}; it is not served, because it always says no",),
    Event.CHALLENGER_INCONCLUSIVE: ("version 4 never became clearly better within 28 d: neither is surely better",),
    Event.APPROVAL_WANTED: (
        f"version 4 won its gate ({_BETTER}) and waits for a person: promote.approval is manual",
        f"version 4 is refreshed ({_REFRESHED}) and waits for a person: promote.approval is manual",
    ),
    Event.APPROVED: ("version 4 is approved by ada: looks right (1 of 2): one more person must say yes",),
    Event.REVIEW_EXPIRED: (
        "version 4 is put aside: its review was not answered within 3 d",
        "version 4 is put aside: its review was not answered within 3 d (approved by ada)",
    ),
    Event.SWAP_STARTED: (
        f"version 4 won its gate: {_BETTER}",
        f"version 4 is refreshed: {_REFRESHED}",
        "version 4 is approved by ada: looks right; it is handed over to the system that serves",
    ),
    Event.PROMOTED: (
        f"version 4 serves instead of 3 and is on probation: {_BETTER}",
        f"version 4 serves instead of 3 and is on probation: {_REFRESHED}",
        "version 1 serves as the first champion",
    ),
    Event.CONFIRMED: (
        f"version 4 is confirmed: {_KEPT}",
        "version 4 stays, but it was hardly watched: only 12 labels came; 7 d without an alarm",
    ),
    Event.ROLLBACK_STARTED: (
        f"version 4 is worse than 3, going back: {_LOST}",
        "ada rolls back from version 4 to 3: customers complain",
    ),
    Event.ROLLED_BACK: ("version 3 serves again instead of 4",),
    Event.ROLLBACK_REFUSED: ("version 3 cannot be served (rollback refused): its artefact is damaged",),
    Event.SHADOW_FAILED: ("shadow failed: version 3 cannot be loaded",),
    Event.REPORT_FAILED: ("report failed: Evidently is not installed",),
    Event.PIN_STARTED: ("the override pins version 3: INC-12",),
    Event.PINNED: (
        "version 3 serves because the override pins it",
        "the override pins version 3: INC-12; it serves already",
    ),
    Event.PIN_REFUSED: (
        "the override pins version 9: INC-12; but there is no such version (there are: 1, 2, 3); version 3 serves on; "
        "any change of the override, also of its reason, has the pin tried again",
    ),
    Event.UNPINNED: ("version 3 is no longer pinned; version 3 goes on serving",),
    Event.RESTORED: (
        f"the state is that of the backup of {_AT}; what was decided after it is forgotten; version 4 serves",
    ),
    Event.PAUSED: (f"checks are paused by ada until {_LATER}: the source moves",),
    Event.RESUMED: ("nothing pauses the checks any more",),
    Event.OVERRIDE_BEGAN: (f"the override holds: {_ASKS} (INC-12)",),
    Event.OVERRIDE_CHANGED: ("the override holds: version 3 pinned (INC-12)",),
    Event.OVERRIDE_ENDED: (f"the override was lifted; it was: {_ASKS} (INC-12)",),
    Event.ORDER_GIVEN: (f"ada orders: income silent until {_LATER} (the column moves next week)",),
    Event.ORDER_ENDED: (
        f"ada ends what was ordered: income silent until {_LATER}",
        f"the time of an order is over: income silent until {_LATER}, ordered by ada (the column moves next week)",
    ),
    Event.CURSOR_RESET: ("ada resets the cursor: 3 windows lie ahead of the clock, and are checked in time",),
    Event.CHECKS_FORGOTTEN: ("ada has 1,200 checks of before 2026-01-02 06:00 UTC deleted",),
    Event.REQUEST_REFUSED: ("build 4 is already under way (train)",),
    Event.HANDED_OVER: (
        f"version 4 is handed over; `driftd confirm loans 4` or a prediction of version 4 confirms it, else it is "
        f"taken back at {_LATER}",
    ),
    Event.HAND_OVER_FAILED: (
        f"version 4 could not be handed over: deploy.sh ended with code 1; next try at {_AT}, taken back at {_LATER} "
        "unless it is confirmed",
    ),
    Event.HAND_OVER_CONFIRMED: (
        "version 4 is confirmed: predictions of version 4 have come",
        "version 4 is confirmed: ada says that it serves",
    ),
    Event.HAND_OVER_TAKEN_BACK: (
        f"the hand-over of version 4 is taken back: nobody confirmed it within 2 d; version 3 stays; no build begins "
        f"before {_LATER}",
    ),
    Event.VERSION_WANTED: (
        "a new version is asked for: Brier score got worse from 0.046 to 0.073; no trainer is configured",
    ),
    Event.PROBATION_ENDED: (
        "version 4 is worse than its reference: Brier score got worse from 0.046 to 0.073; version 3 cannot be handed "
        "over, because there is no artefact of it: have your system serve it again",
    ),
    Event.VERSION_REGISTERED: ("version 4 is registered: it is version 7 of demand",),
    Event.ALIAS_SET: ("the alias names version 4: champion of demand is version 7",),
    Event.ALIAS_MOVED: (
        "somebody moved the alias: champion of demand is version 5, and driftd had it name version 4; version 4 serves "
        "on, and the alias stays where it is until the next swap",
    ),
    Event.REGISTRY_FAILED: (
        f"the alias could not be moved to version 4: no answer within 10 s; it is tried again from {_AT} on, with "
        "growing pauses",
    ),
}
