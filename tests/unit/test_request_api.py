"""The API that takes requests: whom it lets in, what it keeps, and that it answers anything with a sentence."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from driftd.api import routes as api_module
from driftd.api.builds import BuildApi
from driftd.api.looks import LookApi, LookView, LookWiring
from driftd.api.openapi import document
from driftd.api.requests import REQUESTS
from driftd.api.routes import AT_ONCE, LONGEST_BODY, ApiWiring, RateLimiter, RefusalError, RequestApi, decode
from driftd.api.submissions import SubmissionApi
from driftd.config.schema import Http
from driftd.observe.http import Wiring, application
from driftd.observe.metrics import Metrics
from driftd.paths import Places
from driftd.store.state.label_draws import LabelDraw, LabelRequest, post_label_draw
from driftd.store.state.reader import StateReader
from driftd.store.state.writer import StateStore
from driftd.web.security import RequestGuard
from page_server import idle_page

OPERATOR, READER = "an-operator-of-some-length", "a-reader-of-some-length"
BEARER = {"Authorization": f"Bearer {OPERATOR}"}
RETRAIN = "/api/v1/models/demand/retrain"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def empty_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state database as the daemon makes it, migrated once."""
    path = tmp_path_factory.mktemp("state") / "state.db"
    StateStore.open(path).close()
    return path


@pytest.fixture
def state(tmp_path: Path, empty_state: Path) -> Path:
    return Path(shutil.copy(empty_state, tmp_path))


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(f"{OPERATOR} role=operate name=ada\n{READER}\n")
    file.chmod(0o600)
    return file


def client_of(state: Path, access: Http, woken: list[bool] | None = None) -> TestClient:
    """A browser or a program before the daemon's own fence; what is posted wakes the loop."""
    wakes = woken if woken is not None else []
    api = RequestApi(ApiWiring(state, lambda: ("demand", "price"), lambda: wakes.append(True)))
    unused = Wiring(Metrics(), lambda: None, lambda: None, dict, lambda *_: Path("/nonexistent"))
    app = application(unused, api.routes())
    return TestClient(RequestGuard.of(app, access, lambda _: None, has_journal=True), base_url="http://127.0.0.1:9464")


@pytest.fixture
def client(state: Path, token_file: Path) -> TestClient:
    return client_of(state, Http(token_file=token_file))


def kept(state: Path) -> list[tuple[str, str, str, dict[str, Any]]]:
    """What waits for the loop."""
    with StateReader.read_only(state) as reader:
        return [(item.model, item.kind, item.who, item.arguments) for item in reader.waiting_requests()]


def test_a_request_is_kept_as_its_command_keeps_it(state: Path, token_file: Path) -> None:
    """It says who, by what and from where; it is in the log, wakes the loop, and its answer is read by its number."""
    woken: list[bool] = []
    client = client_of(state, Http(token_file=token_file), woken)
    with capture_logs() as lines:
        answer = client.post("/api/v1/models/demand/approve", json={"version": 8, "reason": "checked"}, headers=BEARER)
    assert answer.status_code == 202
    assert kept(state) == [("demand", "approve", "ada by API from testclient", {"version": 8, "text": "checked"})]
    assert woken == [True]
    (line,) = [item for item in lines if item["event"] == "request_posted"]
    assert (line["who"], line["client"], line["kind"], line["model"]) == ("ada", "testclient", "approve", "demand")
    assert answer.json()["status"] == "waiting"
    where = answer.headers["location"]
    with StateStore.open(state) as store:
        store.answer_request(answer.json()["id"], at=9.0, outcome="nothing awaits approval", is_refused=True)
    found = client.get(where, headers={"Authorization": f"Bearer {READER}"}).json()
    assert (found["status"], found["outcome"], found["answered_at"]) == ("refused", "nothing awaits approval", 9.0)
    for number in ("999", str(10**30), "-1", "x", "٣"):
        absent = client.get(f"/api/v1/requests/{number}")
        assert (absent.status_code, absent.json()["field"]) == (404, "request")


