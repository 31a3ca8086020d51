"""The law of reading: what a version is trained on is what its source returns of the same file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from drawn_files import FORMATS, TYPED, Drawn, plain, tables, write
from driftd.cli.init_defaults import guess_settings
from driftd.cli.labelled_file import read_rows
from driftd.paths import Places
from driftd.sources.files import FilesSettings, FilesSource
from driftd.training.bootstrap import FileColumns, labelled_table
from driftd_detectors.schema import Schema, learn_schema

COLUMNS = FileColumns(id="id", time="ts")
QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def trained(path: Path) -> tuple[pa.Table, Schema]:
    """The training table and the schema that `driftd init` makes of a file; it refuses by a ClickException."""
    rows = read_rows(path)
    guess = guess_settings(rows, "y", task=None, columns=COLUMNS, window=None, name="m")
    ignored = [name for name in rows.columns if name not in guess.features and name != "y"]
    schema = learn_schema(rows, task=guess.task, target="y", ignore=ignored, declared=guess.features)
    return labelled_table(rows, schema, guess.columns, 0.0), schema


def watched(path: Path, schema: Schema, folder: Path) -> pa.Table:
    """What the files source gives of a file under a schema."""
    settings = FilesSettings(str(path), columns={"id": "id", "at": "ts", "label": "y"})
    source = FilesSource("m", schema, Places(folder / "state"), settings)
    extent = source.refresh(path.stat().st_mtime + 100)
    assert extent.faults == ()
    return pa.concat_tables(source.read_labelled(0.0, 9e9, known_by=1e18))  # a drawn time of a label may be far off


def usable(table: pa.Table, target: str = "y") -> pa.Table:
    """The rows that have a label: those that a source gives."""
    return table.filter(table[target].is_valid())


def compare(path: Path, folder: Path, other: Path | None = None) -> None:
    try:
        table, schema = trained(path)
    except click.ClickException as refused:
        event(f"refused: {refused.message[:40]}")
        assume(condition=False)
    expected = usable(table)
    assume(expected.num_rows)
    for kind in {feature.kind for feature in schema.features}:
        event(str(kind))
    found = watched(other or path, schema, folder)
    pd.testing.assert_frame_equal(plain(found)[plain(expected).columns], plain(expected), check_exact=True)


def law(table: Drawn, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows" / name
        path.parent.mkdir()
        compare(write(table, path), Path(folder))


def law_across(table: Drawn, first: str, second: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / place / name for place, name in (("first", first), ("second", second))]
        for path in paths:
            path.parent.mkdir()
            write(table, path)
        compare(paths[0], Path(folder), paths[1])


@settings(max_examples=30, **QUIET)
@given(tables(), st.sampled_from(FORMATS))
def test_the_source_returns_what_init_trained_on(table: Drawn, name: str) -> None:
    """For any file that init takes, features, labels and times are those of the training table, whatever the format."""
    law(table, name)


@settings(max_examples=12, **QUIET)
@given(tables(TYPED, ("0 and 1", "floats", "truths", "decimals", "number")), *[st.sampled_from(FORMATS)] * 2)
def test_formats_agree(table: Drawn, first: str, second: str) -> None:
    """A version trained on one format reads the same values from another."""
    law_across(table, first, second)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@settings(max_examples=2_500, **QUIET)
@given(tables(), st.sampled_from(FORMATS))
def test_the_source_returns_what_init_trained_on_in_many_files(table: Drawn, name: str) -> None:
    """The same over thousands of files."""
    law(table, name)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@settings(max_examples=500, **QUIET)
@given(tables(TYPED, ("0 and 1", "floats", "truths", "decimals", "number")), *[st.sampled_from(FORMATS)] * 2)
def test_formats_agree_in_many_files(table: Drawn, first: str, second: str) -> None:
    """The same over many pairs of formats."""
    law_across(table, first, second)
