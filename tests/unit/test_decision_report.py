"""The page of a report: everything is escaped, nothing is fetched, and what is long is cut."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser

import msgspec
import pytest

from driftd.decisions import Severity
from driftd.registry.version_quality import SegmentQuality
from driftd.views.decision_report import ChangedPart, DecisionReport
from driftd.views.decision_report_page import POLICY, ReportLinks, links_under, report_page
from driftd.views.metric_curve import CurveMark, MetricCurve
from driftd.views.moved_features import MovedFeature
from driftd.views.report_commands import ReportCommand
from driftd.views.report_costs import Affected, CostLine, Prices, loss_lines
from driftd.views.report_plots import curve_plot, feature_plot
from driftd.views.report_steps import MOST_STEPS, ReportStep
from driftd.views.scores import Bin

EVIL = "<img src=x onerror=alert(1)>\"'&\u202e\x1b"
LINKS = ReportLinks("http://localhost:9464/#/alarm/3", "http://localhost:9464/reports/loans/3")
FEATURE = MovedFeature(
    feature="income",
    sentence="between 1 and 2: 10 % before, 40 % now",
    is_number=True,
    reference_rows=900,
    rows=300,
    bins=[Bin("1 to 2", usual=True, reference=0.1, current=0.4), Bin("2 to 3", usual=True, reference=0.9, current=0.6)],
)
CURVE = MetricCurve(
    title="Brier score (lower is better)",
    at=[0.0, 3600.0, 7200.0],
    value=[0.1, math.nan, 0.2],
    low=[0.08, math.nan, 0.18],
    high=[0.12, math.nan, 0.22],
    level=[0.1, 0.1, 0.1],
    level_name="usual",
    marks=[
        CurveMark(3600.0, "change", "change"),
        CurveMark(3700.0, "alarm", "alarm"),
        CurveMark(9e9, "version", "late"),
    ],
)
REPORT = DecisionReport(
    model="loans",
    alarm=3,
    decision=4,
    title="Drift confirmed: performance",
    severity=Severity.WARNING,
    versions="version 1",
    what="Brier score got worse from 0.1 to 0.2. Mostly in the south.",
    sure="Certain.",
    since="Most likely since 2026-06-28 00:00 UTC.",
    standing="It stands.",
    following="driftd builds a new version next; nothing to do.",
    figures="evidence 900 against 800",
    features=[FEATURE],
    curve=CURVE,
    parts=[ChangedPart("region = south", is_feature=False, share=0.8)],
    segments=[],
    segments_metric=None,
    costs=[CostLine("In the metric", "0.2 in place of 0.1")],
    steps=[ReportStep(4, 7200.0, "Drift confirmed", "It got worse.", is_here=True)],
    omitted=0,
    stages="",
    commands=[ReportCommand("driftd retrain loans", "a new version is built and compared")],
    has_opinion=True,
    made_at=9000.0,
    program="driftd 9.9",
)


class Tags(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile(value: object) -> object:
    """The same report with markup in each of its texts."""
    if isinstance(value, str) and not isinstance(value, Severity):
        return f"{EVIL}{value}" if value not in {"", "change", "alarm", "version"} else value
    if isinstance(value, list):
        return [hostile(item) for item in value]
    if isinstance(value, msgspec.Struct):
        return type(value)(**{name: hostile(getattr(value, name)) for name in value.__struct_fields__})
    return value


def test_every_text_is_escaped() -> None:
    """Markup in any name, sentence, command or mark makes no tag, no attribute and no control character."""
    segment = SegmentQuality(segment="region = south", rows=10, loss=0.2, other_loss=0.3, gain=0.1)
    for report in (REPORT, msgspec.structs.replace(REPORT, segments=[segment], segments_metric="brier")):
        evil = hostile(report)
        assert isinstance(evil, DecisionReport)
        page = report_page(evil, ReportLinks(f"{EVIL}{LINKS.page}", f"{EVIL}{LINKS.opinion}"))
        plain = report_page(report, LINKS)
        assert [tag for tag, _ in Tags(page).found] == [tag for tag, _ in Tags(plain).found]
        assert [set(names) for _, names in Tags(page).found] == [set(names) for _, names in Tags(plain).found]
        assert "\x1b" not in page
        assert "\u202e" not in page


def test_it_is_one_file_without_scripts() -> None:
    """No script, no handler, no inline style, nothing fetched: two links, and a policy by the hash of its style."""
    tags = Tags(report_page(REPORT, LINKS)).found
    names = {tag for tag, _ in tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    attributes = [(name, value) for _, given in tags for name, value in given.items()]
    assert not [name for name, _ in attributes if name in {"style", "src", "srcset"} or name.startswith("on")]
    assert [value for name, value in attributes if name == "href"] == [LINKS.page, LINKS.opinion]
    assert "url(" not in report_page(REPORT, LINKS)
    assert re.search(r"default-src 'none'; style-src 'sha256-[A-Za-z0-9+/]{43}='", POLICY)


def test_what_it_says_stands_in_the_order_of_reading() -> None:
    """What changed, how sure, since when, where, what it cost, what was done, what may be done, the second page."""
    text = Tags(report_page(REPORT, LINKS)).text
    order = (
        "Drift confirmed: performance", "got worse", "Mostly in the south", "Certain.",
        "Most likely since", "It stands.",
        "Over time", "Before and after", "income", "Where", "region = south", "80 %", "What it cost", "What was done",
        "What you may do", "driftd retrain loans", "Second page", "evidence 900",
        "driftd 9.9", "made 1970-01-01 02:30 UTC",
    )  # fmt: skip
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_it_says_what_there_is_not() -> None:
    """Without plots, costs, an opinion and an address the page says so, and links nowhere."""
    bare = msgspec.structs.replace(REPORT, features=[], curve=None, parts=[], costs=[], has_opinion=False, sure="")
    page = report_page(bare, ReportLinks("", ""))
    assert "href" not in page
    for words in (
        "No evaluated window",
        "No column moved",
        "Nothing is known of it",
        "not rendered, or no longer kept",
    ):
        assert words in page
    assert "no alarm led to this" in report_page(msgspec.structs.replace(bare, alarm=None), LINKS)


def test_an_opinion_without_an_address_is_told_without_a_link() -> None:
    """A forwarded file links only to whole addresses; else it says where Evidently's report is."""
    page = report_page(REPORT, ReportLinks())
    assert "href" not in page
    assert "driftd&#x27;s page of this alarm shows it" in page


