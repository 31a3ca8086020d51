"""A refresh judged by siblings (STATISTICS 12.1): which recipe builds best, and whether an older version is better.

What a refresh builds has seen every row, so nothing is left to judge it by. But each recipe built a sibling at every
earlier refresh, and those never saw the rows that came later: their losses there judge the recipe. Pure, over arrays of
losses.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from driftd_detectors.columns import Numbers
from driftd_detectors.comparison.gate import DAY, FEWEST_BLOCKS, Judgement, judge, whole_days

LOOK = 2  # stretches that choose and judge, at least; more of them until there are rows enough
LOOK_LATE = 4  # where labels come later than the cadence
DEPTH = 6  # stretches at most: as many refreshes keep their siblings
FEWEST_JUDGED = 100  # rows: with fewer no recipe is exchanged, and no older version is kept
STICK = 0.01  # of the loss: another recipe must be better by so much
CONFIDENCE = 0.95  # that an older version is better, over all that compete in one refresh


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows later than all that the siblings of one refresh were trained on, up to those of the next refresh.

    Every array has one entry a row; a loss that is not known is NaN.
    """

    built: int  # the refresh whose siblings these are
    at: Numbers  # epoch seconds
    siblings: Mapping[str, Numbers]  # losses by recipe
    versions: Mapping[int, Numbers] = field(
        default_factory=dict
    )  # losses by version; NaN on rows that it was built from
    published: str | None = None  # the recipe whose sibling here is the version `built` itself

    def __len__(self) -> int:
        return len(self.at)


@dataclass(frozen=True, slots=True)
class RecipeChoice:
    """Which recipe is in charge from now on; `losses` are the mean losses on the rows that each pair had in common."""

    recipe: str
    rows: int  # on which recipes were compared; 0: nothing was judged
    gain: float  # of the one in charge over the one before, as a share of the loss
    losses: Mapping[str, float]
    sentence: str


@dataclass(frozen=True, slots=True)
class OlderVersion:
    """A version that is surely better than what the recipe in charge builds."""

    version: int
    judgement: Judgement


def newest_stretches(
    stretches: Iterable[Stretch], *, look: int = LOOK, fewest: int = FEWEST_JUDGED, day: float | None = None
) -> list[Stretch]:
    """Of stretches that come newest first, the first with rows: `look` of them, and more until they hold `fewest` rows.

    With `day` (seconds) also until they cover as many whole days as the gate needs to judge a version. No more of them
    are asked for than are needed.
    """
    found: list[Stretch] = []
    for stretch in itertools.islice(stretches, DEPTH):
        if len(stretch):
            found.append(stretch)
        if len(found) >= look and sum(map(len, found)) >= fewest and (day is None or _cover_days(found, day)):
            break
    return found


def _cover_days(stretches: Sequence[Stretch], day: float) -> bool:
    days = whole_days(np.concatenate([stretch.at for stretch in stretches]), day)
    return int(days.max()) + 1 >= FEWEST_BLOCKS


def choose_recipe(stretches: Sequence[Stretch], in_charge: str, allowed: Sequence[str]) -> RecipeChoice:
    """Put the recipe in charge whose siblings lost least on rows that they never saw; small gains change nothing.

    Recipes are compared in pairs with the one in charge, each on the stretches that both have.
    """
    best, best_gain, best_loss, rows = in_charge, 0.0, float("nan"), 0
    losses: dict[str, float] = {}
    for other in dict.fromkeys(name for stretch in stretches for name in stretch.siblings):
        use = [stretch for stretch in stretches if {other, in_charge} <= set(stretch.siblings)]
        if sum(map(len, use)) < FEWEST_JUDGED or other == in_charge or other not in allowed:
            continue
        mine = np.concatenate([stretch.siblings[in_charge] for stretch in use])
        theirs = np.concatenate([stretch.siblings[other] for stretch in use])
        loss, other_loss = float(np.nanmean(mine)), float(np.nanmean(theirs))
        gain = float(np.nanmean(mine - theirs))
        rows = max(rows, len(mine))
        losses |= {in_charge: loss, other: other_loss}
        if gain > max(STICK * loss, best_gain):
            best, best_gain, best_loss = other, gain, loss
    share = best_gain / best_loss if best != in_charge and best_loss > 0 else 0.0
    sentence = _choice_sentence(best, in_charge, share, rows, sum(map(len, stretches)))
    return RecipeChoice(best, rows, share, losses, sentence)


def _choice_sentence(best: str, in_charge: str, share: float, rows: int, available: int) -> str:
    if best != in_charge:
        return f"{best} instead of {in_charge}: {share:.1%} better on {rows} rows that neither had seen"
    if rows:
        return f"{in_charge} stays in charge: no recipe is {STICK:.0%} better on {rows} rows that none had seen"
    return (
        f"{in_charge} stays in charge: nothing was judged, because there are {available} of {FEWEST_JUDGED} later rows"
    )


def find_better(
    stretches: Sequence[Stretch],
    recipe: str,
    versions: Sequence[int],
    *,
    confidence: float = CONFIDENCE,
    day: float = DAY,
) -> OlderVersion | None:
    """The version with the largest sure gain over the siblings of a recipe; None where none is surely better.

    The error of one refresh (1 - `confidence`) is shared among the `versions` that compete. `day` is the seconds within
    which rows share their luck (see `gate.judge`).
    """
    best: OlderVersion | None = None
    for version in versions:
        judgement = compare_with_siblings(
            stretches, recipe, version, confidence=1 - (1 - confidence) / len(versions), siblings_win=False, day=day
        )
        if judgement is None or judgement.decision != "promote":
            continue
        if best is None or judgement.gain > best.judgement.gain:
            best = OlderVersion(version, judgement)
    return best


def compare_with_siblings(
    stretches: Sequence[Stretch],
    recipe: str,
    version: int,
    *,
    confidence: float,
    siblings_win: bool,
    day: float = DAY,
) -> Judgement | None:
    """Judge a version and the siblings of a recipe on the rows that neither saw; None where these are too few.

    With `siblings_win` the question is whether the siblings are surely better, else whether the version is.
    """
    use = comparable_stretches(stretches, recipe, version)
    if count_judged(use, recipe, version) < FEWEST_JUDGED:
        return None
    siblings = np.concatenate([stretch.siblings[recipe] for stretch in use])
    older = np.concatenate([stretch.versions[version] for stretch in use])
    at = np.concatenate([stretch.at for stretch in use])
    first, second = (siblings, older) if siblings_win else (older, siblings)
    return judge(first, second, at, confidence=confidence, min_rows=FEWEST_JUDGED, day=day)


def comparable_stretches(stretches: Sequence[Stretch], recipe: str, version: int) -> list[Stretch]:
    """The stretches on which a version can be compared with the siblings of a recipe: not where it is one itself."""
    return [
        stretch
        for stretch in stretches
        if recipe in stretch.siblings
        and version in stretch.versions
        and (stretch.built, stretch.published) != (version, recipe)
    ]


def count_judged(stretches: Sequence[Stretch], recipe: str, version: int) -> int:
    """How many rows neither a version nor the siblings of a recipe had seen."""
    both = (
        np.isfinite(stretch.siblings[recipe]) & np.isfinite(stretch.versions[version])
        for stretch in comparable_stretches(stretches, recipe, version)
    )
    return sum(int(rows.sum()) for rows in both)
