"""What is said of each event: policy's record of it, taken apart, and put in the order in which people read.

Policy records a decision as a clause that has everything: names, times, the figures of a gate, an error. That record
stays as it is stored. The table says which sentences it becomes, so a state of an earlier driftd reads as well. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from driftd.actions import DecisionParts
from driftd.events import Event
from driftd.sentences.alarms import capitalise, sentence
from driftd.sentences.build_wordings import BUILD_WORDINGS
from driftd.sentences.record_form import TIME, Wording
from driftd.sentences.service_wordings import SERVICE_WORDINGS

_AFTER = {  # what policy adds to the record of any swap, and what that means for what comes next
    "; it is handed over to the system that serves": "It is handed over to the system that serves.",
    "; the alias in the registry moves first": "The alias in the registry of models moves first.",
}
_STEPS = {
    "snapshot": "taking its rows",
    "check_data": "checking its rows",
    "train": "training",
    "test": "its tests",
    "judge": "the comparison with the champion",
    "refresh": "refreshing",
    "swap": "putting it into service",
}
CAUSES = {
    "performance": "performance got worse",
    "estimated performance": "performance is estimated to be worse",
    "harm": "performance is estimated to be worse",
    "data drift": "the data changed",
    "schedule": "the schedule asks for one",
    "new labels": "enough new labels came",
    "refresh": "enough new labelled rows came",
    "changed code": "the trainer's code changed",
    "code changed": "the trainer's code changed",
    "parameters changed": "what the config says of training changed",
    "a request": "a person requested it",
    "manual": "a person requested it",
    "submitted": "it was handed in, and is judged as any other",
}

_WORDINGS: dict[Event, tuple[Wording, ...]] = {
    Event.ADOPTED: (
        Wording(
            r"version (?P<v>\d+) was found serving and is now under watch",
            "Version {v} was serving already, and its monitoring begins.",
        ),
        Wording(r"version (?P<v>\d+) served then", "Version {v} served then."),
    ),
    Event.ALARM: (  # of an earlier driftd, whose alarms had no parts
        Wording(r"(?P<detail>(?P<moved>.+?): evidence [\d,.]+ against a threshold of .*)", "{moved}."),
    ),
    Event.ALARM_CLEARED: (
        Wording(
            r"(?P<kind>.+?) alarm (?P<n>\d+) is cleared: (?P<detail>.*); the build that it requested is not needed",
            "Alarm {n} ({kind}) is over: what was measured is within what is tolerated again.",
            "The build that it requested is not needed any more; nothing to do.",
        ),
        Wording(
            r"(?P<kind>.+?) alarm (?P<n>\d+) is cleared: (?P<detail>.*); build (?P<b>\d+) continues, and its gate "
            r"decides",
            "Alarm {n} ({kind}) is over: what was measured is within what is tolerated again.",
            "Build {b} goes on: it serves only if it is better; nothing to do.",
        ),
        Wording(
            r"(?P<kind>.+?) alarm (?P<n>\d+) is cleared: (?P<detail>.*)",
            "Alarm {n} ({kind}) is over: what was measured is within what is tolerated again.",
        ),
    ),
    Event.ALARM_UNATTENDED: (
        Wording(
            r"(?P<kind>.+?) alarm (?P<n>\d+) has stood for (?P<long>.+?) and no build is under way for it: "
            r"(?P<waits>.*); (?P<detail>.*?)",
            "Alarm {n} ({kind}) has stood for {long}, and no build is under way for it. The build waits: {waits}.",
        ),
    ),
    Event.ALARM_ACKNOWLEDGED: (
        Wording(
            rf"(?P<who>.+?) acknowledges alarm (?P<n>[\d, ]+) until (?P<until>{TIME}): (?P<why>.*); no build is "
            r"requested for it until then",
            "Alarm {n} is acknowledged by {who} until {until}.{why}",
        ),
    ),
    Event.EVIDENCE_RESET: (
        Wording(
            r"(?P<who>.+?) resets the evidence against version (?P<v>\d+): (?P<why>.*?)(?:; alarm (?P<n>[\d, ]+) is "
            r"put aside with it)(?:; the build that it requested is not needed)?",
            "The evidence against version {v} is reset by {who}; alarm {n} is put aside with it.{why}",
        ),
        Wording(
            r"(?P<who>.+?) resets the evidence against version (?P<v>\d+): (?P<why>.*)",
            "The evidence against version {v} is reset by {who}: what was gathered no longer counts.{why}",
        ),
    ),
    Event.QUALITY_FAULT: (
        Wording(r"the pipeline is broken, no build may start: (?P<fault>.*)", "The data pipeline is broken: {fault}."),
    ),
    Event.QUALITY_RESTORED: (
        Wording(
            r"the pipeline is whole again; (?P<detail>it was: .*)",
            "The data pipeline is repaired: it delivers again what the reference had.",
        ),
    ),
    Event.REPORT_FAILED: (
        Wording(r"report failed: (?P<error>.*)", "Evidently's report of an alarm could not be made: {error}."),
    ),
    Event.PAUSED: (
        Wording(
            rf"checks are paused by (?P<who>.+?) until (?P<until>{TIME}): (?P<why>.*)",
            "Checks are paused by {who} until {until}.{why}",
        ),
        Wording(r"checks are paused by (?P<who>.+?): (?P<why>.*)", "Checks are paused by {who}.{why}"),
    ),
    Event.RESUMED: (Wording(r"nothing pauses the checks any more", "Checks are no longer paused."),),
    Event.OVERRIDE_BEGAN: (Wording(r"the override holds: (?P<asks>.*)", "The override is in force: {asks}."),),
    Event.OVERRIDE_CHANGED: (Wording(r"the override holds: (?P<asks>.*)", "The override changed to: {asks}."),),
    Event.OVERRIDE_ENDED: (
        Wording(
            r"the override (?P<how>was lifted|expired at .*?); it was: (?P<asks>.*)",
            "The override {how}. It was: {asks}.",
        ),
    ),
    Event.ORDER_GIVEN: (
        Wording(
            r"(?P<who>.+?) orders: (?P<asks>.*) \((?P<why>.*)\)(?P<beside>; the config's override holds .*)",
            "Ordered by {who}: {asks}{beside}.{why}",
        ),
        Wording(r"(?P<who>.+?) orders: (?P<asks>.*) \((?P<why>.*)\)", "Ordered by {who}: {asks}.{why}"),
    ),
    Event.ORDER_ENDED: (
        Wording(r"(?P<who>.+?) ends what was ordered: (?P<asks>.*)", "Ended by {who}: {asks}."),
        Wording(r"the time of an order is over: (?P<asks>.*)", "The time of an order is over: {asks}."),
    ),
    Event.CURSOR_RESET: (
        Wording(r"(?P<who>.+?) resets the cursor: (?P<text>.*)", "The cursor is reset by {who}: {text}."),
    ),
    Event.CHECKS_FORGOTTEN: (Wording(r"(?P<who>.+?) has (?P<text>.*) deleted", "Deleted by {who}: {text}."),),
    Event.REQUEST_REFUSED: (Wording(r"(?P<text>.*)", "The request is refused: {text}."),),
}
WORDINGS = _WORDINGS | BUILD_WORDINGS | SERVICE_WORDINGS


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.DOTALL)


def matching_wording(event: Event, record: str) -> tuple[Wording, Mapping[str, str]] | None:
    """The first wording of an event that a record has the form of, with what stands in it; None where none fits."""
    for wording in WORDINGS[event]:
        found = _pattern(wording.pattern).fullmatch(record)
        if found is not None:
            return wording, {name: value or "" for name, value in found.groupdict().items()}
    return None


def parts_from_record(event: Event, record: str, following: str, alarm: int | None = None) -> tuple[DecisionParts, str]:
    """What is said of a decision by its record, and the version that it names (empty where it names none).

    `following` is what happens next after such an event, where the wording has nothing of its own; `alarm` is the
    number of the alarm that it is about. A record of another form (of an earlier or a later driftd) is said as it is.
    """
    bare, further = record, ""
    for suffix, meaning in _AFTER.items():
        if bare.endswith(suffix):
            bare, further = bare.removesuffix(suffix), f" {meaning}"
    found = matching_wording(event, bare)
    if found is None:
        as_it_is = sentence(record)
        return DecisionParts(_with_capital(event, as_it_is), "", following), ""
    wording, values = found
    words = {**values, "why": _reason_given(values.get("why", ""))} | _in_words(values, alarm)
    what = sentence(_without_doubled_stop(wording.what.format(**words)))
    said = DecisionParts(
        _with_capital(event, what),
        wording.sure.format(**words),
        (_without_doubled_stop(wording.next.format(**words)) if wording.next else following) + further,
        capitalise(sentence(values.get("detail", ""))),
    )
    return said, values.get("v", "")


def _in_words(values: Mapping[str, str], alarm: int | None) -> dict[str, str]:
    """The values that are words of policy, as people read them; and figures with thousands separators."""
    words = {name: f"{int(values[name]):,}" for name in ("rows", "count") if values.get(name, "").isdecimal()}
    if "step" in values:
        words["step"] = _STEPS.get(values["step"], values["step"].replace("_", " "))
    if "cause" in values:
        words["cause"] = CAUSES.get(values["cause"], values["cause"]) + (f" (alarm {alarm})" if alarm else "")
    return words | {name: values[name].rstrip(". ") for name in ("error", "fault", "waits", "rest") if name in values}


def _with_capital(event: Event, what: str) -> str:
    """What was done begins with a capital; what changed may begin with the name of a column, which stays."""
    return what if event is Event.ALARM else capitalise(what)


def _reason_given(why: str) -> str:
    text = why.strip()
    return "" if not text or text == "no reason given" else f" The reason given: {sentence(text)}"


def _without_doubled_stop(text: str) -> str:
    return re.sub(r"(?<!\.)\.\.(?!\.)", ".", text)
