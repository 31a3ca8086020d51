"""What people come to the page for, in a real Chromium: five tasks of at most three clicks each, and who may act."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import expect

import loop_world
from driftd.paths import Places
from limits import wait
from loop_world import CONFIG, MODEL, World
from page_server import new_context, serve_page

pytestmark = pytest.mark.slow

CONTRAST = Path(__file__).with_name("contrast.js").read_text("utf-8")
OPERATOR, READER = "an-operator-of-some-length", "a-reader-of-some-length"
ZONE = "Asia/Tokyo"
CLICKS = 3  # the most that a task may take from the fleet page
EVIL = "<img src=x onerror=document.title='owned'>"
VIEWS = (f"#/model/{MODEL}/compare?a=1&b=2", f"#/model/{MODEL}?from=2023-11-01T00:00Z&to=2023-11-02T00:00Z")
# Counted by the browser itself, on every way of pointing; hash links stay in one document.
COUNT = "window.pointed = 0; addEventListener('pointerdown', (event) => { if (event.isTrusted) pointed += 1 }, true)"


def turned(frame: pd.DataFrame, truth: Any) -> tuple[pd.DataFrame, Any]:
    """One feature has moved, and blue rows have another truth."""
    return frame.assign(a=frame["a"] + 0.8), truth + np.where(frame["c"] == "blue", 4 * frame["b"].to_numpy(), 0.0)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A model that drifted, most in one segment, and whose new version waits for a person."""
    segments = CONFIG.replace("    retrain:", "    detect: {{segments: [c]}}\n    retrain:")
    config = segments.replace("promote: {{block: 1h}}", "promote: {{block: 1h, approval: manual}}")
    found = World.begin(tmp_path_factory.mktemp("tasks"), hours=72, config=config)
    found.live(8)
    found.live(40, turned, until=lambda item: item.phase == "awaiting_approval")
    assert found.phase == "awaiting_approval"
    yield found
    found.close()


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """Two people: one may operate."""
    file = tmp_path / "token"
    file.write_text(f"{OPERATOR} role=operate name=ada\n{READER} name=bob\n")
    file.chmod(0o600)
    return file


@pytest.fixture
def address(world: World, tokens: Path) -> Iterator[str]:
    """Where the page of that world is served, with its write API."""
    path = world.folder / "config.yaml"
    with serve_page(world.places, path, token_file=tokens, models=[MODEL], shows_rows=True) as found:
        yield found


@dataclass
class Visit:
    """A visitor at the fleet page, with what the browser complained of."""

    page: Any
    address: str
    world: World
    complaints: list[str] = field(default_factory=list)

    @property
    def clicks(self) -> int:
        """How often the visitor has pointed since the page was opened."""
        return int(self.page.evaluate("pointed"))

    def go(self, view: str) -> None:
        """Open a view as a new page and wait until it stands."""
        self.page.goto("about:blank")  # else another view of the same document would pass for this one
        self.page.goto(f"{self.address}/{view}")
        self.page.wait_for_selector("main h1")

    def answer(self) -> str:
        """What the loop says to the request of the dialog; the daemon works meanwhile."""

        def is_answered() -> bool:
            self.world.daemon.catch_up(self.world.clock.now())
            self.page.wait_for_timeout(50)
            return bool(self.page.locator(".answer.done, .answer.refused, .answer.late").count())

        wait(is_answered, "the request is answered")
        return str(self.page.inner_text(".answer"))


Visitor = Callable[..., Visit]


@pytest.fixture
def visitor(browser: Any, address: str, world: World) -> Iterator[Visitor]:
    """Opens the fleet page as somebody; a visit may end only without a complaint of the browser."""
    visits: list[tuple[Any, Visit]] = []

    def open_page(token: str | None = OPERATOR, **options: Any) -> Visit:
        view = {"viewport": {"width": 1200, "height": 900}, "timezone_id": ZONE} | options
        context = new_context(browser, **view)
        page = context.new_page()
        page.clock.install(time=world.clock.now())
        page.add_init_script(COUNT)
        if token is not None:
            page.add_init_script(f"if (origin !== 'null') sessionStorage.setItem('driftd-token', '{token}')")
        visit = Visit(page, address, world)
        page.on("console", lambda message: visit.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: visit.complaints.append(f"error: {error}"))
        visits.append((context, visit))
        visit.go("#/")
        return visit

    yield open_page
    for context, visit in visits:
        context.close()
        assert visit.complaints == []


