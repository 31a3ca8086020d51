"""Looks over HTTP: who is shown rows, what is refused, and that a job answers later."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from driftd.api.looks import LookApi, LookOrder, LookView, LookWiring
from driftd.config.schema import Http
from driftd.observe.http import Wiring, application
from driftd.observe.metrics import Metrics
from driftd.web.security import RequestGuard

READER = "a-reader-of-some-length"
BEARER = {"Authorization": f"Bearer {READER}"}
ROWS = "/api/models/demand/rows"
WINDOWS = {"first": "3", "last": "5"}
FOUND = {"columns": ["prediction id", "=cmd"], "rows": [["a", "=1+1"], ["b", -2.5], ["@c", None]]}


def client_of(tmp_path: Path, asked: list[LookOrder], *, shows_rows: bool, status: str = "done") -> TestClient:
    """A browser before the daemon's own fence; the job that is asked is `status` at once."""
    tokens = tmp_path / "token"
    tokens.write_text(f"{READER} name=bob\n")
    tokens.chmod(0o600)

    def ask(order: LookOrder) -> LookView:
        asked.append(order)
        return LookView(status=status, value=FOUND if status == "done" else None)  # type: ignore[arg-type]  # of a test

    looks = LookApi(LookWiring(lambda: ("demand",), lambda: shows_rows, ask))
    unused = Wiring(Metrics(), lambda: None, lambda: None, dict, lambda *_: Path("/nonexistent"))
    app = RequestGuard.of(application(unused, looks.routes()), Http(token_file=tokens), lambda _: None)
    return TestClient(app, base_url="http://127.0.0.1:9464")


def test_rows_are_shown_only_where_the_config_says_so(tmp_path: Path) -> None:
    """Without `show_rows` even a token is refused, with the key that allows it; no job is begun."""
    asked: list[LookOrder] = []
    client = client_of(tmp_path, asked, shows_rows=False)
    for path in (ROWS, f"{ROWS}.csv"):
        answer = client.get(path, params=WINDOWS, headers=BEARER)
        assert answer.status_code == 403
        assert "show_rows: true" in answer.json()["error"]
    assert asked == []


def test_rows_need_a_token_in_the_header_and_leave_a_line(tmp_path: Path) -> None:
    """Nobody and a browser's password are refused; who bears a token is in the log with what was shown."""
    asked: list[LookOrder] = []
    client = client_of(tmp_path, asked, shows_rows=True)
    assert client.get(ROWS, params=WINDOWS).status_code == 403
    assert client.get(ROWS, params=WINDOWS, auth=("bob", READER)).status_code == 403
    assert asked == []
    with capture_logs() as lines:
        answer = client.get(ROWS, params=WINDOWS, headers=BEARER)
    assert (answer.status_code, answer.json()["value"]) == (200, FOUND)
    assert asked == [LookOrder("rows", "demand", 3, 5)]
    (line,) = [item for item in lines if item["event"] == "rows_shown"]
    assert (line["who"], line["model"], line["first"]) == ("bob", "demand", "3")


def test_a_spreadsheet_runs_nothing_of_the_csv(tmp_path: Path) -> None:
    """A text that begins like a formula gets an apostrophe, in the heading too; numbers stay numbers."""
    answer = client_of(tmp_path, [], shows_rows=True).get(f"{ROWS}.csv", params=WINDOWS, headers=BEARER)
    assert answer.text.splitlines() == ["prediction id,'=cmd", "a,'=1+1", "b,-2.5", "'@c,"]
    assert answer.headers["content-disposition"] == 'attachment; filename="demand-3-5.csv"'


@pytest.mark.parametrize(("status", "code"), [("working", 202), ("busy", 503), ("failed", 200), ("done", 200)])
def test_a_job_that_works_is_asked_again(tmp_path: Path, status: str, code: int) -> None:
    """While it works, or others come first, the answer says when to ask again."""
    answer = client_of(tmp_path, [], shows_rows=False, status=status).get(
        "/api/models/demand/quality", params=WINDOWS, headers={"Sec-Fetch-Site": "same-origin"}
    )
    assert (answer.status_code, answer.json()["status"]) == (code, status)
    assert ("retry-after" in answer.headers) == (code != 200)


@pytest.mark.parametrize(
    ("path", "query", "headers", "code"),
    [
        ("demand", WINDOWS, {"Sec-Fetch-Site": "cross-site"}, 403),
        ("other", WINDOWS, {}, 404),
        ("demand", {"first": "5", "last": "3"}, {}, 422),
        ("demand", {"first": "1"}, {}, 422),
        ("demand", {"first": "1", "last": "9" * 15}, {}, 422),
        ("demand", {"first": "x", "last": "'"}, {}, 422),
    ],
)
def test_what_no_job_may_be_begun_for(
    tmp_path: Path, path: str, query: dict[str, str], headers: dict[str, str], code: int
) -> None:
    """A page of another origin, an unknown model, and windows that are none are refused with a sentence."""
    asked: list[LookOrder] = []
    answer = client_of(tmp_path, asked, shows_rows=True).get(
        f"/api/models/{path}/quality", params=query, headers=headers
    )
    assert answer.status_code == code
    assert answer.json()["error"]
    assert asked == []