def test_only_a_token_with_the_role_operates(state: Path, token_file: Path) -> None:
    """No token, a token without the role, a password and an address without tokens are refused with what to do."""
    client = client_of(state, Http(token_file=token_file))
    assert client.post(RETRAIN, json={}).status_code == 401
    assert client.post(RETRAIN, json={}, auth=("ada", OPERATOR)).status_code == 401
    assert client.post(RETRAIN, json={}, headers={"Cookie": f"Authorization=Bearer {OPERATOR}"}).status_code == 401
    for access, headers in (
        (Http(token_file=token_file), {"Authorization": f"Bearer {READER}"}),
        (Http(), {}),
        (Http(listen="0.0.0.0:9464", allow_anonymous=True), BEARER),
    ):
        answer = client_of(state, access).post(RETRAIN, json={}, headers=headers)
        assert answer.status_code == 403
        assert "role=operate" in answer.json()["error"]
    assert kept(state) == []


def test_a_session_says_who_the_token_is(state: Path, token_file: Path) -> None:
    """A token's name and right; nobody without one or by a password; 401 for one that is not known (any more)."""
    client = client_of(state, Http(token_file=token_file))

    def asked(**given: Any) -> tuple[int, Any]:
        answer = client.get("/api/v1/session", **given)
        return answer.status_code, answer.json()

    reader = {"Authorization": f"Bearer {READER}"}
    assert asked(headers=BEARER) == (200, {"name": "ada", "operates": True, "has_tokens": True})
    assert asked(headers=reader)[1]["operates"] is False
    nobody = (200, {"name": None, "operates": False, "has_tokens": True})
    assert asked() == asked(auth=("ada", OPERATOR)) == asked(headers={"Cookie": f"token={OPERATOR}"}) == nobody
    assert asked(headers={"Authorization": "Bearer a-wrong-token-of-length"})[0] == 401
    untold = client_of(state, Http())
    assert untold.get("/api/v1/session").json() == {"name": None, "operates": False, "has_tokens": False}
    assert untold.get("/api/v1/session", headers=BEARER).status_code == 401


def test_the_api_lets_nobody_in_where_no_guard_stands_before_it(state: Path) -> None:
    """Who forgets the guard gets a refusal, no open door."""
    unused = Wiring(Metrics(), lambda: None, lambda: None, dict, lambda *_: Path("/nonexistent"))
    api = RequestApi(ApiWiring(state, lambda: ("demand",), lambda: None))
    assert TestClient(application(unused, api.routes())).post(RETRAIN, json={}, headers=BEARER).status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:9464"}, 202),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://drift.example.org"}, 202),  # behind a proxy
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/json; charset=utf-8"}, 202),
    ],
)
def test_a_page_of_another_site_asks_for_nothing(client: TestClient, headers: dict[str, str], status: int) -> None:
    """Even with a token; and what a form can send is no request."""
    body = {"Content-Type": "application/json", **BEARER, **headers}
    assert client.post(RETRAIN, content=b"{}", headers=body).status_code == status


@pytest.mark.parametrize(
    ("action", "body", "status", "words"),
    [
        ("retrain", {"reasn": "x"}, 422, "unknown field `reasn`. retrain takes snapshot, reason"),
        ("approve", {}, 422, "missing required field `version`"),
        ("approve", {"version": True}, 422, "Expected `int`, got `bool`"),
        ("approve", {"version": 0}, 422, ">= 1"),
        ("acknowledge", {"reason": " "}, 422, "reason"),
        ("acknowledge", {"reason": "x", "until": "soon"}, 422, "no span (7d, 12h) and no time"),
        ("acknowledge", {"reason": "x", "until": "2030-01-01T00:00:00"}, 422, "with its zone"),
        ("retrain", {"reason": "x" * 1001}, 422, "length <= 1000"),
        ("retrain", [], 422, "Expected `object`"),
        ("explode", {}, 404, "there is no action 'explode'; there are retrain, retry, approve"),
    ],
)
def test_a_bad_request_is_told_what_is_allowed(
    client: TestClient, state: Path, action: str, body: object, status: int, words: str
) -> None:
    """A field that is unknown, missing or of another type is named, and nothing is kept."""
    answer = client.post(f"/api/v1/models/demand/{action}", json=body, headers=BEARER)
    assert answer.status_code == status
    assert words in answer.json()["error"]
    assert kept(state) == []


