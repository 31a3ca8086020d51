"""The page's JSON over real HTTP, on a state that the real store wrote."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path

import httpx
import pytest

from driftd.events import Event
from driftd.observe import families, model_families
from driftd.observe.metrics import Metrics
from driftd.paths import Places
from driftd.records import Alarm, DecisionFigures, ModelState, Phase, Transition, Window
from driftd.store.state.writer import StateStore
from limits import HANG, time_limit
from page_server import serve_page
from year_of_history import END, HOUR, write_history

EVIL = "<img src=x onerror=alert(1)>"
WINDOWS = 900


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """Two models with 900 hourly windows, and one whose feature and reason are markup."""
    found = Places(tmp_path_factory.mktemp("page") / "state")
    write_history(found.state_db, models=2, windows=WINDOWS, features=4)
    store = StateStore.open(found.state_db)
    with store.transaction():
        window = Window(5, END - HOUR, END)
        alarm = Alarm("data", EVIL, 30_000.0, 21_915.0, f"{EVIL} moved")
        number = store.save_alarm("model-00", alarm, window, at=END, version=1, leaders=[(EVIL, 1.0)])
        state = replace(ModelState("model-00", Phase.STEADY, champion=1), blocked=f"{EVIL} is missing")
        output = Transition(state, f"{EVIL} moved; this informs only", Event.ALARM, (), DecisionFigures(alarm=number))
        store.save_transition(state, output, at=END, actor="driftd", config_hash="0123456789ab")
    store.close()
    return found


@pytest.fixture(scope="module")
def http(places: Places) -> Iterator[httpx.Client]:
    """A client of the served page."""
    path = places.root.parent / "config.yaml"
    with (
        serve_page(places, path, {"model-01": "its source is gone"}) as address,
        httpx.Client(base_url=address, timeout=HANG) as client,
    ):
        yield client


def test_the_fleet_begins_with_what_needs_a_person(http: httpx.Client) -> None:
    """Every model of the config is there, the obstructed and the blocked ones first, each with its sentence."""
    fleet = http.get("/api/fleet").raise_for_status().json()
    assert [item["attention"]["level"] for item in fleet["models"]] == ["act", "act"]
    output = {item["model"]: item["attention"]["detail"] for item in fleet["models"]}
    assert output == {"model-00": f"{EVIL} is missing", "model-01": "its source is gone"}
    assert fleet["headline"]["level"] == "act"
    assert 2 <= len(fleet["models"][0]["spark"]["value"]) <= 60


def test_a_feed_that_falls_silent_is_told_though_the_state_stays_the_same(places: Places) -> None:
    """What the daemon's metrics say presses at once, on the fleet and on the model, and so does a full disk."""
    metrics = Metrics()
    with serve_page(places, places.root.parent / "config.yaml", metrics=metrics) as address:
        calm = httpx.get(f"{address}/api/models/model-01")
        board, now = metrics.board, time.time()
        board.set(model_families.WINDOW_SECONDS, HOUR, "model-01")
        board.set(model_families.NEWEST_PREDICTION, now - 9 * HOUR, "model-01")
        board.set(families.DISK_FREE, 5e8)
        board.set(families.DISK_SIZE, 1e12)
        silent = httpx.get(f"{address}/api/models/model-01", headers={"If-None-Match": calm.headers["ETag"]})
        fleet = httpx.get(f"{address}/api/fleet").json()
    assert calm.json()["attention"]["level"] != "act"
    assert silent.status_code == 200
    assert silent.json()["attention"]["sentence"].startswith("No prediction came since")
    assert fleet["headline"] == {"level": "act", "sentence": "2 models need you."}
    assert fleet["host"][0]["sentence"] == "Only 0.5 GiB are free for state_dir."


def test_a_model_shows_its_whole_history_in_few_points(http: httpx.Client) -> None:
    """Every series has at most 400 points; a span is what it says; an unknown one is a week."""
    whole = http.get("/api/models/model-00", params={"span": "all"}).json()
    week = http.get("/api/models/model-00").json()
    assert whole["merged"] == 3
    assert len(whole["performance"]["at"]) == len(whole["performance"]["value"]) == WINDOWS / 3
    assert len(week["performance"]["at"]) == 7 * 24
    assert week["performance"] == http.get("/api/models/model-00", params={"span": "nonsense"}).json()["performance"]
    assert whole["performance"]["metric"] == "mae"
    assert set(whole["evidence_over_time"]) == {"data", "prediction", "quality", "harm", "performance"}
    assert [item["name"] for item in whole["spans"]] == ["day", "week", "month", "all"]
    assert [item["event"] for item in whole["marks"]] == ["adopted", "alarm", "alarm"]


