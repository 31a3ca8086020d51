"""The figures of a rehearsal: of each config and each rival, with intervals, costs, and one recommendation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from driftd.config.rehearsal_schema import CostsConfig
from driftd.decisions import DEFAULT, is_wanted
from driftd.events import Event
from driftd.rehearsal.curves import Curve, Interval, Numbers, difference, window_means
from driftd.rehearsal.rivals import STATIC
from driftd.rehearsal.stream import Stream
from driftd.rehearsal.variants import AS_IT_IS

THOUSAND = 1000.0


class Bounds(msgspec.Struct, frozen=True):
    """A difference of mean errors with its 95 % interval; bounds are null where too few days are on record."""

    mean: float
    lower: float | None
    upper: float | None

    @classmethod
    def of(cls, found: Interval, scale: float = 1.0, shift: float = 0.0) -> Bounds:
        """An interval, scaled and shifted."""
        lower, upper = (None if math.isnan(b) else scale * b + shift for b in (found.lower, found.upper))
        return cls(scale * found.mean + shift, lower, upper)

    @property
    def is_below(self) -> bool:
        """Whether all of it lies below zero."""
        return self.upper is not None and self.upper < 0

    @property
    def is_above(self) -> bool:
        """Whether all of it lies above zero."""
        return self.lower is not None and self.lower > 0


class Decided(msgspec.Struct, frozen=True):
    """One decision that the daemon took, at `at` (epoch seconds)."""

    at: float
    event: str
    version: int | None
    reason: str


class WayFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What one way of keeping the model comes to. A rival that is rebuilt on a schedule pages nobody."""

    name: str
    is_config: bool
    changes: dict[str, str] = {}
    error: float  # mean over all predictions with a label
    to_static: Bounds  # error minus that of the first version left alone
    to_default: Bounds | None = None  # minus that of the config as it is; null for that itself
    builds: int = 0  # besides the first version
    swaps: int = 0
    rollbacks: int = 0
    alarms: int = 0
    pages: int = 0
    not_logged: int = 0  # rows that the store refused, so that the daemon never saw them
    cost: float | None = None
    cost_to_default: Bounds | None = None
    means: list[float | None] = []  # the mean error of each window; null without labels
    decisions: list[Decided] = []


class RehearsalReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `driftd rehearse` says. The same rows and config give the same, to the last digit."""

    model: str
    metric: str
    first_rows: int  # before the replay: those of the first version, where it is trained on the data
    rows: int  # replayed
    labelled: int
    windows: int
    window_seconds: float
    start: float = msgspec.field(name="from")
    end: float = msgspec.field(name="to")
    starts: list[float]  # of the windows
    costs: dict[str, float] | None
    ways: list[WayFigures]
    recommendation: str
    remarks: list[str]

    @property
    def configs(self) -> list[WayFigures]:
        """The configs, the one as it is first."""
        return [way for way in self.ways if way.is_config]


class Outcome(msgspec.Struct, frozen=True):
    """What a config's process left behind, beside its curve."""

    decisions: list[Decided]
    not_logged: int


def count_pages(decisions: Sequence[Decided]) -> int:
    """How many notifications a receiver without `on` would have got."""
    return sum(is_wanted(line.event, (DEFAULT,)) for line in decisions)


