"""The user's detectors: their evidence, the kit that holds them to driftd's rules, and packages that bring one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import ArrayLike

from driftd.plugins.conformance import check_detector, check_loss
from driftd.stattests import COLUMN_METRICS
from driftd.stattests import check_detector as check_name
from driftd.training.user_functions import PluginError, import_function
from driftd_detectors.assessment import EvidenceKind, Verdict
from driftd_detectors.evidence.detector_drift import Calibration, DetectorDrift
from installed_plugins import install

EXAMPLE = Path(__file__).parents[2] / "examples" / "tail_detector"
THRESHOLD = 1000.0


def psi(rng: np.random.Generator, windows: int, rows: int = 300, moved: float = 0.0) -> np.ndarray:
    """The PSI of so many windows of 20 bins: about a scaled chi-square, as skewed as any distance."""
    edges = np.quantile(rng.normal(size=100_000), np.arange(1, 20) / 20)
    counts = np.stack(
        [np.bincount(np.searchsorted(edges, rng.normal(moved, 1, rows)), minlength=20) for _ in range(windows)]
    )
    share = (counts + 0.5) / (rows + 10)
    return np.asarray(((share - 0.05) * np.log(share / 0.05)).sum(axis=1))


def begin(rng: np.random.Generator, windows: int = 28) -> DetectorDrift:
    """A distance and a level, calibrated on some windows."""
    starts = np.arange(windows, dtype=np.float64)
    return DetectorDrift.begin(
        [
            Calibration("psi", "1", two_sided=False, starts=starts, scores=psi(rng, windows)),
            Calibration("mean", "2", two_sided=True, starts=starts, scores=rng.normal(100, 2, windows)),
        ],
        THRESHOLD,
        window_seconds=None,
        waits_for=14,
    )


@pytest.mark.slow
def test_clean_scores_keep_to_the_budget() -> None:
    """Thirty lives of 200 clean windows at a quarter of A = 1,000: about the alarms that the budget grants."""
    alarms = 0
    for seed in range(30):
        rng = np.random.default_rng([1, seed])
        watched, values, level = begin(rng), psi(rng, 200), rng.normal(100, 2, 200)
        for number in range(200):
            watched = watched.update({"psi": values[number], "mean": level[number]}, 28.0 + number)
        alarms += watched.alarmed
    assert alarms <= 4  # nominal 1.5


def test_a_distance_that_grows_and_a_level_that_falls_alarm() -> None:
    """Each by its name, with the score now and on the reference; a distance that shrinks is no drift."""
    for name, change in (("psi", {"psi": 0.5}), ("mean", {"mean": 88.0})):
        rng = np.random.default_rng(2)
        watched = begin(rng)
        for number in range(8):
            scores = {"psi": psi(rng, 1)[0], "mean": rng.normal(100, 2), **change}
            watched = watched.update(scores, 28.0 + number)
        found = watched.assess()
        assert found.verdict is Verdict.DRIFT
        assert found.leaders[0][0] == name
        assert found.sentence.startswith(f"{name}: ")
        assert ", was " in found.sentence
        assert found.figures.startswith(f"{name} is ")
        assert "on the reference's windows: evidence" in found.figures
    rng = np.random.default_rng(3)
    watched = begin(rng)
    for number in range(40):
        watched = watched.update({"psi": 0.0, "mean": rng.normal(100, 2)}, 28.0 + number)
    assert not watched.alarmed


def test_a_score_that_is_not_there_changes_nothing() -> None:
    """A detector that failed gathers and loses nothing; the other goes on."""
    rng = np.random.default_rng(4)
    watched = begin(rng).update({"psi": 0.5}, 28.0)
    before = watched.evidence.of_streams
    after = watched.update({"mean": 100.0}, 29.0).evidence.of_streams
    assert after[0] == before[0]
    assert [score.subject for score in watched.scores()] == ["psi"]


def test_the_evidence_of_detectors_is_stored_with_its_calibration() -> None:
    """What was written goes on alike, without asking the reference again."""
    rng = np.random.default_rng(5)
    watched = begin(rng).update({"psi": 0.3, "mean": 101.0}, 28.0)
    again = DetectorDrift.from_bytes(THRESHOLD, watched.to_bytes())
    assert again is not None
    item, other = (kept.update({"psi": 0.3, "mean": 101.0}, 29.0).assess() for kept in (watched, again))
    assert item == other
    assert item.kind is EvidenceKind.DATA


def begin_level(rng: np.random.Generator, windows: int = 28) -> Calibration:
    """The calibration of one more detector."""
    return Calibration(
        "level", "3", two_sided=False, starts=np.arange(windows, dtype=float), scores=rng.normal(5, 1, windows)
    )


@pytest.mark.parametrize("stored", [False, True])
def test_an_alarm_stands_when_another_detector_begins_or_goes(stored: bool) -> None:
    """A detector that works at last, or is taken out of the config, costs the others nothing of what they gathered."""
    rng = np.random.default_rng(7)
    watched = begin(rng)
    for number in range(8):
        watched = watched.update({"psi": 0.5, "mean": rng.normal(100, 2)}, 28.0 + number)
    assert watched.alarmed
    more = watched.with_more([begin_level(rng)])
    assert more.alarmed
    assert not more.crossed
    assert more.evidence.of_streams[:2] == pytest.approx(watched.evidence.of_streams)
    if stored:
        more = DetectorDrift.from_bytes(THRESHOLD, more.to_bytes()) or watched
    more = more.update({"psi": 0.5, "mean": 100.0, "level": 5.0}, 36.0)
    assert more.alarmed
    assert not more.crossed
    assert more.names == ("psi", "mean", "level")
    assert [score.subject for score in more.scores()] == ["psi", "mean", "level"]
    fewer = more.without({"2", "3"})
    assert fewer is not None
    assert fewer.alarmed
    assert fewer.names == ("psi",)
    others = more.without({"1"})
    assert others is not None
    assert not others.alarmed  # only the detector that is gone had moved
    assert others.update({"mean": 100.0, "level": 5.0}, 37.0).names == ("mean", "level")
    assert more.without({"1", "2", "3"}) is None


def test_a_detector_that_begins_later_is_held_to_its_own_calibration() -> None:
    """It says nothing of clean windows, also after a season is learned, and alarms once its score has moved."""
    rng = np.random.default_rng(8)
    starts = np.arange(20) * 86_400.0
    first = Calibration("psi", "1", two_sided=False, starts=starts, scores=psi(rng, 20))
    watched = DetectorDrift.begin([first], THRESHOLD, window_seconds=86_400.0, waits_for=14)
    for day in range(20, 26):
        watched = watched.update({"psi": psi(rng, 1)[0]}, day * 86_400.0)
    late = Calibration("level", "3", two_sided=False, starts=starts, scores=rng.normal(5, 1, 20))
    watched = watched.with_more([late])
    for day in range(26, 66):
        watched = watched.update({"psi": psi(rng, 1)[0], "level": rng.normal(5, 1)}, day * 86_400.0)
        assert not watched.alarmed
    for day in range(66, 72):
        watched = watched.update({"psi": psi(rng, 1)[0], "level": rng.normal(10, 1)}, day * 86_400.0)
    assert watched.alarmed
    assert watched.assess().leaders[0][0] == "level"


def test_constant_scores_are_calibrated_too() -> None:
    """A detector that always says 0 alarms once it says something else, and not before."""
    starts = np.arange(20.0)
    watched = DetectorDrift.begin(
        [Calibration("zero", "1", two_sided=False, starts=starts, scores=np.zeros(20))], THRESHOLD, window_seconds=None
    )
    for number in range(20):
        watched = watched.update({"zero": 0.0}, 20.0 + number)
    assert not watched.alarmed
    for number in range(5):
        watched = watched.update({"zero": 1.0}, 40.0 + number)
    assert watched.alarmed


def rows() -> pd.DataFrame:
    """Some usual rows."""
    rng = np.random.default_rng(6)
    return pd.DataFrame({"price": rng.normal(size=400), "region": rng.choice(["n", "s"], 400)})


def good(current: pd.DataFrame, reference: pd.DataFrame) -> float:
    """A detector as it should be."""
    return abs(float(current["price"].mean()) - float(reference["price"].mean()))


def breaks_rows(current: pd.DataFrame, reference: pd.DataFrame) -> float:
    """Changes what it is given."""
    current["price"] = 0.0
    return 0.0


def not_finite(current: pd.DataFrame, reference: pd.DataFrame) -> float:
    """Divides by a spread that may be none."""
    return float(current["price"].mean() / (current["price"].nunique() - 1 or np.nan))


def blind(current: pd.DataFrame, reference: pd.DataFrame) -> float:
    """Sees nothing."""
    return 0.0


def test_the_kit_passes_a_good_detector_and_names_what_is_wrong_with_others() -> None:
    """Each broken rule is one sentence."""
    usual = rows()
    moved = usual.assign(price=usual["price"] + 2)
    check_detector(good, usual, moved=moved)
    for bad, why in (
        (breaks_rows, "changed the rows"),
        (not_finite, "'price' has one value gave nan"),
        (blind, "moved gave"),
    ):
        with pytest.raises(AssertionError, match=why):
            check_detector(bad, usual, moved=moved)


def test_the_kit_holds_losses_to_a_number_for_each_row() -> None:
    """A mean, a loss that depends on other rows, and an infinite one are told."""
    label, prediction = np.array([1.0, 2.0, 4.0]), np.array([1.5, 2.0, 3.0])

    def absolute(label: ArrayLike, prediction: ArrayLike, score: ArrayLike) -> ArrayLike:
        return np.abs(np.subtract(label, prediction))

    check_loss(absolute, label, prediction)
    wrong = {
        "shape": lambda a, b, c: np.mean(np.abs(a - b)),
        "depends on the other rows": lambda a, b, c: np.abs(a - b) / np.max(a),
        "infinite": lambda a, b, c: np.abs(a - b) / 0.0,
    }
    for why, loss in wrong.items():
        with np.errstate(all="ignore"), pytest.raises(AssertionError, match=why):
            check_loss(loss, label, prediction)


def test_an_installed_package_brings_a_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's entry point is found by its name; another name says which there are."""
    install(tmp_path, monkeypatch, EXAMPLE)
    found = import_function("tail_share")
    usual = rows()
    check_detector(found, usual, moved=usual.assign(price=usual["price"] * 3))
    with pytest.raises(PluginError, match=r"no installed package brings a detector 'tails'.*installed: .*tail_share"):
        import_function("tails")


def test_names_of_evidently_are_checked() -> None:
    """A stattest and a metric pass, a misspelt one says what was meant."""
    for name in ("psi", "wasserstein", *COLUMN_METRICS):
        check_name(f"evidently:{name}")
    check_name("my.module:function")
    with pytest.raises(ValueError, match="did you mean evidently:wasserstein"):
        check_name("evidently:wassertein")
