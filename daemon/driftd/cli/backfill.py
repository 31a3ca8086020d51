"""The command `backfill`: predictions and labels of the past, from files into the event store."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path

import click

from driftd.cli.arguments import FILE, MODEL
from driftd.cli.file_options import file_options
from driftd.cli.progress import show_rows
from driftd.cli.terminal import AbsentError, config_option, echo, json_option, open_places, print_json
from driftd.config.schema import Config
from driftd.config.types import spell_duration
from driftd.errors import ExitCode
from driftd.formatting import format_time
from driftd.paths import Places
from driftd.registry import Registry
from driftd.serving.event_log import ClosedWindows
from driftd.sources.backfill import Backfill, BackfillError, BackfillResult, Destination, LoadedRows
from driftd.sources.dialects import Dialect
from driftd.sources.file_system import absolute_path
from driftd.sources.files_settings import FilesSettings
from driftd.sources.formats import FileFormat
from driftd.store.events.reader import EventReader
from driftd.store.events.writer import EventStore
from driftd.store.ownership import hold_lock
from driftd_detectors.schema import Schema

_OF_LABELS = ("id", "label", "label_at")
_COUNTS = {
    "kept": "kept",
    "repeated": "repeated (kept before; the first one stays)",
    "too_old": "older than the retention",
    "malformed": "malformed",
    "no_time": "without a readable time",
    "impossible_time": "with an impossible time",
    "no_label": "without a label",
    "unread": "in files that could not be read to their end",
}


def _columns(_context: click.Context, _parameter: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    """`at=ts` as a mapping of meanings to names."""
    pairs = [text.partition("=") for text in given]
    bad = next((text for text, (meaning, _, name) in zip(given, pairs, strict=True) if not (meaning and name)), None)
    if bad is not None:
        raise click.BadParameter(f"{bad!r} is not MEANING=NAME, such as at=booked_at")
    return {meaning: name for meaning, _, name in pairs}


@dataclass(slots=True, kw_only=True)
class BackfillAnswer(BackfillResult):
    """Where every row went; the windows before `windows_closed_until` (epoch seconds) are not checked."""

    model: str
    windows_closed_until: float | None


@click.command()
@click.argument("model", type=MODEL)
@click.argument("files", nargs=-1, type=FILE, metavar="[FILE]...")
@click.option("--labels", "label_files", multiple=True, type=FILE, metavar="FILE", help="Files that hold labels alone.")
@click.option("--column", "columns", multiple=True, callback=_columns, metavar="MEANING=NAME", help="As `columns`.")
@click.option(
    "--label-column", "label_columns", multiple=True, callback=_columns, metavar="MEANING=NAME", help="Of --labels."
)
@file_options
@config_option
@json_option
def backfill(
    model: str,
    files: tuple[str, ...],
    label_files: tuple[str, ...],
    columns: dict[str, str],
    label_columns: dict[str, str],
    file_format: FileFormat,
    dialect: Dialect,
    config_path: Path,
    as_json: bool,
) -> None:
    """Load predictions and labels of the past into MODEL's event store, and say where every row went.

    FILE is a file, a folder, a pattern or a prefix in an object store, in any format that a files source reads. Its
    rows have an identity, a time and a prediction, and perhaps a label, a score and a version; --column names columns
    that are called otherwise (docs/your-log-files.md). Run it beside the daemon and the server, or without them. Twice
    does no harm: what is kept already is repeated, and the first one stays.

    \b
    Example:
      driftd backfill demand history/ --column at=booked_at --labels outcomes.csv
      driftd backfill demand 'log-2026-*.jsonl.gz' --json
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    if other := [meaning for meaning in label_columns if meaning not in _OF_LABELS]:
        raise click.UsageError(f"--label-column can name {', '.join(_OF_LABELS)}; not {', '.join(other)}")
    if not files and not label_files:
        raise click.UsageError("name files of predictions, or files of labels with --labels")
    config, places = open_places(config_path, makes=True)
    schema = _schema(config, places, model)

    def settings(path: str, names: dict[str, str]) -> FilesSettings:
        return FilesSettings(absolute_path(path), file_format, names, dialect=dialect)

    try:
        predictions = [settings(path, columns) for path in files]
        labels = [settings(path, label_columns) for path in label_files]
        result, until = _load(config, places, model, schema, predictions, labels)
    except BackfillError as error:
        raise click.ClickException(
            f"{error}; --column MEANING=NAME says what a column holds, --labels names files that hold labels alone"
        ) from error
    except ValueError as error:  # a meaning that there is not
        raise click.UsageError(str(error)) from error
    if as_json:
        closed_until = until if math.isfinite(until) else None
        counted = {each.name: getattr(result, each.name) for each in fields(result)}
        print_json(BackfillAnswer(**counted, model=model, windows_closed_until=closed_until))
    else:
        for sentence in sentences(model, result, until, config.retention.events):
            echo(sentence)
    taken = result.predictions.kept + result.predictions.repeated + result.labels.kept + result.labels.repeated
    raise SystemExit(ExitCode.DONE if taken else ExitCode.FAILED)


