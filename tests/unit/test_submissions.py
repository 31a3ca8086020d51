"""Versions that are handed in by HTTP: who may, what is kept, and what is refused."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from driftd.api.routes import ApiWiring, RequestApi
from driftd.api.submissions import SubmissionApi
from driftd.config.schema import Http
from driftd.observe.http import Wiring, application
from driftd.observe.metrics import Metrics
from driftd.outside.exchange import MOST_SUBMISSIONS, Exchange, submission_folder
from driftd.paths import Places
from driftd.policy.inputs import Facts, OperatorRequest, Override, PolicySettings
from driftd.policy.operator import answer_request
from driftd.policy.triggers import find_obstacle
from driftd.records import Build, BuildRequest, BuildStep, Event, ModelState, Phase, Trigger
from driftd.store.state.reader import StateReader
from driftd.store.state.request_queue import post_request
from driftd.store.state.writer import StateStore
from driftd.web.security import RequestGuard
from outside_world import skops_file

OPERATOR, SUBMITTER, READER = "an-operator-of-some-length", "a-pipeline-of-some-length", "a-reader-of-some-length"
CONTENT = skops_file()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
URL = "/api/v1/models/demand/versions"
NOW = 1_760_000_000.0


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    """A pipeline before the daemon's own guard."""
    StateStore.open(tmp_path / "state.db").close()
    file = tmp_path / "token"
    file.write_text(f"{OPERATOR} role=operate name=ada\n{SUBMITTER} role=submit name=nightly\n{READER}\n")
    file.chmod(0o600)
    api = RequestApi(ApiWiring(tmp_path / "state.db", lambda: ("demand",), lambda: None))
    routes = [*SubmissionApi(Places(tmp_path), api, largest=1000).routes(), *api.routes()]
    unused = Wiring(Metrics(), lambda: None, lambda: None, dict, lambda *_: Path("/nonexistent"))
    guard = RequestGuard.of(application(unused, routes), Http(token_file=file), lambda _: None)
    return TestClient(guard, base_url="http://127.0.0.1:9464")


def hand_in(client: TestClient, content: bytes = CONTENT, *, token: str = SUBMITTER, **given: Any) -> Any:
    """The file of a model as a pipeline sends it."""
    headers = {"Authorization": f"Bearer {token}", "X-Driftd-SHA256": given.pop("sha256", SHA256)}
    headers |= {"Idempotency-Key": given.pop("key")} if "key" in given else {}
    url = given.pop("url", URL)
    return client.post(url, content=content, headers=headers, params={"file": "m.skops", **given})


def kept(folder: Path) -> list[dict[str, Any]]:
    """What waits for the loop."""
    with StateReader.read_only(folder / "state.db") as reader:
        return [{"kind": item.kind, "who": item.who, **item.arguments} for item in reader.waiting_requests()]


def test_a_pipeline_hands_a_version_in(client: TestClient, tmp_path: Path) -> None:
    """The file is on the disk, and the loop is asked, with who, why and until when it was trained."""
    answer = hand_in(client, trained_until="2026-01-01T00:00:00Z", reason="nightly")
    assert answer.status_code == 202, answer.text
    (request,) = kept(tmp_path)
    assert (request["kind"], request["who"], request["text"]) == ("submit", "nightly by API from testclient", "nightly")
    assert request["trained_until"] == 1_767_225_600.0
    exchange = Exchange(submission_folder(Places(tmp_path), "demand", request["submission"]))
    outcome = exchange.outcome
    assert outcome is not None
    assert (exchange.folder / str(outcome.file)).read_bytes() == CONTENT
    assert hand_in(client, token=OPERATOR).status_code == 202


