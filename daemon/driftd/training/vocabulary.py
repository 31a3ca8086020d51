"""The names of classes and categories in a snapshot: those of the version before, and what the rows bring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from driftd_detectors.schema import Feature, Kind, Schema, Task
from driftd_detectors.values import MOST_NAMES, Vocabulary, learn_names

ENOUGH_ROWS = 100  # of a class that nobody named: a quarter of them, held out, still says something about it


@dataclass(frozen=True, slots=True)
class NamedRows:
    """Rows in the names of their schema, and how many were left out, by the label that is no class of it."""

    table: pa.Table
    schema: Schema
    left_out: Mapping[str, int] = field(default_factory=dict)


def name_values(table: pa.Table, schema: Schema, classes: Sequence[str] = (), enough: int = ENOUGH_ROWS) -> NamedRows:
    """Rows with every class and category in one spelling, and the schema with the names that they bring.

    The classes of the schema stay, in their order. New ones are those that the config names (`classes`), or, where it
    names none, those with `enough` rows; rows of any other label are left out. Categories are united.
    """
    features = []
    for feature in schema.features:
        if feature.kind is Kind.CATEGORY:
            table, feature = _with_categories(table, feature)  # noqa: PLW2901 - the same feature, with more names
        features.append(feature)
    named = replace(schema, features=tuple(features))
    if schema.task is Task.REGRESSION:
        return NamedRows(table, named)
    return _with_classes(table, named, tuple(classes), enough)


def _with_categories(table: pa.Table, feature: Feature) -> tuple[pa.Table, Feature]:
    texts = pc.unique(table[feature.name]).drop_null().to_pylist()
    names = learn_names(texts, feature.categories)
    if len(names) <= MOST_NAMES:
        feature = replace(feature, categories=names)
    return _renamed(table, feature.name, feature.vocabulary), feature


def _with_classes(table: pa.Table, schema: Schema, named: tuple[str, ...], enough: int) -> NamedRows:
    target = schema.target
    known = (*schema.classes, *(name for name in named if name not in schema.classes))
    texts = pc.unique(table[target]).to_pylist()
    table = _renamed(table, target, Vocabulary(learn_names(texts, known)))
    counts = Counter({pair["values"]: pair["counts"] for pair in pc.value_counts(table[target]).to_pylist()})
    strays = sorted(set(counts) - set(known))
    joins = [name for name in strays if not known or (not named and counts[name] >= enough)]
    classes = (*known, *joins)
    left_out = {name: counts[name] for name in strays if name not in joins}
    if left_out:
        table = table.filter(pc.is_in(table[target], value_set=pa.array(classes, pa.string())))
    return NamedRows(table, replace(schema, classes=classes), left_out)


def _renamed(table: pa.Table, name: str, vocabulary: Vocabulary) -> pa.Table:
    column = table[name]
    texts = pc.unique(column).drop_null().to_pylist()
    if all(vocabulary.resolve(text) == text for text in texts):
        return table
    coded = column.combine_chunks().dictionary_encode()
    names = pa.array([vocabulary.resolve(text) for text in coded.dictionary.to_pylist()], pa.string())
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(name), names.take(coded.indices))
