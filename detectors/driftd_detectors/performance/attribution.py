"""Where a rise of the loss comes from: other rows (mix) or a larger loss of the same rows (concept), and which ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from driftd_detectors.columns import Numbers
from driftd_detectors.profile.column_layout import ColumnLayout, Scale
from driftd_detectors.profile.layout import Layout
from driftd_detectors.profile.profile import LossSums, Profile
from driftd_detectors.reference import Reference
from driftd_detectors.schema import Kind, display_name

FEWEST_ROWS = 100  # labelled, of the time since the change
_SURE = 4.0  # sds of chance, from which a column is named for where the loss grew
_FEWEST_IN_BIN = 10.0  # rows, on both sides
_LARGEST = 3  # of what is named
_BELOW = 3  # bins below the reference's values: -inf, far below, below
_ABOVE = 4  # and above: above, far above, +inf; then missing
_MOST = 0.5  # of the rise, from which a segment is said to have most of it
_LEAST_SHARE = 0.05  # of the rise, from which a column of the mix is named


@dataclass(frozen=True, slots=True)
class Growth:
    """Values of a feature at which the loss grew most: what it is there now and was before, and their share of rows."""

    feature: str
    place: str  # "price from 3 to 4", "region = south"
    now: float
    before: float
    share: float


@dataclass(frozen=True, slots=True)
class SegmentRise:
    """What a segment adds to the rise: its share of the rise, and of the rows now."""

    name: str
    share_of_rise: float
    share_of_rows: float


@dataclass(frozen=True, slots=True)
class Attribution:
    """The rise of a mean loss over the reference, split.

    Notes
    -----
    mix + concept is the rise. The mix is what the losses of the reference, as a sum over the bins of all features
    (`estimated_loss.ExpectedLoss`), say of the rows that come now, beyond what the reference had; the concept is the
    rest. `mixes` says the same of each feature alone, sum (p - q) r_q over its bins, p and q the shares of rows now and
    before, r_q the mean loss before: features that move together share it (Cai, Namkoong, Yadlowsky 2023).
    """

    metric: str
    rise: float
    mix: float
    rows: int
    mixes: tuple[tuple[str, float], ...]  # by feature, largest first
    growths: tuple[Growth, ...]  # by feature, the surest first
    segments: tuple[SegmentRise, ...] = ()  # largest share of the rise first

    @property
    def concept(self) -> float:
        """The part that is a larger loss of the same kind of rows."""
        return self.rise - self.mix

    @property
    def leaders(self) -> tuple[tuple[str, float], ...]:
        """Segments and features with the share of the rise that they stand for, largest first."""
        found = {rise.name: rise.share_of_rise for rise in self.segments}
        for growth in self.growths:
            found.setdefault(growth.feature, growth.share * (growth.now - growth.before) / self.rise)
        for name, amount in self.mixes:
            found[name] = max(found.get(name, 0.0), amount / self.rise)
        ranked = sorted(found.items(), key=lambda leader: -leader[1])
        return tuple((name, round(min(1.0, share), 4)) for name, share in ranked if share >= _LEAST_SHARE)

    @property
    def place(self) -> str:
        """The segment that most of the rise is in, `region = south`; empty where none has more than half of it."""
        first = next(iter(self.segments), None)
        is_most = first is not None and first.share_of_rise > max(_MOST, 1.2 * first.share_of_rows)
        return first.name if first is not None and is_most else ""

    @property
    def sentence(self) -> str:
        """As people read it, with its shares."""
        mix = round(100 * self.mix / self.rise)
        mixed = [name for name, amount in self.mixes[:_LARGEST] if amount >= _LEAST_SHARE * self.rise]
        by = f" (by {', '.join(mixed)})" if mixed and mix > 0 else ""
        grown = f" (most where {_grown(self.growths[0])})" if self.growths else " (everywhere alike)"
        segments = [
            f"{rise.name} has {100 * rise.share_of_rise:.0f} % of it with {100 * rise.share_of_rows:.0f} % of the rows"
            for rise in self.segments[:1]
            if rise.share_of_rise > max(_LEAST_SHARE, 1.2 * rise.share_of_rows)
        ]
        return ". ".join(
            [
                f"Of the rise of {display_name(self.metric)} by {self.rise:.3g}, {mix} % is that other rows come{by}, "
                f"{100 - mix} % that rows like before have a larger loss{grown}",
                *segments,
            ]
        )


def _grown(growth: Growth) -> str:
    return f"{growth.place}: {growth.now:.3g} against {growth.before:.3g}, {100 * growth.share:.0f} % of the rows"


def attribute(
    reference: Reference, recent: Profile, by_segment: Mapping[str, tuple[float, float]]
) -> Attribution | None:
    """Attribute the rise of the loss in recent rows; None with too few of them, or where the loss did not rise.

    Parameters
    ----------
    reference
        What they are compared with; the loss is the gate's (`Reference.loss`).
    recent
        The Profile of the rows since the change, on the reference's layout and with the losses of those that have
        their label.
    by_segment
        Of each segment the rows with a loss and the sum of these losses.
    """
    before, now, layout = reference.profile.losses, recent.losses, reference.layout
    expected = reference.expected.get(reference.loss)
    if before is None or now is None:
        return None
    prediction = layout.starts[len(layout.features)]  # the prediction was delivered with every row
    rows, mean = (_total(sums, prediction, layout) for sums in (now, before))
    if rows[0] < FEWEST_ROWS or mean[0] == 0:
        return None
    loss_now, loss_before = rows[1] / rows[0], mean[1] / mean[0]
    rise = loss_now - loss_before
    if rise <= 0:
        return None
    spread = reference.losses[reference.loss].row_sd
    mixes, growths = [], []
    for index, column in enumerate(layout.features):
        here = slice(layout.starts[index], layout.starts[index + 1])
        part = _Bins.of(now, before, here)
        if part.is_whole(rows[0]):
            mixes.append((column.name, part.mix()))
            growths += [(sure, growth) for sure, growth in [_growth(column, part, spread)] if growth is not None]
    mix = (
        expected.level + float(now.rows @ expected.weights) / rows[0] - expected.mean
        if expected is not None
        else max((amount for _, amount in mixes), default=0.0)
    )
    ranked = sorted(growths, key=lambda found: -found[0])
    return Attribution(
        reference.loss,
        rise,
        float(np.clip(mix, -rise, rise)),
        int(rows[0]),
        tuple(sorted(mixes, key=lambda found: -found[1])),
        tuple(growth for _, growth in ranked),
        _segments(reference, by_segment, rows[0], rise),
    )


def _total(sums: LossSums, first: int, layout: Layout) -> tuple[float, float]:
    """Rows with a loss, and the sum of their losses."""
    last = layout.starts[len(layout.features) + 1]
    return float(sums.rows[first:last].sum()), float(sums.loss[first:last].sum())


@dataclass(frozen=True, slots=True)
class _Bins:
    """The bins of one column: rows with a loss and the sums of their losses, now and before."""

    rows: Numbers
    loss: Numbers
    rows_before: Numbers
    loss_before: Numbers

    @classmethod
    def of(cls, now: LossSums, before: LossSums, here: slice) -> _Bins:
        """Those of a stretch of the flat bins."""
        rows, rows_before = (sums.rows[here].astype(np.float64) for sums in (now, before))
        return cls(rows, now.loss[here], rows_before, before.loss[here])

    def is_whole(self, rows: float) -> bool:
        """Whether the column was delivered with nearly all rows, now and on the reference."""
        return float(self.rows.sum()) > 0.9 * rows and float(self.rows_before.sum()) > 0

    def mix(self) -> float:
        """How much the loss would have risen by other shares of the bins alone; a bin new to us counts as the mean."""
        mean = self.loss_before.sum() / self.rows_before.sum()
        known = self.rows_before > 0
        level = np.divide(self.loss_before, self.rows_before, out=np.full(len(self.rows), mean), where=known)
        return float((self.rows / self.rows.sum() - self.rows_before / self.rows_before.sum()) @ level)


def _growth(column: ColumnLayout, part: _Bins, spread: float) -> tuple[float, Growth | None]:
    """Where the loss of one column's bins grew most, and how sure it is that bins differ, in sds of chance."""
    known = np.minimum(part.rows, part.rows_before) >= _FEWEST_IN_BIN
    if known.sum() < 2 or column.scale is Scale.CONSTANT:  # noqa: PLR2004 - one bin does not differ from itself
        return 0.0, None
    rows, before = np.where(known, part.rows, 0.0), np.where(known, part.rows_before, 1.0)
    grown = np.where(known, part.loss / np.maximum(part.rows, 1) - part.loss_before / before, 0.0)
    share = rows / rows.sum()
    beyond = grown - float(share @ grown)
    scale = max(spread, abs(float(part.loss.sum() / part.rows.sum())))  # losses that grew spread wider
    variance = scale**2 * (1 / np.maximum(part.rows, 1) + 1 / before)
    freedom = float(known.sum() - 1)
    chi = float((beyond**2 / variance)[known].sum())
    sure = ((chi / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / np.sqrt(2 / (9 * freedom))
    if sure < _SURE:
        return float(sure), None
    chosen = _largest_run(share * beyond) if column.numeric else _best_labels(share * beyond)
    chosen &= known
    inside, earlier = part.rows[chosen].sum(), part.rows_before[chosen].sum()
    now, then = part.loss[chosen].sum() / inside, part.loss_before[chosen].sum() / earlier
    share_of_rows = float(inside / part.rows.sum())
    return float(sure), Growth(column.name, _place(column, chosen), float(now), float(then), share_of_rows)


def _largest_run(gains: Numbers) -> np.typing.NDArray[np.bool_]:
    """The neighbouring bins of numbers with the largest sum (Kadane), or the bin of missing values."""
    best, best_ends, total, start = float(gains[-1]), (len(gains) - 1, len(gains)), 0.0, 0
    for place, gain in enumerate(gains[:-1].tolist()):
        if total <= 0:
            total, start = 0.0, place
        total += gain
        if total > best:
            best, best_ends = total, (start, place + 1)
    chosen = np.zeros(len(gains), dtype=np.bool_)
    chosen[best_ends[0] : best_ends[1]] = True
    return chosen


def _best_labels(gains: Numbers) -> np.typing.NDArray[np.bool_]:
    """The labels that gain most, up to three, each at least half of the first."""
    order = np.argsort(-gains, kind="stable")[:_LARGEST]
    chosen = np.zeros(len(gains), dtype=np.bool_)
    chosen[[place for place in order if gains[place] >= gains[order[0]] / 2]] = True
    return chosen


def _place(column: ColumnLayout, chosen: np.typing.NDArray[np.bool_]) -> str:
    """Some bins of a column in words."""
    places = np.flatnonzero(chosen)
    if not column.numeric:
        names = [*column.labels, "another value", "a new value", "missing"]
        return f"{column.name} = {' or '.join(names[place] for place in places)}"
    if places[0] == column.bins - 1:
        return f"{column.name} missing"
    name = f"the age of {column.name}" if column.kind is Kind.TIMESTAMP else column.name
    low, high = column.all_edges[max(0, places[0] - 1)], column.all_edges[places[-1]]
    if places[0] < _BELOW:
        return f"{name} below {high:.4g}"
    return f"{name} from {low:.4g}" + ("" if places[-1] >= column.bins - _ABOVE else f" to {high:.4g}")


def _segments(
    reference: Reference, by_segment: Mapping[str, tuple[float, float]], rows: float, rise: float
) -> tuple[SegmentRise, ...]:
    known = {segment.name: segment for segment in reference.segments if reference.loss in segment.losses}
    found = []
    for name, (own, loss) in by_segment.items():
        if name in known and own > 0:
            before = known[name].share * known[name].losses[reference.loss].mean
            found.append(SegmentRise(name, (loss / rows - before) / rise, own / rows))
    return tuple(sorted(found, key=lambda segment: -segment.share_of_rise))