def test_the_heat_map_has_the_feature_that_moved_on_top(http: httpx.Client) -> None:
    """Scores are merged to at most 96 columns; the mean of a shifted feature stands out."""
    scores = http.get("/api/models/model-00/scores", params={"span": "all"}).json()
    assert len(scores["at"]) <= 96
    first = scores["subjects"][0]
    assert first["subject"] == "feature_0"
    assert first["components"]["location"][-1] == pytest.approx(0.6, abs=0.15)
    assert first["heat"][0] < 0.5 < first["heat"][-1]


def test_a_decision_is_told_whole(http: httpx.Client) -> None:
    """An alarm has its sentence, its figures, the rows counted and the config in force, by either number."""
    alarm = http.get("/api/models/model-01").json()["alarms"][0]
    output = http.get(f"/api/alarms/{alarm['id']}").json()
    assert output == http.get(f"/api/decisions/{alarm['decision']}").json()
    assert output["decision"]["event"] == "alarm"
    assert output["rows"] == 200
    assert output["alarm"]["threshold"] == 21_915.0
    assert output["config"]["hash"] == "0123456789ab"
    assert "target: y" in output["config"]["model"]


@pytest.mark.parametrize("kind", ["alarms", "decisions"])
def test_a_report_is_one_page_that_nothing_can_act_in(http: httpx.Client, kind: str) -> None:
    """An alarm's report and its decision's say the same of markup, as text, under a policy without scripts."""
    alarm = http.get("/api/models/model-00").json()["alarms"][0]
    number = alarm["id"] if kind == "alarms" else alarm["decision"]
    answer = http.get(f"/{kind}/{number}/report").raise_for_status()
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "script-src" not in policy
    assert "<img" not in answer.text
    assert f"<h1>{escape(EVIL)} moved" in answer.text
    assert f'href="{http.base_url}/#/{kind[:-1]}/{number}"' in answer.text
    assert f"driftd silence model-00 {escape(EVIL)}" not in answer.text  # no column of this name is known
    assert "There is none" in answer.text


def test_a_report_of_a_backfilled_alarm_bears_the_time_of_its_event(places: Places, http: httpx.Client) -> None:
    """An alarm that a replay raised years after its window tells of the window's time, and when it was raised."""
    store = StateStore.open(places.state_db)
    window = Window(3, 1_577_836_800.0, 1_577_840_400.0)  # the first hour of 2020
    alarm = Alarm("data", "feature_0", 30_000.0, 21_915.0, "feature_0 moved", window.start)
    number = store.save_alarm("model-01", alarm, window, at=END, version=1, leaders=[])
    store.close()
    text = http.get(f"/alarms/{number}/report").raise_for_status().text
    assert "Most likely since 2020-01-01 00:00 UTC; seen in the window until 2020-01-01 01:00 UTC." in text
    assert "driftd raised the alarm at 2026-01-01 00:00 UTC." in text


