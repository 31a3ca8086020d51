"""The laws of what is said of decisions: every record of policy becomes short, whole sentences in the field's words."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

import policy_graph
from driftd.actions import DecisionFigures, DecisionParts
from driftd.events import Event
from driftd.policy import Facts, Finding, Override, PolicySettings
from driftd.records import ModelState, Transition
from driftd.sentences.decisions import parts_of
from driftd.sentences.document import decision_examples, document
from driftd.sentences.examples import RECORDS
from driftd.sentences.service_wordings import describe_probation
from driftd.sentences.wordings import WORDINGS, matching_wording, parts_from_record
from policy_graph import ORDERED, REFRESHED, STAGES_IN_REVIEW, START, hold_the_graph
from policy_states import World

ODD = r"\b(told|rest|rests|holds?|held|harm|absorb\w*|taken for normal|wish\w*|want|wants|wanted|barred|anew)\b"
MOST_WORDS, MOST_SENTENCES = 30, 5  # of one sentence; of what, how sure and what next together
EXAMPLES = [(event, record) for event, records in RECORDS.items() for record in records]
GATE_WORDS = r"bounds|margin|evidence [\d,.]+|threshold|sd\b|bet\b|time blocks|\d\.\d{3,}|\d{5,}"


def said_of(event: Event, record: str) -> DecisionParts:
    """What is said of an example."""
    return parts_of("loans", event, record, DecisionFigures(version=4))


def test_every_event_has_its_wordings_and_an_example_on_the_page() -> None:
    """None is missing in the tables, and docs/sentences.md has what is said of each example."""
    assert set(WORDINGS) == set(RECORDS) == set(Event)
    page = document()
    assert all(f"| `{event}` | {parts.text} |" in page for event, parts in decision_examples())


@pytest.mark.parametrize(("event", "record"), EXAMPLES)
def test_what_is_said_is_whole_short_and_in_plain_words(event: Event, record: str) -> None:
    """A capital first, a full stop last, no figure of a gate, no odd word; each sentence is read in one breath."""
    parts = said_of(event, record)
    assert all(part.endswith(".") for part in (parts.what, parts.next))
    assert parts.what[0].isupper() or event is Event.ALARM, parts.what  # an alarm begins with the column's name
    assert not re.search(ODD, parts.text, re.IGNORECASE), parts.text
    assert event is Event.ALARM or not re.search(GATE_WORDS, parts.text), parts.text
    assert not re.search(r"[{}]|\.\.|\(s\)|VERSION|None", parts.text), parts.text
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Zd`])", parts.text)
    assert len(sentences) <= MOST_SENTENCES, sentences
    assert max(len(said.split()) for said in sentences) <= MOST_WORDS, sentences


@pytest.mark.parametrize(("event", "record"), EXAMPLES)
def test_nothing_is_said_twice(event: Event, record: str) -> None:
    """What happens next does not repeat what was done, and the figures repeat neither."""
    parts = said_of(event, record)
    assert parts.what not in parts.next
    assert parts.figures not in parts.text or not parts.figures


def test_the_figures_of_a_gate_stand_apart() -> None:
    """A refused challenger: that it is worse, how sure that is; gain and bounds are in the figures alone."""
    parts = said_of(Event.CHALLENGER_REJECTED, RECORDS[Event.CHALLENGER_REJECTED][0])
    assert parts == DecisionParts(
        "Version 4 does not serve: it is worse than the champion.",
        "Sure: on 1,430 labelled rows later than its training, chance does not explain the difference.",
        "The champion serves on; nothing to do.",
        "The challenger is worse: gain -0.021 (bounds -0.034 to -0.008) on 1430 later rows in 9 time blocks.",
    )


def test_the_version_that_a_record_names_is_the_one_to_approve() -> None:
    """A refresh may have an older version serve: the command names that one, not the build."""
    record = "version 2 serves rather than the refreshed 4 (because) and waits for a person: promote.approval is manual"
    assert "`driftd approve loans 2`" in said_of(Event.APPROVAL_WANTED, record).next


def test_a_build_names_the_alarm_that_caused_it() -> None:
    """The number of the alarm stands in the figures of the decision, and is said."""
    parts, version = parts_from_record(Event.BUILD_STARTED, RECORDS[Event.BUILD_STARTED][0], "Next.", alarm=7)
    assert parts.what == "Version 4 is being built, because performance got worse (alarm 7)."
    assert version == "4"


def test_words_of_people_stay_as_they_are() -> None:
    """Braces, several lines and clauses that look like policy's own change nothing of what was given as the reason."""
    odd = "{v}; {0}: the\nbuild that it requested is not needed"
    parts = said_of(Event.PAUSED, f"checks are paused by ada until 2026-07-04 06:00 UTC: {odd}")
    assert parts.what == f"Checks are paused by ada until 2026-07-04 06:00 UTC. The reason given: {odd}."


def test_a_record_of_another_form_is_said_as_it_stands() -> None:
    """An earlier or later driftd may have worded it otherwise: a capital, a full stop, and what such an event means."""
    parts = said_of(Event.PROMOTED, "number 4 took over from number 3")
    assert parts.what == "Number 4 took over from number 3."
    assert parts.next.startswith("driftd compares it")


def test_a_probation_that_goes_on_is_said_without_its_bet() -> None:
    """Which version is better and on how many rows; the bet against the new one is nothing that a reader has."""
    bet = "a bet against it stands at most at 1.03 of 20"
    lower = f"on 2149 labelled rows the new version's loss is 0.5484 lower than the old one's; {bet}"
    assert describe_probation(lower) == "on 2,149 labelled rows its loss is lower than that of the version before"
    higher = f"on 30 labelled rows the new version's loss is 0.1 higher than the old one's; {bet}; it goes on"
    assert describe_probation(higher) == (
        "on 30 labelled rows its loss is higher than that of the version before, by no more than chance explains; it "
        "goes on"
    )
    assert describe_probation("no labels yet") == "no labels yet"


def recorded(world: World, most: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Transition]:
    """The decisions on the steps of a graph of policy."""
    decided: dict[tuple[Event, str], Transition] = {}

    def advance(
        state: ModelState, finding: Finding, facts: Facts, settings: PolicySettings, override: Override, now: float
    ) -> Transition:
        transition = original(state, finding, facts, settings, override, now)
        if transition.event is not None:
            decided.setdefault((transition.event, re.sub(r"\d+", "", transition.reason)), transition)
        return transition

    original = policy_graph.advance
    monkeypatch.setattr(policy_graph, "advance", advance)
    hold_the_graph(world, most)
    yield from decided.values()


@pytest.mark.parametrize(
    "world",
    [START, REFRESHED, ORDERED, STAGES_IN_REVIEW],
    ids=["builds", "refreshes", "orders", "reviews"],
)
def test_every_record_of_the_graph_of_policy_has_a_wording(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever policy decides and records, a wording has its form: nothing falls back to the record itself."""
    decided = list(recorded(world, 200, monkeypatch))
    assert len({transition.event for transition in decided}) >= 8
    for transition in decided:
        assert transition.event is not None
        parts = parts_of("demand", transition.event, transition.reason, transition.figures)
        assert parts.what.endswith(".")
        assert transition.event is Event.ALARM or parts.what[0].isupper(), parts.what
        bare = re.sub(r"; (it is handed over to the system|the alias in the registry moves).*", "", transition.reason)
        assert transition.figures.parts or matching_wording(transition.event, bare), transition.reason
