"""The views of `state.db` that others ask: documented to the column, found by an index, and exported as files."""

from __future__ import annotations

import csv
import re
import shlex
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner
from sqlite_utils import Database
from sqlite_utils.cli import cli as sqlite_utils_cli

from cli_samples import NOON, Run, alarm_of, check, decide, publish
from driftd.loop.actions import version_record
from driftd.paths import Places
from driftd.registry import Registry
from driftd.store.migrations import migrate
from driftd.store.public_views import VIEWS
from driftd.store.state import public_rows
from driftd.store.state.public_rows import TIME_COLUMNS, RowFilter, columns_of, pages
from driftd.store.state.writer import StateStore
from year_of_history import END, HOUR, write_history

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "state-database.md").read_text("utf-8")
GROWING = {"checks", "scores", "score_codes", "transitions", "alarms", "versions", "requests", "label_requests"}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models with some hundred windows, and what the other views tell of."""
    path = tmp_path_factory.mktemp("views") / "state.db"
    write_history(path, models=2, windows=750, features=3)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "insert into requests(at, who, model, kind, arguments) values (1.5e9, 'ann', 'model-00', 'retrain', '{}')"
        )
        db.execute("insert into label_requests values ('model-00', 1.5e9, 'p1', 0.25, 1.6e9, 0.5, 1.0, '00ff')")
        db.execute(
            """insert into versions values ('model-00', 1, 1.5e9, null, 'manual', 'asked', 'own:fit', 'f', 's',
               'model.skops', 7, 100, 'promote', 'mae', 0.5, null, null, null, 'c')"""
        )
        db.execute("insert into scores values ('model-00', 1, 3600.0, 'data', 'old', 'rest', 1.0, 2.0)")
        db.execute(
            """insert into checks(at, model, kind, window_index, window_start, window_end, rows, verdict, reason,
                   figures, evidence)
               values (7200.0, 'model-00', 'window', 1, 3600.0, 7200.0, 5, 'ok', '', '{}', '{}')"""
        )
    return path


def documented(view: str) -> list[str]:
    """The columns of a view as the page lists them."""
    section = PAGE.split(f"## {view}\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


@pytest.mark.parametrize("view", VIEWS)
def test_every_column_is_documented(database: Path, view: str) -> None:
    """The page has each column of each view, and no other."""
    with closing(sqlite3.connect(database)) as db:
        assert sorted(documented(view)) == sorted(columns_of(db, view))


@pytest.mark.parametrize("view", VIEWS)
def test_the_types_are_those_of_the_values(database: Path, view: str) -> None:
    """Each value is of the type that an export declares for its column."""
    with closing(sqlite3.connect(database)) as db:
        columns = columns_of(db, view)
        assert db.execute(f"select count(*) from {view}").fetchone()[0] > 0
        for name, kind in columns.items():
            found = {row[0] for row in db.execute(f"select distinct typeof({name}) from {view}")}
            assert found <= {kind, "null", *(["integer"] if kind == "real" else [])}, f"{name}: {found}"


def test_codes_are_names_and_times_are_iso(database: Path) -> None:
    """Scores have the names of their model and stream, those of an earlier driftd too, and each time stands in ISO."""
    with closing(sqlite3.connect(database)) as db:
        db.row_factory = sqlite3.Row
        newest = db.execute("select * from public_scores where model = 'model-01' order by at desc limit 1").fetchone()
        assert newest["subject"].startswith("feature_")
        assert newest["component"] in {"location", "spread", "rest"}
        for name in ("at", "window_start"):
            assert datetime.fromisoformat(newest[f"{name}_iso"]) == datetime.fromtimestamp(newest[name], UTC)
        (old,) = db.execute("select subject from public_scores where model = 'model-00' and window_index = 1")
        assert old["subject"] == "old"
        (window,) = db.execute("select window_start_iso from public_checks where at = 7200.0")
        assert window[0] is None  # a position, not a time


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("asked", ["model = 'm'", "{time} >= 1", "model = 'm' and {time} >= 1 and {time} < 2"])
def test_a_filter_on_model_or_time_finds_its_rows_by_an_index(database: Path, view: str, asked: str) -> None:
    """EXPLAIN QUERY PLAN scans no table that grows."""
    where = asked.format(time=TIME_COLUMNS.get(view, "at"))
    with closing(sqlite3.connect(database)) as db:
        steps = [row[3] for row in db.execute(f"explain query plan select * from {view} where {where}")]
    aliases = {"s": "score_codes", "c": "checks"}
    scanned = {aliases.get(step.split()[1], step.split()[1]) for step in steps if step.startswith("SCAN ")}
    assert not scanned & GROWING, steps


def test_sqlite_utils_made_the_views(tmp_path: Path) -> None:
    """A new database has each view as the library makes it."""
    migrate(tmp_path / "state.db", "state")
    with closing(sqlite3.connect(tmp_path / "state.db")) as db:
        assert set(VIEWS) <= set(Database(db).view_names())


def test_the_command_lines_of_the_page_run(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line for sqlite-utils ends well on a real database."""
    monkeypatch.chdir(database.parent)
    lines = [line for line in PAGE.splitlines() if line.startswith("sqlite-utils ")]
    assert len(lines) >= 5
    for line in lines:
        done = CliRunner().invoke(sqlite_utils_cli, shlex.split(line)[1:])
        assert done.exit_code == 0, f"{line}: {done.output} {done.exception}"


