"""What every score and every fault must be like, whichever it is."""

from __future__ import annotations

import doctest
import importlib

import numpy as np
import pytest

from driftd_detectors.profile.layout import learn_layout
from driftd_detectors.profile.profile import empty_profile, merge, profile_of
from driftd_detectors.quality.checks import FAULTS
from driftd_detectors.scores.comparison import compare
from driftd_detectors.scores.registry import SCORES
from profile_samples import SCHEMA, part, sample

LAYOUT = learn_layout(*sample(4000, 0), SCHEMA)
REFERENCE = profile_of(*sample(4000, 0), LAYOUT)
DESCRIBED = {**{name: described for name, (described, _) in SCORES.items()}, **FAULTS}


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
@pytest.mark.parametrize("name", SCORES)
class TestEveryScore:
    def test_small_without_drift(self, name: str) -> None:
        """A window like the reference gives a finite, small score in some column, and never infinity."""
        values = SCORES[name][1](compare(profile_of(*sample(1000, 1), LAYOUT), REFERENCE, LAYOUT))
        assert np.isfinite(values).any()
        assert np.nanmax(np.abs(values)) < 4

    def test_larger_with_drift(self, name: str) -> None:
        """A large change gives a larger score than none."""
        clean = SCORES[name][1](compare(profile_of(*sample(1000, 1), LAYOUT), REFERENCE, LAYOUT))
        columns, outcomes = sample(1000, 1, shift=1.0, scale=1.5)
        columns.values["rain"][:] = columns.values["distance"]
        drifted = SCORES[name][1](compare(profile_of(columns, outcomes, LAYOUT), REFERENCE, LAYOUT))
        assert np.nanmax(np.abs(drifted)) > 2 * np.nanmax(np.abs(clean))

    def test_same_arguments_same_answer(self, name: str) -> None:
        """A score is a pure function: it keeps no state and changes none of its arguments."""
        window = profile_of(*sample(300, 2), LAYOUT)
        before = window.counts.copy()
        first = SCORES[name][1](compare(window, REFERENCE, LAYOUT))
        assert np.array_equal(first, SCORES[name][1](compare(window, REFERENCE, LAYOUT)), equal_nan=True)
        assert (window.counts == before).all()

    def test_mergeable(self, name: str) -> None:
        """The score of two merged windows is that of their rows together."""
        rows = sample(800, 3)
        halves = merge(profile_of(*part(*rows, 0, 300), LAYOUT), profile_of(*part(*rows, 300, 800), LAYOUT))
        once = SCORES[name][1](compare(profile_of(*rows, LAYOUT), REFERENCE, LAYOUT))
        assert np.allclose(SCORES[name][1](compare(halves, REFERENCE, LAYOUT)), once, equal_nan=True)

    @pytest.mark.parametrize("rows", [0, 1, 2])
    def test_few_rows(self, name: str, rows: int) -> None:
        """No, one or two rows, in the window or in the reference, raise nothing and give nothing infinite."""
        few = empty_profile(LAYOUT) if rows == 0 else profile_of(*sample(rows, 4), LAYOUT)
        for window, reference in ((few, REFERENCE), (REFERENCE, few), (few, few)):
            assert not np.isinf(SCORES[name][1](compare(window, reference, LAYOUT))).any()
