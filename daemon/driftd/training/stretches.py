"""The rows between refreshes, and what the siblings of each and older versions lost on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from driftd.registry import Manifest
from driftd.registry.loaded import LoadedVersion, PredictionError, Predictions
from driftd.training.call_trainer import TrainerSpec, fit
from driftd.training.compare import (
    Comparable,
    compare,
    gate_metric,
    predict_pieces,
    predict_rows,
    rarer_class,
    score_among,
)
from driftd.training.recipes import ALL, HALF_LIFE, Cadence, KnownRows, recipes_of, rows_known, training_part
from driftd.training.siblings import Generation
from driftd.training.trainer_code import TrainerError
from driftd.training.training_rows import FEWEST_ROWS, TrainingRows, join_rows
from driftd_detectors.comparison.refresh import Stretch
from driftd_detectors.schema import Schema

NO_WEIGHTS = "the trainer makes nothing of the weights of rows: it builds the same as without them"
_ASKED = 500  # of the newest rows, to see whether two estimators answer alike
_ROUNDED = 1e-3  # seconds: a manifest holds times in microseconds
_BACK = 0.25  # of the rows: where no hold-out is on record, the first siblings leave so many of the newest to judge


@dataclass(frozen=True, slots=True)
class RefreshRows:
    """Mature rows that the siblings of one refresh never saw, up to those of the next."""

    generation: Generation
    rows: TrainingRows


def cut_stretches(generations: Sequence[Generation], known: KnownRows) -> list[RefreshRows]:
    """The mature rows after each refresh and before the next, oldest refresh first."""
    at = known.rows.at[: known.mature]
    starts = [int(np.searchsorted(at, generation.seen_until, side="left")) for generation in generations]
    ends = [*starts[1:], len(at)]
    return [
        RefreshRows(generation, known.rows.take(slice(start, max(start, end))))
        for generation, start, end in zip(generations, starts, ends, strict=True)
    ]


def first_generations(
    trainer: TrainerSpec, champion: Manifest, rows: TrainingRows, configured: Sequence[str], cadence: Cadence
) -> list[Generation]:
    """What refreshes at the time of the champion would have built, where there are no siblings yet.

    At the end of its snapshot, and where its hold-out began: so the first refresh has two stretches to judge by.
    """
    last_at = float(champion.data.get("last_at") or rows.at[-1])
    count = int(np.searchsorted(rows.at, last_at, side="right"))
    held_out_from = champion.data.get("held_out_from")
    if held_out_from is None or float(held_out_from) <= rows.at[0]:
        held_out_from = rows.at[max(0, int(count * (1 - _BACK)) - 1)]
    times = (float(held_out_from), max(champion.created_at, float(np.nextafter(last_at, np.inf))))
    found = []
    for number, until in zip((champion.version - 1, champion.version), times, strict=True):
        known = rows_known(rows, until, cadence)
        if known.mature >= FEWEST_ROWS:
            recipes = recipes_of(configured, known, cadence, None)
            found.append(fit_generation(number, trainer, known, recipes, cadence, None, lambda _recipe, _why: None))
    return [generation for generation in found if generation.recipes]


def fit_generation(
    number: int,
    trainer: TrainerSpec,
    known: KnownRows,
    recipes: Sequence[str],
    cadence: Cadence,
    change_at: float | None,
    on_failure: Callable[[str, str], None],
) -> Generation:
    """Fit some recipes on what is known. One that fails is left out, and `on_failure` is called with it and with why.

    A recipe that differs from another by its weights alone, and predicts the same, is left out too: then the trainer
    makes nothing of weights.
    """
    estimators: dict[str, Any] = {}
    seen: dict[str, float] = {}
    weighed = False
    for recipe in recipes:
        part = training_part(recipe, known, cadence, change_at)
        if part is None:
            continue
        try:
            estimators[recipe] = fit(trainer, known.rows.take(slice(part.start, part.end)), part.weight)
        except (TrainerError, PredictionError) as error:
            on_failure(recipe, str(error))
            continue
        seen[recipe] = float(np.nextafter(known.rows.at[part.end - 1], np.inf))
        weighed = weighed or (recipe == HALF_LIFE and part.weight is not None)
    takes_weights = not (weighed and ALL in estimators and _same_answers(estimators, known))
    if not takes_weights:
        del estimators[HALF_LIFE]
        on_failure(HALF_LIFE, NO_WEIGHTS)
    return Generation(
        number,
        max(seen.values(), default=-np.inf),
        known.rows.schema,
        tuple(estimators),
        takes_weights,
        estimators,
        seen=seen,
        built_at=known.until,
    )


def _same_answers(estimators: Mapping[str, object], known: KnownRows) -> bool:
    rows = known.rows.take(slice(max(0, known.mature - _ASKED), known.mature))
    first, second = (predict_pieces(estimators[recipe], rows) for recipe in (ALL, HALF_LIFE))
    same = np.array_equal(first.prediction, second.prediction)
    return same and np.array_equal(first.score, second.score, equal_nan=True)


def stretch_metric(metric: str | None, rows: TrainingRows, versions: Iterable[LoadedVersion]) -> str:
    """The one loss by which everything is compared: the gate's, for versions of which some may give no scores."""
    some = rows.take(slice(-_ASKED, None))
    scored = all(bool(np.isfinite(predict_rows(version, some).score).all()) for version in versions)
    return gate_metric(metric, rows.schema.task, scored=scored, rarer=rarer_class(rows))


