"""The figures of a rehearsal: costs, pages, the recommendation, and the page that shows them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftd.config.rehearsal_schema import CostsConfig
from driftd.events import Event
from driftd.rehearsal import page
from driftd.rehearsal.curves import Curve
from driftd.rehearsal.figures import Decided, Ledger, Outcome, RehearsalReport, WayFigures, count_pages, recommend
from driftd.rehearsal.rivals import STATIC
from driftd.rehearsal.stream import DAY, Stream
from driftd.rehearsal.variants import AS_IT_IS

DAYS, ROWS = 60, 10
AT = np.arange(DAYS * ROWS) * DAY / ROWS
FRAME = pd.DataFrame({"at": AT, "label_at": AT, "y": 0.0, "prediction_id": AT.astype(str)})
STREAM = Stream("demand", "regression", "y", (), FRAME, 0.0, DAY)
NOISE = np.random.default_rng(5).gamma(2.0, 1.0, len(AT))


def curve(name: str, error: np.ndarray | float, builds: int = 1) -> Curve:
    """An error for each row."""
    return Curve(name, AT, NOISE + error, builds)


def decided(*events: Event) -> Outcome:
    """So many decisions, a day apart."""
    lines = [Decided(number * DAY, str(event), None, f"why <{event}>") for number, event in enumerate(events)]
    return Outcome(lines, 0)


def ways(costs: CostsConfig | None, *others: tuple[str, float]) -> list[WayFigures]:
    """The config as it is, others whose errors differ by so much, and the first version left alone."""
    static = curve(STATIC, 1.0)
    ledger = Ledger(STREAM, static, costs, DAY)
    found = [ledger.config(AS_IT_IS, {}, curve(AS_IT_IS, 0.0), decided(Event.ALARM, Event.BUILD_STARTED))]
    found += [ledger.config(name, {"key": name}, curve(name, error), decided()) for name, error in others]
    return [*found, ledger.rival(static)]


def test_costs_are_added_up_in_the_users_units() -> None:
    """Builds, pages, and the loss on each of a thousand predictions."""
    costs = CostsConfig(build=5, page=20, error=0.1)
    default, static = ways(costs)
    pages = count_pages(default.decisions)
    assert (default.alarms, default.builds, default.pages) == (1, 1, pages)
    assert pages >= 1
    assert default.cost == pytest.approx(5 + 20 * pages + 0.1 * NOISE.sum() / 1000)
    assert static.cost == pytest.approx(0.1 * (NOISE + 1).sum() / 1000)
    assert static.cost_to_default is not None
    assert static.cost_to_default.mean == pytest.approx(static.cost - default.cost)


def test_without_costs_nothing_is_added_up() -> None:
    """The figures of error stand alone."""
    assert {way.cost for way in ways(None)} == {None}


def test_a_config_that_is_surely_better_is_recommended() -> None:
    """Its interval against the config as it is lies below zero."""
    said = recommend(ways(None, ("key=2", -0.2)))
    assert said.startswith("take key=2: it errs less than the config as it is by -0.2")
    assert said.endswith("surely")


def test_configs_that_cannot_be_told_apart_leave_the_one_that_is() -> None:
    """A difference whose interval holds zero changes nothing."""
    noise = np.random.default_rng(6).normal(0, 1, len(AT)) - 0.01
    static = curve(STATIC, 1.0)
    ledger = Ledger(STREAM, static, None, DAY)
    found = [
        ledger.config(AS_IT_IS, {}, curve(AS_IT_IS, 0.0), decided()),
        ledger.config("key=2", {}, curve("key=2", noise), decided()),
    ]
    said = recommend(sorted(found, key=lambda way: way.name != AS_IT_IS))
    assert "keep the config as it is" in said
    assert "told apart" in said


def test_a_rival_that_did_better_is_named() -> None:
    """A recommendation hides no schedule that would have been the better choice."""
    static = curve(STATIC, 1.0)
    ledger = Ledger(STREAM, static, None, DAY)
    found = [
        ledger.config(AS_IT_IS, {}, curve(AS_IT_IS, 0.0), decided()),
        ledger.rival(static),
        ledger.rival(curve("rebuilt every window", -0.5, builds=60)),
    ]
    assert "a model rebuilt every window would have done better" in recommend(found)


def report_of(found: list[WayFigures], remarks: list[str]) -> RehearsalReport:
    """A report of these ways."""
    return RehearsalReport(
        model="demand",
        metric="mae",
        first_rows=10,
        rows=len(AT),
        labelled=len(AT),
        windows=DAYS,
        window_seconds=DAY,
        start=0.0,
        end=float(AT[-1]),
        starts=STREAM.starts.tolist(),
        costs=None,
        ways=found,
        recommendation=recommend(found),
        remarks=remarks,
    )


def test_the_page_is_one_file_without_a_script(tmp_path: Path) -> None:
    """Plots are SVG with a text for who does not see them, nothing is fetched, and texts are escaped."""
    found = ways(None, ("key=<b>", -0.2))
    text = page.write(tmp_path / "report.html", report_of(found, ["a <remark>"])).read_text()
    assert text.count('role="img" aria-label="Mean mae') == 2
    assert "<script" not in text
    assert not re.search(r'(src|href)="', text)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert "<remark>" not in text
    assert "key=<b>" not in text
    assert "why &lt;alarm&gt;" in text


def test_a_window_without_labels_breaks_the_line(tmp_path: Path) -> None:
    """A plot shows a gap where nothing could be measured, and draws the rest."""
    hole = np.where((AT > 10 * DAY) & (AT < 20 * DAY), np.nan, 0.0)
    static = curve(STATIC, hole)
    ledger = Ledger(STREAM, static, None, DAY)
    found = [ledger.config(AS_IT_IS, {}, replace(static, name=AS_IT_IS), decided()), ledger.rival(static)]
    assert None in found[0].means
    text = page.write(tmp_path / "report.html", report_of(found, [])).read_text()
    line = re.search(r'<path d="(M[^"]*)"', text)
    assert line is not None
    assert line[1].count("M") == 2
    assert "nan" not in text.replace("finan", "").lower().split("<svg", 1)[1].split("</svg>", 1)[0]
