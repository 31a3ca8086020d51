"""Evidently's statistical tests by name: what may stand in `detect.data.stattests`, known without importing Evidently.

`STATTESTS` is Evidently 0.7.23's own registry, written down so that the daemon can check a config in microseconds; a
unit test compares it with the registry of the installed Evidently.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

NUMBER, CATEGORY, TEXT = "num", "cat", "text"  # Evidently's words for the types of a column
EVIDENTLY = "evidently:"  # begins the name of a detector that Evidently gives
COLUMN_METRICS = (  # Evidently's metrics of one column that are one number, or a count with its share
    "CategoryCount",
    "InListValueCount",
    "InRangeValueCount",
    "MaxValue",
    "MeanValue",
    "MedianValue",
    "MinValue",
    "MissingValueCount",
    "OutListValueCount",
    "OutRangeValueCount",
    "QuantileValue",
    "StdValue",
    "SumValue",
)


@dataclass(frozen=True, slots=True)
class Stattest:
    """One of Evidently's tests.

    `threshold` is its default. Where `is_p_value`, drift is a score below the threshold, otherwise above it.
    `caveat` is what its user must know of it, in one sentence; empty when there is nothing.
    """

    name: str
    title: str
    types: tuple[str, ...]
    threshold: float
    is_p_value: bool
    caveat: str = ""


STATTESTS: dict[str, Stattest] = {
    test.name: test
    for test in (
        Stattest("anderson", "Anderson-Darling", (NUMBER,), 0.1, is_p_value=True),
        Stattest("chisquare", "chi-square", (CATEGORY,), 0.05, is_p_value=True),
        Stattest("cramer_von_mises", "Cramér-von Mises", (NUMBER,), 0.1, is_p_value=True),
        Stattest("ed", "energy distance", (NUMBER,), 0.1, is_p_value=False, caveat="It grows with the column's unit."),
        Stattest("es", "Epps-Singleton", (NUMBER,), 0.05, is_p_value=True),
        Stattest(
            "fisher_exact", "Fisher's exact test", (CATEGORY,), 0.1, is_p_value=True, caveat="For two categories only."
        ),
        Stattest(
            "g_test",
            "G-test",
            (CATEGORY,),
            0.1,
            is_p_value=True,
            caveat="It takes the reference for the exact truth, so it says drifted too often.",
        ),
        Stattest("hellinger", "Hellinger distance", (CATEGORY, NUMBER), 0.1, is_p_value=False),
        Stattest("jensenshannon", "Jensen-Shannon distance", (CATEGORY, NUMBER), 0.1, is_p_value=False),
        Stattest("kl_div", "Kullback-Leibler divergence", (CATEGORY, NUMBER), 0.1, is_p_value=False),
        Stattest("ks", "Kolmogorov-Smirnov", (NUMBER,), 0.05, is_p_value=True),
        Stattest(
            "mannw",
            "Mann-Whitney U",
            (NUMBER,),
            0.05,
            is_p_value=True,
            caveat="Evidently's version is one-sided: it sees values that rise, and none that fall.",
        ),
        Stattest("empirical_mmd", "maximum mean discrepancy", (NUMBER,), 0.1, is_p_value=True),
        Stattest("psi", "population stability index", (CATEGORY, NUMBER), 0.1, is_p_value=False),
        Stattest("t_test", "t-test", (NUMBER,), 0.05, is_p_value=True),
        Stattest(
            "perc_text_content_drift",
            "text content drift, by percentile",
            (TEXT,),
            0.95,
            is_p_value=False,
            caveat="Its threshold is a percentile of guessing, not on the scale of the score.",
        ),
        Stattest(
            "abs_text_content_drift",
            "text content drift, absolute",
            (TEXT,),
            0.55,
            is_p_value=False,
            caveat="It trains a classifier to tell the two texts apart.",
        ),
        Stattest("TVD", "total variation distance", (CATEGORY,), 0.1, is_p_value=True),
        Stattest("wasserstein", "Wasserstein distance, normed", (NUMBER,), 0.1, is_p_value=False),
        Stattest(
            "z",
            "z-test of a proportion",
            (CATEGORY,),
            0.05,
            is_p_value=True,
            caveat="Of more than two categories it looks at one only.",
        ),
    )
}


def stattest_named(name: str) -> Stattest:
    """The test of that name; raises ValueError with the nearest names, then all allowed ones."""
    if name in STATTESTS:
        return STATTESTS[name]
    near = difflib.get_close_matches(name.lower(), [known.lower() for known in STATTESTS], n=1)
    hint = next((f"did you mean {known!r}? " for known in STATTESTS if near and known.lower() == near[0]), "")
    raise ValueError(f"{name!r} is no Evidently stattest; {hint}Allowed: {', '.join(sorted(STATTESTS, key=str.lower))}")


def check_detector(use: str) -> None:
    """Raise ValueError unless this names a detector: a stattest or a metric of Evidently, or something of the user."""
    name = use.removeprefix(EVIDENTLY)
    if name == use or name in STATTESTS or name in COLUMN_METRICS:
        return
    near = difflib.get_close_matches(name, [*STATTESTS, *COLUMN_METRICS], n=1)
    hint = f"did you mean {EVIDENTLY}{near[0]}? " if near else ""
    known = ", ".join(sorted([*STATTESTS, *COLUMN_METRICS], key=str.lower))
    raise ValueError(f"{name!r} is neither a stattest nor a metric of Evidently; {hint}Allowed: {known}")


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one stattest said of one column in the window of an alarm.

    `drifted` is None, and `score` too, when the test could not be asked; `sentence` then says why. `trials` is how many
    stretches of the reference itself were put to the same test, `own_alarms` in how many it said drifted.
    """

    column: str
    stattest: str
    score: float | None
    threshold: float | None
    drifted: bool | None
    sentence: str
    reference_rows: int = 0
    window_rows: int = 0
    own_alarms: int = 0
    trials: int = 0

    def to_dict(self) -> dict[str, object]:
        """A JSON-ready form."""
        return {name: getattr(self, name) for name in self.__slots__}
