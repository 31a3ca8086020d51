"""Where the logs of a model are and how they are read, as the config says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from driftd.sources.dialects import Dialect
from driftd.sources.formats import ADAPTERS, FileFormat
from driftd.sources.mapped_columns import ColumnMapping
from driftd.sources.reading import Reading
from driftd_detectors.schema import Schema


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

    def reading(self, names: ColumnMapping, schema: Schema) -> Reading:
        """How the files of predictions are read."""
        timed, expected = "at" in self.columns, names.expected(schema)
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
