"""The labels of a window, however many: exact counts beside an even sample of bounded size, which merge."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.columns import BOOLEAN_LABELS, Coded, Column, Columns, Numbers, Outcomes, stack_columns, take_rows
from driftd_detectors.errors import DetectorError
from driftd_detectors.outcome_rows import stack_outcomes, take_outcomes
from driftd_detectors.schema import Feature, Schema
from driftd_detectors.serialization import pack, refused_as, unpack
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
    most `most`. They stand in the order of their times, then of their hashes, and texts are numbered by the alphabet:
    the same rows give the same bytes.
    """

    total: int  # rows
    labelled: int
    foreign: int  # rows that another version than the champion predicted
    most: int
    first_at: float  # of all rows, as the next two; NaN without rows
    last_at: float
    newest_label_at: float  # NaN where no label has a time
    columns: Columns
    outcomes: Outcomes
    hashes: Hashes
    known_by: float = np.inf  # when its labels were read, where that was before they were asked for; in no bytes

    @property
    def is_sample(self) -> bool:
        """Whether some rows are left out."""
        return self.outcomes.rows < self.total

    def to_bytes(self) -> bytes:
        """A form that `from_bytes` reads back."""
        outcomes = self.outcomes
        coded = {name: column for name, column in self.columns.values.items() if isinstance(column, Coded)}
        values: dict[str, Any] = {
            "batches": BATCHES,
            "counts": [self.total, self.labelled, self.foreign, self.most],
            "times": [None if np.isnan(at) else at for at in (self.first_at, self.last_at, self.newest_label_at)],
            "classes": list(outcomes.classes),
            "unseen": list(outcomes.unseen),
            "unreadable_scores": outcomes.unreadable_scores,
            "unreadable": dict(self.columns.unreadable),
            "labels": {name: list(column.labels) for name, column in coded.items()},
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
        with refused_as("a cohort"):
            columns = {
                key.removeprefix("feature "): _column_of(array, values["labels"].get(key.removeprefix("feature ")))
                for key, array in arrays.items()
                if key.startswith("feature ")
            }
            classes, unseen = tuple(values["classes"]), tuple(values["unseen"])
            named = {name: arrays[name] for name in _ARRAYS}
            refused = int(values["unreadable_scores"])
            outcomes = Outcomes(**named, classes=classes, unseen=unseen, unreadable_scores=refused)
            total, labelled, foreign, most = values["counts"]
            first, last, newest = (np.nan if at is None else float(at) for at in values["times"])
            rows = Columns(outcomes.rows, columns, dict(values["unreadable"]))
            found = cls(total, labelled, foreign, most, first, last, newest, rows, outcomes, arrays["hashes"])
            return checked_cohort(found)


def _column_of(array: NDArray[Any], labels: Iterable[str] | None) -> Column:
    return array if labels is None else Coded(array, tuple(labels))


def checked_cohort(cohort: Cohort) -> Cohort:
    """The same cohort. Raises DetectorError where no rows can have given it: bytes may come from anywhere."""
    outcomes, rows = cohort.outcomes, len(cohort.hashes)
    floats = [outcomes.at, outcomes.prediction, outcomes.score, outcomes.label, outcomes.label_at]
    floats += [column for column in cohort.columns.values.values() if not isinstance(column, Coded)]
    coded = [column for column in cohort.columns.values.values() if isinstance(column, Coded)]
    whole: list[NDArray[Any]] = [*(column.codes for column in coded), outcomes.version, cohort.hashes]
    counts = (cohort.total, cohort.labelled, cohort.foreign, cohort.most)
    texts = [*outcomes.classes, *outcomes.unseen, *(label for column in coded for label in column.labels)]
    lowest = -1 - len(outcomes.unseen)
    classes = [values for values in (outcomes.prediction, outcomes.label) if outcomes.classes]
    holds = (
        all(array.dtype == np.float64 and array.shape == (rows,) for array in floats)
        and all(array.dtype.kind in "iu" and array.shape == (rows,) for array in whole)
        and all(type(count) is int and count >= 0 for count in counts)
        and all(isinstance(text, str) for text in texts)
        and rows == min(cohort.total, cohort.most)
        and np.count_nonzero(outcomes.labelled) <= cohort.labelled <= cohort.total
        and cohort.foreign <= cohort.total
        and all(((column.codes >= -1) & (column.codes < len(column.labels))).all() for column in coded)
        and all(((values >= lowest) & (values < len(outcomes.classes))).all() for values in classes)
        and not np.isnan(outcomes.at).any()
    )
    if not holds:
        raise DetectorError("a cohort whose counts and rows do not belong together: make it anew with cohort_batches")
    return cohort


def cohort_of(
    columns: Columns, outcomes: Outcomes, hashes: Hashes, served: ServedBy, most: int = COHORT_ROWS
) -> Cohort:
    """Some rows, with the labels that are known, as a cohort."""
    labelled = int(np.count_nonzero(outcomes.labelled))
    foreign = served.foreign_rows(outcomes)
    first, last, newest = _least(outcomes.at), _greatest(outcomes.at), _greatest(outcomes.label_at)
    return _cut(Cohort(outcomes.rows, labelled, foreign, most, first, last, newest, columns, outcomes, hashes))


def _least(times: Numbers) -> float:
    return -_greatest(-times)


def _greatest(times: Numbers) -> float:
    finite = times[np.isfinite(times)]
    return float(finite.max()) if len(finite) else np.nan


def merge_cohorts(parts: Sequence[Cohort], features: tuple[Feature, ...]) -> Cohort:
    """The cohort of the rows of all parts, one at least; `features` are those that come along."""
    return _cut(
        Cohort(
            sum(part.total for part in parts),
            sum(part.labelled for part in parts),
            sum(part.foreign for part in parts),
            parts[0].most,
            _least(np.array([part.first_at for part in parts])),
            _greatest(np.array([part.last_at for part in parts])),
            _greatest(np.array([part.newest_label_at for part in parts])),
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
    """The rows with the least hashes, in the order of their times, with the texts that they need."""
    at, hashes = cohort.outcomes.at, cohort.hashes
    places = np.arange(len(hashes))
    if len(hashes) > cohort.most:
        places = _order_places(places, cohort, [hashes, at])[: cohort.most]
    places = _order_places(places, cohort, [at, hashes])
    values = {name: _plain(take_rows(column, places)) for name, column in cohort.columns.values.items()}
    columns = replace(cohort.columns, rows=len(places), values=values)
    kept = _plain_classes(take_outcomes(cohort.outcomes, places))
    return replace(cohort, columns=columns, outcomes=kept, hashes=hashes[places])


def _order_places(places: NDArray[np.intp], cohort: Cohort, keys: list[NDArray[Any]]) -> NDArray[np.intp]:
    """Places in the order of keys, the first one before all; the other values decide where rows have the same keys."""
    chosen = [key[places] for key in keys]
    order = np.lexsort(chosen[::-1])
    ties = np.ones(max(len(places) - 1, 0), dtype=np.bool_)
    for key in chosen:
        ties &= key[order][1:] == key[order][:-1]
    if ties.any():
        outcomes = _plain_classes(cohort.outcomes)
        columns = [_plain(column) for _, column in sorted(cohort.columns.values.items())]
        more: list[NDArray[Any]] = [column.codes if isinstance(column, Coded) else column for column in columns]
        more += [outcomes.score, outcomes.prediction, outcomes.label, outcomes.label_at, outcomes.version]
        order = np.lexsort([*(values[places] for values in more), *chosen[::-1]])
    return places[order]


def _plain(column: Column) -> Column:
    """The column with the labels that its rows have, by the alphabet: what only dropped rows had is let go."""
    if not isinstance(column, Coded):
        return column + 0.0  # one zero: -0.0 and 0.0 are the same value in other bytes
    if column.labels == BOOLEAN_LABELS:
        return column
    used = np.unique(column.codes[column.codes >= 0])
    names = sorted((column.labels[code], code) for code in used.tolist())
    codes = np.full(len(column.labels) + 1, -1, dtype=np.int32)
    codes[[code for _, code in names]] = np.arange(len(names), dtype=np.int32)
    return Coded(codes[column.codes], tuple(name for name, _ in names))


def _plain_classes(outcomes: Outcomes) -> Outcomes:
    """The same for predictions and labels, and the texts outside the classes."""
    prediction, label = outcomes.prediction + 0.0, outcomes.label + 0.0
    outcomes = replace(outcomes, prediction=prediction, label=label, score=outcomes.score + 0.0)
    if not outcomes.unseen:
        return outcomes
    both = np.concatenate([outcomes.prediction, outcomes.label])
    names = sorted((outcomes.unseen[-2 - int(code)], code) for code in np.unique(both[both < -1]).tolist())
    codes = {code: -2.0 - place for place, (_, code) in enumerate(names)}

    def renumber(values: NDArray[np.float64]) -> NDArray[np.float64]:
        known, places = np.unique(values, return_inverse=True)
        return np.array([codes.get(code, code) for code in known.tolist()], dtype=np.float64)[places]

    unseen = tuple(name for name, _ in names)
    return replace(outcomes, prediction=renumber(outcomes.prediction), label=renumber(outcomes.label), unseen=unseen)


def empty_cohort(schema: Schema, most: int = COHORT_ROWS) -> Cohort:
    """The cohort of no rows."""
    none = np.empty(0)
    outcomes = Outcomes(none, none, none, none, none, np.empty(0, dtype=np.int64), schema.classes)
    return Cohort(0, 0, 0, most, np.nan, np.nan, np.nan, Columns(0, {}, {}), outcomes, np.empty(0, dtype=np.uint64))


def features_among(schema: Schema, names: Iterable[str]) -> tuple[Feature, ...]:
    """The features with these names, in the order of the schema."""
    wanted = set(names)
    return tuple(feature for feature in schema.features if feature.name in wanted)