def stretch_of(refresh: RefreshRows, versions: Iterable[LoadedVersion], metric: str) -> Stretch:
    """What the siblings lost on the rows after their refresh, and those versions that did not see the rows either.

    A version that was built later than the siblings is left out: it would win by being fresher, however stale it is
    beside what the refresh builds now.
    """
    generation, rows = refresh.generation, refresh.rows
    siblings = {recipe: generation.load(recipe) for recipe in generation.recipes}
    if len(rows) == 0:
        return Stretch(generation.number, rows.at, {recipe: np.empty(0) for recipe in generation.recipes})
    others = [
        version
        for version in versions
        if seen_until(version.manifest) <= rows.at[-1]
        and known_until(version.manifest) <= generation.built_at + _ROUNDED
    ]
    own = next((version.manifest.data for version in others if version.version == generation.number), {})
    compared: list[Comparable] = [sibling for sibling in siblings.values() if sibling is not None]
    compared += others
    _, sides = compare(metric, rows, [(version, predict_rows(version, rows)) for version in compared])
    lost = iter([side.loss for side in sides])
    by_recipe = {recipe: next(lost) for recipe, sibling in siblings.items() if sibling is not None}
    by_version = {
        version.version: np.where(rows.at < seen_until(version.manifest), np.nan, next(lost)) for version in others
    }
    published = str(own["chosen"]) if "refresh" in own else None
    return Stretch(generation.number, rows.at, by_recipe, by_version, published)


def seen_until(manifest: Manifest) -> float:
    """Before when (epoch seconds) the rows lie that a version was trained on."""
    data = manifest.data
    if data.get("seen_until") is not None:
        return float(data["seen_until"])
    held_out_from = data.get("held_out_from")
    return float(held_out_from) if held_out_from is not None else manifest.created_at


def known_until(manifest: Manifest) -> float:
    """When (epoch seconds) what a version was built from was known: siblings of an earlier time are staler than it."""
    return manifest.created_at if "refresh" in manifest.data else seen_until(manifest)


def unseen_outcomes(
    generations: Sequence[Generation],
    known: KnownRows,
    recipe: str,
    schema: Schema,
    *,
    windows: int,
    rows: int,
    seconds: float,
) -> tuple[TrainingRows, Predictions] | None:
    """What the siblings of a recipe predicted of the newest mature rows that they never saw, in time order.

    As many of the newest as make up so many windows (of so many seconds) and rows. None without any.
    """
    parts: list[tuple[TrainingRows, Predictions]] = []
    at, end = known.rows.at[: known.mature], known.mature
    for generation in reversed(generations):
        sibling = generation.load(recipe) if recipe in generation.recipes else None
        start = int(np.searchsorted(at, generation.unseen_from(recipe), side="left"))
        if sibling is None or start >= end:
            continue
        some = known.rows.take(slice(start, end))
        parts.insert(0, (some, in_classes(predict_rows(sibling, some), schema.classes)))
        end = start
        if float(at[-1] - at[start]) >= windows * seconds and known.mature - start >= rows:
            break
    if not parts:
        return None
    return join_rows([some for some, _ in parts]), _join([found for _, found in parts])


def in_classes(found: Predictions, classes: tuple[str, ...]) -> Predictions:
    """Predictions in the codes of other classes, among which are all of their own."""
    if found.classes == classes or not classes:
        return Predictions(found.prediction, found.score, classes)
    codes = np.array([classes.index(name) for name in found.classes], dtype=np.float64)
    return Predictions(codes[found.prediction.astype(np.intp)], score_among(found, len(classes)), classes)


def _join(found: Sequence[Predictions]) -> Predictions:
    prediction = np.concatenate([some.prediction for some in found])
    return Predictions(prediction, np.concatenate([some.score for some in found]), found[0].classes)
