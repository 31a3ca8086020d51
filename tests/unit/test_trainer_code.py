"""Which code a trainer is: fingerprints and commits, without importing it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from driftd.training.trainer_code import TrainerError, source_files, trainer_code

PATH = list(sys.path)


def git(folder: Path, *words: str) -> str:
    settings = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    return subprocess.run(["git", *settings, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise SystemExit('imported')")
    (folder / "demand.py").write_text("def train(data, context): ...")
    (folder / "features.py").write_text("LAGS = 3")
    return folder


def test_a_change_anywhere_in_the_package_changes_the_fingerprint(package: Path) -> None:
    """The function's file, its siblings and the reference count; nothing is imported to find out."""
    paths = [str(package.parent)]
    before = trainer_code("shop.demand:train", paths)
    assert trainer_code("shop.demand:train", paths) == before
    (package / "features.py").write_text("LAGS = 4")
    after = trainer_code("shop.demand:train", paths)
    assert after.fingerprint != before.fingerprint
    assert trainer_code("shop.demand:other", paths).fingerprint != after.fingerprint
    assert (before.commit, before.dirty) == (None, False)


def test_a_plain_module_is_its_file_alone(package: Path) -> None:
    """Unrelated files beside a module do not count."""
    (package.parent / "alone.py").write_text("def train(data, context): ...")
    assert [path.name for path in source_files("alone:train", [str(package.parent)])] == ["alone.py"]


def test_the_commit_of_tracked_code_is_known(package: Path) -> None:
    """In a git work tree the commit is named, and uncommitted changes are admitted."""
    git(package.parent, "init", "-q")
    git(package.parent, "add", "shop")
    git(package.parent, "commit", "-qm", "first")
    code = trainer_code("shop.demand:train", [str(package.parent)])
    assert (code.commit, code.dirty) == (git(package.parent, "rev-parse", "HEAD").strip(), False)
    (package / "demand.py").write_text("def train(data, context): return 1")
    assert trainer_code("shop.demand:train", [str(package.parent)]).dirty


def test_a_command_is_its_words_and_the_files_they_name(tmp_path: Path) -> None:
    """Changing the script that a command names changes its fingerprint."""
    script = tmp_path / "train.sh"
    script.write_text("echo one")
    before = trainer_code(["sh", str(script)])
    script.write_text("echo two")
    assert trainer_code(["sh", str(script)]).fingerprint != before.fingerprint
    assert before.reference == f"sh {script}"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nonsense", "not of the form package.module:function"),
        ("no_such_package.sub:train", "no module 'no_such_package'"),
        ("driftd.no_such_module:train", "no module 'driftd.no_such_module'"),
        ("math:floor", "no Python source|no module"),
    ],
)
def test_a_trainer_that_is_not_there_says_what_is_missing(reference: str, message: str) -> None:
    """The error names the part that cannot be found and what to do."""
    with pytest.raises(TrainerError, match=message):
        trainer_code(reference, PATH)


def test_the_default_trainer_has_its_own_sources() -> None:
    """The shipped trainer's fingerprint covers the trainers' folder."""
    names = {path.name for path in source_files("driftd.trainers:gradient_boosting", PATH)}
    assert {"__init__.py", "boosting.py", "context.py"} <= names
