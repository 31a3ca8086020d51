"""`driftd init`: from a file of labelled rows to a working config and version 1."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import click
import pandas as pd
from rich.console import Console

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
from driftd.cli.init_defaults import Guess, guess_settings, possible_rows
from driftd.config.load import parse
from driftd.config.model_schema import ModelConfig
from driftd.config.types import text_encoding
from driftd.paths import Places
from driftd.registry import Registry
from driftd.serving.event_log import EventLog
from driftd.sources.dialects import Dialect
from driftd.sources.formats import FileFormat
from driftd.sources.listing import quote_names
from driftd.sources.whole_files import WholeFilesError, read_whole
from driftd.store.ownership import as_owner_of
from driftd.training.adoption_records import AdoptionOrder
from driftd.training.bootstrap import (
    FileColumns,
    FirstVersion,
    FirstVersionError,
    frame_of,
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
STORE = "{kind: store}                # fed by the SDK and `driftd serve`; or files: docs/your-log-files.md"
WORDS = {"yes", "no", "on", "off", "true", "false", "null", "y", "n"}  # what some YAML reader takes for a value


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--target", help="The column to predict; of logged predictions their label, `label` by default.")
@click.option("--task", type=click.Choice(["classification", "regression"]), help="Guessed from the target by default.")
@click.option("--time", "time_column", help="When a row happened; guessed by default.")
@click.option("--label-time", help="When the label of a row became known.")
@click.option("--id", "id_column", help="What names a row.")
@click.option("--name", help="The model's name; the file's name by default.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(get_args(FileFormat)),
    default="auto",
    show_default=True,
    help="How the rows are written; by the suffix of the file by default.",
)
@click.option("--separator", help="Between the fields of CSV; a tab in .tsv, else a comma by default.")
@click.option("--decimal", default=".", show_default=True, help="The decimal sign of CSV.")
@click.option(
    "--encoding",
    default="utf-8",
    show_default=True,
    callback=lambda _context, _option, name: _read_encoding(name),
    help="Of CSV and JSON lines.",
)
@click.option(
    "--day-first/--month-first", default=None, help="How dates such as 03/04/2026 begin; read off the dates by default."
)
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
@click.option("--trainer", help="Your own trainer, package.module:function; docs/your-trainer.md.")
@click.option("--model", "source", help="Adopt this model as version 1: a file or mlflow:...; docs/your-model.md.")
@click.option("--allow-pickle", is_flag=True, help="Load a model that is a pickle, which runs the code in it.")
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
def init(  # noqa: PLR0915 - one line for each option
    file: Path,
    target: str | None,
    task: str | None,
    time_column: str | None,
    label_time: str | None,
    id_column: str | None,
    name: str | None,
    file_format: FileFormat,
    separator: str | None,
    decimal: str,
    encoding: str,
    day_first: bool | None,
    window: str | None,
    state_dir: Path,
    output: Path,
    force: bool,
    trainer: str | None,
    source: str | None,
    allow_pickle: bool,
    classes: str | None,
    serving: str,
    prediction: str | None,
    score: str | None,
    version_column: str | None,
    source_kind: str,
    unseen: bool,
) -> None:
    """Write a commented config for the labelled rows of FILE, and train version 1.

    FILE is Parquet, CSV, TSV or JSON lines, compressed or not, or a folder or a pattern of such files: whatever a
    source reads, in the same way.

    With --model, version 1 is not trained but is the model that you have; FILE says what its rows look like. With
    --serving external, FILE is a log of predictions that another system makes, and driftd only watches them.

    \b
    Example:
      driftd init bookings.parquet --target cancelled --time booked_at
      driftd init bookings.parquet --target cancelled --trainer mycompany.models:train
      driftd init bookings.parquet --target cancelled --model model.skops
      driftd init "logs/*.parquet" --serving external --source files
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    console = Console(stderr=True)
    is_external = serving == "external"
    require_options(is_external, target, (prediction, score, version_column), source_kind, model=source)
    if output.exists() and not force:
        raise click.ClickException(f"{output} exists; name another with --output, or replace it with --force")
    dialect = Dialect(separator, decimal, encoding, day_first=day_first)
    with console.status(f"reading {file}"):
        read = read_file(file, file_format, dialect)
    _tell(console, read.remarks)
    rows, now = read.rows, time.time()
    given = FileColumns(id=id_column, time=time_column, label_time=label_time)
    known, wanted = rows, target or LABEL
    if is_external:
        given = logged_columns(rows, given, wanted, prediction, score, version_column)
        known = with_target(rows, wanted, given)
    adoption = None
    if source is not None:
        with as_owner_of(state_dir.resolve()):  # a model may run code: never as root where root sets up a service
            adoption = begin_adoption(source, allow_pickle=allow_pickle, unseen=unseen, class_names=classes)
    named = name or file.absolute().name.partition(".")[0]
    unlabelled = () if known is rows else (UNLABELLED.format(target=wanted),)
    guess = guess_settings(
        known, wanted, task=task, columns=given, window=window, name=named, folders=read.folders, now=now
    )
    rows = possible_rows(rows, guess, now)
    adopt = None
    if adoption is not None:
        guess, rows = adoption.match_features(guess, rows)
        with as_owner_of(state_dir.resolve()):
            adopt = adoption.order(guess, rows)
        guess = replace(guess, remarks=(*guess.remarks, *adoption.sentences(adopt, guess, trainer=trainer)))
    _tell(console, (*guess.remarks, *unlabelled))
    if is_external:
        require_logged(rows, guess)
    extra = external_lines(trainer, classes) if is_external else extra_lines(adoption, trainer)
    log = log_source(file, file_format, read.dialect, guess, rows) if source_kind == "files" else STORE
    text = config_text(guess, file, state_dir, extra, log, TRIGGERS_ELSEWHERE if is_external else TRIGGERS)
    config = parse(text.encode(), f"the config for {file.name}")
    places = Places(config.state_dir)
    served = Registry(places).current(guess.name)
    if served is not None:
        raise click.ClickException(
            f"{guess.name} has version {served} in {config.state_dir} already: choose another --name or --state-dir, "
            "or have the daemon build on it with `driftd retrain`"
        )
    with as_owner_of(places.root):
        made = _first_version(guess, config.models[guess.name], rows, places, console, adopt, log=str(file))
        EventLog(places, guess.name, keep_seconds=config.retention.events).open()  # the SDK goes by what is in it
    _tell(console, made.remarks)
    write(output, text, places.root.stat().st_gid)
    which = "" if output == Path("config.yaml") else f" --config {output}"
    origin = f"is adopted from {source}" if source is not None else f"is trained on {made.rows:,} rows"
    stands = "stands for what your system serves" if is_external else f"{origin} and serves"
    click.echo(f"version 1 of {guess.name} {stands}: {made.sentence}")
    click.echo(f"its config is {output}; its state is in {config.state_dir}")
    click.echo(f"next: driftd check-config{which}   what this config means")
    click.echo(f"      driftd run{which}            the daemon")
    if source_kind == "store":
        click.echo(f"      driftd serve{which}          predictions and feedback over HTTP")


