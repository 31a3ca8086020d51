"""What a receiver is told: Slack-compatible JSON, the same facts for machines, and variables for a program. Pure."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
from msgspec import UNSET, UnsetType

from driftd.actions import DecisionParts
from driftd.decisions import Severity, meaning_of
from driftd.formatting import format_time, json_safe
from driftd.sentences.decisions import parts_of
from driftd.store.state.records import StoredTransition

SCHEMA = 1  # of the machine's part; a change that could break a reader counts it up
LISTED = 10  # decisions that a digest says in words
CARRIED = 40  # decisions that a digest carries for machines
LONGEST_REASON, LONGEST_LINE = 1500, 200  # characters
LONGEST_BLOCK = 3000  # characters, of Slack: a longer one is refused with the whole message
TITLE_OF_TEST = "this is a test of a notification; nothing has happened"
_BROKEN = re.compile(r"&\w*$")  # an escape that was cut in two
_RANK = {severity: rank for rank, severity in enumerate(Severity)}
_SIGN = {Severity.CRITICAL: ":rotating_light:", Severity.WARNING: ":warning:", Severity.INFO: ":information_source:"}


class MarkdownText(msgspec.Struct, frozen=True, kw_only=True):
    """A text of Slack, in its own markup."""

    type: str = "mrkdwn"
    text: str


class SectionBlock(msgspec.Struct, frozen=True, kw_only=True):
    """A block of text."""

    type: str = "section"
    text: MarkdownText


class ContextBlock(msgspec.Struct, frozen=True, kw_only=True):
    """A block of small print."""

    type: str = "context"
    elements: list[MarkdownText]


class TransitionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One decision, for machines."""

    id: int
    at: float
    at_iso: str
    model: str
    event: str
    severity: Severity
    title: str
    reason: str
    parts: DecisionParts  # what changed, how sure that is, what happens next, and the figures behind it
    phase_from: str
    phase_to: str
    figures: Mapping[str, object]
    actor: str
    config_hash: str


class MessageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The machine's part of a message."""

    schema: int = SCHEMA
    receiver: str
    test: bool = False
    severity: Severity | UnsetType = UNSET  # the worst; a test has none
    count: int = 0
    omitted: int = 0
    transitions: list[TransitionFacts] = []


class MessageBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a webhook: Slack's part, and the same for machines."""

    text: str
    blocks: list[SectionBlock | ContextBlock]
    driftd: MessageFacts


@dataclass(frozen=True, slots=True)
class Message:
    """One delivery: the body of a webhook, what a program reads on its standard input, and its variables."""

    body: MessageBody
    facts: MessageFacts
    variables: dict[str, str]


def message(receiver: str, decisions: Sequence[StoredTransition]) -> Message:
    """One decision in full, or a digest of several (worst first); `decisions` are at least one, oldest first."""
    facts = _facts(receiver, decisions)
    body = _one(decisions[0], facts) if len(decisions) == 1 else _digest(decisions, facts)
    return Message(body, facts, _variables(receiver, decisions))


def message_of_test(receiver: str, now: float) -> Message:
    """What `driftd notify-test` sends."""
    facts = MessageFacts(receiver=receiver, test=True)
    body = MessageBody(text=f"driftd: {TITLE_OF_TEST}", blocks=[_section(f"*driftd*: {TITLE_OF_TEST}")], driftd=facts)
    variables = {"RECEIVER": receiver, "COUNT": "0", "EVENT": "test", "SEVERITY": "info", "AT": _iso(now)}
    variables |= {"REASON": TITLE_OF_TEST, "MODEL": "", "TRANSITION": "", "TEST": "1"}
    return Message(body, facts, _prefix_names(variables))


def severity_of(decisions: Sequence[StoredTransition]) -> Severity:
    """The worst severity among decisions."""
    return min((meaning_of(decision.event).severity for decision in decisions), key=_RANK.__getitem__)


def _one(decision: StoredTransition, facts: MessageFacts) -> MessageBody:
    meaning = meaning_of(decision.event)
    parts = _parts(decision)
    reason = _cut(parts.text, LONGEST_REASON)
    said = [_cut(part, LONGEST_REASON) for part in (parts.what, parts.sure, parts.next) if part]
    head = f"{decision.model}: {meaning.title}"
    context = (
        f"{meaning.severity} · {format_time(decision.at)} · {_phases(decision)} · by {decision.actor} · "
        f"`driftd explain {decision.id}`"
    )
    return MessageBody(
        text=_escape(f"[{str(meaning.severity).upper()}] {head}: {reason}"),
        blocks=[
            _section("\n".join([f"{_SIGN[meaning.severity]} *{head}*", *said])),
            ContextBlock(elements=[MarkdownText(text=_escape(context))]),
        ],
        driftd=facts,
    )