def test_an_alarm_is_understood_in_three_clicks(visitor: Visitor) -> None:
    """From the fleet to the alarm: why it was raised, in which window, against which limit, and what was done."""
    visit = visitor()
    visit.page.click("a.alarm:has-text('mae')")
    visit.page.wait_for_selector("h1.headline")
    text = visit.page.inner_text("main")
    for words in ("mae", "c = blue", "Window", "over the limit of", "Where the rise comes from", "Happened until"):
        assert words in text, words
    assert visit.clicks <= CLICKS


def test_the_segment_that_broke_is_found_in_three_clicks(visitor: Visitor) -> None:
    """From the fleet to the table of segments: the worst stands first, with what it was on the reference."""
    visit = visitor()
    visit.page.click(".model h2 a")
    visit.page.click("text=Measure by segment")
    table = visit.page.locator("table:has(caption:has-text('by segment'))")
    table.wait_for()
    lines = table.locator("tbody tr").all_inner_texts()
    assert lines[0].startswith("all rows")
    assert lines[1].startswith("c = blue")
    assert "worse" in lines[1]
    assert visit.clicks <= CLICKS


def test_what_served_on_a_day_is_told_in_three_clicks(visitor: Visitor, world: World) -> None:
    """From the fleet to a day: the version, since when, and the decision that says why; a day before it had none."""
    visit = visitor()
    day = datetime.fromtimestamp(world.clock.now(), ZoneInfo(ZONE)).date()
    visit.page.click(".model h2 a")
    visit.page.fill("#served-on", day.isoformat())
    answer = visit.page.locator("p.served")
    expect(answer).to_contain_text("Version 1 served")
    visit.page.fill("#served-on", "2019-01-01")
    expect(answer).to_contain_text("No version was under watch on that day.")
    assert visit.clicks <= CLICKS


def test_a_feature_is_silenced_until_friday_in_three_clicks(visitor: Visitor, world: World) -> None:
    """From the fleet: the dialog says what follows and until when, asks for a reason, and tells what became of it."""
    visit = visitor()
    visit.page.click("button.silence:has-text('Silence a')")
    visit.page.keyboard.type("a campaign moves it")
    visit.page.click("label:has-text('until Friday')")
    told = visit.page.inner_text(".consequence")
    visit.page.click("dialog button[type=submit]")
    assert visit.clicks <= CLICKS
    assert visit.answer().startswith("Done: ada by API from 127.0.0.1")
    (order,) = world.daemon.models[MODEL].state.orders
    ends = datetime.fromtimestamp(order.until or 0.0, ZoneInfo(ZONE))
    assert (order.subject, order.reason) == ("a", "a campaign moves it")
    assert (ends.strftime("%A"), ends.hour, ends.minute) == ("Friday", 23, 59)
    assert f"a raises no alarm until {ends:%b} {ends.day}, 23:59" in told
    visit.page.click("dialog button:has-text('Close')")
    expect(visit.page.locator(".model")).to_contain_text("a raises no alarm")


def test_rows_of_chosen_windows_are_shown_and_downloaded(visitor: Visitor) -> None:
    """A cell of the map chooses its windows: their distribution stands over the reference, their rows come as CSV."""
    visit = visitor()
    visit.go(f"#/model/{MODEL}?span=all")
    cells = visit.page.locator("canvas.cells")
    width = cells.bounding_box()["width"]
    cells.click(position={"x": width - 6, "y": 10})
    expect(visit.page.locator("#features ~ .inset, section:has(#features) .inset")).to_contain_text("The chosen window")
    visit.page.click("text=Show a sample of rows")
    visit.page.wait_for_selector("[data-key=rows-csv]")
    with visit.page.expect_download() as download:
        visit.page.click("[data-key=rows-csv]")
    text = Path(download.value.path()).read_text()
    assert text.startswith("prediction id,at,")
    assert "windows=" in visit.page.url


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_the_new_views_are_readable_and_fit_a_phone(visitor: Visitor, view: str, theme: str) -> None:
    """A comparison and an empty range have the contrast of WCAG AA in both themes, and 360 pixels are enough."""
    visit = visitor(color_scheme=theme, viewport={"width": 360, "height": 740})
    visit.go(view)
    visit.page.wait_for_timeout(300)
    assert visit.page.evaluate(CONTRAST) == []
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 360


