"""The e-detector: evidence that gathers over windows and streams, with a known average run to a false alarm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.columns import Numbers
from driftd_detectors.errors import DetectorError
from driftd_detectors.evidence.history import (
    UTC_CALENDAR,
    Calendar,
    History,
    Season,
    change_point,
    ladder,
    level_windows,
    not_learned,
    season_for,
)
from driftd_detectors.evidence.residuals import ANY_WANDER, AutocorrelationMargin, Fit, Floats
from driftd_detectors.serialization import JsonObject

LAMBDAS = np.array([0.5, 1.0, 1.5, 2.25, 3.25, 4.5])  # the sizes of change, in sds of a window, that are betted on
CLIP = 4.0  # one glitch cannot raise an alarm
SUSPECTED = 5.0  # evidence that somebody may want to know of
QUARANTINE = 5.0  # from this evidence on, windows are not learned: docs/decisions/019
_MOST_LOG = 80.0
_VARIES_SDS = 2.0  # of the windows' own variation; what is shown as a shift is beyond it
_FEWEST_REFERENCE_WINDOWS = 2
_LEARNED_WHOLE = 28


@dataclass(frozen=True, slots=True)
class StreamWeights:
    """One lane a stream and direction of change, with the weight of each stream; all weights sum to one."""

    stream: NDArray[np.intp]
    upward: NDArray[np.bool_]
    weight: Numbers
    streams: int

    @classmethod
    def of(cls, weights: Numbers, two_sided: NDArray[np.bool_]) -> StreamWeights:
        """Both directions for two-sided streams, upward alone for the others. Raises ValueError without any weight."""
        total = float(weights.sum())
        if not total > 0:
            raise DetectorError("no stream has a weight above 0: everything is ignored or silenced")
        numbers = np.arange(len(weights))
        stream = np.concatenate([numbers, numbers[two_sided]])
        upward = np.arange(len(stream)) < len(weights)
        shares = weights / total / np.where(two_sided, 2, 1)
        return cls(stream, upward, shares[stream], len(weights))

    def only(self, streams: NDArray[np.bool_]) -> StreamWeights:
        """The lanes of some streams, (S,), as they were before there were others."""
        kept = streams[self.stream]
        places = np.cumsum(streams)[self.stream[kept]] - 1
        return StreamWeights(places, self.upward[kept], self.weight[kept], int(streams.sum()))


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence against "nothing changed", over many streams at once. Immutable.

    Parameters
    ----------
    lanes
        The streams, their directions and weights.
    threshold
        A: the evidence at which it alarms; the average number of clean windows to a false alarm is at least A.

    Notes
    -----
    Each window gives each stream a standard normal u (`residuals.Fit.z_scores`), clipped at 4. The e-value for a
    change of size lambda is exp(lambda u - lambda^2 / 2), of expectation at most 1 under no drift whatever the past.
    The Shiryaev-Roberts recursion R <- (R + 1) e runs for each stream, direction and lambda, in logarithms. The
    evidence M is the weighted mean of all R, so M_t - t is a supermartingale under *any* dependence between streams,
    and the first t with M_t >= A has expectation at least A.

    The guarantee is exact for normal, independent window residuals of unknown mean and variance. With the prior on
    the variance, the sampling floor, quarantine and autocorrelation it is calibrated by simulation
    (benchmarks/false_alarms.py), not proved.

    From M >= 5 windows are quarantined: they count as evidence but are learned only if the evidence falls again. Once
    over the threshold the alarm stands until `rebaseline`.

    Examples
    --------
    >>> lanes = StreamWeights.of(np.ones(1), np.array([True]))
    >>> rng = np.random.default_rng(1)
    >>> reference = rng.normal(0, 0.05, (28, 1))
    >>> evidence = Evidence.begin(lanes, 1000.0, np.arange(28.0), reference, np.full((28, 1), 0.05), None)
    >>> for start in range(6):
    ...     evidence = evidence.update(np.array([0.2]), np.array([0.05]), np.array([0.03]), float(start))
    >>> evidence.alarmed
    True

    References
    ----------
    .. [1] Shin, Ramdas, Rinaldo, *E-detectors: a nonparametric framework for sequential change detection*, NEJSDS 2024.
    .. [2] Brown, Durbin, Evans, *Techniques for testing the constancy of regression relationships over time*, 1975.
    """

    lanes: StreamWeights
    threshold: float
    logs: Floats  # (lanes, lambdas), log R
    fit: Fit
    history: History
    alarmed: bool = False
    crossed: bool = False  # by the last window
    since: int = 0  # windows in a row with evidence at or above `SUSPECTED`
    seen: int = 0  # windows since it began or was last absorbed
    wander: AutocorrelationMargin = ANY_WANDER
    waits_for: int = 0  # windows to learn before any counts as evidence
    quarantine: float = QUARANTINE  # from this evidence on, windows are not learned

    @classmethod
    def begin(
        cls,
        lanes: StreamWeights,
        threshold: float,
        starts: Numbers,
        values: Numbers,
        sampling_sd: Numbers,
        window_seconds: float | None,
        calendar: Calendar = UTC_CALENDAR,
    ) -> Evidence:
        """Learn from reference windows: `starts` (R,), `values` and `sampling_sd` (R, S), in time order.

        With fewer than two reference windows the reference as a whole counts as one, at level 0.
        """
        history = History.of(starts, values, sampling_sd)
        if len(starts) < _FEWEST_REFERENCE_WINDOWS:
            fit = Fit.begin(lanes.streams, Season.NONE, window_seconds, prior=1.0, calendar=calendar)
        else:
            season = season_for(window_seconds, len(starts))
            fit = Fit.begin(lanes.streams, season, window_seconds, calendar=calendar)
            for start, row, sd in zip(starts, values, sampling_sd, strict=True):
                fit = fit.learn(row, sd, float(start))
        logs = np.full((len(lanes.stream), len(LAMBDAS)), -np.inf, dtype=np.float32)
        return cls(lanes, threshold, logs, fit, history)

    @property
    def value(self) -> float:
        """M, the evidence; at least the threshold while an alarm stands."""
        gathered = float(self.lanes.weight @ np.exp(self.logs.astype(np.float64)).mean(axis=1))
        return max(gathered, self.threshold) if self.alarmed else gathered

    @property
    def of_streams(self) -> Numbers:
        """What each stream alone has gathered, (S,)."""
        return self._per_stream(np.exp(self.logs.astype(np.float64)).mean(axis=1)) / self._directions()

    @property
    def gathered(self) -> Numbers:
        """What each stream adds to the evidence, (S,)."""
        return self._per_stream(self.lanes.weight * np.exp(self.logs.astype(np.float64)).mean(axis=1))

    @property
    def shares(self) -> Numbers:
        """Which share of the evidence each stream has, (S,); zeros before any."""
        weighted = self.gathered
        total = float(weighted.sum())
        return weighted / total if total > 0 else weighted

    @property
    def is_learning(self) -> bool:
        """Whether too few windows are known to tell a change from what windows always do: no alarm before that."""
        return self.fit.windows < self.waits_for

    @property
    def learning(self) -> str | None:
        """What is not learned yet, in one phrase."""
        if self.is_learning:
            return f"learning: {self.fit.windows} of {self.waits_for} reference windows, no alarm before that"
        if self.fit.windows < _LEARNED_WHOLE:
            return f"learning: {self.fit.windows} of {_LEARNED_WHOLE} reference windows"
        if self.fit.season is Season.NONE:
            return not_learned(self.fit.window_seconds, self.fit.windows)
        return None

    def update(self, values: Numbers, sampling_sd: Numbers, tolerance: Numbers, start: float) -> Evidence:
        """One window more; streams that are NaN stay as they are. Arrays of shape (S,).

        Streams without weight gather evidence and learn nothing: whether they drift is not looked at, so what they do
        must not become normal.
        """
        history = self.history.with_window(start, np.where(self.has_weight, values, np.nan), sampling_sd)
        if self.is_learning:
            return replace(self, history=history, crossed=False, seen=self.seen + 1)._learn_waiting()
        up, down = self.fit.z_scores(values, sampling_sd, self.fit.regressors(start), tolerance, self.wander)
        u = np.clip(np.where(self.lanes.upward, up[self.lanes.stream], down[self.lanes.stream]), -CLIP, CLIP)
        grown = np.logaddexp(self.logs.astype(np.float64), 0.0) + u[:, None] * LAMBDAS - LAMBDAS**2 / 2
        logs = np.where(np.isnan(u)[:, None], self.logs, np.minimum(grown, _MOST_LOG)).astype(np.float32)
        after = replace(self, logs=logs, history=history, crossed=False)
        evidence = after.value
        crossed = evidence >= self.threshold and not self.alarmed
        after = replace(
            after,
            crossed=crossed,
            alarmed=self.alarmed or crossed,
            since=self.since + 1 if evidence >= SUSPECTED else 0,
            seen=self.seen + 1,
        )
        return after if evidence >= self.quarantine else after._learn_waiting()

    def rebaseline(self) -> Evidence:
        """Take the level of the last windows into what is normal.

        Evidence is reset. The level is that of the last seven windows and the last day, not of all since the change: a
        spike of a few days must not become a level that the days after it are far from. What came between the change
        and those windows is forgotten. The shape of the season and the noise level stay as learned; how uncertain the
        new level is follows from the number of windows that it is taken from.
        """
        since = self.change_at()
        first = max(since, len(self.history.starts) - level_windows(self.fit.window_seconds))
        residuals = self._residuals(first)
        known = np.isfinite(residuals)
        count = np.maximum(known.sum(axis=0), 1)
        shift = np.where(known, residuals, 0.0).sum(axis=0) / count
        return replace(
            self,
            fit=self.fit.shift_by(shift, len(residuals)),
            history=self.history.shift_by(shift, since).without(since, first),
            logs=np.full_like(self.logs, -np.inf),
            alarmed=False,
            crossed=False,
            since=0,
            seen=0,
        )

    def forget(self, streams: NDArray[np.bool_]) -> Evidence:
        """Begin the evidence of some streams, (S,), anew; what was learned of them stays.

        An alarm that the evidence of the others does not bear ends.
        """
        logs = np.where(streams[self.lanes.stream][:, None], np.float32(-np.inf), self.logs)
        rest = replace(self, logs=logs, alarmed=False)
        stands = self.alarmed and rest.value >= self.threshold
        return replace(rest, alarmed=stands, since=self.since if rest.value >= SUSPECTED else 0)

    def change_at(self, streams: NDArray[np.bool_] | None = None) -> int:
        """The position in the history at which the leading streams, or those of `streams`, most likely changed."""
        if streams is not None:
            return change_point(self._residuals(0)[:, streams])
        shares = self.shares
        leading = shares >= max(0.05, 0.5 * float(shares.max(initial=0.0)))
        return change_point(self._residuals(0)[:, leading], latest=self.since)

    def change_start(self) -> float | None:
        """The start of the window at which the change most likely began."""
        return float(self.history.starts[self.change_at()]) if len(self.history.starts) else None

    def beyond_normal(self, values: Numbers, sampling_sd: Numbers, start: float) -> Numbers:
        """How far a window's values, (S,), are off what was learned for windows that begin at `start`.

        Of that, the part which is more than windows always vary beyond chance: 0 for most days of a weekday's column.
        """
        residual, _ = self.fit.residual(values, self.fit.regressors(start))
        varies = np.sqrt(np.maximum(0.0, self.fit.noise(sampling_sd) ** 2 - sampling_sd**2))
        return np.asarray(np.sign(residual) * np.maximum(0.0, np.abs(residual) - _VARIES_SDS * varies))

    def recent_mean(self, stream: int, windows: int, *, absolute: bool = False) -> float:
        """How far one stream was off its prediction (or off 0: `absolute`) in the last windows on average; else NaN."""
        first = max(0, len(self.history.starts) - windows)
        recent = self.history.values[first:, stream] if absolute else self._residuals(first)[:, stream]
        known = recent[np.isfinite(recent)]
        return float(known.mean()) if len(known) else float("nan")

    def _residuals(self, since: int) -> Numbers:
        z = self.history.regressors(self.fit.season, self.fit.window_seconds, self.fit.calendar)[since:]
        return np.asarray(self.history.values[since:] - z @ self.fit.beta.T.astype(np.float64))

    def _learn_waiting(self) -> Evidence:
        fit, history = self.fit, self.history
        for at in np.flatnonzero(~history.learned):
            fit = fit.learn(history.values[at], history.sampling_sd[at], float(history.starts[at]))
        history = history.all_learned()
        season = season_for(fit.window_seconds, fit.windows)
        needed = dict(ladder(fit.window_seconds)).get(season, 0)
        if season is not fit.season and len(history.starts) >= needed:
            fit = fit.relearn(history, season)
        return replace(self, fit=fit, history=history)

    def _per_stream(self, of_lanes: Numbers) -> Numbers:
        return np.asarray(np.bincount(self.lanes.stream, weights=of_lanes, minlength=self.lanes.streams))

    @property
    def has_weight(self) -> NDArray[np.bool_]:
        """Which streams, (S,), are looked at."""
        return self._per_stream(self.lanes.weight) > 0

    def _directions(self) -> NDArray[np.intp]:
        return np.bincount(self.lanes.stream, minlength=self.lanes.streams)

    def restore_from(self, values: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Evidence | None:
        """What `pack` gave, under the lanes, the threshold and the rules of this one; None when it does not fit."""
        found = Evidence.unpack(self.lanes, self.threshold, values, arrays)
        if found is None:
            return None
        fit = found.fit.under(self.fit.calendar, values.get("calendar", ("UTC", False, False)), found.history)
        return replace(found, fit=fit, wander=self.wander, waits_for=self.waits_for, quarantine=self.quarantine)

    def with_stored(self, stored: Evidence, streams: NDArray[np.bool_]) -> Evidence:
        """This with the state of `stored` for some `streams`, (S,); the others as learned, without evidence."""
        kept, fit = streams[self.lanes.stream], self.fit
        logs = np.full_like(self.logs, -np.inf)
        logs[kept] = stored.logs
        if fit.season is not stored.fit.season:
            fit = fit.relearn(self.history, stored.fit.season)
        return replace(
            self,
            logs=logs,
            fit=stored.fit.scatter(streams, fit),
            history=stored.history.scatter(streams),
            alarmed=stored.alarmed,
            since=stored.since,
            seen=stored.seen,
        )

    def pack(self) -> tuple[JsonObject, dict[str, NDArray[Any]]]:
        """The state as JSON-ready values and arrays, without what follows from the settings."""
        values: JsonObject = {
            "season": str(self.fit.season),
            "window_seconds": self.fit.window_seconds,
            "windows": self.fit.windows,
            "calendar": list(self.fit.calendar.key),
            "alarmed": self.alarmed,
            "since": self.since,
            "seen": self.seen,
        }
        return values, {"logs": self.logs, **self.fit.arrays(), **self.history.arrays()}

    @classmethod
    def unpack(
        cls, lanes: StreamWeights, threshold: float, values: dict[str, Any], arrays: dict[str, NDArray[Any]]
    ) -> Evidence | None:
        """Read what `pack` wrote; None when it belongs to other streams."""
        if arrays["logs"].shape != (len(lanes.stream), len(LAMBDAS)):
            return None
        fit = Fit.of(Season(values["season"]), values["window_seconds"], values["windows"], arrays)
        history = History(**{name: arrays[name] for name in ("starts", "values", "sampling_sd", "learned")})
        return cls(
            lanes,
            threshold,
            arrays["logs"],
            fit,
            history,
            alarmed=values["alarmed"],
            since=values["since"],
            seen=values["seen"],
        )


class EvidenceView:
    """A detector that bears evidence: the evidence, its limit, and whether an alarm stands, read off it."""

    __slots__ = ()
    evidence: Evidence

    @property
    def value(self) -> float:
        """The evidence; at least the threshold while an alarm stands."""
        return self.evidence.value

    @property
    def threshold(self) -> float:
        """The evidence at which it alarms."""
        return self.evidence.threshold

    @property
    def alarmed(self) -> bool:
        """Whether an alarm stands."""
        return self.evidence.alarmed

    @property
    def crossed(self) -> bool:
        """Whether the last window raised it."""
        return self.evidence.crossed

    @property
    def since(self) -> int:
        """For how many windows in a row it has been suspected."""
        return self.evidence.since

    @property
    def is_learning(self) -> bool:
        """Whether it learns first what windows always do; no alarm before that."""
        return self.evidence.is_learning

    @property
    def learning(self) -> str | None:
        """What is not learned yet, in one phrase."""
        return self.evidence.learning
