"""`driftd init --model` and `--serving external`: what a model or its log says, held beside the user's columns."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from driftd.cli.init_defaults import Guess
from driftd.sources.dialects import Dialect
from driftd.sources.file_system import absolute_path
from driftd.training.adoption_records import MLFLOW_SCHEME, AdoptionError, AdoptionOrder, ModelCard, require_permission
from driftd.training.bootstrap import FileColumns, read_series
from driftd.training.fork_server import SHARED
from driftd.training.jobs import JobLimits, job_environment, start_job
from driftd_detectors.columns import Numbers
from driftd_detectors.schema import Kind, Task, class_name, learn_schema
from driftd_detectors.values import learn_names, vocabulary_of

POLL_SECONDS = 0.02
INSPECT_SECONDS = 900.0  # a download among it
SAMPLE_ROWS = 1000
SAMPLE = "sample.parquet"


@dataclass(frozen=True, slots=True)
class Adoption:
    """The existing model that a user names, and how it is to be taken."""

    source: str
    card: ModelCard
    allow_pickle: bool
    unseen: bool
    class_names: tuple[str, ...]  # as --classes gives them
    folder: Path  # for what the job is told in files; it lives as long as the command

    def match_features(self, guess: Guess, rows: pd.DataFrame) -> tuple[Guess, pd.DataFrame]:
        """The guess and the rows with the model's own features, in its order.

        Raises click.ClickException where they do not fit.
        """
        _require_task(self.card, guess)
        _require_class_count(self.card, self.class_names)
        names = self.card.features
        if names is None:
            return self._with_categories(_require_feature_count(self.card, guess), rows), rows
        absent = [name for name in names if name not in rows.columns]
        if absent:
            raise click.ClickException(
                f"the model ({self.card.kind}) was fitted to {len(names)} features, and the file has no column "
                f"{', '.join(map(repr, absent))}; the file has {', '.join(map(str, rows.columns))}"
            )
        if guess.target in names:
            raise click.ClickException(
                f"the model takes {guess.target} as a feature, so it cannot be the target: name another with --target"
            )
        left = [name for name in guess.features if name not in names]
        schema = learn_schema(rows[[*names, guess.target]], task=guess.task, target=guess.target)
        guessed = {feature.name: guess.features.get(feature.name, feature.kind) for feature in schema.features}
        features = {name: guessed[name] for name in names}
        about_features = tuple(f"{name} is left out of the features" for name in names)
        remarks = [remark for remark in guess.remarks if not remark.startswith(about_features)]
        remarks += [f"{name} is left out of the features: the model does not know it" for name in left]
        others = [name for name in rows.columns if name not in names]
        guess = replace(guess, features=features, remarks=tuple(remarks))
        return self._with_categories(guess, rows), rows[[*names, *others]]

    def _with_categories(self, guess: Guess, rows: pd.DataFrame) -> Guess:
        """The guess with categories where the model takes text, though the column looks like numbers or truths."""
        features, names, remarks = dict(guess.features), list(guess.features), list(guess.remarks)
        for place, texts in self.card.categories:
            name = names[place]
            is_code = features[name] in {Kind.NUMBER, Kind.BOOLEAN}
            if is_code and (texts is None or _are_known(rows[name], texts)):
                features[name] = Kind.CATEGORY
                remarks.append(f"{name} is a category after all: the model takes it as one")
        return replace(guess, features=features, remarks=tuple(remarks))

    def order(self, guess: Guess, rows: pd.DataFrame) -> AdoptionOrder:
        """What the job is told. Raises click.ClickException where the classes do not fit."""
        known, names = self.card.classes or (), self.class_names
        if guess.task is Task.CLASSIFICATION:
            names = names or _names_for(self.card, rows[guess.target])
            known = names or known
        return AdoptionOrder(
            source=self.source,
            sha256=self.card.sha256,
            allow_pickle=self.allow_pickle,
            classes=known if guess.task is Task.CLASSIFICATION else (),
            names=names,
            unseen=self.unseen,
            sample=_sample(rows[list(guess.features)], self.folder),
        )

    def sentences(self, order: AdoptionOrder, guess: Guess, *, trainer: str | None) -> Iterator[str]:
        """What the user should know of how the model is taken."""
        if self.card.stored_with is not None:
            yield (
                f"the model was stored by scikit-learn {self.card.stored_with}, and another version is installed here, "
                "by which it may answer otherwise than in production: install that version, or compare some answers"
            )
        if self.card.features is None:
            yield "the model does not name its features: they are taken in the order of the columns of the file"
        if order.names and not self.class_names:
            yield (
                f"the model's classes {', '.join(self.card.classes or ())} are taken for {', '.join(order.names)}, "
                "in this order: say another with --classes"
            )
        if guess.task is Task.CLASSIFICATION and not order.classes:
            yield (
                "the model does not name its classes: its probabilities are those of the target's classes as its own "
                "labels say, else in their sorted order: say another with --classes"
            )
        if self.card.runs_code:
            yield (
                f"the model is kept as {self.card.artefact}, which runs code at each load: "
                "the config says `allow_joblib: true`"
            )
        if not self.unseen:
            yield "it is judged on the newest quarter of the rows; say --unseen if it was trained on none of them"
        if trainer is None:
            yield "later versions are trained by driftd.trainers:gradient_boosting: name your own with --trainer"


def begin_adoption(source: str, *, allow_pickle: bool, unseen: bool, class_names: str | None) -> Adoption:
    """Inspect the model in a child process. Raises click.ClickException when it cannot be adopted."""
    try:
        source = require_permission(source, allow_pickle=allow_pickle)
    except AdoptionError as error:
        raise click.ClickException(str(error)) from error
    if not source.startswith(MLFLOW_SCHEME):
        if not Path(source).exists():
            raise click.ClickException(f"there is no file {source}; an address of MLflow begins with {MLFLOW_SCHEME}")
        source = str(Path(source).resolve())
    names = tuple(name.strip() for name in class_names.split(",")) if class_names else ()
    scratch = tempfile.TemporaryDirectory(prefix="driftd-init-")
    folder = Path(click.get_current_context().with_resource(scratch))  # it goes when the command ends
    card = _inspect(source, folder / "inspect", allow_pickle=allow_pickle)
    return Adoption(source, card, allow_pickle, unseen, names, folder)


def _inspect(source: str, folder: Path, *, allow_pickle: bool) -> ModelCard:
    limits = JobLimits(wall_seconds=INSPECT_SECONDS)
    SHARED.ensure(job_environment(limits))  # what the next steps need too
    SHARED.await_ready()
    job = start_job(folder, "inspect", {"source": source, "allow_pickle": allow_pickle}, limits, SHARED)
    try:
        while (result := job.poll()) is None:
            time.sleep(POLL_SECONDS)
    finally:
        job.kill()
    if not result.ok:
        raise click.ClickException(result.error)
    return ModelCard.from_dict(result.value)


def _require_task(card: ModelCard, guess: Guess) -> None:
    if card.task is not None and card.task != guess.task:
        raise click.ClickException(
            f"the model ({card.kind}) does {card.task}, and {guess.target} looks like {guess.task}: "
            f"say --task {card.task}, or name another --target"
        )


def _require_feature_count(card: ModelCard, guess: Guess) -> Guess:
    """For a model without names: as many columns as it has features, in the order of the file."""
    if card.feature_count is not None and card.feature_count != len(guess.features):
        raise click.ClickException(
            f"the model ({card.kind}) takes {card.feature_count} features and does not name them; the file has "
            f"{len(guess.features)} that could be: {', '.join(guess.features)}. Give a file with just the model's "
            "columns, in its order, beside the target"
        )
    return guess


def _names_for(card: ModelCard, target: pd.Series) -> tuple[str, ...]:
    """The target's names for the model's classes where it has other ones; empty where they are the same.

    Raises click.ClickException where they cannot be matched.
    """
    held = tuple(sorted({class_name(_plain(value)) for value in target.dropna().unique()}))
    if card.classes is None or set(held) & set(card.classes) == set(held):
        return ()
    meant = tuple(vocabulary_of(held).resolve(name) for name in card.classes)
    if set(held) <= set(meant) and len(set(meant)) == len(meant):  # written otherwise: TRUE, 1.0
        return meant
    if card.classes == tuple(str(code) for code in range(len(held))):
        return held
    raise click.ClickException(
        f"the model's classes are {', '.join(card.classes)}, and the target {target.name} holds {', '.join(held)}: "
        "say with --classes which of the target's classes each of the model's is, in the model's order"
    )


def _are_known(column: pd.Series, texts: Sequence[str]) -> bool:
    """Whether what a column holds are texts that an encoder knows, in their very form."""
    return {class_name(_plain(value)) for value in column.dropna().unique()} & set(texts) != set()


def _sample(rows: pd.DataFrame, folder: Path) -> str | None:
    """The newest rows as they are, for the job to compare answers on; None where Parquet cannot hold them."""
    path = folder / SAMPLE
    try:
        rows.tail(SAMPLE_ROWS).to_parquet(path, index=False)
    except (pa.ArrowException, TypeError, ValueError):
        return None
    return str(path)


def _plain(value: object) -> object:
    return value.item() if hasattr(value, "item") else value


def extra_lines(adoption: Adoption | None, trainer: str | None, *, allow_pickle: bool) -> str:
    """The lines of the config that say whose trainer and whose model it is, and that a pickle may be loaded."""
    lines = [f"    trainer: {trainer}"] if trainer else []
    runs_code = allow_pickle and trainer is not None if adoption is None else adoption.card.runs_code
    if runs_code:
        lines.append("    allow_joblib: true                   # the model may be a pickle: a load runs its code")
    return "".join(f"{line}\n" for line in lines)


def _require_class_count(card: ModelCard, names: Sequence[str]) -> None:
    if names and card.classes is not None and len(card.classes) != len(names):
        raise click.ClickException(
            f"--classes names {len(names)} classes, and the model has {len(card.classes)}: {', '.join(card.classes)}"
        )


LABEL = "label"  # the column of labels in a log, unless another is named
UNLABELLED = (
    "the log has no labels in {target}: features and predictions are watched, performance is not before a version has "
    "labels: one that is built later, or version 1 of another --name from a log that has some"
)
_MEANINGS = {"prediction": "prediction", "score": "score", "version": "version", "id": "prediction_id"}


def require_options(
    is_external: bool, target: str | None, columns: Sequence[str | None], source: str, *, model: str | None
) -> None:
    """Raises click.UsageError for options that do not go together."""
    if is_external and model is not None:
        raise click.UsageError("--model adopts a model for driftd to serve; with --serving external another one serves")
    if not is_external and target is None:
        raise click.UsageError("Missing option '--target'.")
    if not is_external and (source != "store" or any(column is not None for column in columns)):
        raise click.UsageError(
            "--prediction, --score, --version-column and --source are of a log of predictions: say --serving external"
        )


def logged_columns(
    rows: pd.DataFrame,
    given: FileColumns,
    target: str,
    prediction: str | None,
    score: str | None,
    version: str | None,
) -> FileColumns:
    """Which columns of a log say what: those that are named, else those with the usual names.

    Raises click.ClickException where there is no prediction, or a column that was named is absent.
    """
    named = {"prediction": prediction, "score": score, "version": version, "id": given.id}
    usual = {meaning: name for meaning, name in _MEANINGS.items() if name in rows.columns}
    found = {meaning: named[meaning] or usual.get(meaning) for meaning in _MEANINGS}
    absent = [name for name in named.values() if name is not None and name not in rows.columns]
    listed = f"the log has {', '.join(map(str, rows.columns))}"
    if absent:
        raise click.ClickException(f"no column {', '.join(map(repr, absent))}; {listed}")
    if found["prediction"] is None:
        raise click.ClickException(f"no column holds what was predicted: name it with --prediction; {listed}")
    if target == found["prediction"]:
        raise click.ClickException(
            f"{target} cannot be both the prediction and the label: name the label with --target"
        )
    return replace(given, **found)


def with_target(rows: pd.DataFrame, target: str, columns: FileColumns) -> pd.DataFrame:
    """The rows with what was predicted as their target, where no label tells what that looks like."""
    if target in rows.columns and rows[target].notna().any():
        return rows
    return rows.assign(**{target: rows[columns.prediction]})


def require_logged(rows: pd.DataFrame, guess: Guess) -> list[str]:
    """What surprises in a log of predictions, as sentences.

    Raises click.ClickException for predictions that are none of the task (a probability is a score, not a class), or
    that have no class in common with the labels.
    """
    name = guess.columns.prediction
    said = rows[name].dropna()
    if guess.task is Task.CLASSIFICATION and pd.api.types.is_float_dtype(said) and (said % 1 != 0).any():
        raise click.ClickException(
            f"{name} holds numbers such as {said[said % 1 != 0].iloc[0]:g}, and {guess.target} holds classes: name the "
            f"column of the predicted class with --prediction, that of the probability with --score, or say "
            "--task regression"
        )
    if guess.task is Task.REGRESSION and not pd.api.types.is_numeric_dtype(said):
        raise click.ClickException(
            f"{name} holds {said.iloc[0]!r}, and a regression predicts numbers: say --task classification"
        )
    gaps = [f"{len(rows) - len(said):,} rows have no {name} and are left out"] if len(said) < len(rows) else []
    if guess.task is Task.REGRESSION:
        return [*gaps, *_on_versions(rows, guess.columns.version)]
    scores = [] if guess.columns.score is None else _on_scores(rows, guess)
    return [*gaps, *_on_classes(rows, guess), *scores, *_on_versions(rows, guess.columns.version)]


def _on_classes(rows: pd.DataFrame, guess: Guess) -> list[str]:
    if guess.target not in rows.columns or rows[guess.target].isna().all():
        return []
    held = learn_names(class_name(_plain(value)) for value in rows[guess.target].dropna().unique())
    known, name = vocabulary_of(held), guess.columns.prediction
    said = {known.resolve(class_name(_plain(value))) for value in rows[name].dropna().unique()}
    never = [label for label in held if label not in said]
    if len(never) == len(held):
        raise click.ClickException(
            f"{name} holds {', '.join(sorted(said))}, and {guess.target} holds {', '.join(held)}: no class of both, so "
            "that each prediction would be wrong. Write them alike, and run this again"
        )
    return [f"{guess.target} holds {', '.join(never)}, which {name} never says"] if never else []


def _on_values(column: pd.Series, fits: Callable[[Numbers], NDArray[np.bool_]], what: str, then: str) -> list[str]:
    """How many values of a column are no numbers that `fits` takes, with an example."""
    numbers, present = np.asarray(read_series(column, Kind.NUMBER)[0]), column.notna().to_numpy()
    bad = present & ~fits(numbers)
    if not bad.any():
        return []
    count = f"{int(bad.sum()):,} of {int(present.sum()):,} values of {column.name}"
    return [f"{count} are no {what}, such as {_plain(column[bad].iloc[0])!r}: {then}"]


def _on_scores(rows: pd.DataFrame, guess: Guess) -> list[str]:
    return _on_values(
        rows[guess.columns.score],
        lambda scores: (scores >= 0) & (scores <= 1),
        "probabilities from 0 to 1",
        "they count as missing; write probabilities, or name their column with --score",
    )


def _on_versions(rows: pd.DataFrame, name: str | None) -> list[str]:
    if name is None:
        return []
    then = "which version predicted is not known there, and no prediction confirms a hand-over"
    return _on_values(rows[name], lambda numbers: numbers % 1 == 0, "whole numbers", then)


def external_lines(classes: str | None, trainer: str | None) -> str:
    """The lines of the config of a model that another system serves, before those of its trainer, if it has one."""
    given = f"[{', '.join(json.dumps(name.strip()) for name in classes.split(','))}]" if classes else None
    lines = [
        *([f"    classes: {given}"] if given else []),
        "    serving: external                    # another system predicts; driftd only watches: docs/external.md",
        *([] if trainer else ["    trainer: null               # nothing is built, a new version is asked for"]),
        "    # deploy: {command: [./deploy.sh], confirm_within: 1d}   # how another version is handed over",
    ]
    return "".join(f"{line}\n" for line in lines)


def log_source(file: Path | str, file_format: str, dialect: Dialect, guess: Guess, rows: pd.DataFrame) -> str:
    """The source of later predictions, where they are logged beside the file that was read, as YAML."""
    columns = guess.columns
    meanings = {
        "id": columns.id,
        "at": columns.time,
        "prediction": columns.prediction,
        "score": columns.score,
        "version": columns.version,
        "label": guess.target if guess.target in rows.columns else None,
        "label_at": columns.label_time,
    }
    settings: dict[str, object] = {"kind": "files", "path": absolute_path(str(file))}
    if file_format != "auto":
        settings["format"] = file_format
    written = {
        "separator": dialect.separator,
        "decimal": dialect.decimal,
        "encoding": dialect.encoding,
        "day_first": dialect.day_first,
    }
    usual = {"separator": None, "decimal": ".", "encoding": "utf-8", "day_first": None}
    if other := {key: value for key, value in written.items() if value != usual[key]}:
        settings["dialect"] = other
    settings["columns"] = {meaning: name for meaning, name in meanings.items() if name is not None}
    return json.dumps(settings, ensure_ascii=False)
