"""The `refresh` task: a fresh version from all rows, by the recipe whose siblings did best on rows they never saw."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from driftd.config.named_plugins import plugin_versions
from driftd.events import GateDecision
from driftd.formatting import format_time, json_safe_object
from driftd.registry import Manifest, RegistryError
from driftd.registry.artefact import store_estimator
from driftd.registry.loaded import LoadedVersion, Predictions, load_version
from driftd.registry.manifest import PROBE, read_manifest, with_hashes, write_manifest
from driftd.training.compare import predict_rows
from driftd.training.job_context import JobContext
from driftd.training.recipes import WEIGHTED, KnownRows, TrainingPart, recipes_of, training_part
from driftd.training.references import REFERENCE, compare_probe, reference_of, write_probe
from driftd.training.refit import Opponents, RefitVerdict, judge_refit, load_opponents, loss_bound
from driftd.training.siblings import Generation, prune_generations, store_generation
from driftd.training.snapshots import Snapshot, read_snapshot
from driftd.training.stretches import fit_generation, in_classes, seen_until, unseen_outcomes
from driftd.training.tasks import TaskArguments
from driftd.training.tasks.judge import class_change, is_named
from driftd.training.tasks.snapshot import snapshot_of
from driftd.training.trainer_code import TrainerError, build_settings, keep_source, libraries, trainer_code
from driftd.training.training_rows import FEWEST_ROWS, TrainingRows, rows_of
from driftd_detectors.comparison.refresh import RecipeChoice, choose_recipe
from driftd_detectors.schema import Schema

REFERENCE_WINDOWS, REFERENCE_ROWS = 28, 300  # of the newest rows that siblings had not seen: what a version promises


class Arguments(TaskArguments, frozen=True, kw_only=True):
    """A version to make from every row known at `until` (epoch seconds), and what it must stand beside."""

    version: int
    seed: int
    schema: dict[str, object]  # of the version that serves
    since: float
    until: float
    trigger: str
    reason: str
    champion: int
    recipe: str | None = None  # in charge so far; None: the first of the config
    served: tuple[int, ...] = ()  # the versions that served last
    base: str | None = None  # the snapshot whose rows come first
    change_at: float | None = None
    snapshot: str | None = None  # the rows, where they were taken and checked before


@dataclass(slots=True)
class Omissions:
    """The recipes that are left out, as clauses for the version's words."""

    clauses: list[str] = field(default_factory=list)

    def add(self, recipe: str, why: str) -> None:
        """Leave a recipe out, and say so."""
        print(f"recipe {recipe} is left out: {why}", flush=True)  # noqa: T201 - the log
        self.clauses.append(f"{recipe} is left out: {why}")


def run(arguments: Arguments) -> dict[str, object]:
    """Make version `version` and say which version is to serve; what this very job made before is given back."""
    order = JobContext.of(arguments)
    if arguments.version in order.registry.versions(order.model):
        return _previous_value(order, arguments)
    schema = Schema.from_dict(arguments.schema)
    if arguments.snapshot is not None:
        snapshot = read_snapshot(order.places, order.model, arguments.snapshot)
    else:
        snapshot = snapshot_of(arguments, schema, arguments.since, arguments.until, arguments.base)
    opponents = load_opponents(
        order, arguments.version, rows_of(snapshot.rows, snapshot.schema), arguments.until, arguments.champion,
        arguments.served,
    )  # fmt: skip
    known, cadence, omissions = opponents.known, opponents.cadence, Omissions()
    recipes = [
        recipe
        for recipe in recipes_of(order.config.retrain.refresh.recipes, known, cadence, arguments.change_at)
        if training_part(recipe, known, cadence, arguments.change_at) is not None
    ]
    in_charge = arguments.recipe if arguments.recipe in recipes else recipes[0]  # the config may name others by now
    choice = choose_recipe(opponents.choosing, in_charge, recipes)
    has_siblings = opponents.wants_siblings
    made = fit_generation(
        arguments.version,
        order.recipe(arguments.seed),
        known,
        recipes if has_siblings else [choice.recipe],
        cadence,
        arguments.change_at,
        omissions.add,
    )
    if not made.recipes:
        raise TrainerError(f"no recipe could be built: {'; '.join(omissions.clauses)}")
    if choice.recipe not in made.recipes:
        instead = f"{made.recipes[0]} takes the place of {choice.recipe}, which could not be built"
        choice = replace(choice, recipe=made.recipes[0], sentence=instead)
    order.registry.sweep(order.model)  # what a killed build left; a model has one build at a time
    staged = order.registry.stage(order.model)
    try:
        value = _build(order, arguments, snapshot, opponents, made, choice, omissions, staged)
        if has_siblings:
            artefact = staged / read_manifest(staged).artefact
            store_generation(
                order.places,
                order.model,
                made,
                allow_joblib=order.config.allow_joblib,
                stored={choice.recipe: artefact},
            )
        order.registry.publish(order.model, arguments.version, staged)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    prune_generations(order.places, order.model)
    print(value["sentence"], flush=True)  # noqa: T201 - the log
    return value


