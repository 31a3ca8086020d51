"""Evidently's opinion on real and on broken columns: every answer is a sentence, nothing ends the rest."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest

from driftd.second_opinion import adapter
from driftd.second_opinion.opinions import OTHER, convert_column, opinions, prepare
from driftd.second_opinion.report import MOST_COLUMNS, PREDICTION, SCORE, Case, page
from driftd.stattests import STATTESTS, Opinion
from driftd_detectors.schema import Feature, Kind, Schema, Task

pytestmark = pytest.mark.slow

KINDS = {
    "age": Kind.NUMBER,
    "visits": Kind.NUMBER,
    "city": Kind.CATEGORY,
    "member": Kind.BOOLEAN,
    "seen": Kind.TIMESTAMP,
    "note": Kind.CATEGORY,
}
FEATURES = tuple(Feature(name, kind) for name, kind in KINDS.items())
BINARY = Schema(Task.CLASSIFICATION, "bought", FEATURES, ("0", "1"))


def people(rows: int, *, older: float = 0.0, seed: int = 1) -> pd.DataFrame:
    """Customers with a label, a prediction and a score."""
    rng = np.random.default_rng(seed)
    score = rng.random(rows)
    return pd.DataFrame(
        {
            "age": rng.normal(40 + older, 10, rows),
            "visits": rng.poisson(3, rows),
            "city": rng.choice(["Bonn", "Kiel", "Ulm"], rows),
            "member": rng.random(rows) < 0.4,
            "seen": 1.7e9 + np.arange(rows) * 60.0,
            "note": rng.choice(["hungry sparrow sings", "quiet river flows", "tall mountain waits"], rows),
            "bought": np.where(rng.random(rows) < score, "1", "0"),
            PREDICTION: np.where(score > 0.5, "1", "0"),
            SCORE: score,
        }
    )


def ask(column: str, name: str, reference: pd.DataFrame, current: pd.DataFrame, trials: int = 0) -> Opinion:
    """One opinion."""
    return opinions(reference, current, BINARY, {column: name}, seed=3, trials=trials)[0]


def test_the_list_of_names_is_evidentlys_own() -> None:
    """Every stattest that the installed Evidently registers is listed, with its types and its threshold."""
    from evidently.legacy.calculations.stattests import registry  # noqa: PLC0415 - 5 s for each worker that collects

    theirs = {
        name: (sorted(kind.value for kind in by_type), next(iter(by_type.values())).default_threshold)
        for name, by_type in registry._registered_stat_tests.items()
    }
    assert theirs == {name: (sorted(item.types), item.threshold) for name, item in STATTESTS.items()}


@pytest.mark.parametrize("name", [name for name in STATTESTS if name != "TVD"])
def test_every_stattest_can_be_asked_about_a_column_that_fits(name: str) -> None:
    """Each of Evidently's stattests gives a score and a verdict for a column of a type that it knows."""
    column = {"num": "age", "cat": "member", "text": "note"}[STATTESTS[name].types[-1]]
    opinion = ask(column, name, people(600), people(300, seed=2))
    assert opinion.drifted in {True, False}, opinion.sentence
    assert np.isfinite(opinion.score)
    assert f"({name}) says" in opinion.sentence


def test_a_real_shift_is_confirmed_and_no_shift_is_not() -> None:
    """A shift of two standard deviations is confirmed, a second sample of the same customers is not."""
    assert ask("age", "ks", people(2000), people(300, older=20, seed=2)).drifted is True
    assert ask("age", "ks", people(2000), people(300, seed=2)).drifted is False


def test_p_values_and_distances_are_read_the_right_way_round() -> None:
    """For every test whose verdict is a comparison with its threshold, the list says which side means drift."""
    for name, item in STATTESTS.items():
        if name in {"perc_text_content_drift", "TVD"}:
            continue  # the one compares with a percentile of its own, the other takes half a minute
        column = {"num": "age", "cat": "member", "text": "note"}[item.types[-1]]
        changed = people(400, older=25, seed=2).assign(member=True, note="bright thunder rolls")
        for current in (changed, people(400, seed=4)):
            opinion = ask(column, name, people(400), current)
            below = opinion.score < opinion.threshold
            assert opinion.drifted is (below if item.is_p_value else not below), opinion.sentence


