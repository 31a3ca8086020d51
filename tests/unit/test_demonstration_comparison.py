"""The rivals of the demonstration: what they may know, and how they are computed beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftd.demonstration import stream
from driftd.demonstration.comparison import PolicyComparison, compute, read
from driftd.demonstration.report import Keeper
from driftd.demonstration.stream import DAY, TARGET


@pytest.fixture(scope="module")
def days() -> pd.DataFrame:
    """Every eighth flight until five days after the first part."""
    frame = stream.load()
    until = stream.start_of(frame) + stream.FIRST_PART + 5 * DAY
    return frame[frame["at"] < until].iloc[::8].reset_index(drop=True)


@pytest.mark.slow
def test_the_rival_is_rebuilt_at_every_window(days: pd.DataFrame, tmp_path: Path) -> None:
    """There is one build for each day of the replay, and one error for each of its predictions."""
    compute(tmp_path, days)
    curve = read(tmp_path)
    _, rest = stream.split(days)
    assert curve.name == Keeper.REBUILT
    assert curve.builds == 5
    assert np.array_equal(curve.at, rest["at"])
    assert np.isfinite(curve.error).all()
    assert curve.mean < rest[TARGET].std() / 2
    assert float((tmp_path / "progress").read_text()) == 1.0


@pytest.mark.slow
def test_the_rival_knows_no_label_before_its_time(days: pd.DataFrame, tmp_path: Path) -> None:
    """Labels that became known after the third midnight change nothing of the days before it."""
    third = stream.start_of(days) + stream.FIRST_PART + 3 * DAY
    changed = days.copy()
    late = changed["label_at"] > third
    changed.loc[late, TARGET] += 500.0
    for name, frame in (("a", days), ("b", changed)):
        (tmp_path / name).mkdir()
        compute(tmp_path / name, frame)
    before, after = read(tmp_path / "a"), read(tmp_path / "b")
    _, rest = stream.split(days)
    same = (rest["at"] < third + DAY).to_numpy() & ~late[rest.index].to_numpy()
    assert np.array_equal(before.error[same], after.error[same])
    assert not np.allclose(before.error[~same], after.error[~same])


def test_a_comparison_that_fails_says_where_to_look(tmp_path: Path) -> None:
    """When the process cannot write its curve, the error names the log and quotes its end."""
    comparison = PolicyComparison(tmp_path)
    comparison.kill()
    with pytest.raises(RuntimeError, match=r"comparison\.log"):
        comparison.result()
