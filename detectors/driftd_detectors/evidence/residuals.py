"""Studentised recursive residuals: how surprising a window is, given all windows learned before it (STATISTICS 3).

A stream is x_t = z_t' beta + noise. beta and the noise level are learned by recursive least squares (Brown, Durbin,
Evans, *Techniques for testing the constancy of regression relationships over time*, 1975, eq. 2-4), so the residuals
are independent over t and t-distributed, and over-dispersion is learned instead of raising alarms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr

from driftd_detectors.columns import Numbers
from driftd_detectors.evidence.history import UTC_CALENDAR, Calendar, History, Season, level_columns, regressors

PRIOR_FREEDOM = 4.0  # what the sampling sd counts for, in windows, when the noise level is estimated
MOST_AUTOCORRELATION = 0.95
_WANDER_SDS = 1.5
_SIGNIFICANT = 1.64  # standard errors, one-sided 5 %
_FEWEST_FOR_CORRELATION = 8
_VARIES = 0.25  # of the variance of chance
_DIFFUSE = 1e6  # prior variance of beta: nothing is known before the first windows
_IDENTIFIED = 50.0  # a prediction variance above this says that beta is not known yet in this season
_MOST_GROUPS = 16

_KEPT = ("beta", "ssr", "sampling", "lagged", "previous", "group", "covariance", "freedom")

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AutocorrelationMargin:
    """From which lag-1 correlation on a slow benign wander is assumed, and where it counts in full.

    In between its share rises evenly: the correlation of a few dozen windows is itself uncertain by .1 to .2.
    """

    begins: float
    whole: float

    def share(self, correlation: Numbers) -> Numbers:
        """How much of the wander's margin each correlation calls for, 0 to 1."""
        if self.whole <= self.begins:
            return (correlation > self.begins).astype(np.float64)
        return np.clip((correlation - self.begins) / (self.whole - self.begins), 0.0, 1.0)


ANY_WANDER = AutocorrelationMargin(0.25, 0.25)  # STATISTICS 3
STRONG_WANDER = AutocorrelationMargin(0.5, 0.8)  # below it the factor for autocorrelation is enough: see docs/decisions


