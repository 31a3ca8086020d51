"""Artefacts made to run code on loading, planted where driftd loads versions: nothing of them runs."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io

from driftd import Driftd
from driftd.paths import Places
from driftd.registry import ManifestError, Registry
from driftd.registry.artefact import ArtefactError
from driftd.training.fork_server import SHARED
from driftd.training.jobs import JobLimits, start_job
from real_servers import MODEL, ROW, make_state, run_server

pytestmark = pytest.mark.slow


class _Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = str(mark)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (Path(self._mark),)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_state(tmp_path_factory.mktemp("artefacts"))


@pytest.fixture
def config(made: Path, tmp_path: Path) -> Path:
    """A copy of the state, so that each test may spoil it."""
    shutil.copytree(made.parent / "state", tmp_path / "state", symlinks=True)
    path = tmp_path / "config.yaml"
    path.write_text(made.read_text().replace(str(made.parent), str(tmp_path)))
    return path


def plant(places: Places, name: str, content: bytes) -> None:
    """Make content version 1's artefact, with a manifest and a hash that agree with it: the thief could write both."""
    folder = places.version(MODEL, 1)
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["artefact"] = name
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def bomb(kind: str, mark: Path) -> tuple[str, bytes]:
    """A malicious artefact: its name and its bytes."""
    stream = io.BytesIO()
    match kind:
        case "joblib":
            joblib.dump(_Bomb(mark), stream)
            return "model.joblib", stream.getvalue()
        case "pickle called skops":
            return "model.skops", pickle.dumps(_Bomb(mark))
        case "joblib called skops":
            joblib.dump(_Bomb(mark), stream)
            return "model.skops", stream.getvalue()
        case "objects in skops":
            content = skops.io.dumps(np.array([1.0]))
            return "model.skops", content.replace(b"ndarray", b"ndarraz")
        case _:  # types that skops can hold but nobody trusts
            return "model.skops", skops.io.dumps(_Bomb.__init__) if kind == "function" else skops.io.dumps(_Bomb(mark))


KINDS = ("joblib", "pickle called skops", "joblib called skops", "objects in skops", "function")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_loads_versions_runs_what_they_hold(config: Path, tmp_path: Path, kind: str) -> None:
    """The registry, the SDK and the job that verifies a version refuse it with a sentence, and nothing has run."""
    mark = tmp_path / "it-ran"
    places = Places(tmp_path / "state")
    plant(places, *bomb(kind, mark))
    with pytest.raises((ArtefactError, ManifestError)):
        Registry(places).load(MODEL, 1)
    with Driftd(places.root, MODEL) as sdk, pytest.raises(Exception, match=r"\w+ \w+"):
        sdk.predict(ROW)
    arguments = {"model": MODEL, "state_dir": str(places.root), "version": 1, "allow_joblib": False}
    job = start_job(places.job("verify"), "verify", arguments, JobLimits(), SHARED)
    while (result := job.poll()) is None:
        time.sleep(0.02)
    assert not result.ok
    assert not mark.exists()


def test_the_server_runs_nothing_of_a_joblib_file(config: Path, tmp_path: Path) -> None:
    """`driftd serve` answers 503 and says why; the file's code has not run."""
    mark = tmp_path / "it-ran"
    plant(Places(tmp_path / "state"), *bomb("joblib", mark))
    with run_server("serve", config) as server:
        status, came = server.post(f"/v1/models/{MODEL}/predict", json.dumps({"features": ROW}).encode())
    assert status == 503, came
    assert b"allow_joblib" in came
    assert not mark.exists()


def test_the_bomb_works_where_joblib_is_allowed(config: Path, tmp_path: Path) -> None:
    """The proof of the tests above: with `allow_joblib` the very same file runs its code."""
    mark = tmp_path / "it-ran"
    plant(Places(tmp_path / "state"), *bomb("joblib", mark))
    Registry(Places(tmp_path / "state")).load(MODEL, 1, allow_joblib=True)
    assert mark.exists()


@pytest.mark.parametrize("hashed", [True, False])
def test_an_artefact_outside_its_folder_is_not_loaded(config: Path, tmp_path: Path, hashed: bool) -> None:
    """A manifest that names a file elsewhere, or one whose hash differs, is refused even with `allow_joblib`."""
    mark = tmp_path / "it-ran"
    places = Places(tmp_path / "state")
    name, content = bomb("joblib", mark)
    if hashed:
        (places.version(MODEL, 1).parent / "elsewhere").mkdir()
        plant(places, f"../elsewhere/{name}", content)
    else:
        plant(places, name, content)
        (places.version(MODEL, 1) / name).write_bytes(content + b" ")
    with pytest.raises(ManifestError):
        Registry(places).load(MODEL, 1, allow_joblib=True)
    assert not mark.exists()


def test_a_job_gets_no_credentials_and_its_order_is_private(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child's environment names no credentials of the unit, and nobody else reads what it was told."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/driftd.service")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    folder = tmp_path / "job"
    job = start_job(folder, "verify", {"model": MODEL, "state_dir": "/nonexistent", "version": 1}, JobLimits())
    assert job.pid is not None
    given = b""
    while not given and job.poll() is None:
        given = Path(f"/proc/{job.pid}/environ").read_bytes()
    while job.poll() is None:
        time.sleep(0.02)
    assert b"PYTHONHASHSEED" in given
    assert b"CREDENTIALS_DIRECTORY" not in given
    assert b"NOTIFY_SOCKET" not in given
    assert (folder / "job.json").stat().st_mode & 0o777 == 0o600
    assert (folder / "log.txt").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
