"""`driftd rehearse`: what a config, and others beside it, would have done and cost over the rows on record."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pandas as pd
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from driftd.cli.arguments import MODEL
from driftd.cli.file_options import file_options
from driftd.cli.init_defaults import guess_columns
from driftd.cli.labelled_file import read_file
from driftd.cli.table import print_table
from driftd.cli.terminal import AbsentError, chosen_model, config_option, console, echo, json_option, print_json, say
from driftd.config.load import load
from driftd.config.model_schema import ModelConfig
from driftd.config.rehearsal_schema import CostsConfig
from driftd.config.schema import Config
from driftd.config.types import seconds
from driftd.formatting import format_minute
from driftd.loop.backtest import Era, versions_on_record
from driftd.observe.logs import configure_logs
from driftd.paths import Places
from driftd.registry import Registry
from driftd.rehearsal import page
from driftd.rehearsal.figures import Bounds, RehearsalReport, WayFigures
from driftd.rehearsal.recorded import Cut, Record, copy_untouched, read_rows, read_source
from driftd.rehearsal.run import Plan
from driftd.rehearsal.run import rehearse as run_rehearsal
from driftd.rehearsal.variants import Variation, variants_of
from driftd.sources.dialects import Dialect
from driftd.sources.formats import FileFormat
from driftd.store.ownership import rather_as_owner
from driftd.store.state.reader import StateReader
from driftd.store.state.records import StoredTransition
from driftd.training.bootstrap import FileColumns, FirstVersionError

COSTS = ("build", "page", "error")
EVERYTHING = 1_000_000  # lines of history


@dataclass(frozen=True, slots=True)
class RehearseOptions:
    """What the user gave."""

    data: tuple[str, ...]
    variations: list[Variation]
    costs: dict[str, float]
    every: tuple[int, ...] | None
    train_until: datetime | None
    label_delay: float | None
    id_column: str | None
    time_column: str | None
    label_time: str | None
    prediction: str | None
    score: str | None
    report: Path
    folder: Path | None
    file_format: FileFormat
    dialect: Dialect
    as_json: bool


def _variations(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> list[Variation]:
    return [Variation.read(text) for text in given]


def _costs(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, float]:
    found = {}
    for text in given:
        name, _, number = text.partition("=")
        if name not in COSTS:
            raise click.BadParameter(f"{text!r} is not one of {', '.join(f'{cost}=NUMBER' for cost in COSTS)}")
        try:
            found[name] = float(number)
        except ValueError as error:
            raise click.BadParameter(f"{text!r}: {number!r} is no number") from error
        if not 0 <= found[name] < float("inf"):
            raise click.BadParameter(f"{text!r}: a cost is a number from 0 on")
    return found


def _every(_context: click.Context, _parameter: click.Parameter, given: str | None) -> tuple[int, ...] | None:
    if given is None:
        return None
    try:
        found = tuple(dict.fromkeys(int(part) for part in given.split(",") if part.strip()))
    except ValueError as error:
        raise click.BadParameter(f"{given!r} is not numbers of windows, such as 28,7,1") from error
    if any(every < 1 for every in found):
        raise click.BadParameter(f"{given!r}: a rival is rebuilt every window at most: 1 is the least")
    return found


def _duration(_context: click.Context, _parameter: click.Parameter, given: str | None) -> float | None:
    try:
        return None if given is None else seconds(given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.argument("model", required=False, type=MODEL)
@click.option("--data", multiple=True, metavar="FILE", help="Rows with features, label and time; the source if absent.")
@click.option(
    "--vary", "variations", multiple=True, callback=_variations, metavar="KEY=A,B", help="A key of the model's section."
)
@click.option("--cost", "costs", multiple=True, callback=_costs, metavar="WHAT=N", help="Of a build, page or error.")
@click.option(
    "--every", callback=_every, metavar="K,K", help="Windows between builds of the rivals.  [default: 28,7,1]"
)
@click.option(
    "--train-until", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M"]), help="End of version 1's rows (UTC)."
)
@click.option("--label-delay", callback=_duration, metavar="SPAN", help="Of labels without a time of their own: 2d.")
@click.option("--id", "id_column", help="The column of the rows' identities.")
@click.option("--time", "time_column", help="The column of the rows' times.")
@click.option("--label-time", help="The column of the times at which labels became known.")
@click.option("--prediction", help="The column of logged predictions, for `serving: external`.")
@click.option("--score", help="The column of their scores.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("rehearsal.html"),
    show_default=True,
    help="The report to write.",
)
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Keep the states in this new folder.")
@file_options
@config_option
@json_option
def rehearse(config_path: Path, model: str | None, **options: Any) -> None:
    """Have the daemon of this config live through the rows on record, builds and swaps included.

    The very daemon runs on a virtual clock: checks, alarms, builds, gates, swaps, probation. Beside it the first
    version is left alone, and the same model is rebuilt on schedules. Without --data the rows of the config's own
    source are taken; the state of production is only read. docs/rehearsal.md says what the figures mean.

    \b
    Example:
      driftd rehearse --data history.parquet
      driftd rehearse --vary detect.false_alarms_per_year=0.5,1,4 --vary retrain.refresh.rows=5%,20%
      driftd rehearse --data history.parquet --cost build=5 --cost page=20 --cost error=0.1
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    given, config = RehearseOptions(**options), load(config_path)
    name, places = chosen_model(config, model), Places(config.state_dir)
    click.get_current_context().with_resource(rather_as_owner(places))
    variants = variants_of(config_path, name, given.variations)
    configure_logs(level="error")
    with _scratch(given.folder) as scratch, _progress(quiet=given.as_json) as tell:
        tell("reading", 0.0)
        record = _record(config, name, places, scratch, given)
        costs = _costs_of(config, given.costs)
        plan = Plan(name, config_path, variants, record, given.every, costs)
        try:
            report = run_rehearsal(plan, places, scratch, tell)
        except FirstVersionError as error:
            raise click.ClickException(str(error).partition("\n")[0]) from error
        except KeyboardInterrupt:
            kept = "nothing of it is kept" if given.folder is None else f"what was done lies in {given.folder}"
            echo(f"the rehearsal was ended before its end: there is no report, and {kept}", err=True)
            raise
    page.write(given.report, report)
    if given.as_json:
        print_json(report)
    else:
        print_report(report)
        echo(f"report: {given.report}")


