"""What every score and every fault must be like, whichever it is: the ones that `score_window` really computes."""

from __future__ import annotations

import doctest
import importlib
import inspect

import numpy as np
import pytest

from driftd_detectors import scores
from driftd_detectors.columns import Coded, Columns
from driftd_detectors.profile.layout import learn_layout
from driftd_detectors.profile.profile import Profile, empty_profile, merge, profile_of
from driftd_detectors.quality.checks import FAULTS
from driftd_detectors.scores import components, scoring
from driftd_detectors.scores.scoring import score_window, streams_of
from profile_samples import SCHEMA, only, part, sample

LAYOUT = learn_layout(*sample(4000, 0), SCHEMA)
REFERENCE = profile_of(*sample(4000, 0), LAYOUT)
COMPONENTS = sorted({stream.component for stream in streams_of(LAYOUT)})
SCORES = {
    name: function
    for name, function in inspect.getmembers(scoring, inspect.isfunction)
    if function.__module__ == f"{scores.__name__}.components"
}
DESCRIBED = {**SCORES, **FAULTS}


def values_of(component: str, window: Profile, reference: Profile = REFERENCE) -> np.ndarray:
    """The standardised values of one component of all columns."""
    scored = score_window(window, reference, LAYOUT)
    own = [stream.component == component for stream in streams_of(LAYOUT)]
    return (scored.values / scored.sampling_sd)[own]


def drifted(rows: int, seed: int) -> Profile:
    """A window in which every kind of column and one correlation changed."""
    columns, outcomes = sample(rows, seed, shift=1.0, scale=1.5)
    rng = np.random.default_rng(seed)
    carriers = columns.values["carrier"]
    assert isinstance(carriers, Coded)
    changed: Columns = only(
        columns,
        rain=columns.values["distance"],
        weekend=Coded(np.where(rng.random(rows) < 0.1, -1, rng.random(rows) < 0.8).astype(np.int32), ("0", "1")),
        carrier=Coded(rng.integers(0, 60, rows).astype(np.int32), carriers.labels),
    )
    return profile_of(changed, outcomes, LAYOUT)


def test_no_score_lies_unused() -> None:
    """Each public function of `components` is reached from `scoring`, or from another component that is."""
    own = {name for name, _ in inspect.getmembers(components, inspect.isfunction) if not name.startswith("_")}
    public = {name for name in own if getattr(components, name).__module__ == components.__name__}
    called = {name for name in public if inspect.getsource(components).count(f"{name}(") > 1}
    assert public <= set(SCORES) | called


@pytest.mark.parametrize("name", DESCRIBED)
def test_docstring_has_four_parts(name: str) -> None:
    """The docstring tells parameters, mathematics, an example and the sources."""
    text = DESCRIBED[name].__doc__ or ""
    for heading in ("Parameters", "Notes", "Examples", "References"):
        assert f"{heading}\n    ---" in text, heading


@pytest.mark.parametrize("module", sorted({function.__module__ for function in DESCRIBED.values()}))
def test_examples_hold(module: str) -> None:
    """The examples of the docstrings run and give what they say."""
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("component", COMPONENTS)
class TestEveryScore:
    def test_small_without_drift(self, component: str) -> None:
        """A window like the reference gives a finite, small score in some column, and never infinity."""
        values = values_of(component, profile_of(*sample(1000, 1), LAYOUT))
        assert np.isfinite(values).any()
        assert np.nanmax(np.abs(values)) < 4

    def test_larger_with_drift(self, component: str) -> None:
        """A large change gives a larger score than none."""
        clean = values_of(component, profile_of(*sample(1000, 1), LAYOUT))
        assert np.nanmax(np.abs(values_of(component, drifted(1000, 1)))) > 2 * np.nanmax(np.abs(clean))

    def test_same_arguments_same_answer(self, component: str) -> None:
        """A score is a pure function: it keeps no state and changes none of its arguments."""
        window = profile_of(*sample(300, 2), LAYOUT)
        before = window.counts.copy()
        first = values_of(component, window)
        assert np.array_equal(first, values_of(component, window), equal_nan=True)
        assert (window.counts == before).all()

    def test_mergeable(self, component: str) -> None:
        """The score of two merged windows is that of their rows together."""
        rows = sample(800, 3)
        halves = merge(profile_of(*part(*rows, 0, 300), LAYOUT), profile_of(*part(*rows, 300, 800), LAYOUT))
        once = values_of(component, profile_of(*rows, LAYOUT))
        assert np.allclose(values_of(component, halves), once, equal_nan=True)

    @pytest.mark.parametrize("rows", [0, 1, 2])
    def test_few_rows(self, component: str, rows: int) -> None:
        """No, one or two rows, in the window or in the reference, raise nothing and give nothing infinite."""
        few = empty_profile(LAYOUT) if rows == 0 else profile_of(*sample(rows, 4), LAYOUT)
        for window, reference in ((few, REFERENCE), (REFERENCE, few), (few, few)):
            assert not np.isinf(values_of(component, window, reference)).any()
