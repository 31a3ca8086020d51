"""A config whose models stand in several files: read as a whole, told by file, noticed when any of them changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftd.config import load as load_module
from driftd.config.load import ConfigDigest, ConfigError, ConfigWatch, digest_of, files_of, load

MAIN = "state_dir: /var/lib/driftd\nmodels_from: conf.d/*.yaml\n"


def write(folder: Path, main: str = MAIN, **files: str) -> Path:
    """A config file with files beside it, in `conf.d`."""
    (folder / "conf.d").mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / "conf.d" / f"{name}.yaml").write_text(text)
    path = folder / "config.yaml"
    path.write_text(main)
    return path


def section(model: str, more: str = "") -> str:
    """A file with one model."""
    return f"models:\n  {model}: {{task: regression, target: y{more}}}\n"


def report(path: Path) -> str:
    """Why a config is refused; paths from its folder on."""
    with pytest.raises(ConfigError) as refused:
        load(path)
    return str(refused.value).replace(f"{path.parent}/", "")


def test_the_models_of_all_files_are_under_watch(tmp_path: Path) -> None:
    """Those of the main file and those of each file of the pattern, in the order of their names."""
    path = write(tmp_path, MAIN + section("own"), b=section("credit"), a=section("demand"))
    assert list(load(path).models) == ["own", "demand", "credit"]


def test_a_main_file_needs_no_models_of_its_own(tmp_path: Path) -> None:
    """A config may consist of what all models share, and of the files of models."""
    assert list(load(write(tmp_path, a=section("demand"))).models) == ["demand"]


def test_an_absolute_pattern_is_read_as_it_is(tmp_path: Path) -> None:
    """A pattern may lead to another folder."""
    path = write(tmp_path, f"models_from: {tmp_path}/conf.d/a*.yaml\n", a=section("demand"), b=section("credit"))
    assert list(load(path).models) == ["demand"]


def test_a_fault_is_told_with_the_file_and_the_line_that_it_stands_in(tmp_path: Path) -> None:
    """Faults of several files come in one report."""
    path = write(tmp_path, a=section("demand", ", evry: 1h"), b="models:\n\n  credit: {task: regresion, target: y}\n")
    lines = report(path).splitlines()
    assert lines[0].startswith("conf.d/a.yaml:2: models.demand.evry: ")
    assert lines[1].startswith("conf.d/b.yaml:3: models.credit.task: ")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"a": section("demand"), "b": section("demand")},
            "conf.d/b.yaml:2: models.demand: the model demand stands in conf.d/a.yaml too; name one of them otherwise",
        ),
        (
            {"a": section("demand") + "http: {listen: '127.0.0.1:1'}\n"},
            "conf.d/a.yaml:3: http: http stands in the main file alone; a file of `models_from` has models and nothing "
            "else",
        ),
        (
            {"a": section("demand"), "b": "model: {}\n"},
            "conf.d/b.yaml:1: it has no models: begin it with `models:`",
        ),
        (
            {},
            "config.yaml:2: models_from: no file matches conf.d/*.yaml, seen from the folder of this file",
        ),
    ],
    ids=["twice", "more than models", "no models", "no file"],
)
def test_each_fault_of_a_file_of_models(tmp_path: Path, files: dict[str, str], expected: str) -> None:
    """A config with it is refused, and the report says what, where and what to do."""
    assert expected in report(write(tmp_path, **files))


def test_a_file_that_is_no_yaml_is_told_by_its_name(tmp_path: Path) -> None:
    """The report names the file of models, not the main one."""
    assert report(write(tmp_path, a=section("demand"), b="models: [\n")).startswith("conf.d/b.yaml:")


def test_a_change_of_any_file_is_a_change_of_the_config(tmp_path: Path) -> None:
    """The hash follows what stands in each file, and which files there are."""
    path = write(tmp_path, a=section("demand"))
    seen = [digest_of(path), load(path).hash]
    (tmp_path / "conf.d" / "a.yaml").write_text(section("demand", ", window: {every: 2h}"))
    seen.append(load(path).hash)
    (tmp_path / "conf.d" / "b.yaml").write_text(section("credit"))
    seen.append(digest_of(path))
    (tmp_path / "conf.d" / "b.yaml").rename(tmp_path / "conf.d" / "c.yaml")
    seen.append(digest_of(path))
    assert seen[0] == seen[1]
    assert len(set(seen[1:])) == 4


def test_a_watch_tells_when_a_file_of_models_is_written(tmp_path: Path) -> None:
    """It calls back once the new content stands still for two looks."""
    path = write(tmp_path, a=section("demand"))
    known, calls = load(path).hash, []
    watch = ConfigWatch(path, lambda: known, lambda: calls.append(digest_of(path)))
    watch.look()
    watch.look()
    assert calls == []
    write(tmp_path, b=section("credit"))
    watch.look()
    watch.look()
    assert calls == [load(path).hash]


def test_files_of_models_are_read_when_they_show_a_change_or_a_minute_has_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand files at rest are not read each second; one that is written over under its old look is still seen."""
    path = write(tmp_path, a=section("demand"), b=section("credit"))
    now, reads = [100.0], []
    whole = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: reads.append(self.name) or whole(self))
    digest = ConfigDigest(path, lambda: now[0])
    first = digest.read()
    assert [digest.read() for _ in range(20)] == [first] * 20
    assert reads == ["a.yaml", "b.yaml"]
    (tmp_path / "conf.d" / "b.yaml").write_text(section("churns"))
    second = digest.read()
    assert second not in (None, first)
    monkeypatch.setattr(load_module, "_look", lambda file: (str(file), 0, 0, 0, 0))
    digest.read()
    (tmp_path / "conf.d" / "b.yaml").write_text(section("credit"))
    assert digest.read() == second
    now[0] += 59.0
    assert digest.read() == first == digest_of(path)


def test_a_file_that_goes_or_comes_is_seen_at_the_next_look(tmp_path: Path) -> None:
    """Which files there are is looked at each time."""
    path = write(tmp_path, a=section("demand"), b=section("credit"))
    digest = ConfigDigest(path)
    seen = [digest.read()]
    (tmp_path / "conf.d" / "b.yaml").unlink()
    seen.append(digest.read())
    path.write_text(MAIN + section("own"))
    seen.append(digest.read())
    path.unlink()
    assert len({*seen, None}) == 4
    assert digest.read() is None


def test_copies_of_a_config_have_all_its_files(tmp_path: Path) -> None:
    """Backups and standbys take the files of models along, under names that cannot meet."""
    path = write(tmp_path, b=section("credit"), a=section("demand"))
    assert {name: file.name for name, file in files_of(path).items()} == {
        "config.yaml": "config.yaml",
        "models_from/000-a.yaml": "a.yaml",
        "models_from/001-b.yaml": "b.yaml",
    }
