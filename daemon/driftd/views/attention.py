"""What a tired person must know first of a model: one sentence, how urgent it is, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import msgspec

from driftd.formatting import format_time
from driftd.observe.alert_rule import section_of
from driftd.records import Build, Phase, Verdict
from driftd.sentences.alarms import capitalise, sentence
from driftd.sentences.service_wordings import describe_probation
from driftd.views.other_systems import describe_registry, is_awaited, needs_look
from driftd.views.stages import describe_review
from driftd.views.status import ModelStatus
from driftd_detectors.assessment import SAID
from driftd_detectors.assessment import number as format_evidence

_NOT_WATCHED = "DriftdModelNotWatched"


class Urgency(IntEnum):
    """How urgent; the first comes first."""

    ACT = 0  # a person must do something
    DRIFT = 1  # an alarm stands; driftd acts, or only informs
    WATCH = 2  # evidence gathers
    BUSY = 3  # a build or a probation is under way
    WAIT = 4  # nothing can be said yet
    OK = 5


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a model. `command` is what a person would type."""

    level: str  # the name of the rank
    rank: Urgency
    sentence: str
    detail: str = ""
    command: str = ""
    runbook: str = ""  # the section of the runbook that says what to do
    also: tuple[str, ...] = ()  # what else presses, a sentence each

    @classmethod
    def of(cls, rank: Urgency, sentence: str, detail: str = "", command: str = "", alert: str = "") -> Attention:
        """An urgency with its words; `alert` is the alert that tells the same, whose section the runbook has."""
        return cls(
            level=rank.name.lower(),
            rank=rank,
            sentence=sentence,
            detail=detail,
            command=command,
            runbook=section_of(alert) if alert else "",
        )


def attention(status: ModelStatus, obstacle: str | None = None, blind_spots: Sequence[str] = ()) -> Attention:
    """What is most urgent of a model. `obstacle` is why it is not watched: it comes before all else."""
    pressing = [
        Attention.of(Urgency.ACT, condition.sentence, condition.detail, condition.command, condition.alert)
        for condition in status.pressing
        if obstacle is None or condition.alert != _NOT_WATCHED
    ]
    stops = unwatched_attention(status.version, obstacle) if obstacle is not None else None
    needed = [found for found in (stops, _for_a_person(status)) if found is not None]
    first, *rest = [*needed, *pressing] or [_attention_by_state(status)]
    orders = (f"{order.sentence}." for order in status.orders)
    return msgspec.structs.replace(first, also=(*(other.sentence for other in rest), *orders, *blind_spots))


def unwatched_attention(version: int | None, obstacle: str | None) -> Attention:
    """A model of the config that no state is known of."""
    if obstacle is not None:
        return Attention.of(Urgency.ACT, "It cannot be watched.", obstacle, "driftd doctor", _NOT_WATCHED)
    if version is None:
        return Attention.of(
            Urgency.ACT,
            "It has no version yet.",
            "Train the first one from a file of labelled rows; it is under watch within seconds.",
            "driftd init",
        )
    return Attention.of(Urgency.WAIT, f"Version {version} serves; its first check is still to come.")


def _review(build: Build) -> str:
    """What a review of several people, or one with an end, waits for."""
    return f" ({describe_review(build)})" if build.reviewers > 1 or build.review_until is not None else ""


def _for_a_person(status: ModelStatus) -> Attention | None:
    if status.phase is Phase.AWAITING_APPROVAL and status.build is not None:
        version, how = status.build.candidate, "is refreshed" if status.build.is_refresh else "won its gate"
        return Attention.of(
            Urgency.ACT,
            f"Version {version} {how} and waits for your approval.",
            f"{status.build.decision}{_review(status.build)}",
            f"driftd approve {status.model} {version}",
            "DriftdApprovalWaiting",
        )
    awaited = _hand_over_attention(status)
    if awaited is not None or status.pin_refused is not None:
        return awaited or Attention.of(
            Urgency.ACT,
            "The pin of the override was refused.",
            status.pin_refused or "",
            alert="DriftdServedVersionNotAsked",
        )
    if status.blocked is not None:
        sentence = "The data pipeline is broken; builds are blocked until it is whole."
        return Attention.of(Urgency.ACT, sentence, status.blocked, alert="DriftdDataQualityBroken")
    if status.verdict is Verdict.ERROR:
        return Attention.of(Urgency.ACT, "The last check failed.", status.reason, alert="DriftdCheckFails")
    if status.failures:
        count = status.failures
        times = "The last build failed." if count == 1 else f"The last {count} builds failed."
        return Attention.of(
            Urgency.ACT, times, status.waits or "", f"driftd history {status.model}", "DriftdRetrainFailed"
        )
    return _registry_attention(status)


def _registry_attention(status: ModelStatus) -> Attention | None:
    """The registry of others: it fails again and again, or somebody moved the alias there."""
    trouble = describe_registry(status.registry, status.build)
    if trouble is None or status.registry is None or not needs_look(status.registry):
        return None
    command = f"driftd history {status.model}"
    if status.registry.failures:
        return Attention.of(Urgency.ACT, "The registry of models fails.", trouble, command, "DriftdRegistryFails")
    return Attention.of(Urgency.ACT, "Somebody moved the alias in the registry.", trouble, command, "DriftdAliasMoved")


