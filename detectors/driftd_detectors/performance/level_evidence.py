"""Evidence that a loss is above what was promised: the level is promised and never learned (STATISTICS 12.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from driftd_detectors.assessment import StandingAlarm
from driftd_detectors.columns import Numbers
from driftd_detectors.evidence.evidence import SUSPECTED
from driftd_detectors.evidence.history import DAY, DAYS_A_WEEK, change_point
from driftd_detectors.performance.level_averages import (
    DAYS,
    FEWEST_AVERAGED,
    FEWEST_CYCLES,
    HOURLY_PRIOR,
    HOURS,
    LONGEST,
    NOT_JUDGED,
    Judged,
    Level,
    Pace,
    Recent,
    Rhythm,
    SpreadPrior,
    Stretch,
    judge_averages,
    learn_rhythm,
    learn_spread,
)

CLEARS = 14  # windows: an alarm clears when their average (or that of the alarm's span) is within what is tolerated
CARRIED = 20.0  # windows that the spread known of a predecessor is worth at most
_FEWEST_TOLD = 14
_SHARE_OF_FEW, _SHARE_OF_MANY = 0.75, 0.5  # of the level's variance that counts, below and from 28 reference windows on
_SIX_HOURS = 6 * 3_600.0  # seconds: shorter windows are compared at the lags of hours
_LARGEST = 1e6  # times the promised loss: more counts as that, so that squares stay finite
_FEWEST_FOR_LEVEL = 3  # reference windows, from which their own mean is the level


@dataclass(frozen=True, slots=True)
class Promise:
    """What was promised: a level, the windows that it was seen in, and its sampling variance where there are none."""

    mean: float
    windows: Stretch
    sampling: float


@dataclass(frozen=True, slots=True)
class LevelAlarm:
    """An alarm as a level: when it was raised, the first window of its average, and over how many windows it clears."""

    raised_at: float  # the start of the window that raised it
    change_at: float  # the start of the window at which the change most likely began
    first: int  # number of the first window of the average that raised it
    clears_over: int

    @property
    def standing(self) -> StandingAlarm:
        """As an assessment says it."""
        return StandingAlarm(self.raised_at, self.change_at, self.clears_over)


@dataclass(frozen=True, slots=True)
class LevelEvidence:
    """Evidence that the loss of windows is above a promised level by more than is tolerated. Immutable.

    Parameters
    ----------
    promise
        The reference's level and windows.
    threshold
        A: the evidence at which it alarms.
    tolerance
        The rise of the loss that is no reason for an alarm.
    period
        Windows of a week or a day; 1: no rhythm.

    Notes
    -----
    The level is promised; spread, correlation and rhythm are learned, from the reference and the last live windows.
    The averages of the last 2 to 64 windows are judged (`level_averages.judge_averages`) by what was known before they
    began. Calibrated by simulation (benchmarks/performance.py), not proved.

    Windows of uneven counts weigh 1 / (sigma_0^2 + s_t^2), s_t^2 their sampling variance and sigma_0^2 the spread that
    the reference showed. sigma_0^2 is fixed at the beginning, so weights follow from counts alone and never from live
    losses; the reference's windows have the same weights, so both sides of the comparison are the same kind of mean.

    A reference of few windows says little of its own level: once it and the first live windows are 28 together, their
    mean, if higher, is a second level that is judged beside the first.

    Examples
    --------
    >>> day, loss = np.arange(14), np.full(14, 0.2)
    >>> promise = Promise(0.2, Stretch(day, loss, np.full(14, 0.0008)), 0.0)
    >>> evidence = LevelEvidence.begin(promise, 913.0, tolerance=0.02, window_seconds=None)
    >>> for number in range(4):
    ...     evidence = evidence.update(0.4, 0.0008, 14.0 + number)
    >>> evidence.alarmed
    True
    """

    promise: Promise
    threshold: float
    tolerance: float
    window_seconds: float | None
    period: int
    pace: Pace
    prior: SpreadPrior
    unit: float  # sigma_0^2, for the weights
    live: Stretch
    starts: Numbers  # of the live windows, epoch seconds
    spreads: Numbers  # (live + 1, 3): variance over scale^2, rho, windows known, before each live window and after all
    seen: int = 0  # live windows since it began
    since_seen: int = 0  # the first of them that is evidence
    completed: float | None = None
    alarm: LevelAlarm | None = None
    crossed: bool = False  # by the last window
    ended: LevelAlarm | None = None  # by the last window
    recovery: float = float("nan")  # what the alarm that stands, or ended, waits for: the average of its span now
    judged: Judged = NOT_JUDGED
    suspected: int = 0  # windows in a row with evidence at or above `SUSPECTED`
    absorbed: bool = False
    waits_for: int = 0

    @classmethod
    def begin(
        cls,
        promise: Promise,
        threshold: float,
        *,
        tolerance: float,
        window_seconds: float | None,
        prior: SpreadPrior | None = None,
        waits_for: int = 0,
    ) -> LevelEvidence:
        """No live window yet. `waits_for` windows are to be known before the status calls the spread learned."""
        pace = HOURS if window_seconds is not None and window_seconds < _SIX_HOURS else DAYS
        bare = cls(
            replace(promise, windows=promise.windows.newest(pace.kept + LONGEST)),
            threshold,
            tolerance,
            window_seconds,
            period_of(window_seconds),
            pace,
            prior or (HOURLY_PRIOR if pace is HOURS else SpreadPrior()),
            unit=0.0,
            live=Stretch.empty(),
            starts=np.empty(0),
            spreads=np.empty((0, 3)),
            waits_for=waits_for,
        )
        first = bare._spread(bare._rhythm())
        begun = replace(bare, unit=float(first[0]) * bare.scale**2, spreads=first[None])
        if len(promise.windows) < _FEWEST_FOR_LEVEL:
            return begun
        mean = begun._mean(promise.windows)
        return replace(begun, promise=replace(begun.promise, mean=mean))

    @property
    def scale(self) -> float:
        """The loss that spreads and sampling errors are compared with."""
        return abs(self.promise.mean) or 10 * self.tolerance or 1.0

    @property
    def alarmed(self) -> bool:
        """Whether an alarm stands."""
        return self.alarm is not None

    @property
    def cleared(self) -> bool:
        """Whether the last window ended the alarm."""
        return self.ended is not None

    @property
    def change_start(self) -> float | None:
        """The start of the window at which the change began that stands out most; None where nothing does."""
        if self.alarm is not None:
            return self.alarm.change_at
        return float(self.starts[-self.judged.span]) if self.judged.span else None

    @property
    def value(self) -> float:
        """M, the evidence; at least the threshold while an alarm stands."""
        return max(self.judged.evidence, self.threshold) if self.alarmed else self.judged.evidence

    @property
    def since(self) -> int:
        """For how many windows in a row it has been suspected."""
        return self.suspected

    @property
    def known(self) -> int:
        """From how many windows the spread is known."""
        return int(self.spreads[-1, 2])

    @property
    def is_learning(self) -> bool:
        """Whether the labels so far say too little for any average to be judged."""
        averaged = self.seen - self.since_seen >= FEWEST_AVERAGED
        return not self.alarmed and averaged and self.judged.span == 0

    @property
    def learning(self) -> str | None:
        """What is not learned yet, in one phrase."""
        needed = max(self.waits_for, _FEWEST_TOLD)
        if self.known >= needed:
            return None
        return f"learning how windows differ: {self.known} of {needed} windows; the level is the reference's"

    def update(self, loss: float, sampling: float, start: float) -> LevelEvidence:
        """One window more: its loss, its sampling variance and its start. A loss of NaN changes nothing."""
        if not np.isfinite(loss):
            return replace(self, crossed=False, ended=None)
        wider = self._with_window(min(max(loss, -_LARGEST * self.scale), _LARGEST * self.scale), sampling, start)
        rhythm = wider._rhythm()
        spreads = np.concatenate([wider.spreads, wider._spread(rhythm)[None]])
        wider = replace(wider, spreads=spreads, crossed=False, ended=None)
        live, anchor = wider.live.subtract(rhythm.at(wider.live.places)), wider._anchor(rhythm)
        wider = wider._complete(live, anchor)
        judged = wider._judge(live, anchor)
        suspected = self.suspected + 1 if judged.evidence >= SUSPECTED else 0
        return replace(wider, judged=judged, suspected=suspected)._raise_or_clear(live, anchor, rhythm)._trim()

    def rebaseline(self) -> LevelEvidence:
        """The loss since the change is the promise from now on; what was learned of the spread stays as a prior.

        Without an alarm there is nothing to absorb: the promise stays, and the evidence begins anew.
        """
        if self.alarm is None:
            return self.forget()
        recent = self.live.newest(max(FEWEST_AVERAGED, self.seen - self.alarm.first))
        weights = self._weights(recent.sampling)
        mean = float(weights @ recent.values / weights.sum())
        fresh = LevelEvidence.begin(
            Promise(mean, recent, float(recent.sampling.mean())),
            self.threshold,
            tolerance=self.tolerance,
            window_seconds=self.window_seconds,
            prior=self.successor_prior(),
            waits_for=self.waits_for,
        )
        return replace(fresh, absorbed=True)

    def forget(self) -> LevelEvidence:
        """The evidence so far counts no more; the promise stays, and what was learned of the spread."""
        return replace(
            self, since_seen=self.seen, alarm=None, crossed=False, ended=None, judged=NOT_JUDGED, suspected=0
        )

    def successor_prior(self) -> SpreadPrior:
        """What a successor begins with."""
        variance, rho, windows = self.spreads[-1]
        return SpreadPrior(float(np.sqrt(variance)), float(rho), float(min(CARRIED, max(windows, self.prior.windows))))

    def _with_window(self, loss: float, sampling: float, start: float) -> LevelEvidence:
        last = self.live.places[-1] if len(self.live) else self.promise.windows.places[-1:].max(initial=-1)
        place = int(start // self.window_seconds) if self.window_seconds is not None else int(last) + 1
        if len(self.live):
            place = max(place, int(last) + 1)
        before = self.live
        live = Stretch(
            np.append(before.places, place), np.append(before.values, loss), np.append(before.sampling, sampling)
        )
        return replace(self, live=live, starts=np.append(self.starts, start), seen=self.seen + 1)

    def _rhythm(self) -> Rhythm:
        known, live = self.promise.windows, self.live
        places = np.concatenate([known.places, live.places])
        values = np.concatenate([known.values, live.values])
        ordered = bool((np.diff(places) > 0).all())
        if not ordered:  # replayed rows: live windows that lie within the reference
            places, values = live.places, live.values
        if len(places) == 0:
            return Rhythm(np.zeros(max(1, self.period)))
        return learn_rhythm(places, values, self.period)

    def _spread(self, rhythm: Rhythm) -> Numbers:
        known, recent = self.promise.windows, self.live.newest(self.pace.kept)
        stretches = [stretch.subtract(rhythm.at(stretch.places)) for stretch in (known, recent)]
        variance, rho = learn_spread(
            stretches, scale=self.scale, inflation=rhythm.inflation, pace=self.pace, prior=self.prior
        )
        found = np.array([variance / self.scale**2, rho, len(known) + len(recent)])
        return found.astype(np.float32).astype(np.float64)  # as it is stored: what is read back goes on alike

    def _weights(self, sampling: Numbers) -> Numbers:
        return np.asarray(self.scale**2 / np.maximum(self.unit + sampling, 1e-12 * self.scale**2))

    def _anchor(self, rhythm: Rhythm) -> Level:
        """The promised level without rhythm."""
        known = self.promise.windows
        if len(known) == 0:
            return Level(self.promise.mean, 1.0, self.promise.sampling, self.tolerance, _SHARE_OF_FEW)
        weights = self._weights(known.sampling)
        total = float(weights.sum())
        mean = self.promise.mean - float(weights @ rhythm.at(known.places)) / total
        sampling = float(weights**2 @ known.sampling) / total**2
        share = _SHARE_OF_FEW if len(known) < self.pace.completed else _SHARE_OF_MANY
        return Level(mean, total**2 / float(weights @ weights), sampling, self.tolerance, share)

    def _complete(self, live: Stretch, anchor: Level) -> LevelEvidence:
        """The second level of a short reference, once there are windows enough; it is never changed afterwards."""
        known = len(self.promise.windows)
        if self.completed is not None or self.seen != self.pace.completed - known:
            return self
        of_known = float(self._weights(self.promise.windows.sampling).sum())
        weights = self._weights(live.sampling)
        total = of_known + float(weights.sum())
        return replace(self, completed=(of_known * anchor.mean + float(weights @ live.values)) / total)

    def _judge(self, live: Stretch, anchor: Level) -> Judged:
        judged = self._judge_windows(live, anchor, self.seen - self.since_seen)
        if self.completed is not None:
            judged = max(judged, self._judge_completed(live, anchor), key=lambda judgement: judgement.evidence)
        return replace(judged, average=judged.average - anchor.mean + self.promise.mean)

    def _judge_completed(self, live: Stretch, anchor: Level) -> Judged:
        """Against the second level of a short reference, from the windows after those that completed it."""
        assert self.completed is not None
        needed, windows = self.pace.completed - len(self.promise.windows), float(self.pace.completed)
        level = replace(anchor, mean=max(anchor.mean, self.completed), windows=windows, share=_SHARE_OF_MANY)
        level = replace(level, sampling=anchor.sampling * anchor.windows / windows)
        return self._judge_windows(live, level, self.seen - max(self.since_seen, needed))

    def _judge_windows(self, live: Stretch, level: Level, usable: int) -> Judged:
        count = max(0, min(usable, LONGEST, len(live)))
        newest = live.newest(count)
        spreads = self.spreads[-count - 1 : -1][::-1] if count else self.spreads[:0]
        recent = Recent(
            newest.values[::-1],
            self._weights(newest.sampling)[::-1],
            newest.sampling[::-1],
            spreads[:, 0] * self.scale**2,
            spreads[:, 1],
            spreads[:, 2],
        )
        return judge_averages(
            recent,
            level,
            threshold=self.threshold,
            scale=self.scale,
            prior_windows=self.prior.windows,
            tests=self.pace.tests,
        )

    def _raise_or_clear(self, live: Stretch, anchor: Level, rhythm: Rhythm) -> LevelEvidence:
        if self.alarm is None:
            if self.judged.evidence < self.threshold:
                return self
            return replace(self, crossed=True, alarm=self._alarm(live, rhythm))
        over = self.alarm.clears_over
        excess = self._mean(live.newest(over)) - anchor.mean
        after = replace(self, recovery=self.promise.mean + excess)
        if self.seen - self.alarm.first < over or excess > self.tolerance:
            return after
        return replace(after.forget(), ended=self.alarm)

    def _alarm(self, live: Stretch, rhythm: Rhythm) -> LevelAlarm:
        known = self.promise.windows
        whole = np.concatenate([known.subtract(rhythm.at(known.places)).values, live.values])
        change = change_point(whole[:, None], latest=2) - len(known)
        start = float(self.starts[max(0, change)])
        return LevelAlarm(float(self.starts[-1]), start, self.seen - self.judged.span, max(CLEARS, self.judged.span))

    def _mean(self, windows: Stretch) -> float:
        weights = self._weights(windows.sampling)
        return float(weights @ windows.values / weights.sum())

    def _trim(self) -> LevelEvidence:
        kept = self.pace.kept + LONGEST
        if len(self.live) <= kept:
            return self
        return replace(self, live=self.live.newest(kept), starts=self.starts[-kept:], spreads=self.spreads[-kept - 1 :])


def period_of(window_seconds: float | None) -> int:
    """Windows of a week for windows of 6 hours to a day, of a day for shorter ones; 1 where no rhythm fits."""
    if window_seconds is None or window_seconds > DAY:
        return 1
    seconds, pace = (DAYS_A_WEEK * DAY, DAYS) if window_seconds >= _SIX_HOURS else (DAY, HOURS)
    windows = seconds / window_seconds
    return int(windows) if windows.is_integer() and windows * FEWEST_CYCLES <= pace.kept else 1