def test_bodies_and_models_are_bounded(client: TestClient) -> None:
    """A body that is too long, is no JSON or asks for a model that there is not is refused."""
    headers = {"Content-Type": "application/json", **BEARER}
    assert client.post(RETRAIN, content=b" " * (LONGEST_BODY + 1), headers=headers).status_code == 413
    assert client.post(RETRAIN, content=b"{", headers=headers).status_code == 400
    assert client.post(RETRAIN, content=b"", headers=headers).status_code == 202
    absent = client.post("/api/v1/models/other/retrain", json={}, headers=BEARER)
    assert absent.status_code == 404
    assert "there are demand, price" in absent.json()["error"]
    assert client.get(RETRAIN, headers=BEARER).status_code == 405


def test_the_same_key_asks_once(client: TestClient, state: Path) -> None:
    """A request that is sent again with its key is the one of before; with another content it is refused."""
    headers = {**BEARER, "Idempotency-Key": "7f3a"}
    body = {"reason": "campaign", "until": "3d"}
    first = client.post("/api/v1/models/demand/acknowledge", json=body, headers=headers).json()
    again = client.post("/api/v1/models/demand/acknowledge", json=body, headers=headers)
    assert (again.status_code, again.json()) == (202, first)
    assert len(kept(state)) == 1
    for path in ("/api/v1/models/price/acknowledge", RETRAIN):
        other = client.post(path, json={"reason": "campaign"}, headers=headers)
        assert other.status_code == 409
        assert f"request {first['id']}" in other.json()["error"]
    assert client.post(RETRAIN, json={}, headers={**BEARER, "Idempotency-Key": "x" * 200}).status_code == 422
    client.post(RETRAIN, json={}, headers=BEARER)
    client.post(RETRAIN, json={}, headers=BEARER)
    assert len(kept(state)) == 3


