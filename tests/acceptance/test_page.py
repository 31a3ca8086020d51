"""The status page in a real Chromium, over a real run with a real drift."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import expect

import loop_world
from driftd.paths import Places
from limits import time_limit
from loop_world import MODEL, World
from page_server import new_context, seconds_until_drawn, serve_page
from year_of_history import write_history

pytestmark = pytest.mark.slow

VIEWS = ("#/", f"#/model/{MODEL}?span=all&feature=a", "#/decision/2", "#/alarm/1", "#/config", "runbook")
EVIL = "<img src=x onerror=document.title='owned'>"

TRIES = 8  # of a view: other tests run beside this one
CONTRAST = Path(__file__).with_name("contrast.js").read_text("utf-8")


def changed(frame: pd.DataFrame, truth: Any) -> tuple[pd.DataFrame, Any]:
    """The world turns: another feature counts, and one has moved."""
    return frame.assign(a=frame["a"] + 1.0), truth + 3 * frame["b"].to_numpy()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A model that drifted, was built anew and swapped."""
    found = World.begin(tmp_path_factory.mktemp("page"), hours=60)
    found.live(8)
    found.live(30, changed, until=lambda item: "promoted" in item.events)
    assert "promoted" in found.events
    yield found
    found.close()


@pytest.fixture(scope="module")
def address(world: World) -> Iterator[str]:
    """Where the page of that world is served."""
    with serve_page(world.places, world.folder / "config.yaml") as found:
        yield found


@dataclass
class Visit:
    """A page, with everything that it complained of."""

    page: Any
    address: str
    complaints: list[str] = field(default_factory=list)

    def go(self, view: str) -> None:
        """Open a view and wait until it stands, with its charts drawn."""
        self.page.goto(f"{self.address}/{view}")
        self.page.wait_for_selector("main h1")
        if "#/model/" in view:
            self.page.wait_for_selector(".plot canvas")
        self.page.wait_for_timeout(150)


@pytest.fixture
def visit(browser: Any, address: str, world: World) -> Iterator[Visit]:
    """A fresh visit at the virtual present; it may end only without a complaint of the browser."""
    yield from _visit(browser, address, world)


def _visit(browser: Any, address: str, world: World, **options: Any) -> Iterator[Visit]:
    context = new_context(
        browser, **{"viewport": {"width": 1200, "height": 900}, "timezone_id": "Asia/Tokyo"} | options
    )
    page = context.new_page()
    page.clock.install(time=world.clock.now())
    found = Visit(page, address)
    page.on("console", lambda message: found.complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: found.complaints.append(f"error: {error}"))
    yield found
    context.close()
    assert found.complaints == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_readable_and_makes_no_complaint(
    browser: Any, address: str, world: World, view: str, theme: str
) -> None:
    """Each view loads under the strict policy without an error, and all its text has the contrast of WCAG AA."""
    for visit in _visit(browser, address, world, color_scheme=theme):
        visit.go(view)
        assert visit.page.evaluate(CONTRAST) == []


@pytest.mark.parametrize("view", VIEWS)
def test_a_phone_scrolls_in_one_direction_only(browser: Any, address: str, world: World, view: str) -> None:
    """At 360 pixels nothing is wider than the screen."""
    for visit in _visit(browser, address, world, viewport={"width": 360, "height": 740}):
        visit.go(view)
        widest = visit.page.evaluate("document.documentElement.scrollWidth")
        assert widest <= 360


def test_the_first_screen_says_what_is_wrong(visit: Visit) -> None:
    """The sentence on the fleet and on the model stand above everything else, with phase, version and verdict."""
    visit.go("#/")
    assert MODEL in visit.page.inner_text("h1.headline")
    card = visit.page.inner_text(".model")
    assert "Version 2 is on probation" in card
    assert "mae of version 1; no labels of version 2 were evaluated yet" in card
    visit.page.click(".model h2 a")
    visit.page.wait_for_selector(".head")
    assert visit.page.locator(".head").bounding_box()["y"] < 200
    assert "probation" in visit.page.inner_text(".head")


def test_a_model_shows_everything_that_was_asked_for(visit: Visit) -> None:
    """Performance with its marks, evidence, heat map, distributions, alarms with reports, versions with lineage."""
    visit.go(f"#/model/{MODEL}?span=all")
    text = visit.page.inner_text("main")
    for words in (
        "Realised performance",
        "alarm (performance)",
        "promoted 2",
        "The way to an alarm",
        "Evidently's report",
    ):
        assert words in text, words
    visit.page.click(".names button:has-text('a') >> nth=0")
    visit.page.wait_for_selector("table.bins")
    assert visit.page.locator("table.bins tbody tr").count() >= 20
    visit.page.click(".lane summary >> nth=0")
    visit.page.wait_for_selector(".lane li >> nth=0 >> dl")
    lineage = visit.page.inner_text(".lane li >> nth=0")
    for words in ("snapshot", "driftd.trainers:gradient_boosting", "max_iter", "driftd itself, by its gate"):
        assert words in lineage, words