def _digest(decisions: Sequence[StoredTransition], facts: MessageFacts) -> MessageBody:
    counts = Counter(meaning_of(decision.event).severity for decision in decisions)
    models = sorted({decision.model for decision in decisions})
    of = models[0] if len(models) == 1 else f"{len(models)} models"
    weights = ", ".join(f"{counts[severity]} {severity}" for severity in Severity if counts[severity])
    span = f"{format_time(decisions[0].at)} to {format_time(decisions[-1].at)}"
    head = f"{len(decisions)} decisions of {of} ({weights}), {span}"
    lines = [_line(decision) for decision in _worst_first(decisions)[:LISTED]]
    if len(decisions) > LISTED:
        lines.append(f"and {len(decisions) - LISTED} more: `driftd history -n {len(decisions)}`")
    sign = _SIGN[severity_of(decisions)]
    return MessageBody(
        text=_escape(f"[{str(severity_of(decisions)).upper()}] {head}"),
        blocks=[_section(f"{sign} *{head}*"), _section("\n".join(lines))],
        driftd=facts,
    )


def _line(decision: StoredTransition) -> str:
    title = meaning_of(decision.event).title
    return f"• {format_time(decision.at)} *{decision.model}* {title}: {_cut(_parts(decision).what, LONGEST_LINE)}"


def _parts(decision: StoredTransition) -> DecisionParts:
    return parts_of(decision.model, decision.event, decision.reason, decision.decision_figures)


def _worst_first(decisions: Sequence[StoredTransition]) -> list[StoredTransition]:
    """The worst first, and of equals the newest."""
    return sorted(decisions, key=lambda decision: (_RANK[meaning_of(decision.event).severity], -decision.id))


def _facts(receiver: str, decisions: Sequence[StoredTransition]) -> MessageFacts:
    carried = sorted(_worst_first(decisions)[:CARRIED], key=lambda decision: decision.id)
    return MessageFacts(
        receiver=receiver,
        severity=severity_of(decisions),
        count=len(decisions),
        omitted=len(decisions) - len(carried),
        transitions=[_transition(decision) for decision in carried],
    )


def _transition(decision: StoredTransition) -> TransitionFacts:
    meaning = meaning_of(decision.event)
    return TransitionFacts(
        id=decision.id,
        at=decision.at,
        at_iso=_iso(decision.at),
        model=decision.model,
        event=decision.event,
        severity=meaning.severity,
        title=meaning.title,
        reason=_cut(decision.reason, LONGEST_REASON),
        parts=_parts(decision),
        phase_from=decision.phase_from,
        phase_to=decision.phase_to,
        figures={name: value for name, value in decision.figures.items() if name != "parts"},
        actor=decision.actor,
        config_hash=decision.config_hash,
    )


def _variables(receiver: str, decisions: Sequence[StoredTransition]) -> dict[str, str]:
    """What a program that reads no JSON needs; of a digest, the worst and newest decision."""
    leading = _worst_first(decisions)[0]
    return _prefix_names(
        {
            "RECEIVER": receiver,
            "COUNT": str(len(decisions)),
            "TRANSITION": str(leading.id),
            "MODEL": leading.model,
            "EVENT": leading.event,
            "SEVERITY": meaning_of(leading.event).severity,
            "AT": _iso(leading.at),
            "REASON": _cut(_parts(leading).text, LONGEST_REASON),
            "TEST": "0",
        }
    )


def _prefix_names(variables: Mapping[str, str]) -> dict[str, str]:
    return {f"DRIFTD_{name}": str(value).replace("\0", "") for name, value in variables.items()}


def _section(text: str) -> SectionBlock:
    return SectionBlock(text=MarkdownText(text=_escape(text)))


def _phases(decision: StoredTransition) -> str:
    same = decision.phase_from == decision.phase_to
    return decision.phase_to if same else f"{decision.phase_from} → {decision.phase_to}"


def _escape(text: str) -> str:
    """The three characters that mean something in Slack's text: no reason can mention a channel or hide a link."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped if len(escaped) <= LONGEST_BLOCK else _BROKEN.sub("", escaped[: LONGEST_BLOCK - 1]) + "…"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def encode(value: MessageBody | MessageFacts) -> bytes:
    """JSON, as UTF-8."""
    return json.dumps(json_safe(value), ensure_ascii=False, allow_nan=False).encode("utf-8", errors="replace")