def _schema(config: Config, places: Places, model: str) -> Schema:
    if model not in config.models:
        raise AbsentError(f"there is no model {model!r} in the config; there are {', '.join(config.models)}")
    if config.models[model].source.kind != "store":
        raise click.ClickException(
            f"{model} reads its predictions from files: put the files where `source.path` of the config finds them"
        )
    registry = Registry(places)
    served = registry.current(model)
    if served is None:
        raise AbsentError(f"model {model} has no version yet: `driftd init` trains the first one")
    return registry.readable(model, served).schema


def _load(
    config: Config,
    places: Places,
    model: str,
    schema: Schema,
    predictions: Sequence[FilesSettings],
    labels: Sequence[FilesSettings],
) -> tuple[BackfillResult, float]:
    """Load, while the daemon waits with this model's windows; gives the time until which these are closed, too."""
    now = time.time()
    closed = ClosedWindows(places, model, config.models[model].window.every or 0.0).until()
    until = -math.inf if closed is None else closed
    with (
        hold_lock(places.backfill_lock(model), "driftd backfill"),
        show_rows("looking for rows") as progress,
        closing(EventReader(places.events_db(model), schema, places.segments(model))) as reader,
        closing(EventStore.open(places.events_db(model), schema, segments=places.segments(model))) as store,
    ):
        destination = Destination(store, reader, now - config.retention.events, until)
        work = Backfill(schema, destination, now, progress.advance)
        progress.begin("loading rows", work.find(predictions, labels))
        return work.load(), until


def sentences(model: str, result: BackfillResult, until: float, keep: float) -> Iterator[str]:
    """What became of every row, for people."""
    for what, counts in (("predictions", result.predictions), ("labels", result.labels)):
        if counts.rows:
            yield f"{model}: {counts.rows:,} rows of {what}"
            yield from _count_sentences(counts, keep)
    if result.labels_beside:
        yield f"  {result.labels_beside:,} labels stood beside their predictions and are kept"
    if result.unjoined:
        yield f"  {result.unjoined:,} labels belong to no prediction (such as {result.unjoined_example!r})"
    for name, count in result.unreadable.items():
        if count:
            yield f"  {count:,} values of {name} could not be read and count as missing"
    yield from (f"  {fault}" for fault in result.faults)
    if result.will_be_checked:
        yield f"windows: those of {result.will_be_checked:,} predictions will be checked, in order, by the daemon"
    if result.closed:
        yield (
            f"windows: those of {result.closed:,} predictions, before {format_time(until)}, will not be checked: each "
            "window is checked once, and checks begin behind the rows that version 1 was made from; the rows are kept "
            "for builds and references"
        )


def _count_sentences(counts: LoadedRows, keep: float) -> Iterator[str]:
    for name, words in _COUNTS.items():
        if count := getattr(counts, name):
            example = counts.examples.get(name)
            span = f", {spell_duration(keep)} (retention.events)" if name == "too_old" else ""
            yield f"  {count:,} {words}{span}" + (f": {example}" if example else "")
    for place, count in counts.refused.items():
        yield f"  {count:,} refused, {place}: {counts.examples[place]}"
