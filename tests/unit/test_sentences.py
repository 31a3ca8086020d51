"""The laws of what people read: every event and every kind of alarm has its sentences, in the field's words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from driftd.actions import DecisionFigures, DecisionParts
from driftd.decisions import MEANINGS
from driftd.events import Event, Trigger
from driftd.sentences import alarms
from driftd.sentences.decisions import NEXT, parts_of
from driftd.sentences.document import CERTAINTIES, CONSEQUENCES, change_sentences, document, next_sentence, whole_alarm
from driftd_detectors.assessment import SAID, Change, EvidenceKind, Measure
from driftd_detectors.evidence.change_sentences import (
    describe_change,
    describe_changes,
    format_number,
    format_pair,
    format_share,
)

ROOT = Path(__file__).resolve().parents[2]
ODD = (
    r"\b(told|rest|holds?|held|harm|absorb\w*|wish\w*|want|wanted|wants|barred|anew|stuck|garbage|dial|"
    r"taken for normal|nothing moved|deeds?)\b"
)
LONGEST = 220  # characters: what is read aloud in one breath or two
CHANGED = [said for _, said in change_sentences()]
SURE = [alarms.describe_certainty(years) for years in CERTAINTIES]
FOLLOWING = [next_sentence(event) for event in Event]
EVERY = sorted({*CHANGED, *SURE, *CONSEQUENCES, *FOLLOWING, *(meaning.explanation for meaning in MEANINGS.values())})


def test_the_page_of_sentences_is_true() -> None:
    """docs/sentences.md is what the code says."""
    assert (ROOT / "docs" / "sentences.md").read_text("utf-8") == document(), "run `make docs`"


def test_every_event_and_every_kind_of_alarm_has_its_sentence() -> None:
    """No event is without what happens next, no kind of evidence without an example on the page."""
    assert set(NEXT) == set(Event) == set(MEANINGS)
    assert {kind for kind, _ in change_sentences()} == set(SAID.values())
    assert set(SAID) == set(EvidenceKind)
    page = document()
    assert all(f"`{event}`" in page and next_sentence(event) in page for event in Event)


@pytest.mark.parametrize("said", EVERY)
def test_a_sentence_is_short_plain_and_whole(said: str) -> None:
    """It ends with a full stop, has no odd word and no "(s)", and one value stays for one line."""
    assert said.endswith("."), said
    assert not re.search(ODD, said, re.IGNORECASE), said
    assert "(s)" not in said
    assert "{" not in said
    assert len(said) <= LONGEST, len(said)
    assert not re.search(r"\b1 (windows|labels|labelled rows|years|months|days)\b", said)
    assert not re.search(r"(?<![\d.])\d{4,}(?!\d)(?! \(|\)|,|-\d| UTC|\.$)", re.sub(r"\b20\d\d\b", "", said)), said


@pytest.mark.parametrize("said", CHANGED)
def test_the_first_sentence_has_no_evidence(said: str) -> None:
    """What changed is told in the reader's units: no evidence, no threshold, no standard deviations of a score."""
    assert not re.search(r"evidence|threshold|\bsds?\b|chi|stream", said), said


def test_titles_have_no_odd_words() -> None:
    """What an event is called is in the field's words."""
    assert [meaning.title for meaning in MEANINGS.values() if re.search(ODD, meaning.title, re.IGNORECASE)] == []


def test_an_alarm_is_said_in_its_order() -> None:
    """What changed, how sure, what next; and the evidence in the figures alone."""
    assert whole_alarm() == DecisionParts(
        "repaid_loan_on_prev_car: 78 % yes, was 56 % (since 28 June 2026).",
        "Very likely: chance alone gives this much evidence about once in 872 years.",
        "driftd builds a new version once 300 labelled rows from after the change are there; nothing to do.",
        "repaid_loan_on_prev_car is yes more often (by 0.53 sd): evidence 318,622 against a threshold of 913.",
    )


