"""What the page says first of a model."""

from __future__ import annotations

from typing import Any

import pytest

from driftd.records import Build, BuildStep, Probation, Trigger
from driftd.views.attention import Urgency, attention, by_need, unwatched_attention
from driftd.views.conditions import ActiveCondition
from driftd.views.fleet import headline
from driftd.views.routes import STATIC

CALM = {"evidence": 1.0, "threshold": 1000.0, "verdict": "ok", "sentence": "nothing moved"}
BUILD = Build(4, Trigger.PERFORMANCE, "mae rose", BuildStep.TRAIN, 0.0, decision="it is better")


def status(**changes: Any) -> dict[str, Any]:
    calm = {
        "model": "demand",
        "phase": "steady",
        "version": 3,
        "verdict": "ok",
        "reason": "nothing moved",
        "evidence": {"performance": CALM, "data": CALM},
        "failures": 0,
        "wanted": False,
        "learning": None,
        "pressing": (),
    }
    return dict.fromkeys(("build", "probation", "blocked", "pin_refused", "waits")) | calm | changes


def loud(kind: str, verdict: str) -> dict[str, Any]:
    return {kind: {**CALM, "verdict": verdict, "evidence": 500.0, "sentence": f"{kind} moved"}}


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({}, Urgency.OK, "Nothing moved."),
        ({"phase": "awaiting_approval", "build": BUILD}, Urgency.ACT, "Version 4 won its gate"),
        ({"pin_refused": "there is no version 9"}, Urgency.ACT, "The pin"),
        ({"blocked": "price is missing"}, Urgency.ACT, "The data pipeline is broken"),
        ({"verdict": "error", "reason": "the check failed: boom"}, Urgency.ACT, "The last check failed."),
        ({"failures": 1}, Urgency.ACT, "The last build failed."),
        ({"failures": 3}, Urgency.ACT, "The last 3 builds failed."),
        (
            {"evidence": loud("performance", "drift"), "build": BUILD},
            Urgency.DRIFT,
            "Version 4 is being built (train).",
        ),
        ({"evidence": loud("performance", "drift"), "waits": "the cool-down"}, Urgency.DRIFT, "waits: the cool-down"),
        ({"evidence": loud("performance", "drift"), "wanted": True}, Urgency.DRIFT, "A build is wanted."),
        ({"evidence": loud("data", "drift")}, Urgency.DRIFT, "this alarm only informs"),
        ({"evidence": loud("data", "suspected")}, Urgency.WATCH, "No alarm yet."),
        ({"probation": Probation(2, 0.0)}, Urgency.BUSY, "on probation"),
        ({"build": BUILD}, Urgency.BUSY, "Version 4 is being built"),
        ({"phase": "paused"}, Urgency.BUSY, "Paused by the override"),
        ({"verdict": None, "evidence": {}}, Urgency.WAIT, "No window of version 3 was checked yet."),
        ({"verdict": "inconclusive", "reason": "only 3 rows"}, Urgency.WAIT, "says nothing"),
        (
            {"verdict": "inconclusive", "learning": "3 of 14", "reason": "learning: 3 of 14"},
            Urgency.WAIT,
            "Still learning",
        ),
        ({"verdict": "inconclusive", "learning": "24 of 28", "reason": "only 0 rows"}, Urgency.WAIT, "says nothing"),
        ({"learning": "24 of 28 windows"}, Urgency.OK, "Nothing moved."),
        ({"evidence": {"data": CALM}}, Urgency.OK, "No labels were evaluated yet."),
    ],
)
def test_each_state_has_its_sentence(changes: dict[str, Any], level: Urgency, words: str) -> None:
    """The most urgent thing is said, with how urgent it is."""
    found = attention(status(**changes))
    assert found.level is level
    assert words in found.sentence


def test_what_needs_a_person_goes_before_what_driftd_does_itself() -> None:
    """A broken pipeline is told before the drift that stands beside it."""
    assert attention(status(blocked="price is missing", evidence=loud("data", "drift"))).level is Urgency.ACT


def test_what_alerts_wake_a_person_for_needs_one_on_the_page_too() -> None:
    """A silent feed goes before drift; what a person was asked goes before it, and the rest is told beside."""
    silent = ActiveCondition("DriftdPredictionFeedSilent", "No prediction came.", command="driftd doctor")
    refused = ActiveCondition("DriftdGateRefusedRepeatedly", "The gate let none through.")
    found = attention(status(pressing=(silent, refused), evidence=loud("data", "drift")))
    assert (found.level, found.sentence, found.command) == (Urgency.ACT, "No prediction came.", "driftd doctor")
    assert found.also == ("The gate let none through.",)
    asked = attention(status(pressing=(silent, refused), pin_refused="there is no version 9"))
    assert asked.sentence.startswith("The pin")
    assert asked.also == ("No prediction came.", "The gate let none through.")


def test_all_is_not_well_while_the_machine_needs_somebody() -> None:
    """A full disk is told before a calm fleet, and not before a model that needs a person."""
    disk = ActiveCondition("DriftdDiskAlmostFull", "Only 0.1 GiB are free.")
    calm = {**status(), "attention": attention(status()).told()}
    blocked = {**status(blocked="x"), "attention": attention(status(blocked="x")).told()}
    assert headline([calm])["sentence"] == "All is well."
    assert headline([calm], [disk])["sentence"] == "The machine needs you."
    assert headline([blocked], [disk])["sentence"] == "demand needs you."


def test_what_needs_a_person_links_to_its_section_of_the_runbook() -> None:
    """Every line that asks for a person names a section that is there."""
    page = (STATIC / "runbook.html").read_text("utf-8")
    asking = [
        {"phase": "awaiting_approval", "build": BUILD},
        {"pin_refused": "there is no version 9"},
        {"blocked": "price is missing"},
        {"verdict": "error"},
        {"failures": 1},
        *({"evidence": loud(kind, "drift")} for kind in ("data", "performance", "harm")),
    ]
    for changes in asking:
        section = attention(status(**changes)).told()["runbook"]
        assert section, changes
        assert f'<h3 id="{section}">' in page


def test_an_approval_says_what_to_type() -> None:
    """The command is whole."""
    assert attention(status(phase="awaiting_approval", build=BUILD)).command == "driftd approve demand 4"


def test_a_model_that_is_not_watched_says_why() -> None:
    """Without a version it needs `driftd init`; with an obstacle that is told; else it only waits."""
    assert unwatched_attention(None, None).command == "driftd init"
    assert unwatched_attention(1, "the source is gone").detail == "the source is gone"
    assert unwatched_attention(1, None).level is Urgency.WAIT


def test_models_are_sorted_by_need_then_by_nearness_to_an_alarm() -> None:
    """The one that needs a person is first, calm ones follow by their evidence, then by name."""
    near = {"data": {**CALM, "evidence": 300.0}}
    models = [status(model="b"), status(model="a"), status(model="near", evidence=near), status(model="z", blocked="x")]
    for one in models:
        one["attention"] = attention(one).told()
    assert [one["model"] for one in sorted(models, key=by_need)] == ["z", "near", "a", "b"]
