"""What receivers are told, and how patiently: pure functions."""

from __future__ import annotations

import json
import math

import pytest

from driftd.decisions import MEANINGS
from driftd.events import Event
from driftd.notify.channels import RetryPace
from driftd.notify.delivery import DIGEST_OF, LATE, batches
from driftd.notify.message import CARRIED, LISTED, SectionBlock, encode, message, message_of_test, severity_of
from notify_samples import NOW, decision


def test_one_decision_is_told_in_words_and_in_figures() -> None:
    """A message holds text and blocks for people and everything that the history holds for machines."""
    output = message("team", [decision(7, Event.PROMOTED, phase_to="probation")])
    assert output.body.text.startswith("[INFO] demand: Promoted: Price has shifted")
    words = encode(output.body).decode()
    assert "steady → probation" in words
    assert "driftd explain 7" in words
    (transition,) = output.body.driftd.transitions
    assert transition.id == 7
    assert transition.figures == {"evidence": 12.5}
    assert transition.at_iso == "2025-10-09T08:53:20Z"
    assert output.variables["DRIFTD_EVENT"] == "promoted"
    assert output.variables["DRIFTD_SEVERITY"] == "info"


@pytest.mark.parametrize("event", MEANINGS)
def test_every_event_makes_a_message_that_slack_would_take(event: str) -> None:
    """Blocks stay within Slack's 3000 characters, whatever the reason is, and nothing of it is read as a mention."""
    output = message("team", [decision(1, event, reason="<!channel> <http://evil> " + "&" * 9000)])
    for block in output.body.blocks:
        texts = [block.text] if isinstance(block, SectionBlock) else block.elements
        assert all(0 < len(text.text) <= 3000 for text in texts)
        assert all("<" not in text.text for text in texts)
    assert "<" not in output.body.text
    assert len(encode(output.facts)) < 60_000


def test_a_digest_says_the_worst_first_and_stays_short() -> None:
    """Hundreds of decisions are one short message: counts, the worst and newest, and how to see the rest."""
    many = [decision(number, Event.BUILD_STARTED, reason="y" * 5000) for number in range(1, 500)]
    many.append(decision(500, Event.QUALITY_FAULT, model="fares"))
    output = message("team", many)
    assert "500 decisions of 2 models (1 critical, 499 info)" in output.body.text
    block = output.body.blocks[1]
    assert isinstance(block, SectionBlock)
    listed = block.text.text
    assert listed.splitlines()[0].startswith("• 2025-10-09 08:53 UTC *fares* Data pipeline broken")
    assert len(listed) <= 3000
    assert f"and {500 - LISTED} more" in listed
    assert len(output.facts.transitions) == CARRIED
    assert output.facts.omitted == 500 - CARRIED
    assert output.variables["DRIFTD_MODEL"] == "fares"
    assert len(encode(output.facts)) < 1 << 20


def test_what_json_cannot_say_is_null() -> None:
    """NaN and infinite figures do not break the JSON, nor do halves of characters the UTF-8."""
    output = message("team", [decision(figures={"gain": math.nan, "of": [math.inf]}, reason="half \ud800 a character")])
    read = json.loads(encode(output.body))
    assert read["driftd"]["transitions"][0]["figures"] == {"gain": None, "of": [None]}


def test_a_test_says_that_it_is_one() -> None:
    """The message of `notify-test` cannot be taken for a decision."""
    output = message_of_test("team", NOW)
    assert "test" in output.body.text
    assert output.facts.test is True
    assert output.variables["DRIFTD_TEST"] == "1"


def test_the_worst_severity_leads() -> None:
    """Of several decisions, the worst says how severe the whole is."""
    assert severity_of([decision(1, Event.PROMOTED), decision(2, Event.ROLLED_BACK)]) == "warning"


def test_few_are_told_each_for_itself_many_or_old_ones_as_one() -> None:
    """A handful of fresh decisions are messages of their own; a flood, or what waited for an hour, is one digest."""
    few = [decision(number) for number in range(DIGEST_OF)]
    assert batches(few, NOW) == [[item] for item in few]
    many = [decision(number) for number in range(DIGEST_OF + 1)]
    assert batches(many, NOW) == [many]
    assert batches(few, NOW + LATE + 1) == [few]
    assert batches(few[:1], NOW + LATE + 1) == [few[:1]]


def test_tries_become_rarer_up_to_a_bound_and_are_spread() -> None:
    """The pause doubles to its bound, chance spreads it over its upper half, and what the other asks for is heeded."""
    pace = RetryPace()
    assert [pace.pause(failures, 0.0) for failures in (1, 2, 3)] == [0.5, 1.0, 2.0]
    assert pace.pause(1, 0.999) == pytest.approx(1.0, abs=0.001)
    assert pace.pause(10_000, 0.999) <= pace.longest_pause
    assert pace.pause(1, 0.5, retry_after=30.0) == 30.0
    assert pace.pause(1, 0.5, retry_after=1e9) == pace.longest_pause