def _previous_value(order: JobContext, arguments: Arguments) -> dict[str, object]:
    manifest = order.registry.manifest(order.model, arguments.version)
    made = manifest.data.get("refresh")
    if made is None or (manifest.seed, manifest.trigger) != (arguments.seed, arguments.trigger):
        raise RegistryError(f"{order.model}/{manifest.version} exists already and was made from another order")
    value: dict[str, object] = made["value"]
    return value


def _build(
    order: JobContext,
    arguments: Arguments,
    snapshot: Snapshot,
    opponents: Opponents,
    made: Generation,
    choice: RecipeChoice,
    omissions: Omissions,
    staged: Path,
) -> dict[str, object]:
    """Fill the staged folder of the version that the chosen recipe made; returns the job's value."""
    known = opponents.known
    part = training_part(choice.recipe, known, opponents.cadence, arguments.change_at)
    assert part is not None  # it was built
    estimator = made.estimators[choice.recipe]
    rows = known.rows.take(slice(part.start, part.end))
    write_probe(estimator, rows, staged)
    trainer = order.recipe(arguments.seed)
    drawn = trainer.draw(rows, part.weight)
    keep_source(trainer.trainer, staged)
    manifest = Manifest(
        model=order.model,
        version=arguments.version,
        created_at=arguments.until,
        schema=snapshot.schema,
        snapshot=snapshot.digest,
        trainer=trainer_code(trainer.trainer),
        seed=trainer.seed,
        trigger=arguments.trigger,
        reason=arguments.reason,
        artefact=store_estimator(estimator, staged, allow_joblib=trainer.allow_joblib),
        parent=arguments.champion,
        parameters=dict(trainer.parameters),
        libraries=libraries(trainer.trainer) | plugin_versions(order.config),
        data={
            **_data(known, part, made, choice, arguments),
            **drawn.described,
            "settings": build_settings(order.config),
        },
    )
    write_manifest(staged, with_hashes(staged, manifest))
    refit = load_version(staged, allow_joblib=trainer.allow_joblib)
    compare_probe(refit, staged / PROBE)
    unseen = _unseen(opponents, choice, refit)
    verdict = (
        _without_promise(arguments.champion) if unseen is None else judge_refit(order, refit, staged, opponents, choice)
    )
    if unseen is not None:
        reference = reference_of(order, refit, *unseen, opponents.metric, known.until)
        (staged / REFERENCE).write_bytes(reference.to_bytes())
    change = class_change(refit, opponents.champion, known.rows)
    value = _value(opponents, made, choice, verdict, part, omissions)
    value["class_change"] = None if is_named(refit.schema.classes, order.config.classes) else change
    loss = None if unseen is None else reference.losses.get(opponents.metric)
    metrics = {} if loss is None else {"rows": float(loss.rows), "loss": loss.mean}
    _complete(staged, refit, opponents, verdict, metrics, json_safe_object(value))
    return value


def _unseen(
    opponents: Opponents, choice: RecipeChoice, refit: LoadedVersion
) -> tuple[TrainingRows, Predictions] | None:
    """What was predicted of the newest rows by who had not seen them: the level that the version promises.

    That level must come from rows that it has not seen, and it has seen them all: so the siblings of its recipe speak
    for it, or, where labels come so late that these have seen all that is mature, the champion does.
    """
    known, champion = opponents.known, opponents.champion
    found = unseen_outcomes(
        [refresh.generation for refresh in opponents.refreshes],
        known,
        choice.recipe,
        refit.schema,
        windows=REFERENCE_WINDOWS,
        rows=REFERENCE_ROWS,
        seconds=opponents.cadence.seconds(known.rows.at),
    )
    if champion is None or (found is not None and len(found[0]) >= FEWEST_ROWS):
        return found
    mature = known.rows.at[: known.mature]
    rows = known.rows.take(slice(int(np.searchsorted(mature, seen_until(champion.manifest))), known.mature))
    if len(rows) < FEWEST_ROWS:
        return found
    return rows, in_classes(predict_rows(champion, rows), refit.schema.classes)


