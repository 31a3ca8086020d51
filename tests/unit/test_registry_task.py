"""The job of the registry before a server that refuses or is away: its credentials, its errors, what it leaves."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from driftd.cli.check_config import meaning
from driftd.config.credential_files import CredentialFileError
from driftd.config.load import load
from driftd.doctor.checks import CHECKS
from driftd.doctor.installation import FindingLevel, examine_all
from driftd.events import RegistryTask
from driftd.paths import Places
from driftd.records import ModelState, MovedAlias, RegistryState
from driftd.store.state.writer import StateStore
from driftd.training.mlflow_versions import MlflowError, MlflowPlace
from driftd.training.tasks.registry import Arguments, run
from driftd.web.secrets import fault_of, secrets_of

SECRET = "s3cret-t0ken"


@dataclass
class Refusing:
    """A server that answers every request with the same words, and keeps who asked."""

    address: str = ""
    said: str = ""
    asked_by: list[str] = field(default_factory=list)


@contextmanager
def refusing(said: str) -> Iterator[Refusing]:
    """Serve it while the block runs."""
    found = Refusing(said=said)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked_by.append(self.headers.get("authorization", ""))
            body = json.dumps({"error_code": "PERMISSION_DENIED", "message": found.said}).encode()
            self.send_response(403)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def look(tmp_path: Path, **place: str) -> Arguments:
    """What the daemon asks of a job that looks at the alias."""
    return Arguments(
        model="demand",
        state_dir=str(tmp_path),
        task=RegistryTask.LOOK,
        version=1,
        place=MlflowPlace(name="demand", alias="champion", **place),
        timeout=5.0,
    )


def test_credentials_come_from_files_and_go_to_the_server_alone(tmp_path: Path) -> None:
    """A token as a bearer, a password with its name; no error holds them, though the server repeats them."""
    pytest.importorskip("mlflow")
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    before = dict(os.environ)
    with refusing(f"the token {SECRET} is not known here") as server:
        with pytest.raises(MlflowError, match="the token \\*\\*\\* is not known here") as failed:
            run(look(tmp_path, tracking_uri=server.address, token_file=str(file)))
        assert server.asked_by == [f"Bearer {SECRET}"]
        assert SECRET not in str(failed.value)
        with pytest.raises(MlflowError) as failed:
            run(look(tmp_path, tracking_uri=server.address, username="ada", password_file=str(file)))
        assert server.asked_by[-1].startswith("Basic ")
        assert SECRET not in str(failed.value)
    assert dict(os.environ) | {"MLFLOW_DISABLE_TELEMETRY": ""} == before | {"MLFLOW_DISABLE_TELEMETRY": ""}


def test_a_server_that_is_away_is_told_in_one_sentence(tmp_path: Path) -> None:
    """Nobody listens: the job fails within seconds."""
    pytest.importorskip("mlflow")
    with pytest.raises(MlflowError, match=r"^MLflow fails: .*127\.0\.0\.1") as failed:
        run(look(tmp_path, tracking_uri="http://127.0.0.1:9"))
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe\x00"], ids=["absent", "empty", "blank", "binary"])
def test_a_file_of_credentials_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None) -> None:
    """The sentence has its path and nothing that is in it; `driftd doctor` and `check-config` find it too."""
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CredentialFileError, match=f"the file {file} of MLflow's credentials"):
        run(look(tmp_path, tracking_uri="http://127.0.0.1:9", token_file=str(file)))
    (tmp_path / "config.yaml").write_text(
        f"models:\n  demand: {{task: regression, target: y, registry: {{mlflow: {{name: d, token_file: {file}}}}}}}\n"
    )
    (secret,) = secrets_of(load(tmp_path / "config.yaml"))
    assert secret.key == "models.demand.registry.mlflow.token_file"
    assert str(file) in (fault_of(secret) or "")


def test_a_task_without_a_place_says_so(tmp_path: Path) -> None:
    """The config was changed between the decision and the job."""
    with pytest.raises(MlflowError, match="no registry is configured any more"):
        run(
            Arguments(model="demand", state_dir=str(tmp_path), task=RegistryTask.LOOK, version=1, place=None, timeout=5)
        )


CONFIG = """\
state_dir: {state}
models:
  demand:
    task: regression
    target: y
    registry: {{mlflow: {{name: shop, tracking_uri: "http://ml:5000", moved: restore}}}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config whose model is registered."""
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(state=tmp_path / "state"))
    return path


def test_check_config_says_where_versions_go_and_what_is_missing(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they are registered, which alias names what serves, what happens when it is moved, and what to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    said = meaning(load(config), 0.0)["demand"]
    assert (
        "registers each version with http://ml:5000, as shop; has shop@champion name the one that serves, and promotes "
        "a version once it does; moves it back when somebody moves it"
    ) in said
    assert "MLflow is not installed here, so nothing can be registered: pip install 'driftd[mlflow]'" in said


def test_doctor_says_how_the_registry_stands(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing known yet, all well, failing, moved, being moved; and what to install where MLflow is absent."""
    places = Places(load(config).state_dir)
    places.root.mkdir()
    known = RegistryState("http://ml:5000 shop@champion", registered=(1,), alias=1)
    states = {
        "nothing is known yet": None,
        "the alias champion names version 1": known,
        "fails (2 tries): MLflow fails: away": replace(known, failures=2, error="MLflow fails: away", retry_at=9.0),
        "somebody moved the alias": replace(known, moved=MovedAlias("9", None, 5.0)),
        "is being moved": replace(known, alias=None),
    }
    with StateStore.open(places.state_db) as store:
        for words, registry in states.items():
            store.save_state(ModelState("demand", champion=1, registry=registry), 1.0)
            (found,) = examine_all(config, 10.0, {"registries": CHECKS["registries"]})
            assert words in found.said
            assert (found.level is FindingLevel.OK) is (registry == known)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    (found,) = examine_all(config, 10.0, {"registries": CHECKS["registries"]})
    assert (found.level, "MLflow is not installed" in found.said) == (FindingLevel.FAIL, True)
