"""`driftd init`: from a file of labelled rows to a working config and version 1."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import click
import pandas as pd
from rich.console import Console

from driftd.cli import example
from driftd.cli.adoption import (
    LABEL,
    UNLABELLED,
    begin_adoption,
    external_lines,
    extra_lines,
    log_source,
    logged_columns,
    require_logged,
    require_options,
    with_target,
)
from driftd.cli.arguments import FILE
from driftd.cli.file_options import file_options
from driftd.cli.init_defaults import Guess, guess_settings, possible_rows
from driftd.cli.labelled_file import MOST_VALUES, FileRead, read_file
from driftd.cli.progress import show_steps
from driftd.cli.terminal import console, echo, say
from driftd.config.load import parse
from driftd.config.model_schema import ModelConfig
from driftd.paths import Places
from driftd.registry import Registry
from driftd.serving.event_log import EventLog
from driftd.sources.dialects import Dialect
from driftd.sources.file_system import absolute_path
from driftd.sources.formats import FileFormat
from driftd.store.ownership import as_owner_of
from driftd.training.adoption_records import AdoptionOrder
from driftd.training.bootstrap import (
    FileColumns,
    FirstVersion,
    FirstVersionError,
    RowPieces,
    make_first_version,
    make_logged_version,
)

CONFIG = """\
# driftd: what is watched, and what may be done about it. Every key is told in docs/configuration.md.
# Check it with `driftd check-config`; a running daemon takes a changed file up by itself, whole or not at all.
state_dir: {state_dir}
http: {{listen: 127.0.0.1:9464}}          # /metrics, /-/healthy, /-/ready, /-/reload
serve: {{listen: 127.0.0.1:9465}}         # driftd serve: predictions and feedback
models:
  {name}:
    task: {task}
    target: {target}
{extra}    features:                            # as they look in {file}; correct what is wrong
{features}
    source: {source}
    window: {window}
    detect:
      false_alarms_per_year: 1           # the budget; every threshold follows from it
      performance: {{metric: auto}}        # brier, error, mae, roc_auc, f1, r2, ...
    retrain:
{triggers}      cooldown: 6h
      budget: {{builds: 4, per: 1d}}
    promote: {{approval: auto, min_labels: 300}}   # manual: a person says yes
    probation: {{span: 7d, min_labels: 300}}       # the old version scores beside the new one, which must not be worse
"""
TRIGGERS = """\
      on: [performance, refresh]         # data drift alone informs; add data_drift, schedule, ... to build on it
      refresh: {rows: 10%, every: 7 windows}   # a fresh version from all rows; or off
"""
TRIGGERS_ELSEWHERE = """\
      on: [performance]                  # data drift alone informs; add data_drift, schedule, ... to act on it
      refresh: off                       # each would be a hand-over to the system that serves