def _without_promise(champion: int) -> RefitVerdict:
    sentence = (
        "it is not served: there is no row with complete labels that no build has seen, so it can promise nothing"
    )
    return RefitVerdict(champion, sentence, None)


def _data(
    known: KnownRows, part: TrainingPart, made: Generation, choice: RecipeChoice, arguments: Arguments
) -> dict[str, object]:
    delay = known.delay
    return {
        "chosen": choice.recipe,
        "tried": dict(choice.losses),
        "rows": part.end - part.start,
        "trained_from": float(known.rows.at[part.start]),
        "last_at": float(known.rows.at[-1]),
        "seen_until": made.unseen_from(choice.recipe),
        "training_rows": part.end,
        "too_young": len(known.rows) - known.mature,
        "weighted_for_late_labels": choice.recipe.endswith(WEIGHTED),
        "label_delay": {"first_age": delay.first_age, "mature_age": delay.mature_age} if delay.is_known else None,
        "change_at": arguments.change_at,
        "portion": {"start": part.start, "pivot": None},
    }


def _value(
    opponents: Opponents,
    made: Generation,
    choice: RecipeChoice,
    verdict: RefitVerdict,
    part: TrainingPart,
    omissions: Omissions,
) -> dict[str, object]:
    """What policy is told; see `driftd.actions.RefreshResult`."""
    known, judgement = opponents.known, verdict.judgement
    rows = part.end - part.start
    clauses = [
        f"built by {choice.recipe} from {rows} rows until {format_time(made.unseen_from(choice.recipe))}",
        choice.sentence,
        *omissions.clauses,
        verdict.sentence,
    ]
    return {
        "serves": verdict.serves,
        "sentence": "; ".join(clauses),
        "recipe": choice.recipe,
        "rows": rows,
        "effective": part.effective,
        "mature_until": known.mature_until if known.delay.is_known else float(known.rows.at[-1]),
        "is_broken": verdict.is_broken,
        "judged": sum(map(len, opponents.recent)),
        "gain": None if judgement is None else judgement.gain,
        "lower": None if judgement is None else judgement.lower,
        "upper": None if judgement is None else judgement.upper,
        "blocks": None if judgement is None else judgement.blocks,
    }


def _complete(
    staged: Path,
    refit: LoadedVersion,
    opponents: Opponents,
    verdict: RefitVerdict,
    metrics: Mapping[str, float],
    value: Mapping[str, object],
) -> None:
    """Add what was said of the version to its staged folder."""
    judgement = verdict.judgement
    manifest = read_manifest(staged)
    decision = GateDecision.PROMOTE if verdict.serves == refit.version else GateDecision.REJECT
    gate = {
        "decision": decision,
        "sentence": value["sentence"],
        "gain": value["gain"],
        "lower": value["lower"],
        "upper": value["upper"],
        "rows": value["judged"],
        "blocks": value["blocks"],
        "guards": verdict.guards,
        "metric": opponents.metric,
        "champion": None if opponents.champion is None else opponents.champion.version,
        "champion_metrics": {},
        "look": 1,
        "until": datetime.fromtimestamp(opponents.known.until, UTC).isoformat(),
        "overdispersion": 1.0 if judgement is None else judgement.overdispersion,
        "loss_bound": loss_bound(opponents),
        "mature_after": opponents.known.delay.mature_age,
    }
    cadence = opponents.cadence
    refresh = {
        "until": opponents.known.until,
        "every": cadence.windows,
        "window_seconds": cadence.every,
        "window_rows": cadence.rows,
        "value": dict(value),
    }
    complete = Manifest(
        **{
            **{name: getattr(manifest, name) for name in manifest.__slots__},
            "status": str(decision),
            "gate": json_safe_object(gate),
            "metrics": dict(metrics),
            "data": {**manifest.data, "refresh": refresh},
        }
    )
    write_manifest(staged, with_hashes(staged, complete))
