"""The exceptions of both packages: one base each, an exit code, a message for people."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftd.cli import main as entry
from driftd.config.load import ConfigError
from driftd.errors import DriftdError, ExitCode
from driftd.store.integrity import DamagedError
from driftd.store.state.reader import StateAbsentError
from driftd_detectors.errors import DetectorError

ROOT = Path(__file__).resolve().parents[2]
BASES = {ROOT / "daemon" / "driftd": "DriftdError", ROOT / "detectors" / "driftd_detectors": "DetectorError"}
NO_FAILURES = {"StopAskedError"}  # ends the main loop: a handler of failures must not catch it
BUILT_IN = {
    name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)
}


def classes(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Every class below a folder, and the names of its bases without their modules."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                yield node.name, [ast.unparse(base).rpartition(".")[2] for base in node.bases]


def is_exception(name: str, bases: list[str]) -> bool:
    """Whether a class is an exception, by its bases or by its name."""
    known = BUILT_IN | {"ClickException", *BASES.values()}
    return bool(known & set(bases)) or (bool(bases) and name.endswith(("Error", "Exception", "Warning")))


@pytest.mark.parametrize(("folder", "base"), BASES.items(), ids=BASES.values())
def test_every_exception_of_a_package_has_its_base(folder: Path, base: str) -> None:
    """Every exception class derives from the base of its package, directly or through another one."""
    found = [(name, bases) for name, bases in classes(folder) if is_exception(name, bases)]
    derived = {base}
    while more := {name for name, bases in found if name not in derived and derived & set(bases)}:
        derived |= more
    assert base in {name for name, _ in found}
    assert {name for name, _ in found} - derived == (NO_FAILURES if base == "DriftdError" else set())


def test_an_error_without_a_message_says_what_its_class_means() -> None:
    """The first line of the docstring is the default message."""
    assert str(StateAbsentError()) == "There is no state database yet: `driftd run` makes it at its first start."
    assert str(StateAbsentError("no database at /x")) == "no database at /x"


@pytest.mark.parametrize(
    ("error", "report", "code"),
    [
        (ConfigError("config.yaml:3: no such key"), "config.yaml:3: no such key", ExitCode.USAGE),
        (StateAbsentError("no database"), "driftd: no database", ExitCode.ABSENT),
        (DamagedError("state.db is damaged"), "driftd: state.db is damaged", ExitCode.DAMAGED),
        (DriftdError("no room"), "driftd: no room", ExitCode.FAILED),
        (DetectorError("a reference needs rows"), "driftd: a reference needs rows", ExitCode.FAILED),
        (
            FileNotFoundError(2, "No such file or directory", "/x"),
            "driftd: /x: No such file or directory: name a place that is there, or make its folder first",
            1,
        ),
    ],
)
def test_the_command_line_ends_with_the_report_and_the_code_of_an_error(
    error: Exception, report: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error that reaches the command line is its report on standard error and its class's exit code."""

    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(entry, "cli", fail)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == code
    assert capsys.readouterr().err == f"{report}\n"


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is no sentence for people comes out of the command line unchanged."""

    def fail(**_: object) -> None:
        raise ValueError("a wrong argument")

    monkeypatch.setattr(entry, "cli", fail)
    with pytest.raises(ValueError, match="a wrong argument"):
        entry.main()
