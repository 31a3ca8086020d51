"""Which code a trainer is: fingerprints and commits, without importing it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from driftd.config.trainer_schema import OutsideTrainer, watched_part
from driftd.training.trainer_code import TrainerError, source_files, trainer_code
from driftd.training.trainer_files import TrainerReader

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


def test_a_builder_that_a_webhook_starts_has_no_file_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is called like its reference in the lineage counts nothing."""
    hook = OutsideTrainer.model_validate({"webhook": "https://ci.example.org/start"})
    before = trainer_code(watched_part(hook))
    monkeypatch.chdir(tmp_path)
    (tmp_path / before.reference).write_text("an edit")
    found = TrainerReader(watched_part(hook)).read()
    assert (before.reference, found.files, found.locks, found.source) == ("outside", (), (), before.fingerprint)
    assert before.fingerprint == hashlib.sha256(b"outside").hexdigest()  # as versions have it in their lineage


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


def test_what_the_trainer_imports_from_its_project_counts(package: Path) -> None:
    """Modules beside the package, those that these import, and the marks of their packages; not what is installed."""
    root = package.parent
    (package / "demand.py").write_text("import numpy\nfrom lags import weekly\nfrom . import features\n")
    (root / "lags.py").write_text("import calendars.holidays as holidays\n")
    (root / "calendars").mkdir()
    (root / "calendars" / "__init__.py").write_text("")
    (root / "calendars" / "holidays.py").write_text("DAYS = 1\n")
    (root / "unrelated.py").write_text("")
    reader = TrainerReader("shop.demand:train", [str(root)])
    before = reader.read()
    names = {str(path.relative_to(root)) for path in before.files}
    assert names == {
        "shop/__init__.py", "shop/demand.py", "shop/features.py", "lags.py", "calendars/__init__.py",
        "calendars/holidays.py",
    }  # fmt: skip
    (root / "unrelated.py").write_text("X = 1\n")
    assert reader.read().source == before.source
    (root / "calendars" / "holidays.py").write_text("DAYS = 22\n")
    after = reader.read()
    assert after.source != before.source
    assert trainer_code("shop.demand:train", [str(root)]).fingerprint == after.source
    (package / "more.py").write_text("")
    assert reader.read().source != after.source


def test_the_same_content_is_no_change_and_is_not_read_again(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout that restores the content changes times alone; where nothing changed, nothing is opened."""
    reader = TrainerReader("shop.demand:train", [str(package.parent)])
    before = reader.read()
    file = package / "features.py"
    content = file.read_text()
    file.write_text("LAGS = 30")
    assert reader.read().source != before.source
    file.write_text(content)
    assert reader.read().source == before.source
    opened: list[Path] = []
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(path) or b"")
    assert reader.read().source == before.source
    assert opened == []


def test_a_file_that_does_not_parse_is_no_whole_trainer(package: Path) -> None:
    """Half an edit is told with its line; the lineage of a version that was made of it still has a fingerprint."""
    (package / "features.py").write_text("LAGS = (\n")
    fault = TrainerReader("shop.demand:train", [str(package.parent)]).read().fault
    assert fault is not None
    assert fault.startswith(str(package / "features.py"))
    assert "does not parse (line 1)" in fault


def test_a_script_is_known_with_what_it_imports(tmp_path: Path) -> None:
    """Of `python train.py` and `python -m job` the modules beside them count; the interpreter itself has no imports."""
    (tmp_path / "train.py").write_text("import rows\n")
    (tmp_path / "rows.py").write_text("N = 1\n")
    script = TrainerReader(["python", str(tmp_path / "train.py")])
    module = TrainerReader(["python", "-m", "train"], [str(tmp_path)])
    before = script.read(), module.read()
    assert [path.name for path in before[0].files] == [path.name for path in before[1].files] == ["train.py", "rows.py"]
    (tmp_path / "rows.py").write_text("N = 22\n")
    assert script.read().source != before[0].source
    assert module.read().source != before[1].source


@pytest.mark.parametrize(
    ("name", "before", "after", "counts"),
    [
        ("uv.lock", "a", "b", True),
        ("requirements-train.txt", "pandas==2", "pandas==3", True),
        ("pyproject.toml", '[project]\ndependencies = ["a"]', '[project]\ndependencies = ["b"]', True),
        ("pyproject.toml", "[tool.ruff]\nline-length = 1", "[tool.ruff]\nline-length = 2", False),
        ("notes.txt", "a", "b", False),
    ],
)
def test_the_lock_file_of_the_project_is_known(package: Path, name: str, before: str, after: str, counts: bool) -> None:
    """It is looked for up to the work tree's folder; of a pyproject.toml the dependencies count and no more."""
    root = package.parent
    git(root, "init", "-q")
    source = root / "src"
    source.mkdir()
    package.rename(source / "shop")
    (root / name).write_text(before)
    reader = TrainerReader("shop.demand:train", [str(source)])
    first = reader.read()
    (root / name).write_text(after)
    second = reader.read()
    assert first.source == second.source
    assert (first.lock != second.lock) is counts


def test_a_lock_file_goes_before_the_dependencies_that_a_project_names(package: Path) -> None:
    """A workspace has its lock file above the project's own pyproject.toml."""
    root = package.parent
    (package / "pyproject.toml").write_text("[project]\n")
    (root / "poetry.lock").write_text("x")
    found = TrainerReader("shop.demand:train", [str(root)]).read()
    assert found.locks == (root / "poetry.lock",)
    recorded = trainer_code("shop.demand:train", [str(root)])
    assert recorded.lock == found.lock is not None
    assert "lock" in recorded.to_dict()
    assert "lock" not in replace(recorded, lock=None).to_dict()  # as it was stored before: the chain binds the words
