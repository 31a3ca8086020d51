"""What a tired person must know first of a model: one sentence, how urgent it is, and what to do. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

from driftd.observe.alerts import section_of
from driftd_detectors.assessment import share_of_limit
from driftd_detectors.formatting import number as format_evidence


class Urgency(IntEnum):
    """How urgent; the first comes first."""

    ACT = 0  # a person must do something
    DRIFT = 1  # an alarm stands; driftd acts, or only informs
    WATCH = 2  # evidence gathers
    BUSY = 3  # a build or a probation is under way
    WAIT = 4  # nothing can be said yet
    OK = 5


@dataclass(frozen=True, slots=True)
class Attention:
    """The first line of a model. `command` is what a person would type."""

    level: Urgency
    sentence: str
    detail: str = ""
    command: str = ""
    alert: str = ""  # the alert that tells the same, whose section of the runbook says what to do
    also: tuple[str, ...] = ()  # what else presses, a sentence each

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "level": self.level.name.lower(),
            "rank": int(self.level),
            "sentence": self.sentence,
            "detail": self.detail,
            "command": self.command,
            "runbook": section_of(self.alert) if self.alert else "",
            "also": list(self.also),
        }


def attention(one: dict[str, Any]) -> Attention:
    """What is most urgent of a model, from `status.model_status`."""
    pressing = [
        Attention(Urgency.ACT, each.sentence, each.detail, each.command, each.alert) for each in one["pressing"]
    ]
    asked = _for_a_person(one)
    first, *rest = [*([asked] if asked is not None else []), *pressing] or [_by_itself(one)]
    return replace(first, also=tuple(each.sentence for each in rest))


def unwatched(version: int | None, obstacle: str | None) -> Attention:
    """A model of the config that no state is known of."""
    if obstacle is not None:
        return Attention(Urgency.ACT, "It cannot be watched.", obstacle)
    if version is None:
        return Attention(
            Urgency.ACT,
            "It has no version yet.",
            "Train the first one from a file of labelled rows; it is under watch within seconds.",
            "driftd init",
        )
    return Attention(Urgency.WAIT, f"Version {version} serves; its first check is still to come.")


def by_need(one: dict[str, Any]) -> tuple[int, float, str]:
    """Sorts models: the most urgent first, then what is nearest to an alarm, then by name."""
    shares = [share_of_limit(found["evidence"], found["threshold"]) for found in one.get("evidence", {}).values()]
    return one["attention"]["rank"], -max(shares, default=0.0), one["model"]


def _for_a_person(one: dict[str, Any]) -> Attention | None:
    if one["phase"] == "awaiting_approval" and one["build"] is not None:
        version = one["build"].number
        return Attention(
            Urgency.ACT,
            f"Version {version} won its gate and waits for your approval.",
            one["build"].decision,
            f"driftd approve {one['model']} {version}",
            "DriftdApprovalWaiting",
        )
    if one["pin_refused"] is not None:
        return Attention(
            Urgency.ACT, "The pin of the override was refused.", one["pin_refused"], alert="DriftdServedVersionNotAsked"
        )
    if one["blocked"] is not None:
        sentence = "The data pipeline is broken; builds are blocked until it is whole."
        return Attention(Urgency.ACT, sentence, one["blocked"], alert="DriftdDataQualityBroken")
    if one["verdict"] == "error":
        return Attention(Urgency.ACT, "The last check failed.", one["reason"], alert="DriftdCheckFails")
    if one["failures"]:
        count = one["failures"]
        times = "The last build failed." if count == 1 else f"The last {count} builds failed."
        return Attention(
            Urgency.ACT, times, one["waits"] or "", f"driftd history {one['model']}", "DriftdRetrainFailed"
        )
    return None


def _by_itself(one: dict[str, Any]) -> Attention:
    """What is most urgent of a model that needs nobody."""
    return _drifting(one) or _gathering(one) or _working(one) or _calm(one)


def _drifting(one: dict[str, Any]) -> Attention | None:
    loud = [kind for kind, found in one["evidence"].items() if found["verdict"] == "drift"]
    if not loud:
        return None
    first = "performance" if "performance" in loud else loud[0]
    subjects = {"performance": "Performance has become worse", "harm": "Performance is estimated to have become worse"}
    title = subjects.get(first, f"Drift in {' and '.join({'data': 'the data'}.get(k, 'the ' + k) for k in loud)}")
    alerts = {"performance": "DriftdPerformanceBelowTolerance", "harm": "DriftdEstimatedPerformanceFalling"}
    alert = alerts.get(first, "DriftdDriftConfirmed")
    return Attention(Urgency.DRIFT, f"{title}. {_answer(one)}", one["evidence"][first]["sentence"], alert=alert)


def _answer(one: dict[str, Any]) -> str:
    """What driftd does about an alarm."""
    if one["phase"] == "paused":
        return "The override holds everything."
    if one["build"] is not None:
        return f"Version {one['build'].number} is being built ({str(one['build'].step).replace('_', ' ')})."
    if one["waits"]:
        return f"A build is wanted and waits: {one['waits']}."
    return "A build is wanted." if one["wanted"] else "Nothing is built: this alarm only informs."


def _gathering(one: dict[str, Any]) -> Attention | None:
    suspected = [kind for kind, found in one["evidence"].items() if found["verdict"] == "suspected"]
    if not suspected:
        return None
    found = one["evidence"][suspected[0]]
    gathered = f"{format_evidence(found['evidence'])} of {format_evidence(found['threshold'])}"
    return Attention(
        Urgency.WATCH, f"Evidence of drift in {suspected[0]} gathers: {gathered}. No alarm yet.", found["sentence"]
    )


def _working(one: dict[str, Any]) -> Attention | None:
    if one["phase"] == "paused":
        return Attention(Urgency.BUSY, "Paused by the override: no check, no build.", one["waits"] or "")
    if one["probation"] is not None:
        said = one["probation"].sentence or "The comparison begins once labels come."
        return Attention(Urgency.BUSY, f"Version {one['version']} is on probation beside the old one.", said)
    if one["build"] is not None:
        build = one["build"]
        step = str(build.step).replace("_", " ")
        return Attention(
            Urgency.BUSY, f"Version {build.number} is being built ({step}).", build.decision or build.reason
        )
    return None


def _calm(one: dict[str, Any]) -> Attention:
    if one["verdict"] is None:
        which = f"No window of version {one['version']} was checked yet."
        return Attention(Urgency.WAIT, which, "The first check comes when a window is complete.")
    if one["verdict"] == "inconclusive" and one["learning"] and one["learning"] in one["reason"]:
        return Attention(Urgency.WAIT, "Still learning what is normal.", one["learning"])
    if one["verdict"] == "inconclusive":
        return Attention(Urgency.WAIT, "The last window says nothing.", one["reason"])
    if "performance" not in one["evidence"]:
        return Attention(Urgency.OK, "Nothing moved. No labels were evaluated yet.", one["learning"] or "")
    return Attention(Urgency.OK, "Nothing moved.", one["learning"] or "")