def _record(config: Config, name: str, places: Places, scratch: Path, given: RehearseOptions) -> Record:
    """The rows of the files that are named, else those of the source."""
    until = given.train_until
    cut = Cut(None if until is None else until.replace(tzinfo=UTC).timestamp(), given.label_delay)
    settings = config.models[name]
    if not given.data:
        eras = _eras(places, name, scratch / "history" / "state.db")
        return read_source(name, settings, places, eras, scratch / "source", time.time(), cut)
    frames = [_rows(file, given.file_format, given.dialect) for file in given.data]
    rows = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    columns = _columns(settings, rows, given)
    return read_rows(name, settings, rows, columns, cut)


def _rows(file: str, file_format: FileFormat, dialect: Dialect) -> pd.DataFrame:
    return read_file(file, file_format, dialect).rows


def _columns(settings: ModelConfig, rows: pd.DataFrame, given: RehearseOptions) -> FileColumns:
    """What is said of the columns, by options, by the config's source, or by their names, in this order."""
    given_names = settings.source.columns if settings.source.kind == "files" else {}
    named = {str(meaning): name for meaning, name in given_names.items()}
    there = {str(name) for name in rows.columns}

    def column(option: str | None, meaning: str) -> str | None:
        name = option or named.get(meaning)
        if option and name not in there:
            raise click.ClickException(f"no column {name!r} in the data; it has {', '.join(sorted(there))}")
        return name if name in there else None

    columns = FileColumns(
        id=column(given.id_column, "id") or ("prediction_id" if "prediction_id" in there else None),
        time=column(given.time_column, "at"),
        label_time=column(given.label_time, "label_at"),
        prediction=column(given.prediction, "prediction"),
        score=column(given.score, "score"),
    )
    if settings.is_external and columns.prediction is None and "prediction" in there:
        score = columns.score or ("score" if "score" in there else None)
        columns = FileColumns(columns.id, columns.time, columns.label_time, "prediction", score)
    if columns.prediction is not None and not settings.is_external and not given.prediction:
        columns = FileColumns(columns.id, columns.time, columns.label_time)
    return guess_columns(rows, settings.target, columns, settings.features or (), time.time())


