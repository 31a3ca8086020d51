"""The Profile: a mergeable summary of a window: counts, moments, joint second moments, loss sums."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.columns import Coded, Column, Columns, Numbers, Outcomes
from driftd_detectors.errors import DetectorError
from driftd_detectors.profile.column_layout import ColumnLayout
from driftd_detectors.profile.counting import (
    NO_MOMENTS,
    ColumnMoments,
    Moments,
    bins_of,
    count_labels,
    count_numbers,
    locate,
)
from driftd_detectors.profile.layout import Layout, feature_values, predicted_classes
from driftd_detectors.serialization import JsonObject, pack, refused_as, unpack

_STEP = 2.0**-10
_CHUNK = 16_384
_MOST_BYTES = 2**28  # of a Profile; what unfolds to more is none
_SIDES = 1e-4  # the mid-rank of a bin that was empty in the reference is at least so far from 0 and 1


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """Sums of normal scores and of their products, over the rows in which all watched features were delivered."""

    rows: int
    sums: Numbers  # (features,)
    products: Numbers  # (features, features), symmetric


def no_joint(features: int) -> Joint:
    """The sums of no rows."""
    return Joint(0, np.zeros(features), np.zeros((features, features)))


def merge_joint(a: Joint, b: Joint) -> Joint:
    """The sums over the rows of both."""
    return Joint(a.rows + b.rows, a.sums + b.sums, a.products + b.products)


def joint_of(values: Mapping[int, Column], rows: int, layout: Layout) -> Joint:
    """Sum over the rows of one chunk; nothing when one of the watched features is absent."""
    watched = layout.joint
    if rows == 0 or len(watched) < 2 or any(index not in values for index in watched):  # noqa: PLR2004
        return no_joint(len(watched))
    tables = [normal_scores(layout.features[index]) for index in watched]
    sums, products = np.zeros(len(watched)), np.zeros((len(watched), len(watched)))
    scores = np.empty((len(watched), min(rows, _CHUNK)))
    for first in range(0, rows, _CHUNK):
        last = min(rows, first + _CHUNK)
        chunk = scores[:, : last - first]
        for row, index, table in zip(chunk, watched, tables, strict=True):
            np.take(table, locate(values[index], layout.features[index], first, last), out=row, mode="clip")
        sums += chunk.sum(axis=1)
        products += chunk @ chunk.T
    return Joint(rows, sums, products)


@lru_cache(maxsize=4096)
def normal_scores(column: ColumnLayout) -> Numbers:
    """The normal score of each bin of a column; shape (column.bins,), 0 for bins without a rank."""
    counts = np.array(column.counts, dtype=np.float64)
    ranked = ranked_bins(column)
    shares = np.where(ranked, counts, 0.0)
    total = shares.sum()
    if total == 0:
        return np.zeros(len(counts))
    shares /= total
    middle = np.clip(np.cumsum(shares) - shares / 2, _SIDES, 1 - _SIDES)
    normal = NormalDist()
    scores = np.array([normal.inv_cdf(float(rank)) for rank in middle])
    scores -= shares @ scores
    spread = float(np.sqrt(shares @ scores**2))
    if spread == 0:
        return np.zeros(len(counts))
    rounded: Numbers = np.where(ranked, np.round(scores / spread / _STEP) * _STEP, 0.0)
    return rounded


def ranked_bins(column: ColumnLayout) -> np.typing.NDArray[np.bool_]:
    """Which bins have a place in the column's order: all but missing, and of labels only the known ones."""
    ranked = np.ones(column.bins, dtype=np.bool_)
    ranked[len(column.labels) if not column.numeric else -1 :] = False
    return ranked


Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class LossSums:
    """By bin of the flat vector: rows with a loss, the sum of their losses, the sum of their predictions.

    The prediction of a class is 1 when it is the second class (else 0), or the score where there is one.
    """

    rows: Counts
    loss: Numbers
    prediction: Numbers


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """A window, summarised on the bins of one layout; immutable."""

    layout: str  # the fingerprint
    rows: int
    counts: Counts  # (layout.bins,)
    moments: Moments  # (columns,) each: of finite values; ages in seconds for timestamps
    unreadable: Counts  # (columns,): values that could not be read, counted as missing too
    absent: Counts  # (columns,): rows to which the column was not delivered at all; in no bin
    joint: Joint
    losses: LossSums | None = None  # only where losses were given

    def to_bytes(self) -> bytes:
        """A compact form that `from_bytes` reads back."""
        values: JsonObject = {"layout": self.layout, "rows": self.rows, "joint_rows": self.joint.rows}
        width = np.triu_indices(len(self.joint.sums))
        arrays: dict[str, NDArray[Any]] = {
            "counts": _narrow(self.counts),
            "finite": _narrow(self.moments.finite),
            "unreadable": _narrow(self.unreadable),
            "absent": _narrow(self.absent),
            "mean": self.moments.mean,
            "squares": self.moments.squares,
            "low": self.moments.low,
            "high": self.moments.high,
            "joint_sums": self.joint.sums,
            "joint_products": self.joint.products[width],
        }
        if self.losses is not None:
            arrays |= {
                "loss_rows": _narrow(self.losses.rows),
                "loss": self.losses.loss,
                "given": self.losses.prediction,
            }
        return zlib.compress(pack(values, arrays), level=6)

    @classmethod
    def from_bytes(cls, stored: bytes) -> Profile:
        """Read what `to_bytes` wrote. Raises DetectorError when the bytes are something else."""
        try:
            values, arrays = unpack(zlib.decompressobj().decompress(stored, _MOST_BYTES))
        except zlib.error as error:
            raise DetectorError("these bytes were not written by Profile.to_bytes") from error
        with refused_as("a Profile"):
            return cls(
                values["layout"],
                values["rows"],
                _wide(arrays["counts"]),
                Moments(_wide(arrays["finite"]), *(arrays[name] for name in ("mean", "squares", "low", "high"))),
                _wide(arrays["unreadable"]),
                _wide(arrays["absent"]),
                Joint(
                    values["joint_rows"],
                    arrays["joint_sums"],
                    _square(arrays["joint_products"], arrays["joint_sums"]),
                ),
                LossSums(_wide(arrays["loss_rows"]), arrays["loss"], arrays["given"]) if "loss" in arrays else None,
            )


