"""The labels of a window, however many: exact counts beside an even sample of bounded size, which merge."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.columns import Coded, Column, Columns, Outcomes, stack_columns, take_rows
from driftd_detectors.errors import DetectorError
from driftd_detectors.outcome_rows import stack_outcomes, take_outcomes
from driftd_detectors.schema import Feature, Schema
from driftd_detectors.serialization import pack, unpack
from driftd_detectors.window_data import BATCHES, ServedBy

COHORT_ROWS = 200_000  # of a cohort are kept: the standard error of a share is .0011 then
Hashes = NDArray[np.uint64]
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_ARRAYS = ("at", "prediction", "score", "label", "label_at", "version")


def mix(values: Hashes) -> Hashes:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators")."""
    with np.errstate(over="ignore"):
        mixed = values + _GAMMA
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    result: Hashes = mixed ^ (mixed >> np.uint64(31))
    return result


def hash_numbers(numbers: NDArray[np.int64], seed: int = 0) -> Hashes:
    """A number of 64 bits for each row number."""
    return mix(numbers.astype(np.uint64) ^ mix(np.array([seed], dtype=np.uint64)))


@dataclass(frozen=True, slots=True)
class Cohort:
    """The predictions of a window with the labels known at a time: the counts are exact, the rows maybe a sample.

    The rows are those with the least hashes of their identities (a bottom-k sample: Cohen and Kaplan 2007, "Summarizing
    data using bottom-k sketches"): the same ones however the rows were cut into partitions, and all where there are at
    most `most`. They stand in the order of their times, then of their hashes.
    """

    total: int  # rows
    labelled: int
    foreign: int  # rows that another version than the champion predicted
    most: int
    columns: Columns
    outcomes: Outcomes
    hashes: Hashes

    @property
    def is_sample(self) -> bool:
        """Whether some rows are left out."""
        return self.outcomes.rows < self.total

    def to_bytes(self) -> bytes:
        """A form that `from_bytes` reads back."""
        outcomes, labels = (
            self.outcomes,
            {name: list(column.labels) for name, column in self.columns.values.items() if isinstance(column, Coded)},
        )
        values: dict[str, Any] = {
            "batches": BATCHES,
            "counts": [self.total, self.labelled, self.foreign, self.most],
            "classes": list(outcomes.classes),
            "unseen": list(outcomes.unseen),
            "unreadable_scores": outcomes.unreadable_scores,
            "unreadable": dict(self.columns.unreadable),
            "labels": labels,
        }
        arrays: dict[str, NDArray[Any]] = {"hashes": self.hashes}
        arrays |= {name: getattr(outcomes, name) for name in _ARRAYS}
        for name, column in self.columns.values.items():
            arrays[f"feature {name}"] = column.codes if isinstance(column, Coded) else column
        return pack(values, arrays)

    @classmethod
    def from_bytes(cls, stored: bytes) -> Cohort:
        """Read what `to_bytes` wrote. Raises DetectorError when the bytes are something else."""
        values, arrays = unpack(stored)
        if values.get("batches") != BATCHES or "hashes" not in arrays:
            raise DetectorError("these bytes are no cohort of this version: make them with its cohort_batches")
        at, prediction, score, label, label_at, version = (arrays[name] for name in _ARRAYS)
        outcomes = Outcomes(
            at,
            prediction,
            score,
            label,
            label_at,
            version,
            tuple(values["classes"]),
            tuple(values["unseen"]),
            values["unreadable_scores"],
        )
        named = {key.removeprefix("feature "): array for key, array in arrays.items() if key.startswith("feature ")}
        columns = {name: _column_of(array, values["labels"].get(name)) for name, array in named.items()}
        total, labelled, foreign, most = values["counts"]
        return cls(
            total,
            labelled,
            foreign,
            most,
            Columns(outcomes.rows, columns, values["unreadable"]),
            outcomes,
            arrays["hashes"],
        )


def _column_of(array: NDArray[Any], labels: Iterable[str] | None) -> Column:
    return array if labels is None else Coded(array, tuple(labels))


def cohort_of(
    columns: Columns, outcomes: Outcomes, hashes: Hashes, served: ServedBy, most: int = COHORT_ROWS
) -> Cohort:
    """Some rows, with the labels that are known, as a cohort."""
    labelled = int(np.count_nonzero(outcomes.labelled))
    return _cut(Cohort(outcomes.rows, labelled, served.foreign_rows(outcomes), most, columns, outcomes, hashes))


def merge_cohorts(parts: Sequence[Cohort], features: tuple[Feature, ...]) -> Cohort:
    """The cohort of the rows of all parts, one at least; `features` are those that come along."""
    return _cut(
        Cohort(
            sum(part.total for part in parts),
            sum(part.labelled for part in parts),
            sum(part.foreign for part in parts),
            parts[0].most,
            stack_columns([part.columns for part in parts], features),
            stack_outcomes([part.outcomes for part in parts], parts[0].outcomes.classes),
            np.concatenate([part.hashes for part in parts]),
        )
    )


def fold_cohorts(parts: Iterable[Cohort], schema: Schema, most: int = COHORT_ROWS) -> Cohort:
    """The same of any number of parts, with at most about three times `most` rows in memory."""
    waiting = [empty_cohort(schema, most)]
    for part in parts:
        waiting.append(part)
        if sum(len(cohort.hashes) for cohort in waiting[1:]) > most:
            waiting = [merge_cohorts(waiting, schema.features)]
    return merge_cohorts(waiting, schema.features)


def _cut(cohort: Cohort) -> Cohort:
    """The rows with the least hashes, in the order of their times."""
    at, hashes = cohort.outcomes.at, cohort.hashes
    places = np.arange(len(hashes))
    if len(hashes) > cohort.most:
        places = np.lexsort((at, hashes))[: cohort.most]
    places = places[np.lexsort((hashes[places], at[places]))]
    values = {name: take_rows(column, places) for name, column in cohort.columns.values.items()}
    columns = replace(cohort.columns, rows=len(places), values=values)
    return replace(cohort, columns=columns, outcomes=take_outcomes(cohort.outcomes, places), hashes=hashes[places])


def empty_cohort(schema: Schema, most: int = COHORT_ROWS) -> Cohort:
    """The cohort of no rows."""
    none = np.empty(0)
    outcomes = Outcomes(none, none, none, none, none, np.empty(0, dtype=np.int64), schema.classes)
    return Cohort(0, 0, 0, most, Columns(0, {}, {}), outcomes, np.empty(0, dtype=np.uint64))


def features_among(schema: Schema, names: Iterable[str]) -> tuple[Feature, ...]:
    """The features with these names, in the order of the schema."""
    wanted = set(names)
    return tuple(feature for feature in schema.features if feature.name in wanted)
