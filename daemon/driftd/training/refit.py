"""What a refresh built beside what is there: older versions, its siblings, and whether it is broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from driftd.errors import raise_shortage
from driftd.registry import RegistryError
from driftd.registry.artefact import ArtefactError
from driftd.registry.loaded import LoadedVersion
from driftd.registry.manifest import ManifestError
from driftd.training.compare import (
    GateGuard,
    artefact_bytes,
    compare,
    cost_guards,
    predict_rows,
    segment_guards,
)
from driftd.training.job_context import JobContext
from driftd.training.recipes import Cadence, KnownRows, rows_known
from driftd.training.siblings import Sibling, load_generations, store_generation
from driftd.training.stretches import (
    RefreshRows,
    cut_stretches,
    first_generations,
    known_until,
    stretch_metric,
    stretch_of,
)
from driftd.training.trainer_code import TrainerError
from driftd.training.training_rows import FEWEST_ROWS, TrainingRows, join_rows
from driftd_detectors.comparison.gate import FEWEST_BLOCKS, Judgement
from driftd_detectors.comparison.refresh import (
    DEPTH,
    FEWEST_JUDGED,
    LOOK,
    LOOK_LATE,
    RecipeChoice,
    Stretch,
    comparable_stretches,
    compare_with_siblings,
    count_judged,
    find_better,
    newest_stretches,
)

PENDING = 2  # generations that wait for the labels of the rows after them, where these come late
KEPT = 3  # versions that served last and compete, beside the champion and the first version
FAR = 1.5  # times its sibling's loss on rows that it was trained on and the sibling was not: such a refit is broken
_ASKED = 1000  # of the newest rows, to see whether a refit says always the same
_BOUND_AT = 0.99  # quantile of the champion's loss that bounds the losses of probation


@dataclass(frozen=True, slots=True)
class Opponents:
    """The rows that a refresh knows, the versions that it must stand beside, and what was lost on unseen rows."""

    known: KnownRows
    cadence: Cadence
    champion: LoadedVersion | None  # None: its files are damaged
    versions: Sequence[LoadedVersion]
    refreshes: Sequence[RefreshRows]  # oldest first
    recent: Sequence[Stretch]  # newest first: those that judge versions
    metric: str
    day: float  # seconds within which rows share their luck

    @property
    def choosing(self) -> list[Stretch]:
        """The newest of the stretches: those that choose the recipe, for which whole days are not waited."""
        return newest_stretches(self.recent, look=LOOK_LATE if self.known.is_late else LOOK)

    @property
    def wants_siblings(self) -> bool:
        """Whether this refresh shall leave siblings: each does, but where labels come late or windows are short.

        Siblings can be judged once the rows after them are mature and cover days enough. So that six generations reach
        so far back, one is kept for each half of that age, and for each half of a day.
        """
        if not self.refreshes:
            return True
        mature_age = self.known.delay.mature_age if self.known.is_late else None
        apart = max((mature_age or 0.0) / PENDING, self.day * FEWEST_BLOCKS / DEPTH)
        return self.known.until - self.refreshes[-1].generation.built_at >= apart


@dataclass(frozen=True, slots=True)
class RefitVerdict:
    """Which version is to serve after a refresh, and why."""

    serves: int
    sentence: str
    judgement: Judgement | None  # of the siblings against the champion; None where too few rows could say
    is_broken: bool = False
    guards: list[dict[str, object]] = field(default_factory=list)


def load_opponents(
    order: JobContext, version: int, rows: TrainingRows, until: float, champion: int, served: Sequence[int]
) -> Opponents:
    """Load what the refresh that makes `version` is judged by.

    Raises TrainerError where too few rows have complete labels.
    """
    config = order.config
    cadence = Cadence(config.window.every, config.window.rows, config.retrain.refresh.every)
    known = rows_known(rows, until, cadence)
    if known.mature < 2 * FEWEST_ROWS:
        raise TrainerError(
            f"only {known.mature} of {len(rows)} labelled rows are of windows whose labels are complete; "
            f"{2 * FEWEST_ROWS} are needed"
        )
    versions = [
        loaded
        for number in _competitors(order, known, champion, served)
        if (loaded := _load(order, number)) is not None
    ]
    serving = next((version for version in versions if version.version == champion), None)
    generations = load_generations(order.places, order.model, version, allow_joblib=config.allow_joblib)
    if not generations and versions:
        base = serving or versions[0]
        generations = first_generations(
            order.recipe(version), base.manifest, known.rows, config.retrain.refresh.recipes, cadence
        )
        for made in generations:  # at once: a job that is ended by its time limit need not make them again
            store_generation(order.places, order.model, made, allow_joblib=config.allow_joblib)
    in_memory = {
        version.manifest.files[version.manifest.artefact]: version.estimator
        for version in versions
        if version.manifest.adopted is None  # else it may be wrapped
    }
    for generation in generations:  # what a refresh chose is a version too
        generation.take_loaded(in_memory)
    refreshes = cut_stretches(generations, known)
    metric = stretch_metric(order.metric, known.rows, versions)
    newest = (stretch_of(refresh, versions, metric) for refresh in reversed(refreshes))  # older siblings stay on disk
    day = config.block_seconds
    recent = newest_stretches(newest, look=LOOK_LATE if known.is_late else LOOK, day=day)
    return Opponents(known, cadence, serving, versions, refreshes, recent, metric, day)


def _competitors(order: JobContext, known: KnownRows, champion: int, served: Sequence[int]) -> list[int]:
    """The numbers of the champion, the first version, those that served last, and the newest that days can judge.

    Where windows are short or labels late, all that served last may have seen all rows but those of the last hours.
    """
    existing = [version for version in order.registry.versions(order.model) if version <= max(champion, *served, 1)]
    last = list(served)[::-1]
    numbers = [champion, *existing[:1], *last[:KEPT]]
    if known.mature:
        until = float(known.rows.at[known.mature - 1]) - FEWEST_BLOCKS * order.config.block_seconds
        numbers += next(([number] for number in last if number in existing and _ends_before(order, number, until)), [])
    return [number for number in dict.fromkeys(numbers) if number in existing]


def _ends_before(order: JobContext, version: int, until: float) -> bool:
    """Whether a version was built from what was known by `until` (epoch seconds)."""
    try:
        return known_until(order.registry.manifest(order.model, version)) <= until
    except (ManifestError, RegistryError, OSError):
        return False


def _load(order: JobContext, version: int) -> LoadedVersion | None:
    try:
        return order.load(version)
    except (ManifestError, ArtefactError, OSError) as error:
        raise_shortage(error)
        print(f"version {version} does not compete: {error}", flush=True)  # noqa: T201 - the log
        return None


def judge_refit(
    order: JobContext, refit: LoadedVersion, folder: Path, opponents: Opponents, choice: RecipeChoice
) -> RefitVerdict:
    """Say whether the refit is to serve, or an older version that is surely better, or the champion beside a wreck.

    A champion that driftd did not train is replaced only by what is surely better, as every champion is where the
    config says `promote.serve: surely_better`.
    """
    champion = opponents.champion
    confidence, day = order.config.promote.confidence, order.config.block_seconds
    judgement = None
    if champion is not None:
        judgement = compare_with_siblings(
            opponents.recent, choice.recipe, champion.version, confidence=confidence, siblings_win=True, day=day
        )
    guards = _guards(order, refit, folder, opponents, choice)
    said = [guard.to_dict() for guard in guards]
    broken = [guard.sentence for guard in guards if not guard.holds]
    if broken and champion is not None:
        sentence = f"it is not served, because {'; and '.join(broken)}"
        return RefitVerdict(champion.version, sentence, judgement, is_broken=True, guards=said)
    if champion is not None and (
        order.config.promote.serve == "surely_better" or champion.manifest.adopted is not None
    ):
        return _cautious(refit, champion, judgement, said)
    competing = [version.version for version in opponents.versions]
    better = find_better(opponents.recent, choice.recipe, competing, confidence=confidence, day=day)
    if better is not None:
        sentence = (
            f"version {better.version} is surely better on rows that neither had seen: {_figures(better.judgement)}"
        )
        return RefitVerdict(better.version, sentence, judgement, guards=said)
    return RefitVerdict(refit.version, _none_better(opponents, choice), judgement, guards=said)


def _cautious(
    refit: LoadedVersion, champion: LoadedVersion, judgement: Judgement | None, guards: list[dict[str, object]]
) -> RefitVerdict:
    why = "promote.serve is surely_better" if champion.manifest.adopted is None else "driftd did not train it"
    if judgement is not None and judgement.decision == "promote":
        sentence = f"its siblings are surely better than version {champion.version}: {_figures(judgement)}"
        return RefitVerdict(refit.version, sentence, judgement, guards=guards)
    seen = f"fewer than {FEWEST_JUDGED} rows could say" if judgement is None else _figures(judgement)
    sentence = f"version {champion.version} stays, because what was built is not surely better ({why}): {seen}"
    return RefitVerdict(champion.version, sentence, judgement, guards=guards)


def _none_better(opponents: Opponents, choice: RecipeChoice) -> str:
    """That nothing older is surely better, on how many rows and against which versions; or that nothing was judged."""
    numbers = [version.version for version in opponents.versions]
    rows = {number: count_judged(opponents.recent, choice.recipe, number) for number in numbers}
    judged = {version: count for version, count in rows.items() if count >= FEWEST_JUDGED}
    if not judged:
        most = max(rows.values(), default=0)
        return f"it serves unjudged: {most} of {FEWEST_JUDGED} later rows could be compared with an older version"
    named = ", ".join(f"{version} on {count} rows" for version, count in judged.items())
    return f"no older version is surely better (judged: {named})"


def _figures(judgement: Judgement) -> str:
    bounds = f"{judgement.lower:.4g} to {judgement.upper:.4g}"
    return f"gain {judgement.gain:.4g} ({bounds}) on {judgement.rows} rows in {judgement.blocks} blocks of time"


def _guards(
    order: JobContext, refit: LoadedVersion, folder: Path, opponents: Opponents, choice: RecipeChoice
) -> list[GateGuard]:
    """Whether the refit is whole: not constant, not far from its sibling, not slow, not large; no segment worse."""
    rows, champion = opponents.known.rows.take(slice(0, opponents.known.mature)), opponents.champion
    newest, sibling = _newest_sibling(opponents, choice.recipe)
    guards = [*_constant(refit, sibling, rows.take(slice(-_ASKED, None)))]
    if sibling is not None:
        guards += _far(refit, sibling, newest, opponents.metric)
    if champion is None:
        return guards
    old = order.places.version(order.model, champion.version)
    sizes = artefact_bytes(folder, refit), artefact_bytes(old, champion)
    return [*guards, *cost_guards(refit, champion, rows, sizes), *_segments(order, opponents, choice)]


def _newest_sibling(opponents: Opponents, recipe: str) -> tuple[TrainingRows, Sibling | None]:
    """The newest sibling of a recipe with rows that it has not seen, and these rows."""
    for refresh in reversed(opponents.refreshes):
        if recipe in refresh.generation.recipes and len(refresh.rows):
            return refresh.rows, refresh.generation.load(recipe)
    return opponents.known.rows.take(slice(0, 0)), None


def _constant(refit: LoadedVersion, sibling: Sibling | None, rows: TrainingRows) -> list[GateGuard]:
    def is_constant(of: LoadedVersion | Sibling) -> bool:
        found = predict_rows(of, rows)
        return len(np.unique(found.prediction)) == 1 and len(np.unique(found.score)) == 1

    varied = len(np.unique(rows.target.astype(str))) > 1
    holds = not (varied and is_constant(refit) and (sibling is None or not is_constant(sibling)))
    said = "says the same" if not holds else "does not say the same"
    return [GateGuard("constant", holds, f"it {said} of each of the newest {len(rows)} rows")]


def _far(refit: LoadedVersion, sibling: Sibling, rows: TrainingRows, metric: str) -> list[GateGuard]:
    """A refit that loses more on rows that it was trained on than its sibling, which never saw them, is broken."""
    if len(rows) < FEWEST_JUDGED:
        return []
    _, sides = compare(metric, rows, [(refit, predict_rows(refit, rows)), (sibling, predict_rows(sibling, rows))])
    own, other = (float(np.nanmean(side.loss)) for side in sides)
    sentence = (
        f"its {metric} is {own:.4g} on {len(rows)} rows that it was trained on, where its sibling of the last refresh, "
        f"which never saw them, has {other:.4g}"
    )
    return [GateGuard("sibling", own <= FAR * other, sentence)]


def _segments(order: JobContext, opponents: Opponents, choice: RecipeChoice) -> list[GateGuard]:
    """No declared segment in which the siblings are surely worse than the champion."""
    champion, columns = opponents.champion, order.config.detect.segment_columns
    if champion is None or not columns:
        return []
    judged = comparable_stretches(opponents.recent, choice.recipe, champion.version)
    stretches = {stretch.built: stretch for stretch in judged}
    use = [
        (refresh.rows, stretches[refresh.generation.number])
        for refresh in opponents.refreshes
        if refresh.generation.number in stretches
    ]
    if not use:
        return []
    rows = join_rows([some for some, _ in use])
    siblings = np.concatenate([stretch.siblings[choice.recipe] for _, stretch in use])
    old = np.concatenate([stretch.versions[champion.version] for _, stretch in use])
    weight, config = np.ones(len(rows)), order.config
    return segment_guards(rows, weight, [siblings, old], columns, config.promote.confidence, config.block_seconds)


def loss_bound(opponents: Opponents) -> float:
    """What bounds the losses of probation: a high quantile of the champion's, 1 for plain errors."""
    champion = opponents.champion
    if opponents.metric == "error" or champion is None:
        return 1.0
    rows = opponents.known.rows.take(slice(max(0, opponents.known.mature - 5 * _ASKED), opponents.known.mature))
    _, sides = compare(opponents.metric, rows, [(champion, predict_rows(champion, rows))])
    known = sides[0].loss[np.isfinite(sides[0].loss)]
    bound = float(np.quantile(known, _BOUND_AT)) if len(known) else 1.0
    return bound if bound > 0 else 1.0
