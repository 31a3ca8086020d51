"""Every decision in words: what happens after each event, and the parts of what is said. One table."""

from __future__ import annotations

from driftd.actions import DecisionFigures, DecisionParts
from driftd.events import Event, known_event
from driftd.sentences.alarms import capitalise, sentence
from driftd.sentences.service_wordings import WATCHES
from driftd.sentences.wordings import parts_from_record

_ATTRIBUTION = " Of the rise of "
NOTHING = "Nothing to do."
SERVES_ON = "The champion serves on; nothing to do."
NEXT: dict[Event, str] = {  # `{model}` and `{version}` may stand in it
    Event.ADOPTED: "driftd checks its windows from now on; nothing to do.",
    Event.ALARM: "`driftd status --model {model}` says what is done about it.",
    Event.ALARM_CLEARED: WATCHES,
    Event.ALARM_UNATTENDED: "Remove what the build waits for, or acknowledge it: `driftd acknowledge {model}`.",
    Event.ALARM_ACKNOWLEDGED: "No build starts for it until then; nothing to do.",
    Event.EVIDENCE_RESET: "The next window is the first of the new evidence; nothing to do.",
    Event.QUALITY_FAULT: "No build starts until it is repaired. Repair what delivers the data.",
    Event.QUALITY_RESTORED: "Builds may start again; nothing to do.",
    Event.BUILD_WANTED: "It starts once nothing stands in its way; `driftd status --model {model}` says what does.",
    Event.BUILD_STARTED: "The version is compared with the champion on later rows before it may serve; nothing to do.",
    Event.BUILD_FAILED: "The champion serves on, and driftd tries again later. Read the error, and mend what it names.",
    Event.BUILD_RETRIED: "It goes on from the stage that failed; nothing to do.",
    Event.TESTS_FAILED: "The champion serves on. Mend the model or its tests, then: `driftd retry {model}`.",
    Event.APPROVED: "Another person has to approve it too: `driftd approve {model} {version}`.",
    Event.REVIEW_EXPIRED: "The champion serves on. Ask for another build: `driftd retrain {model}`.",
    Event.GATE_INCONCLUSIVE: "driftd compares the two again once more labelled rows are there; nothing to do.",
    Event.JUDGED_AGAIN: "The comparison decides whether it serves; nothing to do.",
    Event.CHALLENGER_REJECTED: SERVES_ON,
    Event.CHAMPION_KEPT: NOTHING,
    Event.REFIT_REFUSED: "The champion serves on. Check what the trainer made of the newest rows.",
    Event.CHALLENGER_INCONCLUSIVE: SERVES_ON,
    Event.APPROVAL_WANTED: "Approve it with `driftd approve {model} {version}`, or refuse it with `driftd reject "
    "{model} {version}`. The champion serves until then.",
    Event.SWAP_STARTED: "It serves once its predictions are verified; nothing to do.",
    Event.PROMOTED: "driftd compares it with the version before, and goes back if it is worse; nothing to do.",
    Event.CONFIRMED: WATCHES,
    Event.ROLLBACK_STARTED: "It serves once its predictions are verified; nothing to do.",
    Event.ROLLED_BACK: "The version that was left is not promoted again by itself. Find out why it was worse.",
    Event.ROLLBACK_REFUSED: "Act now: `driftd doctor` says what is wrong with the version to go back to.",
    Event.SHADOW_FAILED: "driftd tries the comparison again; nothing to do.",
    Event.REPORT_FAILED: "The alarm stands without its report; nothing to do.",
    Event.PIN_STARTED: "It serves once its predictions are verified; nothing to do.",
    Event.PINNED: "It serves until the override is lifted; nothing to do.",
    Event.PIN_REFUSED: "The champion serves on. Pin another version, or lift the pin.",
    Event.UNPINNED: WATCHES,
    Event.RESTORED: "Check that the version that serves is the right one: `driftd status --model {model}`.",
    Event.PAUSED: "No window is checked until the pause ends.",
    Event.RESUMED: "Windows that were passed over are checked now; nothing to do.",
    Event.OVERRIDE_BEGAN: "It stays in force until it is lifted or its time is over; nothing to do.",
    Event.OVERRIDE_CHANGED: "It stays in force until it is lifted or its time is over; nothing to do.",
    Event.OVERRIDE_ENDED: WATCHES,
    Event.ORDER_GIVEN: "It stays in force until its time is over, or until `driftd resume {model}`.",
    Event.ORDER_ENDED: WATCHES,
    Event.CURSOR_RESET: "The windows are checked when they are complete; nothing to do.",
    Event.CHECKS_FORGOTTEN: NOTHING,
    Event.REQUEST_REFUSED: "Nothing was changed. Ask again once the reason is gone.",
    Event.HANDED_OVER: "Confirm it once the other system serves it: `driftd confirm {model} {version}`. Its first "
    "prediction confirms it too.",
    Event.HAND_OVER_FAILED: "driftd tells the other system again. Mend what the error names.",
    Event.HAND_OVER_CONFIRMED: "driftd watches this version from now on; nothing to do.",
    Event.HAND_OVER_TAKEN_BACK: "The champion serves on. Find out why the other system did not serve the version.",
    Event.VERSION_WANTED: "Train a version where you train, and add it: `driftd adopt {model}`.",
    Event.PROBATION_ENDED: "driftd cannot go back by itself. Deploy an earlier version, or train a new one.",
    Event.VERSION_REGISTERED: NOTHING,
    Event.ALIAS_SET: NOTHING,
    Event.ALIAS_MOVED: "Find out who moved it; `registry.mlflow.moved` says what driftd does about it.",
    Event.REGISTRY_FAILED: "driftd tries again; promotions wait until it answers. Check the registry.",
}


def parts_of(model: str, event: str, reason: str, figures: DecisionFigures) -> DecisionParts:
    """What is said of a stored decision: what it stored of that, else what its record says in the words of the table.

    An event that this program does not know has its record alone.
    """
    if figures.parts is not None:
        return _with_attribution_apart(figures.parts)
    known = known_event(event)
    if known is None:
        return DecisionParts(capitalise(sentence(reason)))
    said, version = parts_from_record(known, reason, NEXT[known], figures.alarm)
    version = version or ("VERSION" if figures.version is None else str(figures.version))
    following = said.next.replace("{model}", model).replace("{version}", version)
    return DecisionParts(said.what, said.sure, following, said.figures)


def _with_attribution_apart(parts: DecisionParts) -> DecisionParts:
    """Alarms of an earlier driftd said first where the rise of a loss comes from: that belongs to the figures."""
    what, found, attribution = parts.what.partition(_ATTRIBUTION)
    if not found:
        return parts
    return DecisionParts(what, parts.sure, parts.next, f"{parts.figures}{_ATTRIBUTION}{attribution}".strip())
