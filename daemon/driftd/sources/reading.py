"""How the files of one source are read, and how one of them is laid out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from driftd.sources.dialects import Dialect
from driftd.sources.first_look import Expected
from driftd.sources.formats import FileFormat
from driftd.sources.json_lines import FEATURES
from driftd.sources.text_files import TextFormat
from driftd.sources.wanted import RequestedColumns


@dataclass(frozen=True, slots=True)
class Reading:
    """How the files of one folder or pattern are read, and what they must have.

    `at` is the column of event times; where the config maps it (`timed`), rows without it have no time, else they
    happened when they were found; and so did rows without a value in it, where `nulls_are_new`.
    """

    at: str
    timed: bool = False
    nulls_are_new: bool = False
    format: FileFormat = "auto"
    dialect: Dialect = field(default_factory=Dialect)
    features: str = FEATURES
    expected: Expected = field(default_factory=Expected)

    @property
    def times_only(self) -> RequestedColumns:
        """What is read to find rows."""
        return RequestedColumns("", (self.at,), event_times=(self.at,))


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is laid out: its text format (None: Parquet), and the columns that its folders name."""

    text: TextFormat | None
    partition: Mapping[str, str | None]
