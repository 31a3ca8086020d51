"""The settings of the files source: its format, its dialect, and which column means what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from driftd.config.object_store_schema import ObjectStoreConfig
from driftd.sources.dialects import Dialect
from driftd.sources.formats import ADAPTERS, FileFormat
from driftd.sources.json_lines import FEATURES
from driftd.sources.listing import Expected
from driftd.sources.parsed import RequestedColumns
from driftd.sources.text_files import TextFormat
from driftd_detectors.batches.rows import NOWHERE, RowNames
from driftd_detectors.schema import Kind, Schema, Task

_DEFAULTS = {
    "id": "prediction_id",
    "at": "at",
    "prediction": "prediction",
    "score": "score",
    "version": "version",
    "label": "label",
    "label_at": "label_at",
    "features": FEATURES,
}


@dataclass(frozen=True, slots=True)
class ColumnMapping(RowNames):
    """What the columns of the files are called."""

    features: str = FEATURES  # the object whose keys are features
    classes_are_text: bool = True
    given: Mapping[str, str] = field(default_factory=dict)  # those that the config names

    @classmethod
    def of(cls, names: Mapping[str, str], schema: Schema) -> ColumnMapping:
        """The names of the config over the usual ones. Raises ValueError for a meaning that there is not.

        A usual name that the schema has for a feature is that feature, unless the config says otherwise.
        """
        unknown = set(names) - set(_DEFAULTS)
        if unknown:
            raise ValueError(f"columns can name {', '.join(_DEFAULTS)}; not {', '.join(sorted(unknown))}")
        features = frozenset(schema.names)
        usual = {meaning: NOWHERE if name in features else name for meaning, name in _DEFAULTS.items()}
        return cls(**{**usual, **names}, classes_are_text=schema.task is Task.CLASSIFICATION, given=dict(names))

    def outcomes(self) -> RequestedColumns:
        """Everything but the features."""
        texts = (self.prediction, self.label) if self.classes_are_text else ()
        columns = (self.id, self.at, self.prediction, self.score, self.version, self.label, self.label_at)
        times = (self.at, self.label_at)
        return RequestedColumns(self.id, columns, texts, times, times)

    def with_features(self, schema: Schema) -> RequestedColumns:
        """Everything."""
        plain = self.outcomes()
        texts = tuple(feature.name for feature in schema.features if feature.kind in {Kind.CATEGORY, Kind.BOOLEAN})
        times = tuple(feature.name for feature in schema.features if feature.kind is Kind.TIMESTAMP)
        columns = tuple(dict.fromkeys((*plain.columns, *schema.names)))  # a time may be a feature too
        return RequestedColumns(self.id, columns, (*plain.texts, *texts), (*plain.times, *times), plain.event_times)

    def feedback(self) -> RequestedColumns:
        """Identity, label and when it became known."""
        texts = (self.label,) if self.classes_are_text else ()
        return RequestedColumns(
            self.id, (self.id, self.label, self.label_at), texts, (self.label_at,), (self.label_at,)
        )

    def identities(self) -> RequestedColumns:
        """Identity alone."""
        return RequestedColumns(self.id, (self.id, self.at), event_times=(self.at,))

    def expected_columns(self, schema: Schema) -> Expected:
        """What a file of predictions must have."""
        given = {meaning: name for meaning, name in self.given.items() if meaning != "features"}
        free = [meaning for meaning in ("id", "at", "prediction") if meaning not in given]
        usual = {meaning: _DEFAULTS[meaning] for meaning in free if getattr(self, meaning) != NOWHERE}
        return Expected(
            given,
            usual,
            required=tuple(meaning for meaning in ("id", "at", "prediction") if meaning in given),
            identifying=tuple(meaning for meaning in ("id", "at", "prediction") if meaning in {**usual, **given}),
            features=schema.names,
        )

    def expected_feedback(self) -> Expected:
        """What a file of labels must have."""
        names = {"id": self.id, "label": self.label}
        return Expected({}, names, required=("id", "label"), key="feedback_columns")


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
    may_be_empty: bool = False  # labels come later: that there is no file yet is worth a remark alone

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
    store: ObjectStoreConfig | None = None  # how the object store is reached that the paths name, if they do

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

    def feedback_names(self, schema: Schema) -> ColumnMapping:
        """What the columns of the files of labels are called."""
        return ColumnMapping.of({"label_at": "at", **self.feedback_columns}, schema)

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
            may_be_empty=True,
        )