def test_an_opinion_comes_with_its_own_rate_of_false_alarms() -> None:
    """A test that says drifted of nearly every stretch of the reference is told to, beside its verdict."""
    noisy = ask("age", "wasserstein", people(3000), people(60, seed=2), trials=20)
    sound = ask("age", "ks", people(3000), people(60, seed=2), trials=20)
    assert noisy.trials == sound.trials == 20
    assert noisy.own_alarms >= 12
    assert sound.own_alarms <= 4
    assert f"It says drifted of {noisy.own_alarms} of 20 stretches of the reference itself." in noisy.sentence


@pytest.mark.parametrize(
    ("column", "name", "broken", "reason"),
    [
        ("age", "kss", {}, "'kss' is no Evidently stattest; did you mean 'ks'?"),
        ("salary", "ks", {}, "it is no feature of the model (features: age"),
        ("age", "ks", {"age": None}, "the window has 0 usable values"),
        ("age", "ks", {"age": np.inf}, "the window has 0 usable values"),
        ("city", "ks", {}, "it is a category with 3 distinct values; this test is for num columns"),
        ("age", "chisquare", {}, "distinct values; this test is for cat columns"),
        ("city", "fisher_exact", {}, "ValueError: Expects binary data for both reference and current"),
        (
            "member",
            "abs_text_content_drift",
            {},
            "it is a boolean with 2 distinct values; this test is for text columns",
        ),
    ],
)
def test_what_cannot_be_asked_says_why(column: str, name: str, broken: dict[str, object], reason: str) -> None:
    """A wrong name, a wrong column, a wrong type or no values give an opinion without a verdict, and the reason."""
    opinion = ask(column, name, people(300), people(300, seed=2).assign(**broken))
    assert opinion.drifted is None
    assert opinion.score is None
    assert reason in opinion.sentence
    assert opinion.sentence.startswith(f"{name} could not be asked about {column!r}: ")


def test_a_vanished_column_is_named() -> None:
    """A column that the window does not have is said to be absent, not left out silently."""
    opinion = ask("age", "ks", people(300), people(300).drop(columns="age"))
    assert "it is absent from the window" in opinion.sentence


def test_errors_that_are_no_exceptions_are_caught() -> None:
    """Evidently's BaseExceptions become errors that can be told, and an interrupt stays an interrupt."""
    from evidently.legacy.base_metric import ColumnNotFound  # noqa: PLC0415 - 5 s for each worker that collects

    def fails() -> None:
        raise ColumnNotFound("age")

    with pytest.raises(adapter.EvidentlyError, match="ColumnNotFound"):
        adapter._guard(fails)

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adapter._guard(interrupted)


def test_evidently_sends_nothing_home() -> None:
    """The adapter switches telemetry off before Evidently is imported."""
    ask("age", "ks", people(100), people(100))
    assert os.environ["DO_NOT_TRACK"] == "1"


def test_the_page_survives_every_broken_column() -> None:
    """Empty, vanished, infinite, huge, constant and unique columns are left out or shown, each named, never fatal."""
    extra = {
        "empty": Kind.NUMBER,
        "gone": Kind.NUMBER,
        "huge": Kind.NUMBER,
        "fixed": Kind.NUMBER,
        "ticket": Kind.CATEGORY,
    }
    schema = Schema(
        Task.CLASSIFICATION, "bought", (*FEATURES, *(Feature(name, kind) for name, kind in extra.items())), ("0", "1")
    )
    rng = np.random.default_rng(1)

    def broken(frame: pd.DataFrame) -> pd.DataFrame:
        tickets = [f"t{number}" for number in rng.integers(0, 10**6, len(frame))]
        huge = np.where(rng.random(len(frame)) < 0.1, np.inf, 1e300)
        return frame.assign(empty=np.nan, gone=1.0, huge=huge, fixed=7.0, ticket=tickets)

    reference, current = broken(people(500)), broken(people(400, older=9, seed=2)).drop(columns="gone")
    methods = {"age": "psi", "gone": "ks", "city": "ks"}
    asked = opinions(reference, current, schema, methods, seed=1, trials=0)
    html, notes = page(Case("Alarm 7 of shop", "age rose", reference, current, schema, methods), asked)
    output = " ".join(notes)
    for name in ("empty", "gone", "huge", "ticket"):
        assert f"Column {name!r}" in output
    assert "age rose" in html
    assert "Alarm 7 of shop" in html
    assert len(html) > 1_000_000  # Evidently's own page is there
    assert "left out: it answered" not in output


