"""Performance by betting: the fallback where there are no reference windows, or where errors are rare."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.assessment import StandingAlarm
from driftd_detectors.columns import Numbers
from driftd_detectors.evidence.evidence import SUSPECTED
from driftd_detectors.evidence.history import CHANGE_WINDOWS, change_point
from driftd_detectors.performance.cohort_loss import CohortEstimate
from driftd_detectors.performance.loss_reference import LossReference
from driftd_detectors.serialization import JsonObject

RATIOS = np.array([1.1, 1.2, 1.35, 1.6, 2.0, 3.0])  # of the loss, that are betted on
_MOST_LOG = 80.0
_FEWEST_FOR_DISPERSION = 8
_STANDARD_ERRORS = 2.0
_HIGHEST = 0.999
_CLEARS = 14  # windows after the change that must average within what is tolerated


@dataclass(frozen=True, slots=True)
class CertifiedPerformance:
    """Evidence that the mean of a loss in [0, 1] is above what is tolerated. Immutable.

    Parameters
    ----------
    reference
        The losses of the reference; those that have no bound are divided by their 99th percentile and clipped.
    threshold
        A: the evidence at which it alarms.
    tolerated
        How much more loss than the reference's is no reason for an alarm.

    Notes
    -----
    Null: E[loss | past] <= theta, theta = the reference's mean + the larger of what is tolerated and two standard
    errors of that mean. For alternatives theta_j = theta x {1.1, 1.2, 1.35, 1.6, 2, 3}, capped at (1 + theta) / 2, a
    window of n labels with losses that sum to k has the e-value
    (theta_j / theta)^k ((1 - theta_j) / (1 - theta))^(n - k): a likelihood ratio for 0/1 losses, and by convexity
    of expectation at most 1 for any loss in [0, 1]. R <- (R + 1) e for each j; the evidence is the mean over j.
    Over-dispersion (variance of reference window losses over what independent rows give, at least 1) divides k and n;
    with it the guarantee is calibrated rather than proved.

    Examples
    --------
    >>> from driftd_detectors.performance.loss_reference import flat_reference
    >>> watched = CertifiedPerformance.begin(flat_reference("error", 0.10, rows=2000), 1000.0, tolerated=0.01)
    >>> for start in range(8):
    ...     watched = watched.update(CohortEstimate.of_sum(40, 200), float(start))
    >>> watched.alarmed
    True

    References
    ----------
    .. [1] Waudby-Smith, Ramdas, *Estimating means of bounded random variables by betting*, JRSS B 2024.
    .. [2] Shin, Ramdas, Rinaldo, *E-detectors*, NEJSDS 2024.
    """

    reference: LossReference
    threshold: float
    tolerated: float
    theta: float
    dispersion: float
    logs: Numbers  # (6,)
    starts: Numbers  # of the last windows
    values: Numbers  # their losses
    standing: StandingAlarm | None = None
    ended: StandingAlarm | None = None  # by the last window
    crossed: bool = False
    since: int = 0
    seen: int = 0

    @classmethod
    def begin(cls, reference: LossReference, threshold: float, *, tolerated: float) -> CertifiedPerformance:
        """No evidence yet."""
        error = reference.row_sd / np.sqrt(max(1, reference.rows))
        theta = (max(0.0, reference.mean) + max(tolerated, _STANDARD_ERRORS * error)) / reference.bound
        return cls(
            reference,
            threshold,
            tolerated,
            float(np.clip(theta, 1e-6, _HIGHEST)),
            _dispersion(reference),
            np.full(len(RATIOS), -np.inf),
            np.empty(0),
            np.empty(0),
        )

    @property
    def alarmed(self) -> bool:
        """Whether an alarm stands."""
        return self.standing is not None

    @property
    def value(self) -> float:
        """The evidence; at least the threshold while an alarm stands."""
        gathered = float(np.exp(self.logs).mean())
        return max(gathered, self.threshold) if self.alarmed else gathered

    @property
    def cleared(self) -> bool:
        """Whether the last window ended the alarm."""
        return self.ended is not None

    @property
    def is_learning(self) -> bool:
        """Whether it learns first: the bet needs no windows to learn from."""
        return False

    @property
    def learning(self) -> str | None:
        """It learns nothing, so nothing is ever missing."""
        return None

    def update(self, estimate: CohortEstimate, start: float) -> CertifiedPerformance:
        """One cohort more; a loss of NaN changes nothing."""
        if not np.isfinite(estimate.loss):
            return replace(self, crossed=False, ended=None)
        alternatives = np.minimum(self.theta * RATIOS, (1 + self.theta) / 2)
        count = estimate.counted / self.dispersion
        share = float(np.clip(estimate.loss / self.reference.bound, 0.0, 1.0))
        up, down = np.log(alternatives / self.theta), np.log((1 - alternatives) / (1 - self.theta))
        gain = count * (share * up + (1 - share) * down)
        logs = np.minimum(np.logaddexp(self.logs, 0.0) + gain, _MOST_LOG)
        after = replace(
            self,
            logs=logs,
            starts=np.append(self.starts, start)[-CHANGE_WINDOWS:],
            values=np.append(self.values, estimate.loss)[-CHANGE_WINDOWS:],
            crossed=False,
            ended=None,
            seen=self.seen + 1,
        )
        after = replace(after, since=self.since + 1 if after.value >= SUSPECTED else 0)
        if self.standing is None:
            return after._raise_alarm(start) if after.value >= self.threshold else after
        return after._end_alarm(self.standing) if after._is_over(self.standing) else after

    def _raise_alarm(self, start: float) -> CertifiedPerformance:
        change = self.change_start
        standing = StandingAlarm(start, start if change is None else change, _CLEARS)
        return replace(self, crossed=True, standing=standing)

    def _is_over(self, alarm: StandingAlarm) -> bool:
        """Whether the last windows, all after the change, average within what is tolerated."""
        after = int((self.starts >= alarm.change_start).sum())
        recent = self.values[-alarm.clears_over :]
        return after >= alarm.clears_over and float(recent.mean()) <= self.theta * self.reference.bound

    def _end_alarm(self, alarm: StandingAlarm) -> CertifiedPerformance:
        return replace(self, standing=None, ended=alarm, logs=np.full_like(self.logs, -np.inf), since=0)

    @property
    def span(self) -> int:
        """Windows in a row that have been suspected; at least one."""
        return max(1, self.since)

    def rebaseline(self) -> CertifiedPerformance:
        """Take the loss since the change for what is tolerated from now on."""
        at = change_point(self.values[:, None], latest=self.since)
        seen = float(np.mean(self.values[at:])) / self.reference.bound if len(self.values) else 0.0
        theta = float(np.clip(max(self.theta, seen + self.tolerated / self.reference.bound), 1e-6, _HIGHEST))
        return replace(
            self, theta=theta, logs=np.full_like(self.logs, -np.inf), standing=None, crossed=False, since=0, seen=0
        )

    @property
    def change_start(self) -> float | None:
        """The start of the cohort at which the change most likely began."""
        if self.standing is not None or not len(self.starts):
            return None if self.standing is None else self.standing.change_start
        return float(self.starts[change_point(self.values[:, None], latest=self.since)])

    def pack(self) -> tuple[JsonObject, dict[str, NDArray[Any]]]:
        """The state as JSON-ready values and arrays, without what follows from the settings."""
        standing = None if self.standing is None else asdict(self.standing)
        values: JsonObject = {"theta": self.theta, "standing": standing, "since": self.since, "seen": self.seen}
        return values, {"bets": self.logs, "starts": self.starts, "values": self.values}

    def restore_from(self, values: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> CertifiedPerformance | None:
        """This, with the state that `pack` gave; None when the state is of another detector or an earlier edition."""
        if "bets" not in arrays or "standing" not in values:
            return None
        standing = None if values["standing"] is None else StandingAlarm(**values["standing"])
        counted = {name: values[name] for name in ("theta", "since", "seen")}
        return replace(
            self, logs=arrays["bets"], starts=arrays["starts"], values=arrays["values"], standing=standing, **counted
        )


def _dispersion(reference: LossReference) -> float:
    if len(reference.values) < _FEWEST_FOR_DISPERSION:
        return 1.0
    around = float(np.mean((reference.values - reference.mean) ** 2 * reference.counts))
    return max(1.0, around / max(reference.row_sd**2, 1e-12))