Windows = Sequence[tuple[float, Profile]]


class StoredWindows(Sequence[tuple[float, Profile]]):
    """The windows of a stored reference. Their Profiles are most of its memory, and asked for rarely: read each time.

    `read` gives what `Reference.to_bytes` wrote.
    """

    def __init__(self, starts: Sequence[float], read: Callable[[], bytes]) -> None:
        self._starts, self._read = tuple(starts), read

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, place: int) -> tuple[float, Profile]: ...

    @overload
    def __getitem__(self, place: slice) -> Windows: ...

    def __getitem__(self, place: int | slice) -> tuple[float, Profile] | Windows:
        return tuple(self)[place]

    def __iter__(self) -> Iterator[tuple[float, Profile]]:
        _, arrays = unpack(self._read())
        for number, start in enumerate(self._starts):
            yield start, Profile.from_bytes(arrays[f"window_{number}"].tobytes())


def empty_profile(layout: Layout) -> Profile:
    """The Profile of no rows."""
    columns = len(layout.columns)
    none = np.zeros(columns, dtype=np.int64)
    moments = Moments.of([NO_MOMENTS] * columns)
    return Profile(
        layout.fingerprint, 0, np.zeros(layout.bins, dtype=np.int64), moments, none, none, no_joint(len(layout.joint))
    )


def merge(a: Profile, b: Profile) -> Profile:
    """The Profile of the rows of both. Raises ValueError when they were made on different layouts."""
    if a.layout != b.layout:
        raise DetectorError(
            f"Profiles on different layouts ({a.layout}, {b.layout}) cannot be merged; profile the rows again"
        )
    return Profile(
        a.layout,
        a.rows + b.rows,
        a.counts + b.counts,
        a.moments.merge(b.moments),
        a.unreadable + b.unreadable,
        a.absent + b.absent,
        merge_joint(a.joint, b.joint),
        _merge_losses(a.losses, b.losses),
    )


def profile_of(columns: Columns, outcomes: Outcomes | None, layout: Layout, *, loss: Numbers | None = None) -> Profile:
    """Count one chunk of rows.

    Parameters
    ----------
    columns, outcomes
        The rows and what the model said of them. Without outcomes the prediction and ages of timestamps are absent.
    layout
        The bins, learned from the reference.
    loss
        The loss of each row, NaN where it is not known; adds the sums by bin that harm and root cause are made of.

    Raises
    ------
    ValueError
        When a column, the outcomes or the losses do not have `columns.rows` entries.
    """
    _check_lengths(columns, outcomes, loss)
    counts = np.zeros(layout.bins, dtype=np.int64)
    moments = []
    unreadable = np.zeros(len(layout.columns), dtype=np.int64)
    absent = np.zeros(len(layout.columns), dtype=np.int64)
    wanted = set(layout.joint)
    kept: dict[int, Column] = {}
    for index, (column, values) in enumerate(_values(columns, outcomes, layout)):
        unreadable[index] = _unreadable(index, column, columns, outcomes, layout)
        if values is None:
            absent[index] = columns.rows
            moments.append(NO_MOMENTS)
            continue
        if isinstance(values, Coded) is column.numeric:  # text where numbers belong, or the reverse
            values = _no_values(column, columns.rows)  # noqa: PLW2901 - what cannot be read is missing
            unreadable[index] = columns.rows
        counts[layout.starts[index] : layout.starts[index + 1]], counted = _count(values, column)
        moments.append(counted)
        if loss is not None or index in wanted:
            kept[index] = values
    return Profile(
        layout.fingerprint,
        columns.rows,
        counts,
        Moments.of(moments),
        unreadable,
        absent,
        joint_of(kept, columns.rows, layout),
        None if loss is None else _loss_sums(kept, outcomes, loss, layout),
    )