"""
STORE = "{kind: store}                # `driftd serve`; or docs/your-log-files.md, docs/your-warehouse.md"
WORDS = {"yes", "no", "on", "off", "true", "false", "null", "y", "n"}  # what some YAML reader takes for a value


@dataclass(frozen=True, slots=True, kw_only=True)
class InitOptions:
    """The command line; None is what is not said."""

    file: str
    file_format: FileFormat
    dialect: Dialect
    target: str | None
    task: str | None
    time_column: str | None
    label_time: str | None
    id_column: str | None
    name: str | None
    window: str | None
    state_dir: Path
    output: Path
    force: bool
    trainer: str | None
    model: str | None
    allow_pickle: bool
    classes: str | None
    serving: str
    prediction: str | None
    score: str | None
    version_column: str | None
    source_kind: str
    unseen: bool
    example: bool

    @property
    def is_external(self) -> bool:
        """Whether the file is a log of predictions that another system makes."""
        return self.serving == "external"

    @property
    def label(self) -> str:
        """The column to predict."""
        return self.target or LABEL


@dataclass(frozen=True, slots=True)
class Plan:
    """What version 1 is made from, and what the user should know of it."""

    rows: pd.DataFrame
    guess: Guess
    extra: str  # lines of the config below the target
    remarks: tuple[str, ...]
    adopt: AdoptionOrder | None = None
    pieces: RowPieces | None = None  # all rows, where `rows` are a sample


@click.command()
@click.argument("file", type=FILE, required=False)
@click.option("--example", is_flag=True, help="Write a file of flights that driftd brings, and begin with that.")
@click.option("--target", help="The column to predict; of logged predictions their label, `label` by default.")
@click.option("--task", type=click.Choice(["classification", "regression"]), help="Guessed from the target by default.")
@click.option("--time", "time_column", help="When a row happened; guessed by default.")
@click.option("--label-time", help="When the label of a row became known.")
@click.option("--id", "id_column", help="What names a row.")
@click.option("--name", help="The model's name; the file's name by default.")
@file_options
@click.option("--window", help="1h, 1d, or a number of rows; guessed by default.")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("driftd-state"),
    show_default=True,
    help="Where driftd will keep everything.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("config.yaml"),
    show_default=True,
    help="The config to write.",
)
@click.option("--force", is_flag=True, help="Replace an existing config.")
@click.option("--trainer", help="Your own trainer, package.module:function or {command: [...]}; docs/your-trainer.md.")
@click.option("--model", type=FILE, help="Adopt this model as version 1: a file or mlflow:...; docs/your-model.md.")
@click.option("--allow-pickle", is_flag=True, help="Load or store a pickle, which runs the code in it.")
@click.option("--classes", help="The target's names of the model's classes, in its order: no,yes.")
@click.option(
    "--serving",
    type=click.Choice(["embedded", "external"]),
    default="embedded",
    show_default=True,
    help="external: FILE is a log of predictions that another system makes; docs/external.md.",
)
@click.option("--prediction", help="The column of logged predictions; `prediction` by default.")
@click.option("--score", help="The column of their scores; `score` by default, if there is one.")
@click.option(
    "--version-column", help="The column of the version that predicted; `version` by default, if there is one."
)
@click.option(
    "--source",
    "source_kind",
    type=click.Choice(["store", "files"]),
    default="store",
    show_default=True,
    help="Where later predictions come from: handed in over HTTP or the SDK, or logged where FILE is.",
)
@click.option("--unseen", is_flag=True, help="The model was trained on none of the rows of FILE.")
def init(**options: Any) -> None:
    """Write a commented config for the labelled rows of FILE, and train version 1.

    FILE is Parquet, CSV, TSV or JSON lines, compressed or not, or a folder or a pattern of such files: whatever a
    source reads, in the same way; or a prefix in an object store (docs/your-object-store.md).

    With --model, version 1 is not trained but is the model that you have; FILE says what its rows look like. With
    --serving external, FILE is a log of predictions that another system makes, and driftd only watches them.

    \b
    Example:
      driftd init --example
      driftd init bookings.parquet --target cancelled --time booked_at
      driftd init bookings.parquet --target cancelled --trainer mycompany.models:train
      driftd init bookings.parquet --target cancelled --model model.skops
      driftd init "logs/*.parquet" --serving external --source files
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    exists = Path(options["output"]).exists() and not options["force"]
    options |= example.example_options(
        is_wanted=options["example"], file=options["file"], is_refused=exists, now=time.time()
    )
    given, to = InitOptions(**options), console(stderr=True)
    columns = (given.prediction, given.score, given.version_column)
    require_options(given.is_external, given.target, columns, given.source_kind, model=given.model)
    if exists:
        raise click.ClickException(
            f"{given.output} exists; name another with --output, or replace it with --force. "
            f"next: driftd run --config {given.output}"
        )
    with show_steps(f"reading {given.file}"):
        most = inf if given.is_external else MOST_VALUES  # a log of predictions is judged by its own rows
        read = read_file(given.file, given.file_format, given.dialect, most)
    _print_remarks(read.remarks, to)
    plan = _plan_of(given, read)
    _print_remarks(plan.remarks, to)
    if given.is_external:
        _print_remarks(require_logged(plan.rows, plan.guess), to)
    text = _text_of(given, plan, read.dialect)
    config = parse(text.encode(), f"the config for {Path(given.file).name}")
    places = Places(config.state_dir)
    _require_new(places, plan.guess.name)
    with as_owner_of(places.root):
        model = config.models[plan.guess.name]
        made = _first_version(plan, model, places, log=given.file)
        EventLog(places, plan.guess.name, keep_seconds=config.retention.events).open()  # the SDK goes by what is in it
    _print_remarks(made.remarks, to)
    write(given.output, text, places.root.stat().st_gid)
    if given.example:
        with show_steps("predicting the months after the file"):
            rows = example.hand_in_later_rows(places, plan.guess.name, time.time())
        say(to, f"  version 1 has predicted the {rows:,} later flights, and their labels are handed in")
    _print_next(given, plan, made, places)


def _plan_of(given: InitOptions, read: FileRead) -> Plan:
    """What the options and the rows say together. Raises click.ClickException where they do not fit."""
    columns = FileColumns(id=given.id_column, time=given.time_column, label_time=given.label_time)
    rows, now = read.rows, time.time()
    known = rows
    if given.is_external:
        columns = logged_columns(rows, columns, given.label, given.prediction, given.score, given.version_column)
        known = with_target(rows, given.label, columns)
    unlabelled = () if known is rows else (UNLABELLED.format(target=given.label),)
    adoption = None
    if given.model is not None:
        with as_owner_of(given.state_dir.resolve()):  # a model may run code: never as root where root sets up a service
            adoption = begin_adoption(
                given.model, allow_pickle=given.allow_pickle, unseen=given.unseen, class_names=given.classes
            )
    name = given.name or Path(absolute_path(given.file)).name.partition(".")[0]
    guess = guess_settings(
        known,
        given.label,
        task=given.task,
        columns=columns,
        window=given.window,
        name=name,
        folders=read.folders,
        now=now,
        total=None if read.pieces is None else read.pieces.rows,
    )
    pieces = None if read.pieces is None else read.pieces.map(partial(possible_rows, guess=guess, now=now))
    rows = possible_rows(rows, guess, now)
    if adoption is None:
        extra = extra_lines(None, given.trainer, allow_pickle=given.allow_pickle)
        elsewhere = external_lines(given.classes, given.trainer) if given.is_external else ""
        return Plan(rows, guess, elsewhere + extra, (*guess.remarks, *unlabelled), pieces=pieces)
    guess, rows = adoption.match_features(guess, rows)
    with as_owner_of(given.state_dir.resolve()):
        adopt = adoption.order(guess, rows)
    remarks = (*guess.remarks, *adoption.sentences(adopt, guess, trainer=given.trainer))
    return Plan(
        rows, guess, extra_lines(adoption, given.trainer, allow_pickle=given.allow_pickle), remarks, adopt, pieces
    )