def _hand_over_attention(status: ModelStatus) -> Attention | None:
    """A version that another system is to serve: what is awaited, or why it could not be told."""
    model, hand_over = status.model, status.hand_over
    if hand_over is None or not is_awaited(hand_over):
        return None
    version, until = hand_over.version, format_time(hand_over.until)
    command = f"driftd confirm {model} {version}"
    if hand_over.error:
        sentence = f"Version {version} could not be handed over ({hand_over.attempts} tries)."
        detail = f"{hand_over.error}; it is tried again, and taken back at {until}."
        return Attention.of(Urgency.ACT, sentence, detail, command, "DriftdHandOverWaiting")
    sentence = f"Version {version} was handed over and awaits its confirmation."
    detail = f"Its first prediction confirms it too; it is taken back at {until}. {hand_over.delivery}"
    return Attention.of(Urgency.ACT, sentence, detail, command, "DriftdHandOverWaiting")


def _attention_by_state(status: ModelStatus) -> Attention:
    """What is most urgent of a model that needs nobody."""
    return _drift_attention(status) or _evidence_attention(status) or _work_attention(status) or _calm_attention(status)


def _drift_attention(status: ModelStatus) -> Attention | None:
    loud = [kind for kind, found in status.evidence.items() if found.verdict is Verdict.DRIFT]
    if not loud:
        return None
    first = "performance" if "performance" in loud else loud[0]
    alerts = {"performance": "DriftdPerformanceBelowTolerance", "harm": "DriftdEstimatedPerformanceFalling"}
    alert = alerts.get(first, "DriftdDriftConfirmed")
    found = status.evidence[first]
    others = [SAID.get(kind, kind) for kind in loud if kind != first]
    also = f" An alarm stands on {' and '.join(others)} too." if others else ""
    detail = f"Evidence {format_evidence(found.evidence)}, threshold {format_evidence(found.threshold)}.{also}"
    return Attention.of(Urgency.DRIFT, f"{sentence(found.sentence)} {_answer(status)}", detail, alert=alert)


def _answer(status: ModelStatus) -> str:
    """What driftd does about an alarm."""
    if status.phase is Phase.PAUSED:
        return "The model is paused."
    if status.build is not None:
        return f"Version {status.build.number} is being built ({_step_of(status, status.build)})."
    if status.waits:
        return f"{'A new version' if status.version_asked else 'A build'} is requested and waits: {status.waits}."
    return "A build is requested." if status.wanted else "Nothing is built: this alarm only informs."


def _step_of(status: ModelStatus, build: Build) -> str:
    return status.outside or str(build.step).replace("_", " ")


def _evidence_attention(status: ModelStatus) -> Attention | None:
    suspected = [kind for kind, found in status.evidence.items() if found.verdict is Verdict.SUSPECTED]
    if not suspected:
        return None
    found = status.evidence[suspected[0]]
    gathered = f"{format_evidence(found.evidence)} of the {format_evidence(found.threshold)} that an alarm needs"
    where = SAID.get(suspected[0], suspected[0])
    return Attention.of(
        Urgency.WATCH,
        f"No alarm yet: {sentence(found.sentence)}",
        f"The evidence on {where} does not suffice: {gathered}.",
    )


def _work_attention(status: ModelStatus) -> Attention | None:
    if status.phase is Phase.PAUSED:
        order = next((order for order in status.orders if order.subject == "checks"), None)
        who, why = ("the override", "") if order is None else (order.who, order.sentence)
        return Attention.of(Urgency.BUSY, f"Paused by {who}: no check, no build.", status.waits or why)
    if status.probation is not None and not status.probation.until_refresh:  # that of a refresh is the usual state
        compared = capitalise(sentence(describe_probation(status.probation.sentence)))
        said = compared or "The comparison begins once labels come."
        beside = "" if status.is_external else " beside the old one"
        return Attention.of(Urgency.BUSY, f"Version {status.version} is on probation{beside}.", said)
    if status.build is not None:
        build = status.build
        step = _step_of(status, build)
        return Attention.of(
            Urgency.BUSY, f"Version {build.number} is being built ({step}).", build.decision or build.reason
        )
    return None


def _calm_attention(status: ModelStatus) -> Attention:
    if status.verdict is None:
        which = f"No window of version {status.version} was checked yet."
        return Attention.of(Urgency.WAIT, which, "The first check comes when a window is complete.")
    if status.verdict is Verdict.INCONCLUSIVE and status.learning and status.learning in status.reason:
        return Attention.of(Urgency.WAIT, "Still learning what is normal.", status.learning)
    if status.verdict is Verdict.INCONCLUSIVE:
        return Attention.of(Urgency.WAIT, "The last window says nothing.", status.reason)
    if "performance" not in status.evidence:
        return Attention.of(Urgency.OK, f"{_calm(status)} No labels were evaluated yet.", _calm_detail(status))
    return Attention.of(Urgency.OK, _calm(status), _calm_detail(status))


def _calm_detail(status: ModelStatus) -> str:
    """What is not learned yet; else the evidence of the kind that has come nearest to an alarm."""
    nearest = status.nearest
    if status.learning or nearest is None:
        return status.learning or ""
    found = status.evidence[nearest]
    said = f"{format_evidence(found.evidence)} of {format_evidence(found.threshold)}"
    return f"Evidence nearest to an alarm: {said}, on {SAID.get(nearest, nearest)}."


def _calm(status: ModelStatus) -> str:
    """What the last check says where nothing alarms; one of an earlier driftd has other words."""
    return status.reason if status.reason.startswith("No alarm") else "No alarm."
