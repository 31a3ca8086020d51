"""The demonstration's figures, page and terminal summary."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from driftd.demonstration.report import (
    Keeper,
    Mark,
    MarkKind,
    print_summary,
    rolling_mean,
    table,
    terminal_chart,
    write,
)
from driftd.rehearsal.curves import Curve, monthly_means
from driftd.rehearsal.stream import DAY

START = 1_362_096_000.0  # 1 March 2013, midnight


def curve(name: str, error: float, days: int = 60, builds: int = 1) -> Curve:
    """Ten predictions a day with the same error."""
    at = START + np.arange(days * 10) * DAY / 10
    return Curve(name, at, np.full(len(at), error), builds)


def four() -> list[Curve]:
    """The four ways, driftd half as wrong as the static model."""
    driftd, static = curve(Keeper.DRIFTD, 6.0, builds=4), curve(Keeper.STATIC, 12.0)
    return [driftd, static, curve(Keeper.MONTHLY, 8.0, builds=3), curve(Keeper.WEEKLY, 5.0, builds=60)]


def test_the_rolling_error_is_the_mean_of_the_predictions_of_seven_days() -> None:
    """Each point is the plain mean over the predictions of the seven days before it, none of today's."""
    at = START + np.arange(200) * DAY / 10
    error = np.random.default_rng(5).gamma(2.0, 5.0, 200)
    ends, means = rolling_mean(Curve("x", at, error, 1))
    assert ends[0] == START + 7 * DAY
    for end, mean in zip(ends, means, strict=True):
        assert mean == pytest.approx(error[(at >= end - 7 * DAY) & (at < end)].mean())


def test_a_week_without_predictions_is_a_gap() -> None:
    """Where there was nothing to measure the line breaks, rather than showing a number."""
    at = np.concatenate([START + np.arange(10) * DAY, START + np.arange(30, 40) * DAY])
    _, means = rolling_mean(Curve("x", at, np.ones(20), 1))
    assert np.isnan(means).any()
    assert not np.isnan(means[-1])


def test_no_predictions_are_no_line() -> None:
    """An empty curve has no points and no mean."""
    empty = Curve("x", np.empty(0), np.empty(0), 0)
    assert len(rolling_mean(empty)[0]) == 0
    assert np.isnan(empty.mean)
    assert list(monthly_means(empty)) == []


def test_the_table_counts_builds_and_what_was_saved() -> None:
    """The gain is the share of the static model's mean error that is gone."""
    driftd, static, _, weekly = table(four())
    assert (driftd.builds, static.builds, weekly.builds) == (4, 1, 60)
    assert driftd.gain == pytest.approx(0.5)
    assert static.gain == 0.0


def test_the_worst_month_is_a_calendar_month() -> None:
    """The worst month is the largest of the months' means."""
    days = np.arange(61)  # all of March and April
    error = np.where(days < 31, 2.0, 8.0)
    row = table([Curve("x", START + days * DAY, error, 1)])[0]
    assert row.worst_month == 8.0
    assert row.mean == pytest.approx((31 * 2 + 30 * 8) / 61)


def test_the_page_is_one_file_that_needs_no_network(tmp_path: Path) -> None:
    """Everything the page loads is inside it, it follows the reader's light or dark, and nothing is left beside it."""
    path = write(tmp_path / "deep" / "report.html", four(), [], title="A year", lead="Sixty days.", footer="Bye.")
    text = path.read_text("utf-8")
    outside = re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"'](?!data:)", text)
    assert not outside
    assert "prefers-color-scheme: dark" in text
    assert "plotly-graph-div" in text
    assert [item.name for item in path.parent.iterdir()] == ["report.html"]


def test_the_page_tells_each_mark_with_its_reason(tmp_path: Path) -> None:
    """Marks stand in order of time, with their sentences as text: markup in them stays text."""
    marks = [
        Mark(START + 20 * DAY, MarkKind.SWAP, "airtime/2 serves: better by 3.1 minutes"),
        Mark(START + 10 * DAY, MarkKind.ALARM, "loss 12.3 <script>alert(1)</script> over 9.1"),
    ]
    text = write(tmp_path / "r.html", four(), marks, title="t", lead="l").read_text("utf-8")
    rows = text[text.index("What happened, and why") :]
    assert rows.index("loss 12.3") < rows.index("airtime/2 serves")
    assert "<script>alert" not in text


def test_a_demonstration_where_nothing_happened_says_so(tmp_path: Path) -> None:
    """Without marks the page says that there was no alarm and no build."""
    assert "no alarm, no build" in write(tmp_path / "r.html", four(), [], title="t", lead="l").read_text("utf-8")


def test_the_report_says_where_driftd_was_wrong(tmp_path: Path) -> None:
    """Each mistake is a line of the page; without any the page says so."""
    mistakes = [f"version {number} was put in place of <1>" for number in range(2, 9)]
    text = write(tmp_path / "r.html", four(), [], title="t", lead="l", mistakes=mistakes).read_text("utf-8")
    assert text.count("was put in place of &lt;1&gt;") == 7
    assert "Nowhere" in write(tmp_path / "r.html", four(), [], title="t", lead="l").read_text("utf-8")


def test_the_terminal_shows_every_way_with_its_figures() -> None:
    """The summary names the four ways with models trained, mean error and gain, within the width of the terminal."""
    console = Console(file=StringIO(), width=90, color_system=None)
    print_summary(console, four())
    text = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    for expected in (*Keeper, "12.00", "6.00", "50%", "60"):
        assert expected in text
    assert max(map(len, text.splitlines())) <= 90


def test_the_chart_keeps_to_its_size() -> None:
    """The chart is as wide and high as asked, whatever the terminal."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", terminal_chart(four(), width=100, height=15))
    assert len(plain.rstrip("\n").splitlines()) <= 15
    assert 90 <= max(map(len, plain.splitlines())) <= 100
