"""The log of a stage over HTTP: who is shown it, which one, and what is no log."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from driftd.config.schema import Http
from driftd.events import Stage, StageResult
from driftd.observe.http import Wiring, application
from driftd.observe.metrics import Metrics
from driftd.records import ModelState
from driftd.store.state.stages import StageRun
from driftd.store.state.writer import StateStore
from driftd.views.stages import LOG_BYTES
from driftd.web.security import RequestGuard
from page_server import idle_page

READER = "a-reader-of-some-length"
URL = "/api/models/demand/stages/2"
BEARER = {"Authorization": f"Bearer {READER}"}


def log_of(root: Path, attempt: int) -> Path:
    """The log of an attempt to train."""
    return root / "jobs" / f"demand-{attempt}-train" / "log.txt"


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    """A reader before the daemon's own guard; version 2 was trained twice."""
    with StateStore.open(tmp_path / "state.db") as store:
        store.save_state(ModelState("demand", champion=1), 1.0)
        for attempt in (1, 2):
            log = log_of(tmp_path, attempt)
            log.parent.mkdir(parents=True)
            log.write_text(f"attempt {attempt}")
            store.save_stage(
                StageRun(
                    model="demand", version=2, stage=Stage.TRAIN, attempt=attempt, result=StageResult.FAILED,
                    sentence="", started_at=1.0, ended_at=2.0, log=str(log.relative_to(tmp_path)), details={},
                )
            )  # fmt: skip
    (tmp_path / "c.yaml").write_text("models: {}\n")
    (tmp_path / "token").write_text(f"{READER}\n")
    (tmp_path / "token").chmod(0o600)
    page = idle_page(tmp_path)
    unused = Wiring(Metrics(), lambda: None, lambda: None, dict, lambda *_: Path("/nonexistent"))
    guard = RequestGuard.of(application(unused, page.routes()), Http(token_file=tmp_path / "token"), lambda _: None)
    return TestClient(guard, base_url="http://127.0.0.1:9464")


def test_whoever_bears_a_token_reads_the_log_of_a_stage(client: TestClient) -> None:
    """The newest attempt, or the one that is named; a trainer may have printed rows, so nobody else does."""
    assert client.get(f"{URL}/train/log", headers=BEARER).text == "attempt 2"
    assert client.get(f"{URL}/train/log?attempt=1", headers=BEARER).text == "attempt 1"
    for path in (f"{URL}/train/log?attempt=3", f"{URL}/test/log", f"{URL}/..%2f..%2ftoken/log"):
        assert client.get(path, headers=BEARER).status_code == 404
    assert client.get(f"{URL}/train/log").status_code == 403
    assert client.get(f"{URL}/train/log", auth=("ada", READER)).status_code == 403


def test_the_end_of_a_long_log_is_shown_and_a_link_is_no_log(client: TestClient, tmp_path: Path) -> None:
    """A job that puts a link to another file in the place of its log shows nobody that file."""
    log = log_of(tmp_path, 2)
    log.write_bytes(b"x" * LOG_BYTES + b"its end")
    shown = client.get(f"{URL}/train/log", headers=BEARER).content
    assert (len(shown), shown[-7:]) == (LOG_BYTES, b"its end")
    log.unlink()
    log.symlink_to(tmp_path / "token")
    answer = client.get(f"{URL}/train/log", headers=BEARER)
    assert answer.status_code == 503
    assert READER not in answer.text
    log.unlink()
    assert client.get(f"{URL}/train/log", headers=BEARER).status_code == 404