@dataclass(frozen=True, slots=True)
class Fit:
    """What was learned of S streams from k windows. All arrays are as long as the streams unless said otherwise."""

    season: Season
    window_seconds: float | None
    windows: int
    beta: Floats  # (S, p)
    ssr: Floats  # sum of squared recursive residuals
    sampling: Floats  # sum of the squared sampling sds
    lagged: Floats  # sum of products of neighbouring residuals
    previous: Floats  # the last residual; NaN before the first
    group: NDArray[np.int32]  # streams of one group missed the same windows, so they share one covariance
    covariance: Numbers  # (groups, p, p), of beta in units of the noise variance
    freedom: Numbers  # (groups,) residual degrees of freedom
    calendar: Calendar = UTC_CALENDAR

    @classmethod
    def begin(
        cls,
        streams: int,
        season: Season,
        window_seconds: float | None,
        *,
        prior: float | None = None,
        calendar: Calendar = UTC_CALENDAR,
    ) -> Fit:
        """Know nothing yet. `prior` is the variance of the level about 0, in units of the noise; None: unknown."""
        p = regressors(season, np.zeros(1), window_seconds, calendar).shape[1]
        variances = np.full(p, _DIFFUSE if prior is None else prior)
        variances[p - _specials(window_seconds, calendar) :] = _DIFFUSE
        zero = np.zeros(streams, dtype=np.float32)
        return cls(
            season=season,
            window_seconds=window_seconds,
            windows=0,
            beta=np.zeros((streams, p), dtype=np.float32),
            ssr=zero,
            sampling=zero,
            lagged=zero,
            previous=np.full(streams, np.nan, dtype=np.float32),
            group=np.zeros(streams, dtype=np.int32),
            covariance=np.diag(variances)[None],
            freedom=np.zeros(1),
            calendar=calendar,
        )

    @classmethod
    def of(cls, season: Season, window_seconds: float | None, windows: int, arrays: Mapping[str, NDArray[Any]]) -> Fit:
        """Read what `arrays` gave."""
        beta, ssr, sampling, lagged, previous, group, covariance, freedom = (arrays[name] for name in _KEPT)
        return cls(season, window_seconds, windows, beta, ssr, sampling, lagged, previous, group, covariance, freedom)

    def regressors(self, start: float) -> Numbers:
        """Z of the window that begins at `start`."""
        return np.asarray(regressors(self.season, np.array([start]), self.window_seconds, self.calendar)[0])

    def residual(self, values: Numbers, z: Numbers) -> tuple[Numbers, Numbers]:
        """Value minus prediction, and f = 1 + z'Pz, the variance of that in units of the noise."""
        spread = np.asarray(1.0 + np.einsum("i,gij,j->g", z, self.covariance, z))
        return values - self.beta @ z, spread[self.group]

    def noise(self, sampling_sd: Numbers) -> Numbers:
        """The sd of a window's noise: the sampling sd, plus what the learned windows varied beyond theirs.

        With equal windows this is max(s0^2, (SSR + d0 s0^2) / (df + d0)); with unequal ones the excess is a variance
        that adds to each window's own sampling variance, as day effects do.
        """
        freedom = self.freedom[self.group]
        expected = np.divide(self.sampling, freedom, out=np.asarray(sampling_sd**2), where=freedom > 0)
        seen = (self.ssr + PRIOR_FREEDOM * expected) / (freedom + PRIOR_FREEDOM)
        return np.asarray(np.sqrt(sampling_sd**2 + np.maximum(0.0, seen - expected)))

    def autocorrelation(self) -> tuple[Numbers, Numbers]:
        """Lag-1 correlation of each stream, padded by its error where significant; and what speaks for a slow wander.

        The latter is the pooled one of all, or a stream's own where it is significant and larger: features may wander
        of which only the levels do, or few.

        A stream that varies less than chance would, such as a share of rows that hardly any window has, is judged by
        chance: that its small residuals are alike says nothing. It does not count among all.
        """
        freedom = self.freedom[self.group]
        known = (freedom >= _FEWEST_FOR_CORRELATION) & (self.ssr > _VARIES * self.sampling)
        if not known.any():
            return np.zeros(len(self.ssr)), np.zeros(len(self.ssr))
        rho = np.divide(self.lagged, self.ssr, out=np.zeros(len(self.ssr)), where=known)
        error = 1 / np.sqrt(np.maximum(freedom, 1.0))
        pooled = float(np.mean(rho[known]))
        significant = known & (rho > _SIGNIFICANT * error)
        padded = np.where(significant, rho + error, max(0.0, pooled))
        padded[self.ssr <= _VARIES * self.sampling] = 0.0
        wander = np.where(significant, np.maximum(rho, pooled), pooled)
        return np.asarray(np.clip(padded, 0.0, MOST_AUTOCORRELATION)), wander

    def z_scores(
        self,
        values: Numbers,
        sampling_sd: Numbers,
        z: Numbers,
        tolerance: Numbers,
        wander: AutocorrelationMargin = ANY_WANDER,
    ) -> tuple[Numbers, Numbers]:
        """Standard normals u of each stream, upward and downward; NaN where there is nothing to say.

        T = (+-e - tolerance) / (s sqrt f) is t-distributed under no drift; u = Phi^-1(F(T)), times
        sqrt((1 - rho) / (1 + rho)) for the autocorrelation.
        """
        residual, spread = self.residual(values, z)
        noise = self.noise(sampling_sd)
        rho, correlation = self.autocorrelation()
        beyond = np.sqrt(np.maximum(0.0, noise**2 - sampling_sd**2))
        margin = tolerance + wander.share(correlation) * _WANDER_SDS * beyond
        scale = noise * np.sqrt(spread)
        usable = np.isfinite(values) & (sampling_sd > 0) & (spread < _IDENTIFIED)
        scale = np.where(usable, scale, np.nan)
        freedom = PRIOR_FREEDOM + self.freedom[self.group]
        calm = np.sqrt((1 - rho) / (1 + rho))
        up, down = (-ndtri(stdtr(freedom, -(sign * residual - margin) / scale)) * calm for sign in (1.0, -1.0))
        return np.asarray(up), np.asarray(down)

    def learn(self, values: Numbers, sampling_sd: Numbers, start: float) -> Fit:
        """One window more. Streams that are NaN keep what they know."""
        z = self.regressors(start)
        seen = np.isfinite(values) & np.isfinite(sampling_sd)
        fit = self._split(seen)
        residual, spread = fit.residual(values, z)
        directions = np.einsum("gij,j->gi", fit.covariance, z)
        spreads = 1.0 + directions @ z
        moves = seen[:, None] * np.nan_to_num(residual)[:, None] * (directions / spreads[:, None])[fit.group]
        counted = seen & (spread < _IDENTIFIED)
        standing = np.where(counted, np.nan_to_num(residual) / np.sqrt(spread), 0.0)
        moved = np.zeros(len(spreads), dtype=bool)
        moved[fit.group[seen]] = True
        products = np.where(np.isfinite(fit.previous), standing * np.nan_to_num(fit.previous), 0.0)
        return replace(
            fit,
            windows=fit.windows + 1,
            beta=(fit.beta + moves).astype(np.float32),
            ssr=(fit.ssr + standing**2).astype(np.float32),
            sampling=(fit.sampling + np.where(counted, np.nan_to_num(sampling_sd) ** 2, 0.0)).astype(np.float32),
            lagged=(fit.lagged + products).astype(np.float32),
            previous=np.where(counted, standing, fit.previous).astype(np.float32),
            covariance=_lower(fit.covariance, directions, spreads, moved),
            freedom=fit.freedom + (moved & (spreads < _IDENTIFIED)),
        )

    def relearn(self, history: History, season: Season) -> Fit:
        """The learned windows of the history learned anew with richer seasonal regressors."""
        fresh = Fit.begin(len(self.ssr), season, self.window_seconds, calendar=self.calendar)
        for at in np.flatnonzero(history.learned):
            fresh = fresh.learn(history.values[at], history.sampling_sd[at], float(history.starts[at]))
        return replace(fresh, windows=max(self.windows, fresh.windows))

    def shift_by(self, shift: Numbers, windows: int) -> Fit:
        """The same streams at a level moved by `shift`, which `windows` windows (at least 1) tell of."""
        level = level_columns(self.season, self.beta.shape[1], _specials(self.window_seconds, self.calendar))
        return replace(
            self,
            beta=(self.beta + shift[:, None] * level).astype(np.float32),
            covariance=self.covariance + np.outer(level, level) / max(1, windows),
        )

    def under(self, calendar: Calendar, key: Sequence[Any], history: History) -> Fit:
        """The same under another calendar than that of `key`: special days that are new are not known yet."""
        if tuple(key) == calendar.key:
            return replace(self, calendar=calendar)
        more = _specials(self.window_seconds, calendar)
        if key[0] != calendar.zone or any(key[1:]):
            return replace(self, calendar=calendar).relearn(history, self.season)
        streams, p = self.beta.shape
        covariance = np.zeros((len(self.covariance), p + more, p + more))
        covariance[:, :p, :p] = self.covariance
        covariance[:, range(p, p + more), range(p, p + more)] = _DIFFUSE
        beta = np.concatenate([self.beta, np.zeros((streams, more), dtype=np.float32)], axis=1)
        return replace(self, beta=beta, covariance=covariance, calendar=calendar)

    def scatter(self, streams: NDArray[np.bool_], others: Fit) -> Fit:
        """What is known of more streams: this of `streams`, (S,), and what `others` knows of all the others."""

        def lay(own: NDArray[Any], theirs: NDArray[Any]) -> NDArray[Any]:
            whole = theirs.copy()
            whole[streams] = own
            return whole

        return replace(
            self,
            beta=lay(self.beta, others.beta),
            ssr=lay(self.ssr, others.ssr),
            sampling=lay(self.sampling, others.sampling),
            lagged=lay(self.lagged, others.lagged),
            previous=lay(self.previous, others.previous),
            group=lay(self.group, others.group + np.int32(len(self.freedom))),
            covariance=np.concatenate([self.covariance, others.covariance]),
            freedom=np.concatenate([self.freedom, others.freedom]),
        )._without_empty_groups()

    def only(self, streams: NDArray[np.bool_]) -> Fit:
        """What is known of some of the streams, (S,)."""
        names = ("beta", "ssr", "sampling", "lagged", "previous", "group")
        return replace(self, **{name: getattr(self, name)[streams] for name in names})._without_empty_groups()

    def _without_empty_groups(self) -> Fit:
        used, group = np.unique(self.group, return_inverse=True)
        return replace(self, group=group.astype(np.int32), covariance=self.covariance[used], freedom=self.freedom[used])

    def _split(self, seen: NDArray[np.bool_]) -> Fit:
        """Part the groups of which only some streams have a value in this window."""
        both = [g for g in range(len(self.freedom)) if np.ptp(seen[self.group == g].astype(int), axis=0) > 0]
        room = _MOST_GROUPS - len(self.freedom)
        if not both or room <= 0:  # then a missed window counts as one on the prediction: nearly nothing is lost
            return self
        group, parted = self.group.copy(), both[:room]
        for number, g in enumerate(parted, start=len(self.freedom)):
            group[(self.group == g) & ~seen] = number
        return replace(
            self,
            group=group,
            covariance=np.concatenate([self.covariance, self.covariance[parted]]),
            freedom=np.concatenate([self.freedom, self.freedom[parted]]),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays to be kept."""
        return {name: getattr(self, name) for name in _KEPT}


def _specials(window_seconds: float | None, calendar: Calendar) -> int:
    """How many of the last regressors are of special days."""
    return int(regressors(Season.NONE, np.zeros(1), window_seconds, calendar).shape[1]) - 1


def _lower(covariance: Numbers, directions: Numbers, spreads: Numbers, moved: NDArray[np.bool_]) -> Numbers:
    taken = np.einsum("gi,gj->gij", directions, directions) / spreads[:, None, None]
    return np.asarray(covariance - taken * moved[:, None, None])