def test_links_are_whole_addresses() -> None:
    """Under the address of the config, with or without a path or a slash at its end."""
    for address in ("https://tools.example.com/driftd", "https://tools.example.com/driftd/"):
        assert links_under(address, REPORT, "alarm/3") == ReportLinks(
            "https://tools.example.com/driftd/#/alarm/3", "https://tools.example.com/driftd/reports/loans/3"
        )


def test_long_texts_are_cut() -> None:
    """Names of a thousand characters and a long history leave the page as long as it is."""
    long = "x" * 5_000
    steps = [ReportStep(place, 0.0, "Build started", long, is_here=False) for place in range(MOST_STEPS)]
    report = msgspec.structs.replace(REPORT, what=long, figures=long, parts=[ChangedPart(long, True, 0.5)], steps=steps)
    assert len(Tags(report_page(report, LINKS)).text) < len(Tags(report_page(REPORT, LINKS)).text) + 3_000


def test_a_curve_breaks_where_nothing_is_known() -> None:
    """An unknown value is no point of the line; a mark beyond the axis is not drawn."""
    drawn = curve_plot(CURVE)
    line = re.search(r'class="value" d="([^"]+)"', drawn)
    assert line is not None
    assert (line[1].count("M"), line[1].count("L")) == (2, 0)
    assert drawn.count('class="mark') == 2
    assert "nan" not in drawn


def test_the_bars_of_a_column_have_the_heights_of_its_shares() -> None:
    """Each bin has a bar before and a bar now, scaled to the largest share."""
    heights = [float(each) for each in re.findall(r'height="([0-9.]+)"', feature_plot(FEATURE))]
    assert heights == pytest.approx([62 / 9, 62 * 4 / 9, 62.0, 62 * 6 / 9], abs=0.06)


def test_a_loss_is_told_in_the_metric_and_in_the_unit_of_the_user() -> None:
    """The rise of a prediction, the predictions, and the cost of a thousand by the config."""
    found = Affected("mae", 3.0, 1.0, 200.0, 5_000, 10)
    lines = {line.name: line.value for line in loss_lines(found, Prices(error=4.0))}
    assert lines["In the metric"] == "mean absolute error 3 in place of 1: +2 a prediction, on 200 labels"
    assert lines["Predictions affected"] == "5,000 in 10 windows"
    assert lines["In your unit"] == "40 by rehearsal.costs.error"
    higher = loss_lines(Affected("roc_auc", 0.3, 0.1, 200.0, 5, 1), None)
    assert higher[0].value == "ROC AUC 0.7 in place of 0.9: -0.2 a prediction, on 200 labels"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Affected("mae", 1.0, 2.0, 50.0, 5, 1), "mean absolute error is no worse: 1 on 50 labels, usual is 2"),
        (Affected("mae", math.nan, math.nan, 0.0, 5, 1), "not known: no label of these predictions was evaluated"),
        (
            Affected("mae", math.nan, math.nan, 0.0, 5, 1, (1.0, 2.5)),
            "mean absolute error is estimated at 2.5 without labels, it was 1",
        ),
    ],
)
def test_no_cost_is_made_up(found: Affected, said: str) -> None:
    """Without a rise or a label it says that, and names no amount."""
    assert [line.value for line in loss_lines(found, Prices(error=4.0))] == [said, "5 in 1 window"]
