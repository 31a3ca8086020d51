"""Scores lie in short codes; those that an older driftd wrote with their names answer every question as well."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from driftd.config.schema import Config
from driftd.loop.maintenance import prune_checks
from driftd.observe.metrics import Metrics
from driftd.records import ModelState, Window
from driftd.store.state import writer
from driftd.store.state.chart_queries import SeriesReader
from driftd.store.state.writer import StateStore
from driftd_detectors.assessment import Assessment, EvidenceKind, Score, Verdict

WINDOWS, OLD = 40, 17  # so many windows, the first of which an older driftd checked


def assess(model: str, window: int) -> Assessment:
    """Scores that no other window has; one could not be computed, and one stream is new halfway."""
    names = ["a", "b"] if window < WINDOWS // 2 else ["a", "b", "c"]
    base = window + (0.5 if model == "price" else 0.0)
    data = [
        Score(EvidenceKind.DATA, name, part, base * (at + 1), 0.1, evidence=float(window % 5))
        for at, name in enumerate(names)
        for part in ("location", "spread")
    ]
    unknown = Score(EvidenceKind.PREDICTION, "prediction", "location", None, 0.1)  # type: ignore[arg-type]
    return Assessment(Verdict.OK, "all is well", 50, (), (*data, unknown))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def store(path: Path) -> Iterator[StateStore]:
    """Two models, whose windows were checked one a second."""
    with StateStore.open(path, durable=False) as opened, opened.transaction():
        for model in ("demand", "price"):
            opened.save_state(ModelState(model), at=0.0)
            for number in range(WINDOWS):
                window = Window(number, 100.0 * number, 100.0 * number + 100)
                opened.save_check(model, "window", window, assess(model, number), at=float(number), version=1)
    with StateStore.open(path, durable=False) as opened:
        yield opened


def make_older(path: Path) -> None:
    """Have the first windows as an older driftd left them."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            """insert into scores
               select model, window_index, 100 * window_index, kind, subject, component, value, evidence
               from named_scores where window_index < ?""",
            (OLD,),
        )
        db.execute("delete from score_codes where window_index < ?", (OLD,))


def answers(path: Path) -> dict[str, Any]:
    """What is asked of scores anywhere."""
    reader = SeriesReader.read_only(path)
    found: dict[str, Any] = {}
    for model in ("demand", "price"):
        found[f"{model} all"] = sorted(map(repr, reader.scores(model)))
        found[f"{model} late"] = sorted(map(repr, reader.scores(model, since_index=OLD - 3)))
        found[f"{model} windows"] = [sorted(map(repr, reader.window_scores(model, at))) for at in (0, OLD, WINDOWS - 1)]
        for group, stride in ((1, 1), (7, 1), (6, 2)):
            found[f"{model} means {group}"] = sorted(map(repr, reader.score_means(model, 2, WINDOWS, group, stride)))
        found[f"{model} counts"] = [reader.count_scores(model, at) for at in range(WINDOWS + 1)]
        found[f"{model} latest"] = [reader.latest_subject(model, kind) for kind in ("prediction", "performance")]
    found["by SQL"] = sorted(map(tuple, reader._db.execute("select * from named_scores")))
    reader.close()
    return found


def test_scores_answer_alike_with_names_in_codes_and_while_they_move(
    store: StateStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every question has the same answer before, during and after scores of an older driftd get their codes."""
    expected = answers(path)
    assert expected["demand counts"] == [5] * (WINDOWS // 2) + [7] * (WINDOWS // 2) + [0]
    make_older(path)
    assert answers(path) == expected
    monkeypatch.setattr(writer, "MOVED_AT_ONCE", 12)
    assert store.move_scores("demand", 20) == 20
    assert answers(path) == expected
    assert store.move_scores("demand", 10**6) == 5 * OLD - 20
    assert store.move_scores("demand", 10**6) == 0
    assert answers(path) == expected
    (left,) = store._db.execute("select count(*) from scores").fetchone()
    assert left == 5 * OLD, "those of the other model"


def test_upkeep_moves_the_scores_of_all_models(store: StateStore, path: Path) -> None:
    """The daily forgetting of old checks moves what it keeps."""
    make_older(path)
    config = Config.model_validate({"models": {name: {"task": "regression", "target": "y"} for name in ("demand",)}})
    prune_checks(store, config, Metrics(), float(WINDOWS))
    assert store._db.execute("select count(*) from scores").fetchone()[0] == 0
    assert [len(store.scores(model)) for model in ("demand", "price")] == [12 * WINDOWS // 2] * 2


@pytest.mark.parametrize("older", [False, True])
def test_forgotten_windows_have_no_scores_wherever_they_lay(store: StateStore, path: Path, *, older: bool) -> None:
    """Pruning and a clock that was ahead take the scores of a model's windows along, and of no other model's."""
    if older:
        make_older(path)
    store.prune("demand", before=12.0)
    store.forget_checks_after("demand", 30.0)
    assert {score.window_index for score in store.scores("demand")} == set(range(12, 31))
    assert {score.window_index for score in store.scores("price")} == set(range(WINDOWS))


def test_a_stream_that_was_first_seen_in_vain_gets_its_own_number_again(store: StateStore) -> None:
    """After a transaction that was undone no score has the name of another stream."""

    def fail() -> None:
        with store.transaction():
            score = Score(EvidenceKind.DATA, "lost", "location", 1.0, 0.1)
            lost = Assessment(Verdict.OK, "", 1, (), (score,))
            store.save_check("demand", "window", Window(90, 0.0, 1.0), lost, at=1.0, version=1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    for number, name in ((91, "other"), (92, "lost")):
        score = Score(EvidenceKind.DATA, name, "location", 1.0, 0.1)
        kept = Assessment(Verdict.OK, "", 1, (), (score,))
        store.save_check("demand", "window", Window(number, 0.0, 1.0), kept, at=1.0, version=1)
        assert [found.subject for found in store.window_scores("demand", number)] == [name]
