"""The walls between the rooms, read from the imports and held to the table in docs/architecture.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"driftd": ROOT / "daemon" / "driftd", "driftd_detectors": ROOT / "detectors" / "driftd_detectors"}
FOUNDATIONS = {
    "driftd.records",
    "driftd.outside_records",
    "driftd.paths",
    "driftd.clock",
    "driftd.stattests",
    "driftd.events",
    "driftd.actions",
    "driftd.decisions",
    "driftd.errors",
    "driftd.formatting",
    "driftd.fsutil",
    "driftd.plugin_protocols",
    "driftd.entry_points",
    "driftd.run_plugin",
    "driftd_detectors",
}
MOST_LINES, LONGEST_FUNCTION = 400, 60
NO_MODULES = {"driftd.lock", "driftd.detectors", "driftd.state"}  # a file, a group of entry points, a set of steps
HEAVY = ("pandas", "sklearn", "evidently", "pyarrow.dataset", "plotly", "scipy.stats", "skops", "joblib")


@dataclass(frozen=True)
class Import:
    """One import statement: who says it, what it names, whether only when called, and on which line."""

    by: str
    name: str
    lazy: bool
    line: int


def modules() -> dict[str, Path]:
    """Every module of both packages by its dotted name."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in folder.rglob("*.py"):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports_of(module: str) -> Iterator[Import]:
    """The imports that a module runs (those for the type checker alone are passed over)."""
    yield from _imports(ast.parse(MODULES[module].read_text("utf-8")).body, module, lazy=False)


def _imports(body: list[ast.stmt], module: str, *, lazy: bool) -> Iterator[Import]:
    for node in body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, lazy, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield Import(module, full if full in MODULES else str(node.module), lazy, node.lineno)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            yield from _imports(node.orelse, module, lazy=lazy)
        else:
            inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for block in ("body", "orelse", "finalbody"):
                yield from _imports(getattr(node, block, []), module, lazy=inside)
            for handler in getattr(node, "handlers", []):
                yield from _imports(handler.body, module, lazy=inside)


@cache
def all_imports() -> list[Import]:
    """The imports of every module, read when the first test asks: collecting the tests costs every worker."""
    return [statement for module in MODULES for statement in imports_of(module)]


def room_of(module: str) -> str:
    """The room of a module: its first two names, or the whole of the detectors."""
    return "driftd_detectors" if module.startswith("driftd_detectors") else ".".join(module.split(".")[:2])