def test_a_decision_gives_its_reasons(visit: Visit, world: World) -> None:
    """Sentence, figures, rows, what followed and the config in force, of the alarm that led to the build."""
    alarms = world.daemon.assembly.store.alarms(MODEL)
    visit.go(f"#/alarm/{next(item.id for item in alarms if item.kind == 'performance')}")
    text = visit.page.inner_text("main")
    for words in ("Drift confirmed", "Rows counted", "over the limit of", "promoted", "The config in force"):
        assert words in text, words
    visit.page.click("summary:has-text('Its section')")
    visit.page.wait_for_selector("pre")
    assert "target: y" in visit.page.inner_text("pre")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_report_fits_one_screen_and_one_sheet(browser: Any, address: str, world: World, theme: str) -> None:
    """The alarm and the swap: little to scroll at 1280 by 800, nothing wider than a phone, one page of A4, readable."""
    store = world.daemon.assembly.store
    alarm = next(item.id for item in store.alarms(MODEL) if item.kind == "performance")
    swap = next(line.id for line in store.history(MODEL) if line.event == "promoted")
    for path in (f"alarms/{alarm}/report", f"decisions/{swap}/report"):
        for visit in _visit(browser, address, world, color_scheme=theme, viewport={"width": 1280, "height": 800}):
            visit.page.goto(f"{address}/{path}")
            assert visit.page.locator("svg").count() >= 2  # the curve, and the column that moved
            width, height = visit.page.evaluate(
                "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
            )
            assert width <= 1280
            assert height <= 1.3 * 800
            assert visit.page.evaluate(CONTRAST) == []
            assert len(re.findall(rb"/Type\s*/Page\b", visit.page.pdf(prefer_css_page_size=True))) == 1
            visit.page.set_viewport_size({"width": 360, "height": 740})
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_page_leads_to_the_report_to_forward(visit: Visit) -> None:
    """The link of an alarm and of a decision opens its own report."""
    for view, path in (("#/alarm/1", "alarms/1/report"), ("#/decision/1", "decisions/1/report")):
        visit.go(view)
        assert visit.page.get_attribute("a:has-text('Report to forward')", "href") == path


def test_the_evidently_report_opens_from_its_alarm(visit: Visit, world: World) -> None:
    """The link of an alarm leads to the report that was rendered for it."""
    visit.go("#/alarm/1")
    address = visit.page.get_attribute("a:has-text('Evidently')", "href")
    answer = visit.page.request.get(f"{visit.address}/{address}")
    assert answer.status == 200
    assert world.places.report(MODEL, 1).read_bytes() == answer.body()


def test_times_stand_in_the_readers_zone_with_utc_beside(visit: Visit) -> None:
    """A visitor in Tokyo reads Tokyo's time, and UTC on hover."""
    visit.go("#/alarm/1")
    moment = visit.page.locator("dd time").first
    utc = re.search(r"(\d\d):(\d\d):\d\d UTC", moment.get_attribute("title"))
    assert utc is not None
    assert f"{(int(utc[1]) + 9) % 24:02}:{utc[2]}" in moment.inner_text()


def test_the_keyboard_reaches_everything(visit: Visit) -> None:
    """Tab visits every link and button in order, with a visible focus; arrows move along a row of the heat map."""
    visit.go(f"#/model/{MODEL}?span=all")
    wanted = visit.page.evaluate("document.querySelectorAll('a[href], button, summary, [tabindex=\"0\"]').length")
    body = visit.page.evaluate("[...document.querySelectorAll('*')].indexOf(document.body)")
    fields = visit.page.evaluate("document.querySelectorAll('input, select').length")
    reached = set()
    for _ in range(wanted + 8 * fields + 3):  # a time has a stop for each of its parts
        visit.page.keyboard.press("Tab")
        found = visit.page.evaluate(
            "(() => { const e = document.activeElement, all = [...document.querySelectorAll('*')];"
            " const s = getComputedStyle(e);"
            " return [all.indexOf(e), s.outlineStyle !== 'none' && s.outlineWidth !== '0px', e.id] })()"
        )
        if found[0] != body:  # where Tab leaves the page and comes back
            assert found[1], f"no visible focus on element {found[0]}: {found[2]}"
            reached.add(found[0])
    assert len(reached) >= wanted
    visit.page.focus(".names button >> nth=0")
    visit.page.keyboard.press("ArrowLeft")
    assert " sd" in visit.page.inner_text(".tip") or "σ" in visit.page.inner_text(".tip")
    visit.page.focus("#skip")
    visit.page.keyboard.press("Enter")
    assert visit.page.evaluate("document.activeElement.id") == "main"


def test_the_theme_is_chosen_and_remembered(visit: Visit) -> None:
    """The button goes from the system's theme to light to dark, and a reload keeps it."""
    visit.go("#/")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = visit.page.evaluate(ground)
    visit.page.click("#theme")
    visit.page.click("#theme")
    dark = visit.page.evaluate(ground)
    assert dark != light
    visit.page.reload()
    visit.page.wait_for_selector("main h1")
    assert visit.page.evaluate(ground) == dark