def test_the_second_page_of_a_report_is_where_its_link_leads(places: Places, http: httpx.Client) -> None:
    """Evidently's report is served at the address that stands on the page."""
    (number,) = [alarm["id"] for alarm in http.get("/api/models/model-01").json()["alarms"]][-1:]
    path = places.report("model-01", number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("<p>evidently</p>")
    store = StateStore.open(places.state_db)
    store.save_report(number, str(path), [])
    store.close()
    text = http.get(f"/alarms/{number}/report").text
    link = re.search(r'href="([^"]+)">Evidently', text)
    assert link is not None
    assert http.get(link[1]).text == "<p>evidently</p>"


def test_the_config_is_shown_with_its_hash_and_without_secrets(places: Places) -> None:
    """The hash in force, a later refusal with its reason, the override, and nothing that a key calls a secret."""
    root = Places(places.root.parent / "other")
    store = StateStore.open(root.state_db)
    parameters = {"api_key": "hunter2", "depth": 3}
    model = {"task": "regression", "target": "y", "parameters": parameters}
    override = {"reason": "INC-1", "pause": ["checks"], "expires": "2030-01-01T00:00:00Z"}
    store.save_config("aaaaaaaaaaaa", at=1.0, content={"models": {"m": model}, "override": override})
    store.save_config("absent", at=2.0, error="config.yaml:3: models.m.evry: unknown key")
    store.close()
    with serve_page(root, root.root.parent / "no-config.yaml") as address:
        config = httpx.get(f"{address}/api/config").json()
    assert config["in_force"] == "aaaaaaaaaaaa"
    assert "unknown key" in config["refused"]
    assert "hunter2" not in str(config)
    assert "depth: 3" in config["set"]
    assert "every: 1h" in config["whole"]
    assert config["override"] == {"sentence": "pause checks", "reason": "INC-1", "expires": "2030-01-01T00:00:00Z"}


def test_a_config_of_another_driftd_hides_no_model(tmp_path: Path) -> None:
    """A stored section that this driftd cannot read leaves its model on the page, with windows of unknown length."""
    places = Places(tmp_path / "state")
    store = StateStore.open(places.state_db)
    odd = {"task": "regression", "target": "y", "window": {"every": "1 fortnight"}}
    store.save_config("aaaaaaaaaaaa", at=1.0, content={"models": {"odd": odd}, "override": {}})
    state = ModelState("odd", Phase.STEADY, champion=1)
    with store.transaction():
        made = Transition(state, "odd is under watch", Event.ADOPTED)
        store.save_transition(state, made, at=END, actor="driftd", config_hash="aaaaaaaaaaaa")
    store.close()
    with serve_page(places, tmp_path / "config.yaml") as address:
        (model,) = httpx.get(f"{address}/api/fleet").raise_for_status().json()["models"]
    assert (model["model"], model["window_seconds"]) == ("odd", None)


def test_an_unchanged_answer_is_not_sent_again(places: Places, http: httpx.Client) -> None:
    """The tag is honoured; after a commit there is a new answer under a new tag."""
    first = http.get("/api/fleet")
    again = http.get("/api/fleet", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    store = StateStore.open(places.state_db)
    state = store.model("model-01")
    assert state is not None
    store.save_transition(
        state, Transition(state, "something new", Event.PAUSED), at=END + 5, actor="anna", config_hash="0123456789ab"
    )
    store.close()
    fresh = http.get("/api/fleet", headers={"if-none-match": first.headers["etag"]})
    assert fresh.status_code == 200
    assert fresh.json()["decisions"][0]["reason"] == "something new"


def test_it_answers_while_the_store_is_being_written(places: Places, http: httpx.Client) -> None:
    """A long transaction of the daemon neither blocks the page nor shows through before it lands."""
    writer = sqlite3.connect(places.state_db, isolation_level=None)
    writer.execute("begin immediate")
    writer.execute("update models set phase = phase")
    writer.execute("insert into requests(at, who, model, kind, arguments) values (1, 'x', 'y', 'retrain', '{}')")
    began = time.monotonic()
    assert http.get("/api/models/model-01?span=day").status_code == 200
    assert time.monotonic() - began < time_limit(1.0)
    writer.execute("rollback")
    writer.close()


@pytest.mark.parametrize(
    "path",
    [
        "/api/models/nobody",
        "/api/models/nobody/scores",
        "/api/decisions/999999",
        "/api/alarms/99999999999999999999999",
        "/alarms/99999999999999999999999/report",
        "/decisions/999999/report",
        "/alarms/x/report",
        "/page/nothing.js",
        "/page/../routes.py",
        "/page/%2e%2e/routes.py",
    ],
)
def test_what_is_not_there_is_not_found(http: httpx.Client, path: str) -> None:
    """An unknown name or number, and a path out of the folder, get 404."""
    assert http.get(path).status_code == 404


def test_nothing_can_be_written(places: Places, http: httpx.Client) -> None:
    """Every method but reading is refused, and the connection itself is read-only."""
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert http.request(method, "/api/fleet").status_code == 405
    with (
        sqlite3.connect(f"file:{places.state_db}?mode=ro", uri=True) as reader,
        pytest.raises(sqlite3.OperationalError),
    ):
        reader.execute("delete from models")


def test_without_a_state_it_says_so_and_comes_to_life(tmp_path: Path) -> None:
    """Before the first start there is a sentence with 503; once the database is there, the answer comes."""
    places = Places(tmp_path / "state")
    with (
        serve_page(places, tmp_path / "config.yaml") as address,
        httpx.Client(base_url=address, timeout=HANG) as client,
    ):
        answer = client.get("/api/fleet")
        assert answer.status_code == 503
        assert "no state database" in answer.json()["error"]
        StateStore.open(places.state_db).close()
        assert client.get("/api/fleet").json()["headline"]["sentence"] == "No model is under watch yet."


def test_another_file_in_the_place_of_the_state_is_taken_up(tmp_path: Path) -> None:
    """After a restore the page shows the restored state, not the old one that it had open."""
    places, other = Places(tmp_path / "a"), Places(tmp_path / "b")
    write_history(places.state_db, models=1, windows=3, features=1)
    write_history(other.state_db, models=2, windows=3, features=1)
    with (
        serve_page(places, tmp_path / "config.yaml") as address,
        httpx.Client(base_url=address, timeout=HANG) as client,
    ):
        assert len(client.get("/api/fleet").json()["models"]) == 1
        other.state_db.rename(places.state_db)
        assert len(client.get("/api/fleet").json()["models"]) == 2


def test_every_view_of_a_long_history_costs_less_than_a_second(tmp_path: Path) -> None:
    """A model with a year of hourly windows and 12 features costs under a second of this process, the fleet too."""
    places = Places(tmp_path / "state")
    write_history(places.state_db, models=1, windows=8_760, features=12)
    with (
        serve_page(places, tmp_path / "config.yaml") as address,
        httpx.Client(base_url=address, timeout=HANG) as client,
    ):
        client.get("/")
        for path in ("/api/fleet", "/api/models/model-00?span=all", "/api/models/model-00/scores?span=all"):
            began = time.process_time()  # not the wall's: other tests run beside this one
            answer = client.get(path).raise_for_status()
            assert time.process_time() - began < time_limit(1.0), path
            assert len(answer.content) < 300_000, path


def test_any_range_of_time_is_shown(http: httpx.Client) -> None:
    """The windows that begin in the range, with marks and alarms of their own; the map has the same windows."""
    since, until = END - 100 * HOUR, END - 90 * HOUR
    model = http.get("/api/models/model-00", params={"from": since, "to": until}).raise_for_status().json()
    assert model["extent"]["span"] == "range"
    assert model["extent"]["last"] - model["extent"]["first"] == 9
    assert len(model["windows"]["at"]) == 10
    assert model["windows"]["at"][0] == since
    assert all(since <= at < until for at in model["performance"]["at"])
    scores = http.get("/api/models/model-00/scores", params={"from": since, "to": until}).json()
    assert (scores["first"], scores["last"]) == (model["extent"]["first"], model["extent"]["last"])


@pytest.mark.parametrize("given", [{"from": 1.0, "to": 2.0}, {"from": END + 9e6}, {"from": END, "to": END - 9 * HOUR}])
def test_a_range_without_windows_says_what_there_is(http: httpx.Client, given: dict[str, float]) -> None:
    """Nothing is drawn, and the ends of what is kept are told."""
    model = http.get("/api/models/model-00", params=given).raise_for_status().json()
    assert model["extent"]["first"] > model["extent"]["last"]
    assert model["windows"]["at"] == model["performance"]["at"] == model["marks"] == model["alarms"] == []
    assert model["extent"]["held_since"] < model["extent"]["held_until"] <= END + HOUR
    assert http.get("/api/models/model-00/scores", params=given).json()["subjects"] == []


def test_an_alarm_of_replayed_history_bears_the_time_of_its_event(tmp_path: Path) -> None:
    """A window of long ago that was looked at now: its alarm stands at the window, in the list and on the axis."""
    places = Places(tmp_path / "state")
    write_history(places.state_db, models=1, windows=200, features=2)
    with StateStore.open(places.state_db) as store, store.transaction():
        index = int(END // HOUR) - 100
        window, seen = Window(index, index * HOUR, (index + 1) * HOUR), END + 400 * 86_400.0
        alarm = Alarm("data", "x0", 30_000.0, 21_915.0, "x0 moved")
        number = store.save_alarm("model-00", alarm, window, at=seen, version=1, leaders=[("x0", 1.0)])
        state = ModelState("model-00", Phase.STEADY, champion=1)
        output = Transition(state, "x0 moved", Event.ALARM, (), DecisionFigures(alarm=number))
        store.save_transition(state, output, at=seen, actor="driftd", config_hash="0123456789ab")
    with serve_page(places, tmp_path / "config.yaml") as address:
        whole = httpx.get(f"{address}/api/models/model-00?span=all").json()
        ends = {"from": window.start - HOUR, "to": window.end + HOUR}
        part = httpx.get(f"{address}/api/models/model-00", params=ends).json()
    for model in (whole, part):
        (line,) = [line for line in model["alarms"] if line["id"] == number]
        assert (line["happened_at"], line["at"]) == (window.end, seen)
        assert [mark["at"] for mark in model["marks"] if mark["alarm"] == number] == [window.end]
    assert [found["at"] for found in whole["choices"]["alarms"]] == [window.end]


def test_versions_that_are_not_there_are_not_compared(http: httpx.Client) -> None:
    """A version without a manifest says why; an unknown model has no answer; a link leads to the page of the two."""
    answer = http.get("/api/models/model-00/compare", params={"a": "1", "b": "<b>"}).raise_for_status().json()
    assert answer["missing"]
    assert http.get("/api/models/nobody/compare", params={"a": 1, "b": 2}).status_code == 404
    link = http.get("/models/model-00/compare", params={"a": "1", "b": "2"})
    assert (link.status_code, link.headers["location"]) == (302, "../../#/model/model-00/compare?a=1&b=2")


@pytest.mark.parametrize("at", ["x", "nan", "1e99", ""])
def test_a_time_that_is_none_has_no_answer(http: httpx.Client, at: str) -> None:
    """What served at a time that cannot be is not known."""
    assert http.get("/api/models/model-00/served", params={"at": at}).status_code == 404
    assert http.get("/api/models/model-00/served", params={"at": END}).status_code == 200
