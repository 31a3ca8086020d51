"""The file, folder or pattern that `driftd init` is given: its rows, or of many a sample, as one frame."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import inf
from pathlib import Path

import click
import pandas as pd

from driftd.sources.column_kinds import WholeFilesError
from driftd.sources.dialects import Dialect
from driftd.sources.file_system import quote_names
from driftd.sources.formats import FileFormat
from driftd.sources.whole_files import read_whole
from driftd.training.bootstrap import RowPieces, frame_of

MOST_VALUES = 20_000_000  # that are held: of more a sample, and version 1 learns from all
SAMPLED = "it has {total:,} rows: the settings are read off {rows:,} of them, drawn at random"


def read_rows(file: Path | str) -> pd.DataFrame:
    """The rows of a file, a folder or a pattern. Raises click.ClickException when they cannot be read."""
    return read_file(file).rows


@dataclass(frozen=True, slots=True)
class FileRead:
    """The rows of a file, what is to be said of the reading, and the columns that only names of folders hold.

    `dialect` is the one that the file was read in, with the order of its dates.
    """

    rows: pd.DataFrame
    remarks: tuple[str, ...]
    folders: tuple[str, ...]
    dialect: Dialect
    pieces: RowPieces | None = None  # all rows, where `rows` are a sample


def read_file(
    file: Path | str, file_format: FileFormat = "auto", dialect: Dialect | None = None, most_values: float = inf
) -> FileRead:
    """Read a file, a folder or a pattern; of many values a sample. Raises click.ClickException when it cannot."""
    try:
        found = read_whole(str(file), time.time(), file_format, dialect, most_values=most_values)
    except (WholeFilesError, ValueError, OSError) as error:
        options = " (here: --separator, --decimal, --encoding, --day-first)" if "set dialect:" in str(error) else ""
        raise click.ClickException(f"{error}{options}") from error
    lists = f"left out, because they hold lists, or a type that driftd does not read: {quote_names(found.nested)}"
    remarks = (*found.remarks, *([lists] if found.nested else []))
    rows = frame_of(found)
    if found.pieces is None:
        return FileRead(rows, remarks, found.folders, found.dialect)
    drawn = SAMPLED.format(total=found.total, rows=len(rows))
    again = RowPieces(lambda pieces=found.pieces: map(frame_of, pieces()), found.total)  # type: ignore[misc]
    return FileRead(rows, (drawn, *remarks), found.folders, found.dialect, again)