def test_the_metadata_of_datasette_names_what_is_there(database: Path) -> None:
    """Every table is hidden and every view has a title; sorts and facets are columns."""
    tables = yaml.safe_load((DOCS / "datasette.yaml").read_text("utf-8"))["databases"]["state"]["tables"]
    with closing(sqlite3.connect(database)) as db:
        there = Database(db)
        assert {name for name in tables if tables[name].get("hidden")} == {
            name for name in there.table_names() if not name.startswith("sqlite_")
        }
        assert {name for name in tables if not tables[name].get("hidden")} == set(VIEWS)
        for view in VIEWS:
            named = {*tables[view].get("facets", []), tables[view].get("sort_desc", "model")}
            assert named <= set(columns_of(db, view))


@pytest.mark.parametrize("view", VIEWS)
def test_pages_have_each_row_once(database: Path, view: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the pages are, together they are the rows of the view; a model and a span leave the others out."""
    monkeypatch.setattr(public_rows, "PAGE", 70)
    monkeypatch.setattr(public_rows, "WINDOWS", 7)
    time = TIME_COLUMNS.get(view, "at")
    with closing(sqlite3.connect(database)) as db:
        found = [row for page in pages(db, view, RowFilter()) for row in page]
        assert sorted(map(repr, found)) == sorted(map(repr, db.execute(f"select * from {view}")))
        since, until = END - 100 * HOUR, END - 50 * HOUR
        some = [row for page in pages(db, view, RowFilter("model-01", since, until)) for row in page]
        asked = f"select * from {view} where model = 'model-01' and {time} >= ? and {time} < ?"
        assert sorted(map(repr, some)) == sorted(map(repr, db.execute(asked, (since, until))))


def test_an_export_while_the_daemon_writes(store: StateStore, driftd: Run, tmp_path: Path) -> None:
    """The files hold what was there, and the writer is not kept from writing."""
    _some_history(store, tmp_path)
    with store.transaction():
        code, printed, said = driftd("export", "--to", str(tmp_path / "out"))
        check(store, kind="labels")
    assert code == 0, said
    assert "alarms.csv: 1 rows" in printed
    with (tmp_path / "out" / "alarms.csv").open(newline="", encoding="utf-8") as file:
        (alarm,) = csv.DictReader(file)
    assert (alarm["model"], alarm["sentence"], alarm["at_iso"]) == (
        "demand",
        "x[/bold] moved",
        "2024-10-04T12:00:00.000Z",
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        f"{name.removeprefix('public_')}.csv" for name in VIEWS
    )


def test_an_export_to_parquet(store: StateStore, driftd: Run, tmp_path: Path) -> None:
    """Columns and types are declared, so that a file without rows has them too."""
    _some_history(store, tmp_path)
    code, _, said = driftd("export", "demand", "--format", "parquet", "--to", str(tmp_path / "out"))
    assert code == 0, said
    versions = pq.read_table(tmp_path / "out" / "versions.parquet")
    (version,) = versions.to_pylist()
    assert (version["model"], version["version"], version["trainer"]) == ("demand", 1, "own.trainers:fit")
    empty = pq.read_table(tmp_path / "out" / "label_requests.parquet")
    assert (len(empty), str(empty.schema.field("probability").type)) == (0, "double")


def test_an_export_replaces_nothing_unless_asked(store: StateStore, driftd: Run, tmp_path: Path) -> None:
    """The command names the file that is there and writes none; with --overwrite it replaces it."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "alarms.csv").write_text("mine")
    code, _, said = driftd("export", "--to", str(out), "--what", "alarms,checks")
    assert code == 2
    assert "alarms.csv exists" in said
    assert [path.name for path in out.iterdir()] == ["alarms.csv"]
    assert driftd("export", "--to", str(out), "--what", "alarms,checks", "--overwrite")[0] == 0
    assert (out / "alarms.csv").read_text() != "mine"


def test_an_export_of_what_there_is_not(store: StateStore, driftd: Run, tmp_path: Path) -> None:
    """A name that is none is refused with those that are."""
    code, _, said = driftd("export", "--to", str(tmp_path / "out"), "--what", "secrets")
    assert code == 2
    assert "there is no secrets; there are alarms, checks" in said


def test_an_export_that_fails_leaves_nothing(
    store: StateStore, driftd: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that is damaged in the middle of an export leaves neither whole nor unfinished files."""
    _some_history(store, tmp_path)
    store._db.execute("drop view public_versions")
    code, _, _ = driftd("export", "--to", str(tmp_path / "out"), "--what", "alarms,versions")
    assert code != 0
    assert list((tmp_path / "out").iterdir()) == []


def _some_history(store: StateStore, tmp_path: Path) -> None:
    publish(tmp_path / "state")
    decide(store, "adopted", "it served already", version=1)
    alarm_of(store)
    check(store)
    store.save_version(version_record(Registry(Places(tmp_path / "state")).manifest("demand", 1)), NOON)
