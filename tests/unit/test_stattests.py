"""The names of Evidently's stattests, as the daemon knows them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from driftd.stattests import STATTESTS, stattest_named


def test_a_known_name_is_found() -> None:
    """Evidently's own names are taken as they are, capitals too."""
    assert stattest_named("psi").title == "population stability index"
    assert stattest_named("TVD").types == ("cat",)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("PSI", "psi"), ("tvd", "TVD"), ("jensen_shannon", "jensenshannon"), ("chi_square", "chisquare")],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, meant: str) -> None:
    """A misspelt name is refused with the name that was probably meant and with all that are allowed."""
    with pytest.raises(ValueError, match=f"did you mean '{meant}'") as refusal:
        stattest_named(name)
    assert all(known in str(refusal.value) for known in STATTESTS)


def test_knowing_the_names_costs_nothing() -> None:
    """The daemon checks names without importing Evidently, pandas or NumPy."""
    script = "import sys, driftd.stattests; print(*{'evidently', 'pandas', 'numpy'} & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; {script}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == ""
