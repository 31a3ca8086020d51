"""What the page says first of a model."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from driftd.records import Build, BuildStep, Phase, Probation, Trigger, Verdict
from driftd.store.state.records import KindEvidence
from driftd.views.attention import Urgency, attention, unwatched_attention
from driftd.views.choices import Choices
from driftd.views.conditions import ActiveCondition
from driftd.views.fleet import SparkCache, VerdictSpark, WatchedModel, by_need, headline
from driftd.views.routes import STATIC
from driftd.views.row_counts import RowCounts
from driftd.views.status import ModelStatus

CALM = KindEvidence(1.0, 1000.0, Verdict.OK, "No alarm.")
BUILD = Build(4, Trigger.PERFORMANCE, "mae rose", BuildStep.TRAIN, 0.0, decision="it is better")


def status(**changes: Any) -> ModelStatus:
    calm: dict[str, Any] = {
        "model": "demand",
        "phase": Phase.STEADY,
        "version": 3,
        "verdict": Verdict.OK,
        "worst": "ok",
        "reason": "No alarm. The largest difference is income: 78 % yes, was 56 %.",
        "evidence": {"performance": CALM, "data": CALM},
        "verdicts": {},
        "failures": 0,
        "wanted": False,
        "figures": {},
        "standing_alarms": [],
    }
    return ModelStatus(**dict.fromkeys(ModelStatus.__struct_fields__) | {"pressing": (), "orders": ()} | calm | changes)


def model(**changes: Any) -> WatchedModel:
    """A model on the first screen."""
    found = status(**changes)
    spark = VerdictSpark([], [], [])
    return WatchedModel(
        **msgspec.structs.asdict(found),
        attention=attention(found),
        choices=Choices(awaits_approval=None, hand_over=None, previous=None, alarms=()),
        window_seconds=3600.0,
        rows=RowCounts(),
        rows_sentence="",
        spark=spark,
    )


def loud(kind: str, verdict: Verdict) -> dict[str, KindEvidence]:
    return {kind: KindEvidence(500.0, 1000.0, verdict, f"{kind} moved")}


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({}, Urgency.OK, "No alarm. The largest difference is income: 78 % yes, was 56 %."),
        ({"phase": Phase.AWAITING_APPROVAL, "build": BUILD}, Urgency.ACT, "Version 4 won its gate"),
        ({"pin_refused": "there is no version 9"}, Urgency.ACT, "The pin"),
        ({"blocked": "price is missing"}, Urgency.ACT, "The data pipeline is broken"),
        ({"verdict": Verdict.ERROR, "reason": "the check failed: boom"}, Urgency.ACT, "The last check failed."),
        ({"failures": 1}, Urgency.ACT, "The last build failed."),
        ({"failures": 3}, Urgency.ACT, "The last 3 builds failed."),
        (
            {"evidence": loud("performance", Verdict.DRIFT), "build": BUILD},
            Urgency.DRIFT,
            "Version 4 is being built (train).",
        ),
        (
            {"evidence": loud("performance", Verdict.DRIFT), "waits": "the cool-down"},
            Urgency.DRIFT,
            "waits: the cool-down",
        ),
        ({"evidence": loud("performance", Verdict.DRIFT), "wanted": True}, Urgency.DRIFT, "A build is requested."),
        ({"evidence": loud("data", Verdict.DRIFT)}, Urgency.DRIFT, "this alarm only informs"),
        ({"evidence": loud("data", Verdict.SUSPECTED)}, Urgency.WATCH, "No alarm yet: data moved."),
        ({"probation": Probation(2, 0.0)}, Urgency.BUSY, "on probation"),
        ({"build": BUILD}, Urgency.BUSY, "Version 4 is being built"),
        ({"phase": Phase.PAUSED}, Urgency.BUSY, "Paused by the override"),
        ({"verdict": None, "evidence": {}}, Urgency.WAIT, "No window of version 3 was checked yet."),
        ({"verdict": Verdict.INCONCLUSIVE, "reason": "only 3 rows"}, Urgency.WAIT, "says nothing"),
        (
            {"verdict": Verdict.INCONCLUSIVE, "learning": "3 of 14", "reason": "learning: 3 of 14"},
            Urgency.WAIT,
            "Still learning",
        ),
        (
            {"verdict": Verdict.INCONCLUSIVE, "learning": "24 of 28", "reason": "only 0 rows"},
            Urgency.WAIT,
            "says nothing",
        ),
        ({"learning": "24 of 28 windows"}, Urgency.OK, "No alarm."),
        ({"evidence": {"data": CALM}}, Urgency.OK, "No labels were evaluated yet."),
    ],
)
def test_each_state_has_its_sentence(changes: dict[str, Any], level: Urgency, words: str) -> None:
    """The most urgent thing is said, with how urgent it is."""
    found = attention(status(**changes))
    assert found.rank is level
    assert words in found.sentence


def test_what_needs_a_person_goes_before_what_driftd_does_itself() -> None:
    """A broken pipeline is told before the drift that stands beside it."""
    assert attention(status(blocked="price is missing", evidence=loud("data", Verdict.DRIFT))).rank is Urgency.ACT


def test_what_alerts_wake_a_person_for_needs_one_on_the_page_too() -> None:
    """A silent feed goes before drift; what a person was asked goes before it, and the rest is told beside."""
    silent = ActiveCondition("DriftdPredictionFeedSilent", "No prediction came.", command="driftd doctor")
    refused = ActiveCondition("DriftdGateRefusedRepeatedly", "The gate let none through.")
    found = attention(status(pressing=(silent, refused), evidence=loud("data", Verdict.DRIFT)))
    assert (found.rank, found.sentence, found.command) == (Urgency.ACT, "No prediction came.", "driftd doctor")
    assert found.also == ("The gate let none through.",)
    asked = attention(status(pressing=(silent, refused), pin_refused="there is no version 9"))
    assert asked.sentence.startswith("The pin")
    assert asked.also == ("No prediction came.", "The gate let none through.")


def test_all_is_not_well_while_the_machine_needs_somebody() -> None:
    """A full disk is told before a calm fleet, and not before a model that needs a person."""
    disk = ActiveCondition("DriftdDiskAlmostFull", "Only 0.1 GiB are free.")
    assert headline([model()]).sentence == "All is well."
    assert headline([model()], [disk]).sentence == "The machine needs you."
    assert headline([model(blocked="x")], [disk]).sentence == "demand needs you."


def test_what_needs_a_person_links_to_its_section_of_the_runbook() -> None:
    """Every line that asks for a person names a section that is there."""
    page = (STATIC / "runbook.html").read_text("utf-8")
    asking = [
        {"phase": Phase.AWAITING_APPROVAL, "build": BUILD},
        {"pin_refused": "there is no version 9"},
        {"blocked": "price is missing"},
        {"verdict": Verdict.ERROR},
        {"failures": 1},
        *({"evidence": loud(kind, Verdict.DRIFT)} for kind in ("data", "performance", "harm")),
    ]
    for changes in asking:
        section = attention(status(**changes)).runbook
        assert section, changes
        assert f'<h3 id="{section}">' in page


def test_an_approval_says_what_to_type() -> None:
    """The command is whole."""
    assert attention(status(phase=Phase.AWAITING_APPROVAL, build=BUILD)).command == "driftd approve demand 4"


def test_a_model_that_is_not_watched_says_why() -> None:
    """Without a version it needs `driftd init`; with an obstacle that is told; else it only waits."""
    assert unwatched_attention(None, None).command == "driftd init"
    assert unwatched_attention(1, "the source is gone").detail == "the source is gone"
    assert unwatched_attention(1, None).rank is Urgency.WAIT


def test_models_are_sorted_by_need_then_by_nearness_to_an_alarm() -> None:
    """The one that needs a person is first, calm ones follow by their evidence, then by name."""
    near = {"data": msgspec.structs.replace(CALM, evidence=300.0)}
    models = [model(model="b"), model(model="a"), model(model="near", evidence=near), model(model="z", blocked="x")]
    assert [found.model for found in sorted(models, key=by_need)] == ["z", "near", "a", "b"]


def test_the_line_of_a_model_is_drawn_once_for_each_newest_cohort() -> None:
    """What was drawn is kept until the mark of its model is another one; other models have their own."""
    drawn: list[str] = []
    cache = SparkCache()

    def draw(name: str) -> VerdictSpark:
        drawn.append(name)
        return VerdictSpark([], [], [])

    for mark, name in ((1, "a"), (1, "a"), (1, "b"), (2, "a"), (2, "a")):
        cache.spark(name, mark, lambda name=name: draw(name))
    assert drawn == ["a", "b", "a"]
