"""Siblings on disk: what each recipe built at the newest refreshes, to be judged by rows that came later."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from driftd.errors import raise_shortage
from driftd.fsutil import STAGED, make_staging, sha256_of, sync_tree, write_durably
from driftd.paths import Places
from driftd.registry.artefact import ArtefactError, load_estimator, store_estimator
from driftd_detectors.comparison.refresh import DEPTH
from driftd_detectors.schema import Schema

log = structlog.get_logger()

RECORD = "siblings.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Sibling:
    """What a recipe built at a refresh: an estimator that can be compared as a version can, whose number is 0."""

    estimator: Any
    schema: Schema
    version: int = 0


@dataclass(frozen=True, slots=True)
class Generation:
    """The siblings of one refresh. None of them saw a row at or after `seen_until` (epoch seconds).

    Those that train on mature rows alone saw less, where labels come late: `seen` says so by recipe.
    """

    number: int
    seen_until: float
    schema: Schema
    recipes: tuple[str, ...]
    takes_weights: bool = True  # whether the trainer made something else of weighted rows
    estimators: dict[str, Any] = field(default_factory=dict)  # by recipe; those on disk join when they are asked for
    folder: Path | None = None
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # name and SHA-256 by recipe
    allow_joblib: bool = False
    seen: Mapping[str, float] = field(default_factory=dict)
    built_at: float = 0.0  # epoch seconds

    def unseen_from(self, recipe: str) -> float:
        """From when on (epoch seconds) the sibling of a recipe saw no row."""
        return self.seen.get(recipe, self.seen_until)

    def take_loaded(self, estimators: Mapping[str, object]) -> None:
        """Take estimators that are in memory already, by the SHA-256 of their artefacts, for siblings that they are."""
        for recipe, stored in self.files.items():
            if stored["sha256"] in estimators:
                self.estimators[recipe] = estimators[stored["sha256"]]

    def load(self, recipe: str) -> Sibling | None:
        """What a recipe built. None, and a line in the log, where it is damaged or cannot be loaded any more."""
        if recipe not in self.estimators and self.folder is not None:
            stored = self.files[recipe]
            try:
                estimator = _read(self.folder / stored["file"], stored["sha256"], allow_joblib=self.allow_joblib)
            except (OSError, ArtefactError) as error:
                raise_shortage(error)
                log.warning("sibling_left_out", folder=str(self.folder), recipe=recipe, reason=str(error))
                return None
            self.estimators[recipe] = estimator
        return Sibling(self.estimators[recipe], self.schema)


def store_generation(
    places: Places, model: str, made: Generation, *, allow_joblib: bool, stored: Mapping[str, Path] | None = None
) -> None:
    """Store the siblings of a refresh in one rename, in the place of what an interrupted run of it left.

    `stored` are artefacts that there are already, by recipe: writing an estimator takes longer than copying it.
    """
    folder = places.siblings(model)
    staged = make_staging(folder)
    try:
        files = {}
        for recipe, estimator in made.estimators.items():
            (staged / recipe).mkdir()
            if stored and recipe in stored:
                name = f"{recipe}/{stored[recipe].name}"
                shutil.copyfile(stored[recipe], staged / name)
            else:
                name = f"{recipe}/{store_estimator(estimator, staged / recipe, allow_joblib=allow_joblib)}"
            files[recipe] = {"file": name, "sha256": sha256_of(staged / name)}
        seen = {recipe: made.unseen_from(recipe) for recipe in files}
        record = {
            "format": _FORMAT,
            "number": made.number,
            "seen_until": made.seen_until,
            "seen": seen,
            "built_at": made.built_at,
            "schema": made.schema.to_dict(),
            "takes_weights": made.takes_weights,
            "recipes": files,
        }
        write_durably(staged / RECORD, (json.dumps(record, indent=2) + "\n").encode())
        sync_tree(staged)
        staged.chmod(0o750)
        target = folder / str(made.number)
        shutil.rmtree(target, ignore_errors=True)
        staged.rename(target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def prune_generations(places: Places, model: str) -> None:
    """Remove the siblings of all but the newest refreshes, and what interrupted runs left; one refresh runs at once."""
    folder = places.siblings(model)
    for path in [*folder.glob(f"{STAGED}*"), *(folder / str(number) for number in _numbers(folder)[:-DEPTH])]:
        shutil.rmtree(path, ignore_errors=True)


def load_generations(places: Places, model: str, before: int, *, allow_joblib: bool) -> list[Generation]:
    """The siblings of the newest refreshes with numbers below `before`, oldest first; damaged records are left out."""
    folder = places.siblings(model)
    numbers = [number for number in _numbers(folder) if number < before][-DEPTH:]
    found = (_load(folder / str(number), allow_joblib=allow_joblib) for number in numbers)
    return [generation for generation in found if generation is not None]


def _load(folder: Path, *, allow_joblib: bool) -> Generation | None:
    try:
        record = json.loads((folder / RECORD).read_bytes())
        return Generation(
            record["number"],
            record["seen_until"],
            Schema.from_dict(record["schema"]),
            tuple(record["recipes"]),
            takes_weights=record["takes_weights"],
            folder=folder,
            files=record["recipes"],
            allow_joblib=allow_joblib,
            seen=record["seen"],
            built_at=record["built_at"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise_shortage(error)
        log.warning("siblings_left_out", folder=str(folder), reason=str(error))
        return None


def _read(path: Path, digest: str, *, allow_joblib: bool) -> Any:
    if sha256_of(path) != digest:
        raise ArtefactError(f"{path} was changed or damaged: its SHA-256 differs")
    return load_estimator(path, allow_joblib=allow_joblib)


def _numbers(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