class Ledger:
    """Makes the figures of each way, against the first version left alone and the config as it is."""

    def __init__(self, stream: Stream, static: Curve, costs: CostsConfig | None, day: float) -> None:
        """`day` is the seconds within which rows share their luck."""
        self._stream, self._static, self._costs, self._day = stream, static, costs, day
        self._default: tuple[Curve, float] | None = None

    def config(self, name: str, changes: Mapping[str, str], curve: Curve, outcome: Outcome) -> WayFigures:
        """The figures of a config; the one as it is must come first."""
        events = [line.event for line in outcome.decisions]
        builds, pages = events.count(Event.BUILD_STARTED), count_pages(outcome.decisions)
        known = self._compare_way(name, curve, self._standing_cost(builds, pages))
        return msgspec.structs.replace(
            known,
            is_config=True,
            changes=dict(changes),
            builds=builds,
            swaps=events.count(Event.PROMOTED),
            rollbacks=events.count(Event.ROLLED_BACK),
            alarms=events.count(Event.ALARM),
            pages=pages,
            not_logged=outcome.not_logged,
            decisions=outcome.decisions,
        )

    def rival(self, curve: Curve) -> WayFigures:
        """The figures of a rival."""
        builds = curve.builds - 1
        return msgspec.structs.replace(
            self._compare_way(curve.name, curve, self._standing_cost(builds, 0)), builds=builds
        )

    def _compare_way(self, name: str, curve: Curve, standing: float) -> WayFigures:
        if self._default is None:
            self._default = curve, standing
        default, default_standing = self._default
        means, _ = window_means(curve, self._stream.starts)
        to_default = self._difference(curve, default)
        is_default = curve is default
        scale = 0.0 if self._costs is None else self._costs.error * self._count_labelled(curve) / THOUSAND
        return WayFigures(
            name=name,
            is_config=False,
            error=curve.mean,
            to_static=Bounds.of(self._difference(curve, self._static)),
            to_default=None if is_default else Bounds.of(to_default),
            cost=None if self._costs is None else standing + scale * curve.mean,
            cost_to_default=None
            if self._costs is None or is_default
            else Bounds.of(to_default, scale, standing - default_standing),
            means=[None if math.isnan(mean) else float(mean) for mean in means],
        )

    def _difference(self, curve: Curve, other: Curve) -> Interval:
        return difference(curve.error, other.error, curve.at, self._day)

    def _count_labelled(self, curve: Curve) -> int:
        return int(np.isfinite(curve.error).sum())

    def _standing_cost(self, builds: int, pages: int) -> float:
        costs = self._costs
        return 0.0 if costs is None else costs.build * builds + costs.page * pages


def recommend(ways: Sequence[WayFigures]) -> str:
    """One sentence: which config to take, and whether the record can tell the configs apart.

    By cost where costs are known, else by error, and of what cannot be told apart the config as it is.
    """
    configs = [way for way in ways if way.is_config]
    best = min(configs, key=_worth)
    what = "costs" if best.cost is not None else "errs"
    by = "cost" if best.cost is not None else "error"
    rival = _better_rival(ways, best)
    if len(configs) == 1:
        return f"one config was rehearsed; --vary compares it with others{rival}"
    against = best.cost_to_default if best.cost is not None else best.to_default
    if best.name == AS_IT_IS:
        others = [way.cost_to_default or way.to_default for way in configs if way is not best]
        sure = all(other is not None and other.is_above for other in others)
        apart = "surely" if sure else "not surely: some cannot be told apart from it on this history"
        return f"keep the config as it is: it {what} least, {apart}{rival}"
    assert against is not None  # all but the config as it is have it
    if against.is_below:
        return f"take {best.name}: it {what} less than the config as it is by {_span(against)}, surely{rival}"
    return (
        f"these cannot be told apart by {by} on this history: {best.name} {what} least, by {_span(against)} against "
        f"the config as it is, and the interval holds zero; keep the config as it is{rival}"
    )


def _worth(way: WayFigures) -> float:
    worth = way.cost if way.cost is not None else way.error
    return math.inf if math.isnan(worth) else worth


def _better_rival(ways: Sequence[WayFigures], best: WayFigures) -> str:
    rivals = [way for way in ways if not way.is_config and _worth(way) < _worth(best)]
    if not rivals:
        return ""
    rival = min(rivals, key=_worth)
    what = "leaving the first version alone" if rival.name == STATIC else f"a model {rival.name}"
    by = f"{_worth(rival):.4g} against {_worth(best):.4g}"
    return f"; {what} would have done better ({by})"


def _span(found: Bounds) -> str:
    bounds = "" if found.lower is None else f" ({found.lower:+.3g} to {found.upper:+.3g})"
    return f"{found.mean:+.3g}{bounds}"


def metric_means(values: Sequence[float | None]) -> Numbers:
    """Means of windows as numbers, NaN for none."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
