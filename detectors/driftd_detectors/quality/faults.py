"""The faults of a pipeline: vanished, constant, missing, unreadable, out of range, rescaled, new and unseen labels."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.assessment import Fault
from driftd_detectors.columns import Outcomes
from driftd_detectors.profile.column_layout import ColumnLayout, Scale

FEWEST_ROWS = 20  # of a window in which anything is certain
MOST_EVIDENCE = 1e12  # evidence is not told beyond this
_STEPS = (1.1, 1.2, 1.35, 1.6, 2.0, 3.0)  # alternatives, as multiples of the tolerated share


@dataclass(frozen=True, slots=True)
class QualitySettings:
    """What is tolerated, as a share of the rows above the reference's own; and when a fault is certain."""

    missing: float = 0.3
    vanished: float = 0.3
    unreadable: float = 0.05
    new_category: float = 0.3
    unseen_label: float = 0.05
    range: float = 0.1  # of values far beyond the reference's range
    scale: float = 0.3  # of values on one side of nearly all that the reference held; more than half are, for a fault
    overdispersion: float = 3.0  # rows come in bunches: so many count as one
    certain: float = 1e4  # evidence at which a fault alarms and blocks builds

    def __post_init__(self) -> None:
        for name in ("missing", "vanished", "unreadable", "new_category", "unseen_label", "range", "scale"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; a tolerated share lies between 0 and 1")
        if self.overdispersion < 1 or self.certain <= 1:
            raise ValueError(
                f"overdispersion is {self.overdispersion} and certain {self.certain}; "
                "the first is at least 1, the second more than 1"
            )


@dataclass(frozen=True, slots=True, eq=False)
class ColumnWindow:
    """One column of a window beside the reference: what a fault is looked for in."""

    column: ColumnLayout
    rows: int  # of the window
    counts: NDArray[np.int64]
    reference: NDArray[np.int64]
    unreadable: int
    absent: int
    reference_unreadable: int
    reference_absent: int
    finite: int
    low: float
    high: float
    outlying: int = 0  # values on one side of 99 % of the reference, see `checks.outlying_rows`
    usual_ends: tuple[float, float] = (math.nan, math.nan)  # of those 99 %
    usually_outlying: float = 0.0  # the largest share of such values in a window of the reference, against the others

    @property
    def delivered(self) -> int:
        """Rows to which the column was delivered."""
        return int(self.counts.sum())

    @property
    def present(self) -> int:
        """Rows in which it has a value."""
        return self.delivered - int(self.counts[-1])


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What a window shows of one fault."""

    share: float  # of the rows looked at
    evidence: float  # an e-value: at most 1 on average where there is no fault
    sentence: str


def suspect(
    hits: float, rows: int, usual: float, tolerated: float, sentence: str, settings: QualitySettings
) -> Suspicion | None:
    """So many of `rows` rows show a fault that the reference had in the share `usual`; None where none does."""
    if rows <= 0 or hits <= 0:
        return None
    effective = settings.overdispersion
    return Suspicion(hits / rows, share_evidence(hits / effective, rows / effective, usual + tolerated), sentence)


def share_evidence(hits: float, rows: float, tolerated: float) -> float:
    """The evidence that a share lies above `tolerated`: an e-value, the mean of likelihood ratios.

    Shin, Ramdas, Rinaldo, *E-detectors*, 2024, with the alternatives of STATISTICS 4.
    """
    if rows <= 0 or tolerated >= 1:
        return 1.0
    logs = []
    for step in (*_STEPS, math.inf):
        share = min(step * tolerated, (1 + tolerated) / 2)
        logs.append(hits * math.log(share / tolerated) + (rows - hits) * math.log((1 - share) / (1 - tolerated)))
    highest = max(logs)
    total = highest + math.log(sum(math.exp(log - highest) for log in logs) / len(logs))
    return math.exp(min(total, math.log(MOST_EVIDENCE)))


def percent(hits: float, rows: int) -> str:
    """A share as people read it."""
    return f"{hits / max(1, rows):.1%}"


_USUAL = 0.5  # a value with a larger share of the reference is the normal state
_SMALLEST = 1e-3  # persistence is not believed to be less


def constant(window: ColumnWindow, settings: QualitySettings) -> Suspicion | None:
    """A column that used to vary has one value in every row.

    Parameters
    ----------
    window, settings
        The column in the window and in the reference; what is tolerated.

    Notes
    -----
    With s the share of neighbouring reference rows that hold the same value, n rows in time order all hold one
    value with a probability of about s^(n - 1) in a chain of that persistence (Feller, 1950). So a month or a
    weekday, which stay for long, may be constant in a window, and a sensor may not. The evidence is 1 / that
    probability, with n divided by the over-dispersion. A value that most reference rows hold, such as no rain, is no
    fault, however long it stays, and columns of two values are left to the proportion score.

    Examples
    --------
    >>> round(0.5 ** -((100 - 1) / 3.0))
    8589934592

    References
    ----------
    Feller, *An Introduction to Probability Theory and Its Applications*, volume 1, chapter XIII, 1950.
    """
    levels = int(np.count_nonzero(window.reference[:-1]))
    if levels < 3 or window.present < FEWEST_ROWS or not _is_stuck(window):  # noqa: PLR2004 - more than two values
        return None
    if window.reference[int(np.argmax(window.counts[:-1]))] > _USUAL * window.reference[:-1].sum():
        return None
    value = f"{window.low:g}" if window.column.numeric else window.column.labels[int(np.argmax(window.counts[:-3]))]
    rows = (window.present - 1) / settings.overdispersion
    evidence = math.exp(min(math.log(MOST_EVIDENCE), -rows * math.log(max(window.column.stay, _SMALLEST))))
    return Suspicion(1.0, evidence, f"holds the one value {value} in all {window.present} rows")


def _is_stuck(window: ColumnWindow) -> bool:
    if window.column.numeric:
        return window.low == window.high and window.finite == window.present
    return int(np.count_nonzero(window.counts[:-3])) == 1 and int(window.counts[-3:-1].sum()) == 0


def missing_values(window: ColumnWindow, settings: QualitySettings) -> Suspicion | None:
    """The share of missing values jumped.

    Parameters
    ----------
    window, settings
        The column in the window and in the reference; what is tolerated.

    Notes
    -----
    The share of delivered rows without a value, against that of the reference.

    Examples
    --------
    >>> QualitySettings(missing=0.2).missing
    0.2

    References
    ----------
    Schelter et al., *Automating large-scale data quality verification*, VLDB, 2018.
    """
    usual = float(window.reference[-1]) / max(1, int(window.reference.sum()))
    hits = int(window.counts[-1])
    share = percent(hits, window.delivered)
    said = f"is missing in {share} of {window.delivered} rows (reference {usual:.1%})"
    return suspect(hits - window.unreadable, window.delivered, usual, settings.missing, said, settings)


def new_category(window: ColumnWindow, settings: QualitySettings) -> Suspicion | None:
    """Labels that the reference never held make up a gross share.

    Parameters
    ----------
    window, settings
        The column in the window and in the reference; what is tolerated.

    Notes
    -----
    The share of present values with an unseen label. What is usual is the share of labels that the reference held
    once (Good, 1953): where new labels always come, they are no fault.

    Examples
    --------
    >>> QualitySettings().new_category
    0.3

    References
    ----------
    Good, *The population frequencies of species and the estimation of population parameters*, Biometrika, 1953.
    """
    if window.column.numeric or int(window.reference[:-1].sum()) == 0:
        return None
    hits = int(window.counts[-2])
    share = percent(hits, window.present)
    said = f"has labels never seen before in {share} of {window.present} values (usual {window.column.unseen:.1%})"
    return suspect(hits, window.present, window.column.unseen, settings.new_category, said, settings)


def out_of_range(window: ColumnWindow, settings: QualitySettings) -> Suspicion | None:
    """Numbers are absurdly far from all that the reference held, as after a change of unit or with sentinel values.

    Parameters
    ----------
    window, settings
        The column in the window and in the reference; what is tolerated.

    Notes
    -----
    The share of present values that are infinite, or more than nine times the reference's reach (the larger of its
    width and of its largest absolute value) outside it. Values just outside are drift: seasons and growth do that.

    Examples
    --------
    >>> QualitySettings().range
    0.1

    References
    ----------
    Breck et al., *Data validation for machine learning*, MLSys, 2019.
    """
    if not window.column.numeric or not window.column.edges:
        return None
    strange = [0, 1, -3, -2]  # -inf, far below, far above, +inf
    hits = int(window.counts[strange].sum())
    usual = float(window.reference[strange].sum()) / max(1, int(window.reference[:-1].sum()))
    share = percent(hits, window.present)
    reach = f"{window.column.edges[0]:.4g} to {window.column.edges[-1]:.4g}"
    said = f"is far out of the reference's range ({reach}) in {share} of {window.present} values"
    return suspect(hits, window.present, usual, settings.range, said, settings)


_STAYS = 0.9  # a column that holds its value longer, such as a month, has few values in a window


def changed_scale(window: ColumnWindow, settings: QualitySettings) -> Suspicion | None:
    """More than half of the numbers lie on one side of nearly all that the reference held: x100, /100, or Fahrenheit.

    Parameters
    ----------
    window, settings
        The column in the window and in the reference; what is tolerated.

    Notes
    -----
    The window's median lies outside the .5 to 99.5 % range of the reference. What is tested is the share of values
    beyond that end, against what is tolerated beyond five times the most that a window of the reference had, as with
    weather, which the rows of a day share; never against more than .9. Left out are columns of few whole numbers (codes
    or counts), those whose neighbouring rows mostly hold the same value, those that the reference's own windows show it
    of (`checks.moving_columns`), as an order number does, and what is far out of range already.

    Examples
    --------
    >>> QualitySettings().scale
    0.3

    References
    ----------
    Breck et al., *Data validation for machine learning*, MLSys, 2019.
    """
    far = int(window.counts[[0, 1, -3, -2]].sum())
    if window.column.scale is not Scale.ORDERED or window.column.has_levels or window.column.stay > _STAYS:
        return None
    if not window.outlying > window.present / 2 > far:
        return None
    share, (low, high) = percent(window.outlying, window.present), window.usual_ends
    said = (
        f"lies beyond {low:.4g} to {high:.4g}, which held 99 % of the reference, in {share} of {window.present} values"
    )
    said += "; its scale or unit changed"
    tolerated = min(_ALL_BUT, _MORE_THAN_USUAL * window.usually_outlying + settings.scale)
    return suspect(window.outlying, window.present, 0.0, tolerated, said, settings)


_ALL_BUT, _MORE_THAN_USUAL = 0.9, 5.0


def unreadable(window: ColumnWindow, settings: QualitySettings) -> Suspicion | None:
    """Values cannot be read as the column's type, as when the type changed upstream.

    Parameters
    ----------
    window, settings
        The column in the window and in the reference; what is tolerated.

    Notes
    -----
    The share of delivered values that could not be read, against that of the reference.

    Examples
    --------
    >>> QualitySettings().unreadable
    0.05

    References
    ----------
    Breck et al., *Data validation for machine learning*, MLSys, 2019.
    """
    usual = window.reference_unreadable / max(1, int(window.reference.sum()))
    share = percent(window.unreadable, window.delivered)
    said = f"cannot be read as {window.column.kind} in {share} of {window.delivered} rows (reference {usual:.1%})"
    return suspect(window.unreadable, window.delivered, usual, settings.unreadable, said, settings)


def vanished_values(window: ColumnWindow, settings: QualitySettings) -> Suspicion | None:
    """The column was not delivered at all.

    Parameters
    ----------
    window, settings
        The column in the window and in the reference; what is tolerated.

    Notes
    -----
    The share of the window's rows that came without the column, against that of the reference.

    Examples
    --------
    >>> QualitySettings().vanished
    0.3

    References
    ----------
    Breck et al., *Data validation for machine learning*, MLSys, 2019.
    """
    usual = window.reference_absent / max(1, window.reference_absent + int(window.reference.sum()))
    said = f"was not delivered in {percent(window.absent, window.rows)} of {window.rows} rows (reference {usual:.1%})"
    return suspect(window.absent, window.rows, usual, settings.vanished, said, settings)


NAME = "unseen_label"
_MOST_NAMED = 3


def unseen_label(
    outcomes: Outcomes, expected: Collection[str] = (), settings: QualitySettings | None = None
) -> Fault | None:
    """Labels that are no class of the version that predicted their rows; None where there is none.

    Parameters
    ----------
    outcomes
        A cohort in the classes of its version.
    expected
        Texts that the config names as classes: the next version learns them, so they are no fault.
    settings
        What is tolerated, and when a fault is certain; the defaults when not given.

    Notes
    -----
    The share of the labels, against a tolerated 5 %: that of unreadable values, because a label that no model of ours
    can predict is one. Single strays are counted and cost their rows; from about a tenth on they move the loss more
    than any drift that is worth an alarm. The evidence is that of one cohort (see `suspect`).

    Examples
    --------
    >>> QualitySettings().unseen_label
    0.05

    References
    ----------
    Shin, Ramdas, Rinaldo, *E-detectors*, NEJSDS 2024.
    """
    chosen = settings or QualitySettings()
    names = outcomes.texts(outcomes.label)
    strays = np.flatnonzero(outcomes.strays)
    texts = [names.labels[code] if code >= 0 else "" for code in names.codes[strays].tolist()]
    foreign = [text for text in texts if text not in set(expected)]
    labels = int(outcomes.labelled.sum())
    examples = ", ".join(map(repr, list(dict.fromkeys(foreign))[:_MOST_NAMED]))
    said = f"has values outside the classes of the version in {percent(len(foreign), labels)} of {labels} labels"
    said += f" ({examples}); a class that is new belongs into `classes`"
    seen = suspect(len(foreign), labels, 0.0, chosen.unseen_label, said, chosen)
    if seen is None:
        return None
    certain = seen.evidence >= chosen.certain
    return Fault("label", NAME, f"label {seen.sentence}", seen.share, seen.evidence, certain)
