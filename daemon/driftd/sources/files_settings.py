"""Where the logs of a model are, as the config says it; how its files are read, and how one of them is laid out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from driftd.sources.dialects import Dialect
from driftd.sources.first_look import Expected
from driftd.sources.formats import ADAPTERS, FileFormat
from driftd.sources.json_lines import FEATURES
from driftd.sources.mapped_columns import ColumnMapping
from driftd.sources.parsed import RequestedColumns
from driftd.sources.text_files import TextFormat
from driftd_detectors.schema import Schema


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


@dataclass(frozen=True, slots=True)
class FilesSettings:
    """Where the logs are, and which of their columns mean what.

    `columns` maps `id`, `at`, `prediction`, `score`, `version`, `label`, `label_at` to the names in the files, and
    `features` to the object that holds the features; a name with dots is a path into objects. What has a usual name
    that the files do not have is simply not known. Without times, rows happened when they were found.
    """

    path: str
    format: FileFormat = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    feedback: str | None = None
    feedback_columns: Mapping[str, str] = field(default_factory=dict)
    dialect: Dialect = field(default_factory=Dialect)

    def to_reading(self, names: ColumnMapping, schema: Schema) -> Reading:
        """How the files of predictions are read."""
        timed, expected = "at" in self.columns, names.expected_columns(schema)
        return Reading(
            names.at,
            timed=timed,
            format=self.format,
            dialect=self.dialect,
            features=names.features,
            expected=expected,
        )

    def reading_of_feedback(self, names: ColumnMapping) -> Reading:
        """How the files of labels are read: in plain formats, and a label without a time became known when it came."""
        plain: FileFormat = "auto" if self.format in ADAPTERS else self.format
        timed = "label_at" in self.feedback_columns
        return Reading(
            names.label_at,
            timed=timed,
            nulls_are_new=True,
            format=plain,
            dialect=self.dialect,
            expected=names.expected_feedback(),
        )
