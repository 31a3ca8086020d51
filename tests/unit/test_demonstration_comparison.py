"""The rivals of the demonstration: what they may know, how they are computed beside it, and what hindsight says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from driftd.config.load import load
from driftd.demonstration.mistakes import find_mistakes
from driftd.demonstration.report import Keeper
from driftd.demonstration.run import config_text
from driftd.demonstration.stream import TARGET, flights
from driftd.events import Event
from driftd.paths import Places
from driftd.registry import Registry
from driftd.registry.artefact import store_estimator
from driftd.registry.features import feature_frame
from driftd.registry.manifest import write_manifest
from driftd.rehearsal.child_process import RehearsalError
from driftd.rehearsal.curves import Curve
from driftd.rehearsal.replay import make_first
from driftd.rehearsal.rivals import (
    PolicyComparison,
    Schedule,
    Trained,
    compute,
    fit,
    read_curves,
    static_curve,
    write_order,
)
from driftd.rehearsal.stream import DAY, Stream
from driftd.store.state.records import StoredTransition

EVERY = {"every 2": Schedule(2), "every 4": Schedule(4, newest=2)}
PARAMETERS = {"max_iter": 20}
TRAINED = Trained(parameters=dict(PARAMETERS))


@pytest.fixture(scope="module")
def days() -> Stream:
    """Every eighth flight until six days after the first part."""
    stream = flights()
    frame = stream.frame[stream.frame["at"] < stream.until + 6 * DAY].iloc[::8].reset_index(drop=True)
    return replace(stream, frame=frame)


@pytest.fixture(scope="module")
def places(days: Stream, tmp_path_factory: pytest.TempPathFactory) -> Places:
    """A state directory with version 1."""
    folder = tmp_path_factory.mktemp("rivals")
    path = folder / "config.yaml"
    path.write_text(config_text(folder / "state", days, PARAMETERS))
    made = Places(folder / "state")
    make_first(days, made, load(path), lambda _step: None)
    return made


@pytest.mark.slow
def test_a_rival_is_rebuilt_on_schedule(days: Stream, places: Places, tmp_path: Path) -> None:
    """The first model serves until the first rebuild; there is one error for each prediction."""
    write_order(tmp_path, days, places, EVERY, TRAINED)
    compute(tmp_path)
    often, seldom = read_curves(tmp_path)
    static = static_curve(places, days)
    assert [(curve.name, curve.builds) for curve in (often, seldom, static)] == [
        ("every 2", 3),
        ("every 4", 2),
        (Keeper.STATIC, 1),
    ]
    for curve, first_days in ((often, 2), (seldom, 4)):
        assert np.array_equal(curve.at, days.rest["at"])
        assert np.isfinite(curve.error).all()
        same = curve.at < days.until + first_days * DAY
        assert np.array_equal(curve.error[same], static.error[same])
        assert not np.allclose(curve.error[~same], static.error[~same])
    assert float((tmp_path / "progress").read_text()) == 1.0


@pytest.mark.slow
def test_a_rival_knows_no_label_before_its_time(days: Stream, places: Places, tmp_path: Path) -> None:
    """Labels that became known after the second midnight change nothing of the model that is rebuilt then."""
    second = days.until + 2 * DAY
    changed = days.frame.copy()
    late = changed["label_at"] > second
    changed.loc[late, TARGET] += 500.0
    curves = []
    for name, frame in (("a", days.frame), ("b", changed)):
        (tmp_path / name).mkdir()
        write_order(tmp_path / name, replace(days, frame=frame), places, {"every 2": Schedule(2)}, TRAINED)
        compute(tmp_path / name)
        curves += read_curves(tmp_path / name)
    same = (days.rest["at"] < second + 2 * DAY).to_numpy() & ~late[days.rest.index].to_numpy()
    assert np.array_equal(curves[0].error[same], curves[1].error[same])
    assert not np.allclose(curves[0].error[~same], curves[1].error[~same])


@pytest.mark.slow
def test_a_comparison_that_fails_says_where_to_look(days: Stream, places: Places, tmp_path: Path) -> None:
    """When the process cannot write its curve, the error says how it ended and quotes its log."""
    comparison = PolicyComparison(tmp_path, days, places, EVERY, TRAINED)
    comparison.kill()
    with pytest.raises(RehearsalError, match=r"ended with exit code -9"):
        comparison.result()


@pytest.mark.slow
def test_rows_of_version_1_without_a_label_by_then_are_nobodys(days: Stream) -> None:
    """No way of keeping a model gets labels that came after version 1 was made, of rows before it."""
    whole = flights().frame
    assert (days.first["label_at"] <= days.until).all()
    assert not set(days.frame["prediction_id"]) - set(whole["prediction_id"])


def test_hindsight_names_the_months_in_which_the_first_model_was_better(tmp_path: Path, days: Stream) -> None:
    """A month counts where the served model erred more, the costliest first, with both figures."""
    at = days.until + np.arange(90) * DAY  # March, April, May
    error = np.where(np.arange(90) < 31, 9.0, np.where(np.arange(90) < 61, 8.5, 7.0))
    served, static = Curve("driftd", at, error, 1), Curve("static", at, np.full(90, 8.0), 1)
    found = find_mistakes(Places(tmp_path), days, served, static, [])
    assert [sentence[:10] for sentence in found] == ["in 2013-03", "in 2013-04"]
    assert "9, the first one would have by 8" in found[0]


@pytest.mark.slow
def test_hindsight_names_a_swap_to_a_worse_version_and_the_refusal_of_a_better_one(
    places: Places, days: Stream
) -> None:
    """Version 2 errs by half an hour more: its promotion was wrong, and so was the refusal of the first one later."""
    registry = Registry(places)
    first = registry.load(days.model, 1)
    rows, target = feature_frame(days.first, first.schema), days.first[TARGET] + 30.0
    folder = registry.stage(days.model)
    worse = fit(rows, target, days.first["at"].to_numpy(), first.schema, PARAMETERS)
    artefact = store_estimator(worse, folder, allow_joblib=False)
    write_manifest(folder, replace(first.manifest, version=2, artefact=artefact))
    registry.publish(days.model, 2, folder)
    curve = static_curve(places, days)
    lines = [
        decision(1, days.until + 1 * DAY, Event.PROMOTED, 2),
        decision(2, days.until + 2 * DAY, Event.CHALLENGER_REJECTED, 1),
        decision(3, days.until + 4 * DAY, Event.ROLLED_BACK, 1),
        decision(4, days.until + 5 * DAY, Event.CHALLENGER_REJECTED, 2),
        decision(5, days.until + 5 * DAY, Event.CHALLENGER_REJECTED, 77),  # is not kept
    ]
    swap, refusal = find_mistakes(places, days, curve, curve, lines)
    assert swap.startswith("version 2 was put in place of 1: from 02 Mar 2013 to 05 Mar 2013 version 2 erred by ")
    assert refusal.startswith("version 1 was refused: from 03 Mar 2013 to 05 Mar 2013 version 2 erred by ")


def decision(number: int, at: float, event: Event, version: int) -> StoredTransition:
    """A line of the history."""
    return StoredTransition(number, at, "airtime", str(event), "steady", "steady", "", {"version": version}, "", "")