def _text_of(given: InitOptions, plan: Plan, dialect: Dialect) -> str:
    """The config, with the source of later predictions."""
    log = STORE
    if given.source_kind == "files":
        log = log_source(given.file, given.file_format, dialect, plan.guess, plan.rows)
    triggers = TRIGGERS_ELSEWHERE if given.is_external else TRIGGERS
    return config_text(plan.guess, given.file, given.state_dir, plan.extra, log, triggers)


def _require_new(places: Places, name: str) -> None:
    served = Registry(places).current(name)
    if served is not None:
        raise click.ClickException(
            f"{name} has version {served} in {places.root} already: choose another --name or --state-dir, "
            "or have the daemon build on it with `driftd retrain`"
        )


def _print_remarks(remarks: Iterable[str], to: Console) -> None:
    for remark in remarks:
        say(to, f"  {remark}")


def _print_next(given: InitOptions, plan: Plan, made: FirstVersion, places: Places) -> None:
    """Say what was made, and what to do with it."""
    which = "" if given.output == Path("config.yaml") else f" --config {given.output}"
    origin = f"is adopted from {given.model}" if given.model is not None else f"is trained on {made.rows:,} rows"
    stands = "stands for what your system serves" if given.is_external else f"{origin} and serves"
    echo(f"version 1 of {plan.guess.name} {stands}: {made.sentence}")
    echo(f"its config is {given.output}; its state is in {places.root}")
    echo(f"next: driftd check-config{which}   what this config means")
    echo(f"      driftd run{which}            the daemon")
    if given.source_kind == "store":
        echo(f"      driftd serve{which}          predictions and feedback over HTTP")


def _first_version(plan: Plan, model: ModelConfig, places: Places, log: str) -> FirstVersion:
    """Make version 1 and tell each step. Raises click.ClickException with one sentence when that fails.

    `log` is what the user calls the file of the rows.
    """
    guess, rows = plan.guess, plan.rows
    now = time.time() if guess.last_at is None else guess.last_at
    with show_steps("version 1") as show:

        def tell(step: str) -> None:
            show(f"version 1: {step}")

        try:
            if model.is_external:
                return make_logged_version(
                    guess.name, model, rows, guess.columns, places, source=log, now=now, on_step=tell
                )
            return make_first_version(
                guess.name,
                model,
                rows,
                guess.columns,
                places,
                now=now,
                on_step=tell,
                adopt=plan.adopt,
                pieces=plan.pieces,
            )
        except FirstVersionError as error:
            sentence = str(error).partition("\n")[0]
            raise click.ClickException(f"{sentence} (the whole log is below {places.root / 'jobs'})") from error


def config_text(
    guess: Guess, file: Path | str, state_dir: Path, extra: str = "", source: str = STORE, triggers: str = TRIGGERS
) -> str:
    """The commented config, with the lines `extra` below the target, and its source as YAML."""
    features = "\n".join(f"      {quote(name)}: {kind}" for name, kind in guess.features.items())
    return CONFIG.format(
        state_dir=quote(str(state_dir.resolve())),
        name=guess.name,
        task=guess.task,
        target=quote(guess.target),
        file=quote(Path(file).name),
        features=features,
        extra=extra,
        source=source,
        triggers=triggers,
        window=guess.window,
    )


def write(output: Path, text: str, group: int) -> None:
    """Write a file by rename, so that nobody ever reads half of it; root hands it to the group of the services."""
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_name(f".{output.name}.part")
    unfinished.write_text(text, "utf-8")
    if os.geteuid() == 0:
        os.chown(unfinished, -1, group)
    unfinished.replace(output)


def quote(text: str) -> str:
    """A YAML scalar that is surely text: bare where that is plain to see, else as JSON writes it."""
    is_path_of_words = re.fullmatch(r"/?[A-Za-z_][\w.-]*(/[\w.-]+)*", text, re.ASCII) is not None
    return text if is_path_of_words and text.lower() not in WORDS else json.dumps(text, ensure_ascii=False)
