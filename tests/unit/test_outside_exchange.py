"""A build outside: its token, what comes in and what is refused, how it is started, asked for and given up."""

from __future__ import annotations

import hashlib
import json
import resource
import stat
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from driftd.api.builds import BuildApi
from driftd.config.schema import Http
from driftd.config.trainer_schema import OutsideTrainer
from driftd.loop.outside_builds import (
    OUTSIDE,
    OutsideJobs,
    failed_stage,
    next_stage,
    outside_arguments,
    put_aside,
    way_of,
)
from driftd.observe.http import Wiring, application
from driftd.observe.metrics import Metrics
from driftd.outside.exchange import (
    CONTEXT,
    ROWS,
    Answer,
    ArtefactWriter,
    Exchange,
    ExchangeError,
    Order,
    Outcome,
    SettledError,
    exchange_folder,
    make_token,
    token_hash,
)
from driftd.outside.start import OutsideError, Way, start_build
from driftd.paths import Places
from driftd.records import ActionKind, Build, BuildStep, ModelState, TrainArguments, Trigger
from driftd.store.state.records import StoredAction
from driftd.training.jobs import JobResult, write_result
from driftd.training.tasks.await_build import Arguments, run
from driftd.web.security import RequestGuard
from outside_world import Pipelines, pipelines, skops_file

CONTENT = skops_file()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
URL = "/api/v1/builds/demand-7"


def ordered(root: Path, *, seconds: float = 60.0, largest: int = 10_000, answer: Answer | None = None) -> Exchange:
    """A build of version 2 that was ordered just now."""
    places, now = Places(root), time.time()
    exchange = Exchange(exchange_folder(places.job("demand-7-train")))
    exchange.folder.mkdir(parents=True)
    token = token_hash(make_token(places, "demand-7", now))
    exchange.write(
        Order(
            id="demand-7", model="demand", version=2, token_hash=token, issued_at=now, deadline=now + seconds,
            largest=largest,
        )
    )  # fmt: skip
    exchange.write(answer or Answer(sentence="started"))
    (exchange.folder / ROWS).write_bytes(b"rows")
    (exchange.folder / CONTEXT).write_text('{"task": "regression"}')
    return exchange


def bearer(root: Path, exchange: Exchange) -> dict[str, str]:
    """The token of an order as a builder sends it."""
    order = exchange.order
    assert order is not None
    return {"Authorization": f"Bearer {make_token(Places(root), order.id, order.issued_at)}"}


def client_of(root: Path) -> TestClient:
    """A builder on another host, before the daemon's guard, which knows tokens of its own."""
    (root / "token").write_text("an-operator-of-some-length role=operate\n")
    (root / "token").chmod(0o600)
    unused = Wiring(Metrics(), lambda: None, lambda: None, dict, lambda *_: Path("/nonexistent"))
    app = application(unused, BuildApi(Places(root)).routes())
    access = Http(token_file=root / "token", protect="all")
    return TestClient(RequestGuard.of(app, access, lambda _: None), base_url="http://drift.example.org")


def test_a_builder_gets_its_rows_and_gives_a_model_back_once(tmp_path: Path) -> None:
    """Its token opens its build, by any name of the host, and nothing any more once something came back."""
    exchange = ordered(tmp_path)
    client, headers = client_of(tmp_path), bearer(tmp_path, exchange)
    assert not exchange.was_contacted
    about = client.get(URL, headers=headers).json()
    assert (about["build"], about["context"]) == (2, {"task": "regression"})
    assert exchange.was_contacted
    assert client.get(f"{URL}/snapshot", headers=headers).content == b"rows"
    promised = {**headers, "X-Driftd-SHA256": SHA256}
    for commit, status in (("not-a-commit", 422), ("0123abc", 202)):
        says = {**promised, "X-Driftd-Commit": commit}
        assert client.put(f"{URL}/artefact/m.skops", content=CONTENT, headers=says).status_code == status
    outcome = exchange.outcome
    assert outcome is not None
    assert outcome.commit == "0123abc"
    assert (exchange.folder / str(outcome.file)).read_bytes() == CONTENT
    for answer in (client.get(URL, headers=headers), client.post(f"{URL}/failed", headers=headers)):
        assert (answer.status_code, "came back" in answer.json()["error"]) == (410, True)