def test_two_versions_stand_side_by_side(visitor: Visitor) -> None:
    """From the model to its versions: the gate's sentence, metrics, segments, data, code and parameters of both."""
    visit = visitor()
    visit.page.click(".model h2 a")
    visit.page.click("text=Compare versions 1 and 2")
    visit.page.wait_for_selector("#compare-a")
    text = visit.page.inner_text("main")
    for words in ("Judged on the same rows, when version 2 was made: the challenger is better", "mae", "c = red"):
        assert words in text, words
    for heading in ("Metrics", "Segments", "Data", "Code", "Parameters"):
        assert visit.page.locator(f"h2:text-is('{heading}')").count() == 1
    assert visit.clicks <= CLICKS
    visit.page.goto(f"{visit.address}/models/{MODEL}/compare?a=2&b=9")
    expect(visit.page.locator(".empty")).to_contain_text("there is no version")


def test_an_empty_range_says_so_and_what_there_is(visitor: Visitor) -> None:
    """Where no window lies in the chosen range, a sentence says that, and up to when there are some."""
    visit = visitor()
    visit.go(VIEWS[1])
    text = visit.page.inner_text(".empty >> nth=0")
    assert "No window was checked in the range that you chose" in text
    assert "What is kept reaches from Nov" in text
    assert visit.page.locator(".plot").count() == 0


@pytest.mark.parametrize("kind", ["approve", "silence", "pause", "acknowledge"])
def test_a_dialog_is_worked_by_keyboard_and_fits_a_phone(visitor: Visitor, kind: str) -> None:
    """Enter opens it with a name and a described deed, the focus stays inside, Escape leads back to the button."""
    visit = visitor(viewport={"width": 360, "height": 740})
    visit.go(f"#/model/{MODEL}?span=all")
    visit.page.focus(f"button.{kind}")
    visit.page.keyboard.press("Enter")
    dialog = visit.page.get_by_role("dialog")
    expect(dialog).to_have_accessible_name(visit.page.inner_text("#dialog-heading"))
    assert visit.page.inner_text(".consequence").endswith(".")
    assert visit.page.evaluate(CONTRAST) == []
    for _ in range(14):
        visit.page.keyboard.press("Tab")
        outside = "!document.querySelector('dialog').contains(document.activeElement)"
        assert not visit.page.evaluate(f"document.activeElement !== document.body && {outside}")
    assert visit.page.evaluate("document.querySelector('dialog').scrollWidth <= 360")
    visit.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert kind in visit.page.evaluate("document.activeElement.className")


def test_who_may_only_look_is_told_how_to_get_the_right(visitor: Visitor) -> None:
    """Actions are off without a token and with one that only looks; a wrong token is refused; the right one acts."""
    visit = visitor(token=None)
    button = visit.page.locator("button.approve")
    expect(button).to_have_attribute("aria-disabled", "true")
    expect(visit.page.locator(".obstacle")).to_contain_text("Log in with a token that may operate")
    visit.page.click(".obstacle button")
    visit.page.fill("#token", "a-wrong-token-of-some-length")
    visit.page.keyboard.press("Enter")
    expect(visit.page.locator("dialog .late")).to_contain_text("this token is not in the file of http.token_file")
    visit.complaints = [item for item in visit.complaints if "401" not in item]
    visit.page.fill("#token", READER)
    visit.page.keyboard.press("Enter")
    expect(visit.page.locator("#session")).to_contain_text("bob (looks)")
    expect(visit.page.locator(".obstacle")).to_contain_text("bob may only look. Have role=operate written")
    expect(button).to_have_attribute("aria-disabled", "true")
    visit.page.click("#session")
    visit.page.click("#session")
    visit.page.fill("#token", OPERATOR)
    visit.page.keyboard.press("Enter")
    expect(visit.page.locator("#session")).to_contain_text("ada (operates)")
    expect(button).not_to_have_attribute("aria-disabled", "true")
    assert visit.page.evaluate("document.cookie") == ""
    assert OPERATOR not in visit.page.evaluate("JSON.stringify(localStorage) + location.href + document.body.outerHTML")