def test_rates_and_what_waits_are_bounded(client: TestClient, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a burst is asked to come again, and so is everybody while nothing is answered."""
    answers = [client.post(RETRAIN, json={}, headers=BEARER).status_code for _ in range(AT_ONCE + 5)]
    assert answers[:AT_ONCE] == [202] * AT_ONCE
    assert 429 in answers
    monkeypatch.setattr(api_module, "MOST_WAITING", 5)
    full = client_of(state, Http(token_file=state.parent / "token")).post(RETRAIN, json={}, headers=BEARER)
    assert full.status_code == 503
    assert full.headers["retry-after"]
    rates = RateLimiter()
    assert [rates.take("a", 0.0) for _ in range(AT_ONCE + 1)] == [True] * AT_ONCE + [False]
    assert rates.take("b", 0.0)
    assert rates.take("a", 1.5)
    assert not rates.take("a", 1.5)


def test_nothing_is_kept_before_the_first_start(tmp_path: Path, token_file: Path) -> None:
    """Without a state database the answer says so, and none is made."""
    client = client_of(tmp_path / "none.db", Http(token_file=token_file))
    answer = client.post(RETRAIN, json={}, headers=BEARER)
    assert (answer.status_code, "no state database" in answer.json()["error"]) == (503, True)
    assert client.get("/api/v1/requests/1").status_code == 503
    assert not (tmp_path / "none.db").exists()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = sorted({name for request in REQUESTS.values() for name in request.__struct_fields__})
BODIES = (
    st.binary(max_size=60)
    | JSON.map(json.dumps).map(str.encode)
    | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), JSON, max_size=4).map(json.dumps).map(str.encode)
)
KEYS = st.none() | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=130)


@pytest.fixture
def unbounded(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """Many requests in a second, as many as a test draws."""
    monkeypatch.setattr(api_module, "AT_ONCE", 10**9)
    return client


def read(action: str, body: bytes) -> dict[str, Any] | Exception:
    """What the store would keep of a body, or why it is refused."""
    try:
        return decode(REQUESTS[action], body).arguments(0.0)
    except (RefusalError, ValueError) as refusal:
        return refusal


@settings(max_examples=200, deadline=None)
@given(action=st.sampled_from(sorted(REQUESTS)), body=BODIES)
def test_any_body_is_a_request_or_is_refused(action: str, body: bytes) -> None:
    """What is drawn is read as the request of its action, which the store can keep, or refused with a sentence."""
    found = read(action, body)
    if isinstance(found, Exception):
        assert str(found)
        assert getattr(found, "status", 422) in {400, 422}
    else:
        assert json.loads(json.dumps(found))["text"] == found["text"]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(action=st.sampled_from(sorted(REQUESTS)), body=BODIES, key=KEYS)
def test_any_body_gets_an_answer_of_the_document(
    unbounded: TestClient, action: str, body: bytes, key: str | None
) -> None:
    """Whatever is sent, the answer has a status of the OpenAPI document and is JSON with its fields."""
    headers = {"Content-Type": "application/json", **BEARER, **({} if key is None else {"Idempotency-Key": key})}
    answer = unbounded.post(f"/api/v1/models/demand/{action}", content=body, headers=headers)
    described = document()["paths"][f"/api/v1/models/{{model}}/{action}"]["post"]["responses"]
    assert str(answer.status_code) in described
    name = "RequestView" if answer.status_code == 202 else "Error"
    assert set(answer.json()) == set(document()["components"]["schemas"][name]["properties"])
    assert answer.status_code < 500


def test_every_route_is_in_the_document(tmp_path: Path) -> None:
    """Each route of the daemon has its path and its methods in the OpenAPI document, and nothing else is there."""
    page = idle_page(tmp_path)
    api = RequestApi(ApiWiring(tmp_path / "state.db", tuple, lambda: None))
    unused = Wiring(Metrics(), lambda: None, lambda: None, dict, lambda *_: Path("/nonexistent"))
    found: set[tuple[str, str]] = set()
    looks = LookApi(LookWiring(tuple, lambda: False, lambda _: LookView(status="busy")))
    outside = [*BuildApi(Places(tmp_path)).routes(), *SubmissionApi(Places(tmp_path), api).routes()]
    for route in application(unused, [*outside, *api.routes(), *looks.routes(), *page.routes()]).routes:
        if isinstance(route, Mount):
            found.add((f"{route.path}/{{path}}", "get"))
            continue
        assert isinstance(route, Route)
        path = re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path)
        paths = [path.replace("{action}", kind) for kind in REQUESTS] if "{action}" in path else [path]
        methods = {method.lower() for method in route.methods or ()} - {"head"}
        found |= {(each, method) for each in paths for method in methods}
    assert found == {(path, method) for path, methods in document()["paths"].items() for method in methods}


def test_the_document_is_whole_and_in_the_docs(client: TestClient) -> None:
    """What is served is docs/openapi.json; each reference leads somewhere; each operation has a name of its own."""
    served = client.get("/openapi.json").json()
    assert served == json.loads((ROOT / "docs" / "openapi.json").read_text("utf-8"))
    text = json.dumps(served)
    for where, name in re.findall(r'"#/components/(\w+)/(\w+)"', text):
        assert name in served["components"][where]
    names = re.findall(r'"operationId": "([^"]+)"', text)
    assert len(names) == len(set(names)) == sum(map(len, served["paths"].values()))


def test_the_newest_draw_of_labels_is_read(tmp_path: Path) -> None:
    """GET gives what was drawn, with weights, beside the POSTs of the same path; a model without a draw has none."""
    StateStore.open(tmp_path / "state.db").close()
    (tmp_path / "c.yaml").write_text("models: {}\n")
    asked = LabelRequest(
        prediction_id="p1", predicted_at=5.0, probability=0.25, uncertainty=0.5, boost=1.0, row_hash="00000000000000ff"
    )
    draw = LabelDraw(model="demand", drawn_at=9.0, since=0.0, until=9.0, seed=1, predictions=4, requests=[asked])
    post_label_draw(tmp_path / "state.db", draw)
    page = idle_page(tmp_path)
    api = RequestApi(ApiWiring(tmp_path / "state.db", tuple, lambda: None))
    unused = Wiring(Metrics(), lambda: None, lambda: None, dict, lambda *_: Path("/nonexistent"))
    looking = TestClient(application(unused, [*api.routes(), *page.routes()]))
    found = looking.get("/api/v1/models/demand/label-requests").json()
    assert found["predictions"] == 4
    assert [(line["prediction_id"], line["weight"]) for line in found["requests"]] == [("p1", 4.0)]
    assert looking.get("/api/v1/models/supply/label-requests").status_code == 404
    page.close()
