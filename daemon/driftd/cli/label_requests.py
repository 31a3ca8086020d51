"""`driftd label-requests`: which predictions without a label to label next, as CSV, with what each label will count."""

from __future__ import annotations

import csv
import io
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from driftd.cli.arguments import MODEL, MOMENT
from driftd.cli.terminal import (
    AbsentError,
    chosen_model,
    config_option,
    echo,
    json_option,
    open_places,
    print_data,
    print_json,
)
from driftd.config.schema import Config
from driftd.config.types import DAY
from driftd.formatting import format_time
from driftd.fsutil import hold_in_use, write_durably
from driftd.paths import Places
from driftd.records import BuildStep, ModelState
from driftd.registry import Registry
from driftd.store.state.label_draws import LabelDraw, LabelRequest, post_label_draw
from driftd.store.state.reader import StateReader
from driftd.training.fork_server import SHARED
from driftd.training.jobs import JobLimits, start_job
from driftd.views.label_requests import LabelRequestsView, label_requests_view

POLL_SECONDS = 0.05
FIRST_SPAN = 30 * DAY  # that the first draw looks at


@click.command("label-requests")
@click.argument("model", required=False, type=MODEL)
@click.option("--number", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many to draw.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Of the draw; by default its time.")
@click.option("--again", is_flag=True, help="Show the newest draw, and draw none.")
@click.option("--at", type=MOMENT, metavar="TIME", help="Show the newest draw by this time (UTC), and draw none.")
@click.option("--to", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the CSV to this file.")
@config_option
@json_option
def label_requests(
    config_path: Path,
    model: str | None,
    number: int,
    seed: int | None,
    again: bool,
    at: datetime | None,
    file: Path | None,
    as_json: bool,
) -> None:
    """Draw predictions of MODEL to label next: those whose labels tell most, of all that came since the last draw.

    Each is drawn with a known probability, more likely where its loss is uncertain and where a standing alarm says that
    something changed. driftd remembers them: once their labels come, each counts for 1/probability predictions, so
    that the estimates of performance stay unbiased. docs/label-requests.md says how.

    \b
    Example:
      driftd label-requests demand --number 200 --to to-label.csv
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    config, places = open_places(config_path)
    name = chosen_model(config, model)
    with StateReader.read_only(places.state_db) as reader:
        # a draw is made within a second, and the time that a person names is a whole one
        draw = reader.label_draw(name, None if at is None else at.replace(tzinfo=UTC).timestamp() + 1.0)
        draws = reader.label_draw_times(name)
    if not again and at is None:
        now = time.time()
        draw = _draw(config, places, name, draw, number, int(now) if seed is None else seed, now)
    if draw is None:
        when = "yet" if at is None else f"by {format_time(at.replace(tzinfo=UTC).timestamp())}"
        raise AbsentError(f"nothing was drawn for {name} {when}")
    view = label_requests_view(draw, draws if draw.drawn_at in draws else [draw.drawn_at, *draws])
    if as_json:
        print_json(msgspec.to_builtins(view))
        return
    if file is not None:
        write_durably(file, _csv(view).encode())
        span = f"{format_time(view.since)} to {format_time(view.until)}"
        echo(f"{file}: {len(view.requests):,} of {view.predictions:,} predictions without a label, {span}")
        return
    print_data(_csv(view))


def _csv(view: LabelRequestsView) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ("prediction_id", "predicted_at", "probability", "weight", "uncertainty", "boost")
    writer.writerow(names)
    writer.writerows([getattr(request, name) for name in names] for request in view.requests)
    return text.getvalue()


def _waiting_challenger(state: ModelState | None, registry: Registry) -> int | None:
    """The version of a build whose gate waits for labels; None where none does."""
    build = None if state is None else state.build
    if state is None or build is None or build.step is not BuildStep.COLLECT:
        return None
    return build.candidate if build.candidate in registry.versions(state.model) else None


def _draw(
    config: Config, places: Places, model: str, last: LabelDraw | None, number: int, seed: int, now: float
) -> LabelDraw:
    """Draw in a child process, and remember it. Raises ClickException where nothing can be drawn."""
    registry = Registry(places)
    version = registry.current(model)
    if version is None:
        raise AbsentError(f"no version of {model} serves, so there is no prediction to label")
    since = now - FIRST_SPAN if last is None else last.until
    with StateReader.read_only(places.state_db) as reader:
        alarms = reader.standing_alarms(model, version)
        challenger = _waiting_challenger(reader.model(model), registry)
    subjects = {alarm.subject for alarm in alarms} | {subject for alarm in alarms for subject, _ in alarm.leaders}
    arguments = {
        "model": model,
        "model_config": config.models[model].model_dump(mode="json"),
        "state_dir": str(places.root.resolve()),
        "version": version,
        "since": since,
        "until": now,
        "number": number,
        "seed": seed,
        "subjects": sorted(subjects),
        "challenger": challenger,
    }
    limits = config.limits
    bounds = JobLimits(memory_bytes=limits.memory, wall_seconds=limits.timeout, threads=limits.threads)
    with tempfile.TemporaryDirectory(prefix="driftd-labels-") as folder, hold_in_use(places.model(model)):
        job = start_job(Path(folder) / "job", "label_draw", arguments, bounds, SHARED)
        try:
            while (result := job.poll()) is None:
                time.sleep(POLL_SECONDS)
        finally:
            job.kill()
    if not result.ok:
        raise click.ClickException(f"nothing was drawn: {result.error}")
    requests = msgspec.convert(result.value["requests"], list[LabelRequest])
    if not requests:
        raise AbsentError(f"no prediction of {model} since {format_time(since)} is without a label")
    count = int(str(result.value["predictions"]))
    draw = LabelDraw(model=model, drawn_at=now, since=since, until=now, seed=seed, predictions=count, requests=requests)
    try:
        post_label_draw(places.state_db, draw)
    except ValueError as error:  # somebody else drew meanwhile
        raise click.ClickException(str(error)) from error
    return draw