def test_a_token_that_was_taken_out_ends_the_session(visitor: Visitor, tokens: Path) -> None:
    """An action after that is not taken, the page says so and is logged out."""
    visit = visitor()
    visit.page.click("button.approve")
    tokens.write_text(f"{READER} name=bob\n")
    time.sleep(1.2)  # the file is looked at about every second
    visit.page.click("dialog button[type=submit]")
    expect(visit.page.locator(".answer.late")).to_contain_text("Not taken")
    expect(visit.page.locator("#session")).to_have_text("Log in")
    visit.page.keyboard.press("Escape")
    expect(visit.page.locator(".obstacle")).to_contain_text("Your token is not known any more")
    visit.complaints = [item for item in visit.complaints if "401" not in item]


def test_names_and_reasons_are_never_markup(browser: Any, tmp_path: Path, world: World, tokens: Path) -> None:
    """A feature, a reason and a sentence that are HTML are text in buttons, dialogs, orders and comparisons too."""
    state = tmp_path / "state"
    shutil.copytree(world.places.root, state)
    places = Places(state)
    store = loop_world.StateStore.open(places.state_db)
    store._db.execute("update alarms set leaders = json_array(json_array(?, 1.0)), subject = ?", (EVIL, EVIL))
    order = {"kind": "silence", "subject": EVIL, "who": EVIL, "reason": EVIL, "until": 4e9}
    quoted = "update models set state = json_set(state, '$.orders', json_array(json(?)))"
    store._db.execute(quoted, (json.dumps(order),))
    store.close()
    path = world.folder / "config.yaml"
    with serve_page(places, path, token_file=tokens, models=[MODEL]) as address:
        context = new_context(browser)
        page = context.new_page()
        page.clock.install(time=world.clock.now())
        page.add_init_script(f"sessionStorage.setItem('driftd-token', '{OPERATOR}')")
        page.goto(f"{address}/#/")
        page.click("button.silence >> nth=0")
        assert EVIL in page.inner_text("dialog")
        page.keyboard.press("Escape")
        for view in (f"#/model/{MODEL}?span=all", "#/alarm/1", f"#/model/{MODEL}/compare?a=1&b={EVIL}"):
            page.goto(f"{address}/{view}")
            page.wait_for_selector("main h1")
            page.wait_for_timeout(300)
            assert page.locator("main img, dialog img").count() == 0
            assert page.title() != "owned"
        context.close()


def test_evidentlys_page_fits_a_phone(visitor: Visitor) -> None:
    """At 360 pixels nothing of a report is cut off: what is wider scrolls in its own card."""
    visit = visitor(viewport={"width": 360, "height": 740}, is_mobile=True)
    visit.page.goto(f"{visit.address}/reports/{MODEL}/1")
    visit.page.wait_for_selector(".MuiCard-root")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 360
    cut = """() => [...document.querySelectorAll('.MuiCard-root')].filter(
        (card) => card.scrollWidth > card.clientWidth + 2 && getComputedStyle(card).overflowX !== 'auto').length"""
    assert visit.page.evaluate(cut) == 0
    visit.complaints = []  # Evidently's own


def test_a_version_is_approved_in_three_clicks(visitor: Visitor, world: World) -> None:
    """From the fleet: the dialog says which version serves after, and the answer comes into it; then it serves."""
    visit = visitor()
    visit.page.click("button.approve")
    assert "Version 2 serves demand after a last check of its files, in place of version 1." in visit.page.inner_text(
        ".consequence"
    )
    visit.page.click("dialog button[type=submit]")
    assert visit.clicks <= CLICKS
    assert visit.answer() == "Done: version 2 is approved by ada by API from 127.0.0.1"
    wait(
        lambda: (world.daemon.catch_up(world.clock.now()), world.daemon.models[MODEL].state.champion == 2)[1],
        "2 serves",
    )
    visit.page.click("dialog button:has-text('Close')")
    expect(visit.page.locator(".model")).to_contain_text("version 2")