def test_the_same_key_hands_one_version_in(client: TestClient, tmp_path: Path) -> None:
    """Sent again it is the same request; another file or another reason by that key is a conflict."""
    first, again = (hand_in(client, key="run-7", reason="nightly") for _ in range(2))
    assert (first.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert len(kept(tmp_path)) == 1
    other = skops_file("[]")
    conflict = hand_in(client, other, key="run-7", sha256=hashlib.sha256(other).hexdigest(), reason="nightly")
    assert (conflict.status_code, conflict.json()["field"]) == (409, "Idempotency-Key")
    assert hand_in(client, key="run-7", reason="weekly").status_code == 409


def test_a_role_of_its_own_hands_versions_in_and_does_nothing_else(client: TestClient, tmp_path: Path) -> None:
    """It operates no model; a token without a role hands nothing in, and nobody does."""
    bearer = {"Authorization": f"Bearer {SUBMITTER}"}
    assert client.post("/api/v1/models/demand/retrain", json={}, headers=bearer).status_code == 403
    reload = client.post("/-/reload", headers=bearer)
    assert (reload.status_code, "does nothing else" in reload.json()["error"]) == (403, True)
    assert client.post("/-/reload", headers={"Authorization": f"Bearer {READER}"}).status_code == 200
    refused = hand_in(client, token=READER)
    assert (refused.status_code, "role=submit" in refused.json()["error"]) == (403, True)
    assert client.post(URL, content=CONTENT).status_code == 401
    assert kept(tmp_path) == []


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ({"sha256": "0" * 64}, 422, "send it again"),
        ({"content": b"x" * 1001}, 413, "more than 1,000 bytes"),
        ({"file": "m.exe"}, 422, "an artefact is a file"),
        ({"file": ""}, 422, "name the file"),
        ({"trained_until": "yesterday"}, 422, "no time with its zone"),
        ({"trained": "x"}, 422, "there is no field 'trained'; there are file, reason, trained_until"),
        ({"reason": "x" * 1001}, 422, "at most 1000 characters"),
        ({"url": "/api/v1/models/price/versions"}, 404, "there is no model 'price'; there are demand"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_a_sentence(
    client: TestClient, tmp_path: Path, given: dict[str, Any], status: int, words: str
) -> None:
    """And nothing is asked of the loop."""
    answer = hand_in(client, **given)
    assert answer.status_code == status
    assert words in answer.json()["error"]
    assert kept(tmp_path) == []


def test_only_the_newest_submissions_and_those_in_use_stay(client: TestClient, tmp_path: Path) -> None:
    """A pipeline that hands in every night does not fill the disk, and takes no file from a version that waits."""
    folder = tmp_path / "submitted" / "demand"
    wanted, built, asked = "a" * 32, "b" * 32, "c" * 32
    want = BuildRequest(Trigger.SUBMITTED, "nightly", NOW, submission=wanted)
    build = Build(2, Trigger.SUBMITTED, "nightly", BuildStep.TRAIN, NOW, submission=built)
    store = StateStore.open(tmp_path / "state.db")
    with store.transaction():
        store.save_state(ModelState("demand", champion=1, want=want, build=build), NOW)
    store.close()
    post_request(
        tmp_path / "state.db", at=NOW, who="ada", model="demand", kind="submit", arguments={"submission": asked}
    )
    for number, name in enumerate((wanted, built, asked, *(f"old-{place}" for place in range(MOST_SUBMISSIONS)))):
        (folder / name).mkdir(parents=True)
        os.utime(folder / name, (NOW + number, NOW + number))
    assert hand_in(client).status_code == 202
    stay = {path.name for path in folder.iterdir()}
    assert {wanted, built, asked} <= stay
    assert "old-0" not in stay
    assert len(stay) == MOST_SUBMISSIONS + 3


def submit(state: ModelState, **given: Any) -> Any:
    """What the loop decides on a version that is handed in."""
    finding = OperatorRequest("submit", "nightly", "new features", at=NOW, submission="ab", **given)
    return answer_request(state, finding, Facts(next_version=2), PolicySettings(), Override(), NOW)


def test_a_submission_waits_for_rows_that_it_has_not_seen_and_for_nothing_else() -> None:
    """Not for the cool-down and the budget; without a word of when it was trained, rows from now on judge it."""
    state = ModelState("demand", champion=1, cooldown_until=NOW + 1e6, build_starts=(NOW - 1,) * 9)
    decided = submit(state, trained_until=NOW - 1000.0)
    want = decided.state.want
    assert decided.event is Event.BUILD_WANTED
    assert (want.trigger, want.change_at, want.submission) == (Trigger.SUBMITTED, NOW - 1000.0, "ab")
    few = find_obstacle(decided.state, want, Facts(next_version=2, labels=299), PolicySettings(), Override(), NOW)
    assert few is not None
    assert few.startswith("299 of 300 labelled rows since")
    enough = Facts(next_version=2, labels=300)
    assert find_obstacle(decided.state, want, enough, PolicySettings(), Override(), NOW) is None
    assert submit(state).state.want.trained_until == NOW
    assert submit(state, trained_until=NOW + 5000.0).state.want.trained_until == NOW


def test_a_submission_does_not_push_aside_what_is_under_way() -> None:
    """While a build works or another submission waits it is refused, with what to do."""
    build = Build(2, Trigger.MANUAL, "asked", BuildStep.TRAIN, NOW)
    busy = submit(ModelState("demand", phase=Phase.RETRAINING, champion=1, build=build))
    assert (busy.event, "submit it again when that has ended" in busy.reason) == (Event.REQUEST_REFUSED, True)
    waiting = submit(ModelState("demand", champion=1)).state
    finding = OperatorRequest("submit", "ada", at=NOW, submission="cd")
    other = answer_request(waiting, finding, Facts(next_version=2), PolicySettings(), Override(), NOW)
    assert (other.event, "waits already" in other.reason) == (Event.REQUEST_REFUSED, True)