@pytest.mark.parametrize("task", ["binary", "three classes", "regression"])
def test_a_performance_alarm_shows_the_models_quality(task: str) -> None:
    """For each task the page of a performance alarm has Evidently's quality part, on the labelled rows alone."""
    rng = np.random.default_rng(2)
    reference, current = people(500), people(400, seed=2)
    schema = BINARY
    if task != "binary":
        for frame in (reference, current):
            values = (
                rng.choice(["x", "y", "z"], len(frame)) if task == "three classes" else rng.normal(0, 1, len(frame))
            )
            frame["bought"] = frame[PREDICTION] = values
            frame[SCORE] = np.nan
        classes = ("x", "y", "z") if task == "three classes" else ()
        schema = Schema(Task.CLASSIFICATION if classes else Task.REGRESSION, "bought", FEATURES, classes)
    current["bought"] = current["bought"].astype(object).where(np.arange(len(current)) < 300, None)
    html, notes = page(Case("Alarm 1", "worse", reference, current, schema, {}, quality=True), [])
    assert "Only rows with a label are shown: 500 of the reference and 300 of the window." in notes
    assert ("Regression Model Performance" if task == "regression" else "Classification Model Performance") in html
    assert not any("left out" in note for note in notes), notes


def test_too_few_labels_show_the_data_alone() -> None:
    """Without enough labels the page says that quality is not shown, and shows the columns of all rows."""
    current = people(200, seed=2).assign(bought=None)
    html, notes = page(Case("Alarm 1", "worse", people(300), current, BINARY, {}, quality=True), [])
    assert any("fewer than 30 sampled rows of the window" in note for note in notes)
    assert "Classification Model Performance" not in html


def test_nothing_to_show_is_still_a_page() -> None:
    """With empty samples the page has its heading and says that there is nothing to show."""
    empty = people(50).iloc[:0]
    html, notes = page(Case("Alarm 1", "silent <feed>", empty, empty, BINARY, {}), [])
    assert "silent &lt;feed&gt;" in html
    assert notes[-1] == "Evidently could show nothing of these samples."


def test_a_wide_model_shows_first_what_the_alarm_points_at() -> None:
    """Of more features than a browser bears, the leaders of the alarm are among those shown."""
    names = [f"sensor_{number}_x" for number in range(MOST_COLUMNS + 20)]
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(60, len(names))), columns=names)
    schema = Schema(Task.REGRESSION, "y", tuple(Feature(name, Kind.NUMBER) for name in names))
    html, notes = page(Case("Alarm 1", "", frame, frame, schema, {}, leaders=[names[-1]]), [])
    assert any(f"The model has {len(names)} features; {MOST_COLUMNS} are shown" in note for note in notes)
    assert names[-1] in html
    assert names[-2] not in html


def test_columns_are_typed_by_the_schema() -> None:
    """Text in a number column is missing, booleans meet as 0 and 1, times come from seconds or from time stamps."""
    assert convert_column(pd.Series([1, "2", "x", np.inf, None]), Kind.NUMBER).isna().tolist() == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert convert_column(pd.Series([True, False]), Kind.BOOLEAN).tolist() == ["1", "0"]
    seconds = convert_column(pd.Series([0.0, 86_400.0]), Kind.TIMESTAMP)
    stamps = convert_column(pd.Series(pd.to_datetime(["1970-01-01", "1970-01-02"], utc=True)), Kind.TIMESTAMP)
    assert (seconds == stamps).all()


def test_rare_categories_are_pooled() -> None:
    """A column with thousands of categories keeps the hundred most frequent and pools the others in both samples."""
    rng = np.random.default_rng(1)
    frame = people(4000).assign(city=[f"c{number}" for number in rng.geometric(0.002, 4000)])
    prepared = prepare(frame, frame, BINARY, ["city"])
    assert prepared.reference["city"].nunique() == 101
    assert OTHER in set(prepared.current["city"])
    assert "has" in prepared.notes[0]
