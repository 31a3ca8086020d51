"""Alarms in words: how sure one is, and what happens next. Pure; what changed is said by `driftd_detectors`."""

from __future__ import annotations

from driftd.actions import DecisionParts
from driftd.events import Trigger
from driftd.records import Alarm
from driftd_detectors.assessment import SAID

CERTAIN, VERY_LIKELY, LIKELY = 1000.0, 20.0, 2.0  # years in which chance alone gives so much evidence once
_DAYS_A_YEAR, _MONTHS_A_YEAR, _MONTHS_SAID = 365.25, 12, 24
TRIGGERS = {trigger: trigger.replace("_", " ") for trigger in Trigger} | {
    Trigger.HARM: "estimated performance",
    Trigger.MANUAL: "a request",
    Trigger.CODE_CHANGED: "changed code",
}


def kind_name(kind: str) -> str:
    """What people read of a kind of evidence: `harm` is estimated performance. Another word stays as it is."""
    return SAID.get(kind, kind)


def trigger_key(trigger: str) -> str:
    """What `retrain.on` of the config calls a trigger."""
    return "estimated_performance" if trigger == Trigger.HARM else str(trigger)


def describe_certainty(chance_years: float | None) -> str:
    """How sure an alarm is: how rarely chance alone gives so much evidence. Empty where that is not known."""
    if chance_years is None or not chance_years > 0:
        return ""
    if chance_years >= CERTAIN:
        return f"Certain: chance alone gives this much evidence less than once in {CERTAIN:,.0f} years."
    word = "Very likely" if chance_years >= VERY_LIKELY else "Likely" if chance_years >= LIKELY else "Possible"
    return f"{word}: chance alone gives this much evidence about once in {_format_years(chance_years)}."


def _format_years(years: float) -> str:
    months = years * _MONTHS_A_YEAR
    if months >= _MONTHS_SAID:
        return f"{years:,.0f} years"
    if months >= 1:
        return "a month" if round(months) == 1 else f"{months:.0f} months"
    days = round(years * _DAYS_A_YEAR)
    return "a day" if days <= 1 else f"{days} days"


def alarm_parts(alarm: Alarm, consequence: str) -> DecisionParts:
    """What is said of an alarm that is raised; `consequence` is what happens next, whole sentences."""
    what = sentence(alarm.sentence)
    return DecisionParts(what, describe_certainty(alarm.chance_years), consequence, sentence(alarm.figures))


def sentence(clause: str) -> str:
    """A clause as a sentence: it ends with a full stop. A name that it begins with keeps its spelling."""
    text = clause.strip()
    return text if not text or text[-1] in ".!?" else f"{text}."


def capitalise(text: str) -> str:
    """A sentence that begins with a capital; one that begins with a name from data is not to be given here."""
    return text[:1].upper() + text[1:]


# --- what happens next: the consequences of an alarm --------------------------------------------------------------


def builds_next() -> str:
    """A build was requested, and nothing is known that it waits for."""
    return "driftd builds a new version next; nothing to do."


def refreshes_next() -> str:
    """A refresh was brought forward."""
    return "driftd builds a refreshed version next; nothing to do."


def builds_with_labels(labels: int) -> str:
    """A build was requested that needs labelled rows from after the change."""
    rows = "1 labelled row" if labels == 1 else f"{labels:,} labelled rows"
    return f"driftd builds a new version once {rows} from after the change are there; nothing to do."


def builds_after_probation() -> str:
    """A build was requested while the champion is on probation."""
    return "driftd builds a new version once probation has decided between this version and the one before."


def is_building(version: int) -> str:
    """A build is under way already."""
    return f"Version {version} is being built already; nothing to do."


def is_requested(since: str) -> str:
    """A build was requested before."""
    return f"A build was requested already ({since}); nothing to do."


def is_acknowledged() -> str:
    """A person knows of the alarm."""
    return "The alarm is acknowledged; nothing is done about it until that ends."


def asks_for_version() -> str:
    """No trainer is configured."""
    return "driftd asks for a new version, since no trainer is configured."


def informs_only(model: str, trigger: Trigger, *, can_train: bool = True) -> str:
    """The config has no build of this trigger; without a trainer a build can only be asked for."""
    return (
        f"No build starts: this alarm only informs ({trigger_key(trigger)} is not in retrain.on). Check whether the "
        f"change is real; `driftd retrain {model}` {'builds a version' if can_train else 'asks for a new version'}."
    )


def never_builds() -> str:
    """A fault of the pipeline."""
    return "No build starts until the data pipeline is repaired."
