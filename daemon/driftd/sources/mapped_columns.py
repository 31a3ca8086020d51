"""Which columns of log files mean what, and which of them a file must have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from driftd.sources.first_look import Expected
from driftd.sources.json_lines import FEATURES
from driftd.sources.wanted import RequestedColumns
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
NOWHERE = "\0"  # the name of no column


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """What the columns of the files are called."""

    id: str
    at: str
    prediction: str
    score: str
    version: str
    label: str
    label_at: str
    features: str  # the object whose keys are features
    classes_are_text: bool
    given: Mapping[str, str]  # those that the config names

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
        texts = tuple(one.name for one in schema.features if one.kind in {Kind.CATEGORY, Kind.BOOLEAN})
        times = tuple(one.name for one in schema.features if one.kind is Kind.TIMESTAMP)
        columns = (*plain.columns, *schema.names)
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

    def expected(self, schema: Schema) -> Expected:
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
        return Expected({}, {"id": self.id, "label": self.label}, required=("id", "label"))