def test_it_updates_by_itself_and_keeps_the_readers_place(visit: Visit, world: World) -> None:
    """A new window shows within seconds without a reload; focus, scroll and what was unfolded stay."""
    visit.go(f"#/model/{MODEL}?span=all")
    visit.page.evaluate("window.before = true")
    visit.page.click(".lane summary >> nth=0")
    visit.page.focus(".names button >> nth=1")
    visit.page.evaluate("window.scrollTo(0, 500)")
    before = visit.page.get_attribute(".head time", "datetime")
    world.live(1, changed)
    visit.page.clock.run_for(6_000)
    expect(visit.page.locator(".head time").first).not_to_have_attribute("datetime", before or "")
    assert visit.page.evaluate("window.before") is True
    assert visit.page.evaluate("window.scrollY") == 500
    assert visit.page.evaluate("document.activeElement.className") == "name"
    assert visit.page.locator(".lane details").first.get_attribute("open") is not None


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> tuple[Places, Places]:
    """Twenty models with a year of hourly windows, and the same with a day."""
    folder = tmp_path_factory.mktemp("histories")
    year, day = Places(folder / "year"), Places(folder / "day")
    for places, windows in ((year, 8_760), (day, 24)):
        write_history(places.state_db, models=1, copies=19, windows=windows, features=12)
    return year, day


@pytest.mark.parametrize(("view", "last"), [("#/", ".model:nth-of-type(20) svg"), ("#/model/model-07", ".heat canvas")])
def test_a_year_of_twenty_models_is_drawn_hardly_later_than_a_day(
    browser: Any, histories: tuple[Places, Places], view: str, last: str
) -> None:
    """From the address to the drawn view, kept by nobody: beside a day's history a year costs less than half a second.

    How long that is on a quiet machine, benchmarks/status_page.py tells: other tests run beside this one.
    """
    best = [float("inf")] * 2
    for _ in range(TRIES):
        for place, places in enumerate(histories):
            with serve_page(places, places.root / "config.yaml") as address:
                best[place] = min(best[place], seconds_until_drawn(browser, f"{address}/{view}", last))
        if best[0] - best[1] < time_limit(0.5):
            return
    pytest.fail(f"a year took {best[0]:.2f} s, a day {best[1]:.2f} s")


def test_a_dead_daemon_is_said_in_red_and_its_return_noticed(browser: Any, world: World) -> None:
    """Once nobody answers, the page says so and since when its figures are; when it answers again that goes away."""
    with serve_page(world.places, world.folder / "config.yaml") as address:
        context = new_context(browser)
        page = context.new_page()
        page.clock.install(time=world.clock.now())
        page.goto(address)
        page.wait_for_selector("main h1")
    page.clock.run_for(6_000)
    page.wait_for_selector(".notice.act")
    assert "driftd does not answer. What you see is from" in page.inner_text("#notices")
    assert MODEL in page.inner_text("main")
    with serve_page(world.places, world.folder / "config.yaml", listen=address.removeprefix("http://")):
        page.clock.run_for(6_000)
        page.wait_for_selector(".notice.act", state="detached")
    context.close()


def test_data_is_never_read_as_markup(browser: Any, tmp_path: Path, world: World) -> None:
    """A feature, a reason and an obstacle that are HTML show as the text that they are, in every view."""
    state = tmp_path / "state"
    shutil.copytree(world.places.root, state)
    places = type(world.places)(state)
    store = loop_world.StateStore.open(places.state_db)
    store._db.execute("update score_streams set subject = ? where subject = 'a'", (EVIL,))
    for table, column in (
        ("transitions", "reason"),
        ("transitions", "event"),
        ("alarms", "sentence"),
        ("checks", "reason"),
    ):
        store._db.execute(f"update {table} set {column} = ?", (EVIL,))
    store._db.execute("update transitions set figures = json_set(figures, '$.note', ?)", (EVIL,))
    store.close()
    with serve_page(places, tmp_path / "config.yaml", {MODEL: EVIL}) as address:
        for visit in _visit(browser, address, world):
            for view in (*VIEWS, f"#/model/{EVIL}"):
                visit.go(view) if EVIL not in view else visit.page.goto(f"{address}/{view}")
                visit.page.wait_for_timeout(200)
                assert visit.page.locator("main img").count() == 0
                assert visit.page.title() != "owned"
            visit.complaints = [item for item in visit.complaints if "404" not in item]
            visit.go("#/")
            assert EVIL in visit.page.inner_text("main")


def test_a_new_installation_says_what_will_come(browser: Any, tmp_path: Path, world: World) -> None:
    """Without a state, then without a version, the page says what is missing and what to do."""
    places = type(world.places)(tmp_path / "state")
    with serve_page(places, tmp_path / "config.yaml") as address:
        context = new_context(browser)
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector(".notice.act")
        assert "no state database" in page.inner_text("#notices")
        store = loop_world.StateStore.open(places.state_db)
        model = {"task": "regression", "target": "y"}
        store.save_config("aaaaaaaaaaaa", at=1.0, content={"models": {"demand": model}})
        store.close()
        page.wait_for_selector(".model")
        assert "It has no version yet." in page.inner_text(".model")
        assert "driftd init" in page.inner_text(".model")
        context.close()