def _tell(console: Console, remarks: Iterable[str]) -> None:
    for remark in remarks:
        console.print(f"  {remark}", soft_wrap=True, markup=False)


def _first_version(
    guess: Guess,
    model: ModelConfig,
    rows: pd.DataFrame,
    places: Places,
    console: Console,
    adopt: AdoptionOrder | None,
    log: str,
) -> FirstVersion:
    """Make version 1 and tell each step. Raises click.ClickException with one sentence when that fails.

    `log` is what the user calls the file of the rows.
    """
    now = time.time() if guess.last_at is None else guess.last_at
    with console.status("version 1") as status:

        def tell(step: str) -> None:
            status.update(f"version 1: {step}")

        try:
            if model.is_external:
                return make_logged_version(
                    guess.name, model, rows, guess.columns, places, source=log, now=now, on_step=tell
                )
            return make_first_version(
                guess.name, model, rows, guess.columns, places, now=now, on_step=tell, adopt=adopt
            )
        except FirstVersionError as error:
            sentence = str(error).partition("\n")[0]
            raise click.ClickException(f"{sentence} (the whole log is below {places.root / 'jobs'})") from error


def _read_encoding(name: str) -> str:
    try:
        return text_encoding(name)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def read_rows(file: Path) -> pd.DataFrame:
    """The rows of a file, a folder or a pattern. Raises click.ClickException when they cannot be read."""
    return read_file(file).rows


@dataclass(frozen=True, slots=True)
class FileRead:
    """The rows of a file, what is to be said of the reading, and the columns that only names of folders hold.

    `dialect` is the one that the file was read in, with the order of its dates.
    """

    rows: pd.DataFrame
    remarks: tuple[str, ...]
    folders: tuple[str, ...]
    dialect: Dialect


def read_file(file: Path, file_format: FileFormat = "auto", dialect: Dialect | None = None) -> FileRead:
    """Read a file, a folder or a pattern. Raises click.ClickException when it cannot be read."""
    try:
        found = read_whole(str(file), time.time(), file_format, dialect)
    except (WholeFilesError, ValueError, OSError) as error:
        options = " (here: --separator, --decimal, --encoding, --day-first)" if "set dialect:" in str(error) else ""
        raise click.ClickException(f"{error}{options}") from error
    lists = f"left out, because they hold lists, or a type that driftd does not read: {quote_names(found.nested)}"
    remarks = (*found.remarks, *([lists] if found.nested else []))
    return FileRead(frame_of(found), remarks, found.folders, found.dialect)


def config_text(
    guess: Guess, file: Path, state_dir: Path, extra: str = "", source: str = STORE, triggers: str = TRIGGERS
) -> str:
    """The commented config, with the lines `extra` below the target, and its source as YAML."""
    features = "\n".join(f"      {quote(name)}: {kind}" for name, kind in guess.features.items())
    return CONFIG.format(
        state_dir=quote(str(state_dir.resolve())),
        name=guess.name,
        task=guess.task,
        target=quote(guess.target),
        file=quote(file.name),
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