def table() -> dict[str, set[str]]:
    """What docs/architecture.md allows: room -> rooms, read from its first table."""
    allowed: dict[str, set[str]] = {}
    for line in (ROOT / "docs" / "architecture.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        rooms = re.findall(r"`(driftd[\w.]*)`", cells[0]) if line.startswith("| `driftd") and len(cells) == 3 else []
        if not rooms:
            continue
        known = set(allowed) | set(rooms)
        if cells[2] == "all above":
            permitted = known
        else:
            words = re.sub(r"\([^)]*\)|`", "", cells[2])
            permitted = {name for word in re.split(r"[,;]", words) for name in known if _names(word.strip(), name)}
        for room in rooms:
            allowed[room] = permitted | {room}
    return allowed


def _names(word: str, room: str) -> bool:
    return word in {room, room.removeprefix("driftd."), room.removeprefix("driftd_")} or word.startswith(f"{room}.")


TABLE = table()


def allowed_for(room: str) -> set[str]:
    """The rooms that a room may import: its row, and for all but policy and the foundations also the foundations."""
    row = TABLE[room]
    return row if room in FOUNDATIONS | {"driftd.policy"} else row | FOUNDATIONS


def test_the_table_of_rooms_is_read() -> None:
    """The table in docs/architecture.md is found, with every room that has code."""
    rooms = {room_of(module) for module in MODULES} - {"driftd"}
    assert rooms <= set(TABLE), f"rooms without a row in docs/architecture.md: {sorted(rooms - set(TABLE))}"
    assert {"driftd.records"} <= TABLE["driftd.policy"]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_room_imports_only_what_its_row_allows(module: str) -> None:
    """Every import of our own code is of a room that the table allows to the importing room."""
    room = room_of(module)
    if room == "driftd":
        return
    ours = [
        statement
        for statement in all_imports()
        if statement.by == module and statement.name.split(".")[0] in PACKAGES and statement.name != "driftd"
    ]
    wrong = [
        f"line {statement.line}: {statement.name}"
        for statement in ours
        if room_of(statement.name) not in allowed_for(room)
    ]
    assert not wrong, f"{module} ({room}) may import {sorted(allowed_for(room))}, but imports {wrong}"


def test_the_detectors_know_nothing_of_the_daemon() -> None:
    """`driftd_detectors` never imports `driftd`."""
    assert not [
        statement
        for statement in all_imports()
        if room_of(statement.by) == "driftd_detectors" and statement.name.split(".")[0] == "driftd"
    ]


def test_only_the_store_says_sql() -> None:
    """No module outside the store room imports sqlite3 or sqlite_utils."""
    names = ("sqlite3", "sqlite_utils")
    wrong = [
        statement
        for statement in all_imports()
        if statement.name.split(".")[0] in names and room_of(statement.by) != "driftd.store"
    ]
    assert not wrong


def test_only_the_adapter_imports_evidently_and_only_when_called() -> None:
    """Evidently is imported in one module, and never at its top."""
    found = [statement for statement in all_imports() if statement.name.split(".")[0] == "evidently"]
    assert {statement.by for statement in found} == {"driftd.second_opinion.adapter"}
    assert all(statement.lazy for statement in found)


def test_policy_is_pure() -> None:
    """Policy imports the standard library, the records and itself; nothing that knows time, files or chance."""
    found = {statement.name for statement in all_imports() if room_of(statement.by) == "driftd.policy"}
    ours = {name for name in found if name.split(".")[0] == "driftd"}
    allowed = {"driftd.policy", "driftd.records", "driftd.formatting", "driftd.sentences"}
    assert {room_of(name) for name in ours} <= allowed
    others = {name.split(".")[0] for name in found - ours}
    assert others <= {
        "__future__",
        "bisect",
        "collections",
        "dataclasses",
        "datetime",
        "enum",
        "functools",
        "math",
        "typing",
    }


def test_the_detectors_are_pure() -> None:
    """The statistics know no clock, no files, no processes and no logs."""
    impure = {"time", "os", "pathlib", "io", "logging", "structlog", "subprocess", "threading", "sqlite3", "requests"}
    wrong = [
        statement
        for statement in all_imports()
        if room_of(statement.by) == "driftd_detectors" and statement.name.split(".")[0] in impure
    ]
    assert not wrong


def test_no_module_imports_itself_by_a_detour() -> None:
    """The imports that run when a module is loaded form no cycle."""
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for statement in all_imports():
        if not statement.lazy and statement.name in MODULES and statement.name != statement.by:
            graph[statement.by].add(statement.name)
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def modules_in_texts() -> Iterator[tuple[str, str]]:
    """Modules of ours that the code names in texts, to have them imported later or elsewhere: by whom, and which."""
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            said = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            if re.fullmatch(r"(driftd|driftd_detectors)(\.[a-z]\w*)+", said) and said not in NO_MODULES:
                yield module, said


def test_modules_that_texts_name_exist() -> None:
    """A module that is imported by its name, as the libraries of jobs are, is there under that name."""
    named = list(modules_in_texts())
    assert ("driftd.training.fork_server", "driftd.training.job_main") in named
    assert [f"{by}: {said}" for by, said in named if said not in MODULES] == []


def test_modules_stay_short() -> None:
    """No module is longer than 400 lines."""
    lengths = {module: len(path.read_text("utf-8").splitlines()) for module, path in MODULES.items()}
    assert not {module: length for module, length in lengths.items() if length > MOST_LINES}


def test_functions_stay_short() -> None:
    """No function is longer than 60 lines, its docstring not counted."""
    wrong = {}
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
                length = int(node.end_lineno or 0) - first.lineno + 1
                if length > LONGEST_FUNCTION:
                    wrong[f"{module}.{node.name}"] = length
    assert not wrong
