"""`driftd export`: what `state.db` holds as CSV or Parquet files, beside a running daemon and in bounded memory."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import click

from driftd.cli.arguments import MODEL
from driftd.cli.terminal import chosen_model, config_option, console, json_option, open_places, print_json, say
from driftd.fsutil import sync
from driftd.store.public_views import VIEWS
from driftd.store.state.public_rows import ColumnType, PublicReader, Row, RowFilter
from driftd.store.state.reader import StateReader
from driftd_detectors.times import read_time

WHAT = tuple(name.removeprefix("public_").replace("_", "-") for name in VIEWS)
_ROW_GROUP = 100_000


class RowWriter(Protocol):
    """A file that takes rows."""

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows at its end."""
        ...


def _moment(_context: click.Context, _option: click.Parameter, given: str | None) -> float | None:
    try:
        return None if given is None else read_time(given)
    except ValueError as error:
        raise click.BadParameter(f"{error}; for instance 2026-03-01T12:00") from None


def _parts(given: str | None) -> list[str]:
    names = list(WHAT) if given is None else [name.strip() for name in given.split(",") if name.strip()]
    unknown = [name for name in names if name not in WHAT]
    if unknown or not names:
        raise click.BadParameter(f"there is no {', '.join(unknown) or 'name'}; there are {', '.join(WHAT)}")
    return names


@click.command()
@click.argument("model", required=False, type=MODEL)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["csv", "parquet"]),
    default="csv",
    show_default=True,
    help="Of the files.",
)
@click.option(
    "--to",
    "folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Where to.",
)
@click.option("--what", callback=lambda _context, _option, given: _parts(given), help="Some of them; all by default.")
@click.option("--since", callback=_moment, metavar="TIME", help="Rows from this time on (UTC).")
@click.option("--until", callback=_moment, metavar="TIME", help="Rows before this time (UTC).")
@click.option("--overwrite", is_flag=True, help="Replace files of an earlier export.")
@config_option
@json_option
def export(
    config_path: Path,
    model: str | None,
    file_format: str,
    folder: Path,
    what: list[str],
    since: float | None,
    until: float | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write what is known of MODEL, or of all models, to one file a view in FOLDER.

    The views are those of docs/state-database.md: alarms, checks, scores, transitions, versions, requests,
    label-requests. Each file appears whole or not at all, and a running daemon goes on.

    \b
    Example:
      driftd export --to export/
      driftd export demand --format parquet --to export/ --what alarms,scores --since 2026-01-01
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    config, places = open_places(config_path)
    name = None if model is None else chosen_model(config, model)
    files = {part: folder / f"{part.replace('-', '_')}.{file_format}" for part in what}
    present = [str(path) for path in files.values() if path.exists()]
    if present and not overwrite:
        raise click.UsageError(f"{', '.join(present)} exists: name another folder, or add --overwrite")
    StateReader.read_only(places.state_db).close()  # says clearly what is not there, or not of this program
    wanted = RowFilter(name, -1e18 if since is None else since, 1e18 if until is None else until)
    folder.mkdir(parents=True, exist_ok=True)
    counts = _write_all(places.state_db, files, wanted)
    if as_json:
        print_json({"folder": str(folder), "rows": counts})
        return
    for part, path in files.items():
        say(console(), f"{path}: {counts[part]:,} rows")


def _write_all(state_db: Path, files: Mapping[str, Path], wanted: RowFilter) -> dict[str, int]:
    """Write every file beside its place, then put all of them there."""
    counts: dict[str, int] = {}
    with ExitStack() as unfinished, closing(PublicReader(state_db)) as reader:
        staged = {}
        for part, path in files.items():
            staged[part] = path.with_name(f".{path.name}.{os.getpid()}-{time.monotonic_ns()}.unfinished")
            unfinished.callback(staged[part].unlink, missing_ok=True)
            counts[part] = _write(reader, f"public_{part.replace('-', '_')}", staged[part], path.suffix, wanted)
        for part, path in files.items():
            sync(staged[part])
            staged[part].replace(path)
    for folder in {path.parent for path in files.values()}:
        sync(folder)
    return counts


def _write(reader: PublicReader, view: str, path: Path, suffix: str, wanted: RowFilter) -> int:
    columns, count = reader.columns(view), 0
    with (_csv_file if suffix == ".csv" else _parquet_file)(path, columns) as file:
        for rows in reader.pages(view, wanted):
            file.write(rows)
            count += len(rows)
    return count


class CsvRows:
    """Rows of a CSV file (RFC 4180, UTF-8); a null is an empty field."""

    def __init__(self, file: Any) -> None:
        self._writer = csv.writer(file, quoting=csv.QUOTE_MINIMAL, lineterminator="\r\n")

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows at the end of the file."""
        self._writer.writerows(rows)


@contextmanager
def _csv_file(path: Path, columns: Mapping[str, ColumnType]) -> Iterator[RowWriter]:
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        rows = CsvRows(file)
        rows.write([tuple(columns)])
        yield rows


class ParquetRows:
    """Rows of a Parquet file, one row group after the other."""

    def __init__(self, writer: Any, schema: Any) -> None:
        self._writer, self._schema = writer, schema
        self._waiting: list[Row] = []

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows at the end of the file."""
        self._waiting.extend(rows)
        if len(self._waiting) >= _ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write what waits as a row group."""
        import pyarrow as pa  # noqa: PLC0415 - CSV does without

        columns = list(zip(*self._waiting, strict=True)) or [()] * len(self._schema)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.table(arrays, schema=self._schema))
        self._waiting = []


@contextmanager
def _parquet_file(path: Path, columns: Mapping[str, ColumnType]) -> Iterator[RowWriter]:
    import pyarrow as pa  # noqa: PLC0415 - see above
    import pyarrow.parquet as pq  # noqa: PLC0415 - see above

    types = {"integer": pa.int64(), "real": pa.float64(), "text": pa.string()}
    schema = pa.schema([pa.field(name, types[kind]) for name, kind in columns.items()])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        rows = ParquetRows(writer, schema)
        yield rows
        rows.flush()