def _eras(places: Places, model: str, copy: Path) -> list[Era]:
    """The versions that served; where no daemon ran yet, the one that serves is where it begins."""
    history: list[StoredTransition] = []
    if places.state_db.exists():
        copy_untouched(places.state_db, copy)
        with StateReader.read_only(copy) as reader:
            history = reader.history(model, EVERYTHING)
    eras = versions_on_record(Registry(places), history, model)
    if not eras:
        raise AbsentError(f"{model} has no version yet: `driftd init` makes the first, or name files by --data")
    return eras


def _costs_of(config: Config, given: dict[str, float]) -> CostsConfig | None:
    """The costs of the config, with those that the command names in their place."""
    own = config.rehearsal.costs
    if not given:
        return own
    return (own or CostsConfig()).model_copy(update=given)


@contextmanager
def _scratch(folder: Path | None) -> Iterator[Path]:
    """A folder for the states: the user's, which must be new, or one that is thrown away."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="driftd-rehearsal-", ignore_cleanup_errors=True) as name:
            yield Path(name).resolve()
        return
    if folder.exists() and any(folder.iterdir()):
        raise click.ClickException(f"{folder} holds something: name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    yield folder.resolve()


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[str, float], None]]:
    """A bar on a terminal, on standard error; elsewhere nothing."""
    to = console(stderr=True)
    if quiet or not to.is_terminal:
        yield lambda _text, _share: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    with Progress(*columns, console=to, transient=True) as progress:
        task = progress.add_task("rehearsing", total=1.0)
        yield lambda text, share: progress.update(task, completed=share, description=text)


def print_report(report: RehearsalReport) -> None:
    """The figures as tables that 80 columns hold, and the recommendation."""
    to = console()
    begin, end = format_minute(report.start), format_minute(report.end)
    say(to, f"{report.model}: {report.rows:,} predictions, {report.windows} windows, {begin} to {end}")
    labels = {way.name: _label(number, way) for number, way in enumerate(report.ways)}
    for way in report.configs[1:]:
        say(to, f"  {labels[way.name]} = {way.name}")
    heads = ["kept by", report.metric, "to left alone (95 %)", "alarms", "builds", "swaps", "back"]
    print_table(to, heads, [[labels[way.name], *_error_cells(way)] for way in report.ways], long="kept by")
    if report.costs is not None:
        heads = ["kept by", "cost", "to as it is (95 %)", "pages"]
        print_table(to, heads, [[labels[way.name], *_cost_cells(way)] for way in report.ways], long="kept by")
    for remark in report.remarks:
        say(to, f"  {remark}", "dim")
    say(to, report.recommendation, "bold")


def _label(number: int, way: WayFigures) -> str:
    if not way.is_config:
        return way.name
    return "as it is" if number == 0 else f"config {number + 1}"


def span(found: Bounds | None) -> str:
    """A difference with its interval, short."""
    if found is None:
        return "-"
    if found.lower is None or found.upper is None:
        return f"{found.mean:+.3g}"
    return f"{found.mean:+.3g} ({found.lower:+.3g}, {found.upper:+.3g})"


def _error_cells(way: WayFigures) -> list[str]:
    counts = (way.alarms, way.builds, way.swaps, way.rollbacks)
    return [f"{way.error:.4g}", span(way.to_static), *map(str, counts)]


def _cost_cells(way: WayFigures) -> list[str]:
    return [f"{way.cost:.4g}", span(way.cost_to_default), str(way.pages)]