def _unreadable(index: int, column: ColumnLayout, columns: Columns, outcomes: Outcomes | None, layout: Layout) -> int:
    """How many values could not be read; a feature may have the name of what the model gives out."""
    if index < len(layout.features):
        return columns.unreadable.get(column.name, 0)
    return outcomes.unreadable_scores if outcomes is not None and column.name == "score" else 0


def _values(
    columns: Columns, outcomes: Outcomes | None, layout: Layout
) -> Iterator[tuple[ColumnLayout, Column | None]]:
    for column in layout.features:
        yield column, feature_values(columns, outcomes, column)
    for column in layout.predictions:
        if outcomes is None:
            yield column, None
        elif column.name == "score":
            yield column, outcomes.score
        else:
            yield column, outcomes.prediction if column.numeric else predicted_classes(outcomes)


def _count(values: Column, column: ColumnLayout) -> tuple[Counts, ColumnMoments]:
    if isinstance(values, Coded):
        return count_labels(values, column), NO_MOMENTS
    return count_numbers(values, column)


def _no_values(column: ColumnLayout, rows: int) -> Column:
    return np.full(rows, np.nan) if column.numeric else Coded(np.full(rows, -1, dtype=np.int32), ())


def _check_lengths(columns: Columns, outcomes: Outcomes | None, loss: Numbers | None) -> None:
    lengths = {name: len(value.codes if isinstance(value, Coded) else value) for name, value in columns.values.items()}
    lengths |= {} if outcomes is None else {"the outcomes": outcomes.rows}
    lengths |= {} if loss is None else {"the losses": len(loss)}
    for name, length in lengths.items():
        if length != columns.rows:
            raise ValueError(f"{name} has {length} rows, the window has {columns.rows}; all must have the same rows")


def _loss_sums(kept: dict[int, Column], outcomes: Outcomes | None, loss: Numbers, layout: Layout) -> LossSums:
    known = np.isfinite(loss)
    weights = (known, np.where(known, loss, 0.0), np.where(known, _predicted_numbers(outcomes, len(loss)), 0.0))
    sums = np.zeros((3, layout.bins))
    for index, values in kept.items():
        column = layout.columns[index]
        bins = bins_of(values, column)
        first = layout.starts[index]
        for row, weight in zip(sums, weights, strict=True):
            row[first : first + column.bins] = np.bincount(bins, weights=weight, minlength=column.bins)
    return LossSums(sums[0].astype(np.int64), sums[1], sums[2])


def _predicted_numbers(outcomes: Outcomes | None, rows: int) -> Numbers:
    """What was predicted of each row, as a number."""
    if outcomes is None:
        return np.zeros(rows)
    if not outcomes.classes:
        return np.nan_to_num(outcomes.prediction, posinf=0.0, neginf=0.0)
    hard = (outcomes.prediction == 1).astype(np.float64)
    return np.where(np.isfinite(outcomes.score), outcomes.score, hard) if len(outcomes.classes) == 2 else hard  # noqa: PLR2004


def _merge_losses(a: LossSums | None, b: LossSums | None) -> LossSums | None:
    if a is None or b is None:
        return a or b
    return LossSums(a.rows + b.rows, a.loss + b.loss, a.prediction + b.prediction)


def _narrow(counts: Counts) -> NDArray[Any]:
    """The same counts in the fewest bytes an entry."""
    highest = int(counts.max(initial=0))
    return counts.astype(np.min_scalar_type(highest))


def _wide(counts: NDArray[Any]) -> Counts:
    if counts.dtype.kind not in "iu":
        raise DetectorError(f"counts are whole numbers, these are of type {counts.dtype}")
    return counts.astype(np.int64)


def _square(upper: Numbers, sums: Numbers) -> Numbers:
    width = len(sums)
    square = np.zeros((width, width))
    square[np.triu_indices(width)] = upper
    return square + np.triu(square, 1).T