def test_a_metric_says_which_direction_is_worse() -> None:
    """Of a Brier score higher is worse, of an AUC lower; one label is no labels."""
    rising = Change("brier", Measure.LOSS, 0.046, 0.073, rows=165)
    assert describe_changes((rising,), None) == (
        "Brier score got worse from 0.046 to 0.073 on 165 labels (higher is worse)."
    )
    falling = Change("roc_auc", Measure.LOSS, 0.8, 0.9, rows=1)
    assert describe_change(falling) == "ROC AUC got better from 0.8 to 0.9 on 1 label (lower is worse)"
    same = Change("mae", Measure.LOSS, 1.5, 1.5)
    assert describe_change(same) == "Mean absolute error is 1.5, as on the reference"
    own = Change("own_functions:asymmetric", Measure.LOSS, 1.0, 2.0)
    assert describe_change(own) == "own_functions:asymmetric got worse from 1 to 2 (higher is worse)"


def test_figures_are_told_apart() -> None:
    """Two numbers get as many digits as they need; shares near their ends get a tenth of a percent."""
    assert format_pair(9_800.0, 12_345.0) == ("9,800", "12,300")
    assert format_pair(-0.00396, 0.333) == ("-0.004", "0.333")
    assert format_pair(1_234.2, 1_234.4) == ("1,234.2", "1,234.4")
    assert format_pair(1e-9, 2e-9) == ("1.00e-09", "2.00e-09")
    assert format_number(float("nan")) == "unknown"
    assert [format_share(share) for share in (0.0, 0.0004, 0.004, 0.084, 0.56, 0.996, 1.0)] == [
        *("0 %", "under 0.1 %", "0.4 %", "8.4 %", "56 %", "99.6 %", "100 %"),
    ]
    close = Change("x", Measure.SHARE, 0.5601, 0.5649, "yes")
    assert describe_change(close) == "x: 56.5 % yes, was 56.0 %"


def test_certainty_is_told_by_how_rare_chance_gives_it() -> None:
    """From certain to possible, in years, months or days; nothing where it is not known."""
    assert [said.split(":")[0] for said in SURE] == ["Certain", "Very likely", "Likely", "Possible", "Possible"]
    assert SURE[2].endswith("once in 6 years.") or SURE[2].endswith("once in 77 months.")
    assert SURE[3].endswith("once in 3 months.")
    assert SURE[4].endswith("once in 4 days.")
    assert alarms.describe_certainty(None) == ""
    assert alarms.describe_certainty(float("nan")) == ""


def test_a_decision_of_an_earlier_driftd_falls_back_to_its_reason() -> None:
    """Stored lines without parts have their reason, and what such an event leads to; unknown events have that alone."""
    found = parts_of("loans", "approval_wanted", "version 4 won its gate", DecisionFigures(version=4))
    assert found.what == "Version 4 won its gate."
    assert "`driftd approve loans 4`" in found.next
    assert parts_of("loans", "of_tomorrow", "x", DecisionFigures()) == DecisionParts("X.")
    stored = DecisionFigures.from_dict(DecisionFigures(alarm=3, parts=whole_alarm()).to_dict())
    assert parts_of("loans", "alarm", "ignored", stored) == whole_alarm()


def test_an_alarm_of_an_earlier_driftd_says_its_attribution_in_the_figures() -> None:
    """What was stored as one sentence is read as two parts: what changed, and where the rise comes from."""
    stored = DecisionParts("MAE got worse. Of the rise of mae by 4, 5 % is that other rows come.", "", "", "Mean 2.")
    said = parts_of("loans", "alarm", "ignored", DecisionFigures(parts=stored))
    assert said.what == "MAE got worse."
    assert said.figures == "Mean 2. Of the rise of mae by 4, 5 % is that other rows come."


def test_estimated_performance_is_the_word_for_harm() -> None:
    """What is stored keeps its name; people read the field's."""
    assert alarms.kind_name("harm") == "estimated performance"
    assert alarms.TRIGGERS[Trigger.HARM] == "estimated performance"
    assert alarms.kind_name("of another driftd") == "of another driftd"


@pytest.mark.parametrize(("can_train", "words"), [(True, "builds a version."), (False, "asks for a new version.")])
def test_what_only_informs_says_what_retrain_would_do(can_train: bool, words: str) -> None:
    """Without a trainer nothing can be built: the command then asks."""
    said = alarms.informs_only("demand", Trigger.DATA_DRIFT, can_train=can_train)
    assert said.endswith(f"`driftd retrain demand` {words}")
