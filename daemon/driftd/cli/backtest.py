"""`driftd backtest`: the alarms that a config would have raised over the history on record."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from driftd.cli.arguments import MODEL, MOMENT
from driftd.cli.progress import show_rows
from driftd.cli.table import print_table
from driftd.cli.terminal import (
    AbsentError,
    chosen_model,
    config_option,
    console,
    json_option,
    open_places,
    print_json,
    say,
)
from driftd.config.model_schema import ModelConfig
from driftd.formatting import format_duration, format_minute, format_time
from driftd.loop.backtest import Backtest, Era, Moment, versions_on_record
from driftd.loop.config_history import YEAR
from driftd.observe.logs import configure_logs
from driftd.paths import Places
from driftd.records import Window
from driftd.registry import Registry
from driftd.store.state.reader import StateAbsentError, StateReader
from driftd.store.state.records import StoredAlarm, StoredTransition

EVERYTHING = 1_000_000  # lines of history


class ReplayedAlarm(msgspec.Struct, frozen=True):
    """An alarm that a backtest raised; `at` is the start of its window, epoch seconds."""

    at: float
    window: int
    version: int | None
    kind: str
    evidence: float
    sentence: str


class BacktestReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `driftd backtest` says. Windows of rows have no times."""

    model: str
    windows: int
    start: float | None = msgspec.field(name="from")
    end: float | None = msgspec.field(name="to")
    years: float | None
    false_alarms_per_year: float
    verdicts: dict[str, int]
    cohorts: int
    alarms: list[ReplayedAlarm]
    recorded_alarms: int


@dataclass(slots=True)
class AlarmCounts:
    """What a backtest comes to."""

    verdicts: Counter[str] = field(default_factory=Counter)  # of the windows
    cohorts: int = 0
    alarms: list[ReplayedAlarm] = field(default_factory=list)

    def add(self, moment: Moment, backtest: Backtest) -> None:
        """Count what was recorded at one moment."""
        for check in moment.checks:
            if check.kind == "window":
                self.verdicts[check.verdict] += 1
            else:
                self.cohorts += 1
        for alarm in moment.alarms:
            at = backtest.start_of(alarm.window_index)
            self.alarms.append(
                ReplayedAlarm(at, alarm.window_index, alarm.version, alarm.kind, alarm.evidence, alarm.sentence)
            )


@click.command()
@click.argument("model", required=False, type=MODEL)
@click.option("--since", type=MOMENT, help="Begin with the windows from this time on (UTC).")
@click.option("--until", type=MOMENT, help="End with the windows before this time (UTC).")
@config_option
@json_option
def backtest(
    config_path: Path, model: str | None, since: datetime | None, until: datetime | None, as_json: bool
) -> None:
    """Replay the events of MODEL on record, and say which alarms this config would have raised.

    The checks of `driftd rehearse` alone: the daemon's own loop runs on a clock that moves from window to window,
    and ends where the data end; labels are known when they came. Each window is held against the version that served
    then. Nothing is built, and nothing is written but in a folder for temporary files. Give a changed copy of the
    config by --config to see what a budget, a tolerance or an ignored feature would have meant.

    \b
    Example:
      driftd backtest demand
      driftd backtest demand --config candidate.yaml --since 2026-06-01
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    config, places = open_places(config_path)
    name = chosen_model(config, model)
    settings, now = config.models[name], time.time()
    configure_logs(level="error")  # the loop logs each check
    eras, recorded = _on_record(places, name)
    with (
        tempfile.TemporaryDirectory(prefix="driftd-backtest-") as scratch,
        Backtest(config, config_path, places, name, eras, scratch=Path(scratch), now=now) as test,
    ):
        windows = _windows_between(test.windows(), settings, since, until)
        if not windows:
            raise AbsentError(
                f"there is no complete window of {name} to replay in that time: windows fill as predictions come, and "
                f"`driftd backfill {name} FILE` loads those of the past"
            )
        tally, end = AlarmCounts(), now if until is None else min(now, _epoch(until))
        with show_rows("replaying windows") as progress:
            progress.begin("replaying windows", len(windows))
            for moment in progress.track(test.run(windows, end)):
                tally.add(moment, test)
    report = _report(name, settings, windows, tally, recorded)
    if as_json:
        print_json(report)
    else:
        _print(report)


def _on_record(places: Places, model: str) -> tuple[list[Era], list[StoredAlarm]]:
    """The versions that served and the alarms that the daemon raised. Raises AbsentError without any version."""
    history: list[StoredTransition] = []
    alarms: list[StoredAlarm] = []
    try:
        with StateReader.read_only(places.state_db) as reader:
            history, alarms = reader.history(model, EVERYTHING), reader.alarms(model, EVERYTHING)
    except StateAbsentError:
        pass  # no daemon ran here yet: the version that serves is held against all that is there
    eras = versions_on_record(Registry(places), history, model)
    if not eras:
        raise AbsentError(f"{model} has no version yet: `driftd init` makes the first")
    return eras, alarms


def _windows_between(
    windows: list[Window], settings: ModelConfig, since: datetime | None, until: datetime | None
) -> list[Window]:
    """The windows of a time. Raises UsageError for windows of rows, which have none."""
    if since is None and until is None:
        return windows
    if settings.window.every is None:
        raise click.UsageError("--since and --until choose windows of time; this model's windows count rows")
    first = float("-inf") if since is None else _epoch(since)
    last = float("inf") if until is None else _epoch(until)
    return [window for window in windows if first <= window.start and window.end <= last]


def _report(
    model: str, settings: ModelConfig, windows: Sequence[Window], tally: AlarmCounts, recorded: Sequence[StoredAlarm]
) -> BacktestReport:
    first, last = windows[0], windows[-1]
    by_time = settings.window.every is not None
    inside = [alarm for alarm in recorded if first.index <= alarm.window_index <= last.index]
    return BacktestReport(
        model=model,
        windows=len(windows),
        start=first.start if by_time else None,
        end=last.end if by_time else None,
        years=(last.end - first.start) / YEAR if by_time else None,
        false_alarms_per_year=settings.detect.false_alarms_per_year,
        verdicts=dict(tally.verdicts),
        cohorts=tally.cohorts,
        alarms=tally.alarms,
        recorded_alarms=len(inside),
    )


def _print(report: BacktestReport) -> None:
    to = console()
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(report.verdicts.items()))
    dates, over = "", ""
    if report.start is not None and report.end is not None:
        dates = f" from {format_minute(report.start)} to {format_time(report.end)}"
        over = f" in {format_duration(report.end - report.start)}"
    say(to, f"{report.model}: {report.windows} windows{dates} ({verdicts}), labels of {report.cohorts}")
    rows = [[format_minute(alarm.at), alarm.kind, str(alarm.version), alarm.sentence] for alarm in report.alarms]
    if rows:
        print_table(to, ["window (UTC)", "kind", "version", "why"], rows, long="why")
    count = len(report.alarms)
    promised = f"the budget of false alarms is {report.false_alarms_per_year:g} a year"
    say(to, f"{count} alarm{'' if count == 1 else 's'}{over}; {promised}", "bold")
    say(to, f"the daemon itself raised {report.recorded_alarms} in these windows", "dim")


def _epoch(at: datetime) -> float:
    return at.replace(tzinfo=UTC).timestamp()
