"""Every statement of the store finds its rows by an index: history of years costs a question no more than a day's."""

from __future__ import annotations

import ast
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftd.store.migrations import migrate

STORE = Path(__file__).resolve().parents[2] / "daemon" / "driftd" / "store"
STATEMENT = re.compile(r"\s*(select|insert|update|delete)\s")
NOT_OURS = {
    "public_views.py",
    "schema.py",
    "restore.py",
    "schema_versions.py",
}  # of a migration or a repair, which read a table once
GROWING = {
    "state": {
        "checks",
        "scores",
        "score_codes",
        "transitions",
        "profiles",
        "alarms",
        "actions",
        "faulty_windows",
        "configs",
    },
    "events": {"predictions", "feedback", "blocks", "refusals"},  # quarantine keeps so many rows at most,
}
NEWEST = re.compile(r"(from \w+|where id > \?) order by (id|seq)( desc)? limit \S+$")  # a scan that ends with its limit
PARTIAL = "configs_applied"  # its first row is the newest that was applied
WHOLE = {  # what reads a whole table on purpose, and how often
    "select count(*) from feedback": "an upkeep, which looks at every label for its prediction anyway",
    "count(distinct prediction_id) from feedback": "every ten minutes where something came",
    "count(distinct prediction_id), min(prediction_id) from feedback": "every ten minutes where something came",
    "select id from transitions order by id": "`driftd verify`, which looks at every decision",
    "select count(*) from transitions": "`driftd verify`",
    "delete from blocks where received_at < ?": "in upkeep, of a store without a prediction",
    "select prediction_id, max(received_at) from feedback": "labels of files, where something came",
}


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The texts of a module, those that are put together with each table that they are for."""
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            holes = [part for part in node.values if isinstance(part, ast.FormattedValue)]
            if [ast.unparse(hole.value) for hole in holes] == ["table"]:
                pieces = [part.value if isinstance(part, ast.Constant) else "{table}" for part in node.values]
                for table in ("scores", "profiles"):
                    yield node.lineno, "".join(map(str, pieces)).replace("{table}", table)


def statements() -> Iterator[tuple[str, str]]:
    """Where a statement stands, and its text."""
    for path in sorted(STORE.rglob("*.py")):
        if path.name in NOT_OURS:
            continue
        for line, text in texts(ast.parse(path.read_text("utf-8"))):
            if STATEMENT.match(text):
                yield f"{path.relative_to(STORE)}:{line}", text


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, sqlite3.Connection]:
    """A database of each kind, with the schema of this program."""
    made = {}
    for kind in GROWING:
        path = tmp_path_factory.mktemp("plans") / f"{kind}.db"
        migrate(path, kind)
        made[kind] = sqlite3.connect(path)
    return made


def plan(connection: sqlite3.Connection, text: str) -> list[str] | None:
    """How SQLite finds the rows of a statement; None where it is for another kind of database."""
    named = re.findall(r"(?<![\w:]):(\w+)", text)
    given: object = defaultdict(lambda: 1, dict.fromkeys(named, 1)) if named else (1,) * text.count("?")
    try:
        return [row[3] for row in connection.execute(f"explain query plan {text}", given)]  # type: ignore[arg-type]
    except sqlite3.OperationalError as error:
        if "no such table" in str(error) or "no such column" in str(error):
            return None
        raise AssertionError(f"{error}: {text}") from error


def test_no_statement_scans_a_table_that_grows(databases: dict[str, sqlite3.Connection]) -> None:
    """EXPLAIN QUERY PLAN names an index for every table that grows, in every statement of the store."""
    faults, explained = [], 0
    for place, text in statements():
        plain = " ".join(text.split())
        plans = {kind: found for kind, db in databases.items() if (found := plan(db, text)) is not None}
        assert plans, f"{place}: neither database can explain {plain}"
        explained += 1
        for kind, steps in plans.items():
            scanned = {step.split()[1] for step in steps if step.startswith("SCAN ") and PARTIAL not in step} & GROWING[
                kind
            ]
            is_sorted = " limit " in plain and any("B-TREE FOR ORDER BY" in step for step in steps)
            if (scanned or is_sorted) and not NEWEST.search(plain) and not any(part in plain for part in WHOLE):
                faults.append(f"{place}: {plain} ({'; '.join(steps)})")
    assert explained > 60
    assert not faults, "\n".join(faults)
