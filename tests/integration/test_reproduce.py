"""`driftd reproduce` on real versions: the same, with changed code, without data, by a trainer that cannot repeat."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from driftd.config.load import load
from driftd.paths import Places
from driftd.registry import Registry
from driftd.registry.manifest import write_manifest
from driftd.training.bootstrap import FileColumns, make_first_version
from driftd_processes import driftd
from loop_world import LABEL_DELAY, MODEL, hour

CONFIG = """\
state_dir: {state}
models:
  demand: {{task: regression, target: y, trainer: {trainer}, parameters: {{max_iter: 20}}, allow_joblib: true}}
"""
OWN = """\
import numpy as np
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.compose import make_column_selector, make_column_transformer

def train(data, context):
    numbers = make_column_transformer(("passthrough", make_column_selector(dtype_include="number")))
    model = make_pipeline(numbers, Ridge(alpha=ALPHA))
    return model.fit(data[list(context.features)], data[context.target])
"""
NOW = 1_760_000_000.123_456_7  # not a whole number of microseconds

pytestmark = pytest.mark.slow
Reproduce = Callable[..., tuple[int, str]]


@pytest.fixture
def reproduce(tmp_path: Path) -> Reproduce:
    """Run the real command; its exit code and what it printed."""

    def run(*arguments: str, version: int = 1) -> tuple[int, str]:
        done = driftd(tmp_path, "reproduce", MODEL, str(version), *arguments)
        return done.returncode, done.stdout + done.stderr

    return run


def make(folder: Path, *, own: str | None = None, late: bool = False) -> Path:
    """A folder with a config and version 1, by our own trainer or by a module `own`; with `late`, labels straggle."""
    trainer = "driftd.trainers:gradient_boosting"
    if own is not None:
        (folder / "own_trainer.py").write_text(own)
        trainer = "own_trainer:train"
    (folder / "config.yaml").write_text(CONFIG.format(state=folder / "state", trainer=trainer))
    frame, truth = hour(1, rows=1200)
    at = NOW - np.arange(1200, 0, -1.0) * 30
    delay = np.random.default_rng(3).exponential(np.where(truth > 0, 15_000, 1000)) if late else LABEL_DELAY
    rows = frame.assign(y=truth, at=at, label_at=at + delay)
    rows = rows[rows["label_at"] <= NOW]
    columns = FileColumns(time="at", label_time="label_at")
    config = load(folder / "config.yaml").models[MODEL]
    make_first_version(MODEL, config, rows, columns, Places(folder / "state"), now=NOW)
    return folder


@pytest.fixture(scope="module")
def boosted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("boosted"))


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("owned")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        return make(folder, own=OWN.replace("ALPHA", "1.0"))


def copied(made: Path, tmp_path: Path) -> tuple[Places, Registry]:
    """A copy of what was made, to do harm to."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text().replace(str(made), str(tmp_path)))
    places = Places(tmp_path / "state")
    return places, Registry(places)


def test_a_version_is_reproduced_byte_for_byte(tmp_path: Path, reproduce: Reproduce) -> None:
    """The same snapshot, code, parameters, seed and libraries give the very same artefact, also with late labels."""
    places = Places(make(tmp_path, late=True) / "state")
    registry = Registry(places)
    assert registry.manifest(MODEL, 1).data["weighted_for_late_labels"]
    before = sorted(path for path in places.root.rglob("*") if path.is_file())
    code, said = reproduce("--keep", str(tmp_path / "kept"))
    assert code == 0, said
    assert "demand/1 is reproduced byte for byte" in said
    kept = (tmp_path / "kept" / "model.skops").read_bytes()
    assert kept == registry.file(MODEL, 1, "model.skops").read_bytes()
    assert sorted(path for path in places.root.rglob("*") if path.is_file()) == before  # nothing was published


def test_a_lost_artefact_is_still_reproduced(boosted: Path, tmp_path: Path, reproduce: Reproduce) -> None:
    """The recorded hash is enough: what is kept of the rebuild can take the place of a lost artefact."""
    places, _ = copied(boosted, tmp_path)
    (places.version(MODEL, 1) / "model.skops").unlink()
    code, said = reproduce("--json")
    assert code == 0, said
    assert json.loads(said)["outcome"] == "same"