def test_nobody_else_opens_a_build(tmp_path: Path) -> None:
    """Not a token of another build, an operator's, none, one as a password, nor any path that is no build."""
    exchange = ordered(tmp_path)
    client, own = client_of(tmp_path), bearer(tmp_path, exchange)
    other = {"Authorization": f"Bearer {make_token(Places(tmp_path), 'demand-8', 1.0)}"}
    for headers in (other, {"Authorization": "Bearer an-operator-of-some-length"}, {}, {"Authorization": "Bearer ü"}):
        assert client.get(URL, headers={name: value.encode() for name, value in headers.items()}).status_code == 401
    assert client.get(URL, auth=("any", own["Authorization"].partition(" ")[2])).status_code == 401
    for path in ("demand-8", "..%2F..%2Fdemand-7", "demand-7-train", "x" * 300, "demand-"):
        assert client.get(f"/api/v1/builds/{path}", headers=own).status_code in (401, 404)
    assert client.post("/-/reload", headers=own).status_code == 401
    assert not exchange.was_contacted


def test_no_token_is_stored(tmp_path: Path) -> None:
    """The order holds its hash, the key is this user's alone, and a token is made again as it was."""
    exchange = ordered(tmp_path)
    token = bearer(tmp_path, exchange)["Authorization"].partition(" ")[2]
    assert all(token.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert stat.S_IMODE((tmp_path / "outside.key").stat().st_mode) == 0o600
    assert bearer(tmp_path, exchange)["Authorization"] == f"Bearer {token}"


@pytest.mark.parametrize(
    ("name", "content", "promised", "status", "words"),
    [
        ("m.skops", CONTENT, hashlib.sha256(b"other").hexdigest(), 422, "send it again"),
        ("m.skops", CONTENT, "", 422, "its SHA-256 is missing"),
        ("m.exe", CONTENT, SHA256, 422, "an artefact is a file .skops"),
        ("m.skops", b"a model", hashlib.sha256(b"a model").hexdigest(), 422, "m.skops is no file of skops"),
        ("m.skops", b"", hashlib.sha256(b"").hexdigest(), 422, "is empty"),
        ("m.skops", b"x" * 10_001, SHA256, 413, "more than 10,000 bytes"),
    ],
)
def test_what_is_not_as_promised_is_refused_and_may_come_again(
    tmp_path: Path, name: str, content: bytes, promised: str, status: int, words: str
) -> None:
    """It leaves nothing behind, and the build still waits."""
    exchange = ordered(tmp_path)
    client, headers = client_of(tmp_path), bearer(tmp_path, exchange)
    before = set(exchange.folder.iterdir())
    refused = client.put(f"{URL}/artefact/{name}", content=content, headers={**headers, "X-Driftd-SHA256": promised})
    assert (refused.status_code, words in refused.json()["error"]) == (status, True)
    assert {path.name for path in set(exchange.folder.iterdir()) - before} == {"contact"}
    pieces = client.put(
        f"{URL}/artefact/m.skops", content=iter([b"x" * 6000] * 2), headers={**headers, "X-Driftd-SHA256": SHA256}
    )
    assert pieces.status_code == 413
    assert exchange.outcome is None


def test_what_comes_after_the_deadline_is_refused_and_told(tmp_path: Path) -> None:
    """The builder hears when the deadline was, and the log of the daemon who was late."""
    exchange = ordered(tmp_path, seconds=-1.0)
    headers = {**bearer(tmp_path, exchange), "X-Driftd-SHA256": SHA256}
    with capture_logs() as lines:
        late = client_of(tmp_path).put(f"{URL}/artefact/m.skops", content=CONTENT, headers=headers)
    assert (late.status_code, "the deadline was at" in late.json()["error"]) == (410, True)
    assert [line["build"] for line in lines if line["event"] == "late_builder_refused"] == ["demand-7"]


def test_a_failure_is_the_outcome_with_its_last_words(tmp_path: Path) -> None:
    """Of a long log the end is kept, and of one that is too long nothing is taken."""
    exchange = ordered(tmp_path)
    client, headers = client_of(tmp_path), bearer(tmp_path, exchange)
    assert client.post(f"{URL}/failed", content=b"x" * 70_000, headers=headers).status_code == 413
    assert client.post(f"{URL}/failed", content=b"y" * 9000 + b" out of memory", headers=headers).status_code == 202
    with pytest.raises(OutsideError, match="out of memory") as failed:
        await_build(exchange, way())
    assert len(str(failed.value)) < 5000


def test_of_two_that_come_back_at_once_the_first_counts(tmp_path: Path) -> None:
    """The other is told so, and its file is gone."""
    exchange = ordered(tmp_path)
    with (
        ArtefactWriter(exchange, "a.skops", SHA256, 1000) as first,
        ArtefactWriter(exchange, "b.onnx", SHA256, 1000) as second,
    ):
        first.add(CONTENT)
        second.add(CONTENT)
        second.finish()
        with pytest.raises(SettledError, match=rf"b\.onnx of {len(CONTENT)} bytes came back"):
            first.finish()
    assert [path.suffix for path in exchange.folder.glob("artefact-*")] == [".onnx"]
    assert not exchange.settle(Outcome(state="late", sentence="late"))
    exchange.drop_content()
    assert {path.name for path in exchange.folder.iterdir()} == {
        "order.json", "answer.json", "outcome.json", CONTEXT,
    }  # fmt: skip


def test_a_disk_that_takes_no_more_is_told_as_such(tmp_path: Path) -> None:
    """The builder is asked to come again."""
    exchange = ordered(tmp_path, largest=10_000_000)
    headers = {**bearer(tmp_path, exchange), "X-Driftd-SHA256": SHA256}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        answer = client_of(tmp_path).put(f"{URL}/artefact/m.skops", content=b"x" * 1_000_000, headers=headers)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")


def way(found: Pipelines | None = None, **changes: Any) -> Way:
    """How the builder is asked."""
    webhook = None if found is None else f"{found.url}/start?token=s3cret"
    return Way(**{"place": "ci.example.org", "webhook": webhook, "timeout": 20.0, **changes})


def await_build(exchange: Exchange, by: Way) -> dict[str, object]:
    """Wait as the job does."""
    return run(Arguments(folder=str(exchange.folder), way=by, poll=0.01))


def test_a_build_is_asked_for_until_it_has_succeeded(tmp_path: Path) -> None:
    """Its artefact is fetched from where its status says, and a wrong hash is no end: it may be mended in time."""
    with pipelines() as found:
        status = f"{found.url}/status"
        exchange = ordered(tmp_path, seconds=1.5, answer=Answer(sentence="started", status_url=status))
        found.pages["/status"] = (
            200,
            json.dumps({"state": "succeeded", "artefact": f"{found.url}/m.skops", "sha256": "0" * 64}).encode(),
        )
        found.pages["/m.skops"] = (200, CONTENT)
        with pytest.raises(OutsideError, match=r"gave nothing back by .*the last answer: what came has the SHA-256"):
            await_build(exchange, way(found))
    other = tmp_path / "other"
    with pipelines() as found:
        exchange = ordered(other, answer=Answer(sentence="started", status_url=f"{found.url}/status"))
        (tmp_path / "m.skops").write_bytes(CONTENT)
        good = {"state": "succeeded", "artefact": str(tmp_path / "m.skops"), "sha256": SHA256}
        found.pages["/status"] = (200, json.dumps(good).encode())
        assert f"m.skops of {len(CONTENT)} bytes came back" in str(await_build(exchange, way(found))["sentence"])


def test_a_status_that_says_failed_ends_the_build(tmp_path: Path) -> None:
    """With the words of the builder."""
    with pipelines() as found:
        exchange = ordered(tmp_path, answer=Answer(sentence="started", status_url=f"{found.url}/status"))
        found.pages["/status"] = (200, b'{"state": "failed", "log": "no such column"}')
        with pytest.raises(OutsideError, match=r"ci\.example\.org says that it failed: no such column"):
            await_build(exchange, way(found))


@pytest.mark.parametrize("outcome", ["late", "closed"])
def test_a_build_that_is_given_up_is_cancelled(tmp_path: Path, outcome: str) -> None:
    """At its deadline, and where it was put aside; a builder that cannot be told changes nothing."""
    with pipelines() as found:
        answer = Answer(sentence="started", cancel_url=f"{found.url}/cancel")
        exchange = ordered(tmp_path, seconds=-1.0 if outcome == "late" else 60.0, answer=answer)
        if outcome == "closed":
            exchange.settle(Outcome(state="closed", sentence="the build was put aside"))
        with pytest.raises(OutsideError, match="put aside" if outcome == "closed" else r"nothing back by .*deadline"):
            await_build(exchange, way(found))
        assert found.asked == ["/cancel"]


def test_the_headers_of_the_webhook_go_to_no_other_server(tmp_path: Path) -> None:
    """A status elsewhere is asked without them; the body is what the other system wants, signed and with a key."""
    (tmp_path / "headers").write_text("PRIVATE-TOKEN: s3cret\n\n")
    (tmp_path / "secret").write_text("k3y\n")
    order = {"key": "demand-7-ab", "id": "demand-7", "token": "t", "snapshot": {}, "reason": "mae rose"}
    body = {"ref": "main", "id": "$KEY", "variables": {"DRIFTD_ORDER": "$ORDER_TEXT"}, "conf": ["$ORDER"], "n": 1}
    with pipelines() as found:
        by = way(found, body=body, headers_file=str(tmp_path / "headers"), secret_file=str(tmp_path / "secret"))
        assert start_build(by, order).sentence == "started by a POST to ci.example.org"
        (posted,) = found.bodies
        assert posted == {
            "ref": "main",
            "id": "demand-7-ab",
            "variables": {"DRIFTD_ORDER": json.dumps(order)},
            "conf": [order],
            "n": 1,
        }
        assert found.headers[0]["PRIVATE-TOKEN"] == "s3cret"
        assert found.headers[0]["Idempotency-Key"] == "demand-7-ab"
        assert found.headers[0]["X-Driftd-Signature"].startswith("sha256=")
        start_build(way(found, body={"ORDER": "$ORDER_TEXT", "N": 1}, form=True), order)
        assert found.bodies[1] == {"ORDER": json.dumps(order), "N": "1"}


def test_a_start_that_fails_says_how_and_holds_no_secret(tmp_path: Path) -> None:
    """A refusal, a server that is away, one that hangs, a program that fails; a repetition may find it begun."""
    order = {"key": "k"}
    with pipelines(answer=lambda _: (409, {"detail": "dag run exists"})) as found:
        with pytest.raises(OutsideError, match=r"answers 409: .*dag run exists"):
            start_build(way(found), order)
        assert "has begun it before" in start_build(way(found), order, is_again=True).sentence
    with pytest.raises(OutsideError, match=r"ci\.example\.org cannot be reached") as failed:
        start_build(way(webhook="http://127.0.0.1:9/x?token=s3cret"), order)
    assert "s3cret" not in str(failed.value)
    (tmp_path / "headers").write_text("A: b\ns3cret\n")
    with pytest.raises(OutsideError, match=r"headers_file .* line 2: a header is"):
        start_build(way(webhook="http://127.0.0.1:9/x", headers_file=str(tmp_path / "headers")), order)
    program = (sys.executable, "-c", "raise SystemExit('the cluster is away')")
    with pytest.raises(OutsideError, match="ended with exit code 1"):
        start_build(way(start=program), order)
    with pytest.raises(OutsideError, match=r"took longer than 0\.2 s"):
        start_build(way(start=("sleep", "60"), timeout=0.2), order)
    with pytest.raises(OutsideError, match="cannot be run"):
        start_build(way(start=("/nonexistent/start",)), order)


def test_a_program_starts_a_build_and_names_its_status(tmp_path: Path) -> None:
    """It gets the order on standard input and its plain fields as variables; its last line may name addresses."""
    script = (
        "import json, os, sys; order = json.load(sys.stdin); print('started'); "
        "print(json.dumps({'status_url': os.environ['DRIFTD_URL'] + '/' + order['key']}))"
    )
    answer = start_build(
        way(start=(sys.executable, "-c", script)), {"key": "k", "url": "http://127.0.0.1:1", "snapshot": {}}
    )
    assert answer.status_url == "http://127.0.0.1:1/k"
    with pytest.raises(OutsideError, match="the status_url of the answer is no address"):
        start_build(way(start=("echo", '{"status_url": "file:///etc/passwd"}')), {"key": "k"})


def test_the_records_of_an_exchange_are_read_as_they_were_written(tmp_path: Path) -> None:
    """And an order or answer of a build that is gone is none."""
    exchange = ordered(tmp_path)
    assert exchange.answer == Answer(sentence="started")
    assert Exchange.of(Places(tmp_path), "demand-7") == exchange
    assert Exchange.of(Places(tmp_path), "demand-8") is None
    assert Exchange(tmp_path / "absent").outcome is None
    with pytest.raises(ExchangeError):
        ArtefactWriter(exchange, "../m.skops", SHA256, 10)
    assert msgspec.json.decode((exchange.folder / "order.json").read_bytes())["id"] == "demand-7"


ACTION = StoredAction(
    7, None, "demand", ActionKind.TRAIN,
    {"version": 2, "snapshot": "ab", "trigger": "manual", "reason": "asked"}, "started", 1.0, 1.0, None, None,
)  # fmt: skip


def test_a_build_outside_is_three_jobs_in_their_order(tmp_path: Path) -> None:
    """What ordered is not run again, what waits takes no slot, and a failure of either ends the whole."""
    trainer = OutsideTrainer(webhook="https://ci.example.org/start?token=s3cret", headers_file=Path("headers"))
    arguments = ACTION.typed_arguments
    assert isinstance(arguments, TrainArguments)
    own, outside = {"model": "demand"}, outside_arguments(trainer, Http(), Places(tmp_path), ACTION, arguments)[OUTSIDE]
    assert isinstance(outside, OutsideJobs)
    folder = Places(tmp_path).job("demand-7-train")
    (folder / "order").mkdir(parents=True)
    (folder / "wait").mkdir()
    first = next_stage(folder, own, outside)
    assert (first.task, first.folder, first.waits_seconds) == ("order", folder / "order", None)
    assert (first.arguments["build"], first.arguments["url"]) == ("demand-7", "http://127.0.0.1:9464")
    assert way_of(trainer)["place"] == "ci.example.org"
    write_result(folder / "order", JobResult(ok=True))
    second = next_stage(folder, own, outside)
    assert (second.task, second.waits_seconds) == ("await", 6 * 3600 + 120)
    assert failed_stage(folder) is None
    write_result(folder / "wait", JobResult(ok=True))
    last = next_stage(folder, own, outside)
    assert (last.task, last.folder, last.arguments["place"]) == ("receive", folder, "ci.example.org")
    write_result(folder / "wait", JobResult(ok=False, error="nothing came back"))
    failed = failed_stage(folder)
    assert failed is not None
    assert failed.error == "nothing came back"


def test_a_build_whose_version_is_not_wanted_any_more_is_put_aside(tmp_path: Path) -> None:
    """While its build is under way it is left alone; once that is gone nothing more is taken for it."""
    exchange, places = ordered(tmp_path), Places(tmp_path)
    build = Build(2, Trigger.MANUAL, "asked", BuildStep.TRAIN, 1.0)
    put_aside(places, ModelState("demand", build=build), ACTION)
    assert exchange.outcome is None
    put_aside(places, ModelState("demand"), ACTION)
    outcome = exchange.outcome
    assert outcome is not None
    assert outcome.state == "closed"
    assert client_of(tmp_path).get(URL, headers=bearer(tmp_path, exchange)).status_code == 410