def test_changed_code_is_named_as_what_differs(owned: Path, tmp_path: Path, reproduce: Reproduce) -> None:
    """A trainer that was edited since gives other predictions: code 7, and the code is named, with the losses."""
    copied(owned, tmp_path)
    (tmp_path / "own_trainer.py").write_text(OWN.replace("ALPHA", "500.0"))
    code, said = reproduce()
    assert code == 7, said
    assert "demand/1 is not reproduced: 300 of 300 hold-out predictions differ, loss " in said
    assert "what differs: code" in said
    assert "the source of own_trainer:train has changed since" in said


def test_changed_code_that_makes_no_difference_is_the_same(owned: Path, tmp_path: Path, reproduce: Reproduce) -> None:
    """A comment in the trainer changes its fingerprint and nothing else: the same, and it is said that code changed."""
    copied(owned, tmp_path)
    (tmp_path / "own_trainer.py").write_text("# a comment\n" + OWN.replace("ALPHA", "1.0"))
    code, said = reproduce()
    assert code == 0, said
    assert "demand/1 is reproduced byte for byte, although code changed" in said


def test_other_libraries_and_other_parameters_are_told(boosted: Path, tmp_path: Path, reproduce: Reproduce) -> None:
    """The recorded parameters are used whatever the config says now; a library that is another is named."""
    places, registry = copied(boosted, tmp_path)
    manifest = registry.manifest(MODEL, 1)
    aged = replace(manifest, libraries={**manifest.libraries, "scikit-learn": "1.4.0"})
    write_manifest(places.version(MODEL, 1), aged)
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text().replace("max_iter: 20", "max_iter: 21"))
    code, said = reproduce("--json")
    found = json.loads(said)
    assert (code, found["outcome"], found["differs"]) == (0, "same", ["libraries"])
    assert "(was 1.4.0)" in found["details"]["libraries"]
    assert found["details"]["parameters"] == "as recorded ({'max_iter': 20}); the config has others now"


def test_without_its_snapshot_a_version_cannot_be_built_again(
    boosted: Path, tmp_path: Path, reproduce: Reproduce
) -> None:
    """A snapshot that is gone, or is not what its name says, ends with 4 and says what to restore."""
    places, registry = copied(boosted, tmp_path)
    folder = places.snapshot(MODEL, registry.manifest(MODEL, 1).snapshot)
    data = folder / "data.parquet"
    data.write_bytes(data.read_bytes()[:-1] + b"x")
    code, said = reproduce()
    assert code == 4, said
    assert "does not match its name" in said
    shutil.rmtree(folder)
    code, said = reproduce("--json")
    assert (code, json.loads(said)["differs"]) == (4, ["data"])
    assert "restore it from a backup" in json.loads(said)["sentence"]


def test_without_its_trainer_a_version_cannot_be_built_again(owned: Path, tmp_path: Path, reproduce: Reproduce) -> None:
    """A trainer that is gone ends with 4 and names the module; one that raises is a failed build, with code 1."""
    copied(owned, tmp_path)
    (tmp_path / "own_trainer.py").write_text("def train(data, context):\n    raise ValueError('no')\n")
    code, said = reproduce()
    assert code == 1, said
    assert "the trainer own_trainer:train raised ValueError: no" in said
    (tmp_path / "own_trainer.py").unlink()
    code, said = reproduce()
    assert code == 4, said
    assert "there is no module 'own_trainer'" in said


def test_a_trainer_that_does_not_repeat_itself_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reproduce: Reproduce
) -> None:
    """Nothing differs and yet the predictions do: then the trainer draws from something else than its seed."""
    monkeypatch.syspath_prepend(str(tmp_path))
    make(tmp_path, own=OWN.replace("ALPHA", "np.random.default_rng().uniform(1, 900)"))
    code, said = reproduce()
    assert code == 7, said
    assert "the trainer does not repeat itself" in said


def test_a_version_that_there_never_was_is_told_with_those_that_there_are(
    boosted: Path, tmp_path: Path, reproduce: Reproduce
) -> None:
    """An unknown version ends with 4, a folder that is not empty with 2."""
    copied(boosted, tmp_path)
    code, said = reproduce(version=7)
    assert code == 4
    assert "demand has no version 7; there are: 1" in said
    code, said = reproduce("--keep", str(tmp_path))
    assert code == 2
    assert "is not empty" in said
