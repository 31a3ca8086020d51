"""`driftd backtest`: the alarms that a config would have raised over the history on record."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.progress import track

from driftd.cli.options import AbsentError, chosen_model, config_option, json_option, opened
from driftd.cli.output import console, print_json, print_table, say, when
from driftd.config.model_schema import ModelConfig
from driftd.loop.backtest import Era, Replay, Replayed, eras_of, lateness_of, windows_of
from driftd.loop.config_mapping import YEAR, monitor_settings
from driftd.paths import Places
from driftd.policy.formatting import span
from driftd.records import Window
from driftd.registry import Registry
from driftd.sources import open_source
from driftd.store.state.reader import StateAbsentError, StateReader
from driftd.store.state.records import StoredAlarm
from driftd_detectors.monitor import Monitor
from driftd_detectors.reference import Reference

EVERYTHING = 1_000_000  # lines of history
MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])


@dataclass(slots=True)
class AlarmCounts:
    """What a replay comes to."""

    verdicts: Counter[str] = field(default_factory=Counter)  # of the windows
    cohorts: int = 0
    alarms: list[dict[str, Any]] = field(default_factory=list)

    def add(self, one: Replayed) -> None:
        """Count one check."""
        if one.kind == "window":
            self.verdicts[one.assessment.verdict] += 1
        else:
            self.cohorts += 1
        for alarm in one.alarms:
            told = {"at": one.start, "window": one.window.index, "version": one.version, "kind": alarm.kind}
            self.alarms.append({**told, "evidence": alarm.evidence, "sentence": alarm.sentence})


@click.command()
@click.argument("model", required=False)
@click.option("--since", type=MOMENT, help="Begin with the windows from this time on (UTC).")
@click.option("--until", type=MOMENT, help="End with the windows before this time (UTC).")
@config_option
@json_option
def backtest(
    config_path: Path, model: str | None, since: datetime | None, until: datetime | None, as_json: bool
) -> None:
    """Replay the events of MODEL on record, and say which alarms this config would have raised.

    The daemon's own checks run on a clock that moves from window to window; labels are known when they came. Each
    window is held against the version that served then. Nothing is written and nothing is built. Give a changed copy
    of the config by --config to see what a budget, a tolerance or an ignored feature would have meant.

    \b
    Example:
      driftd backtest demand
      driftd backtest demand --config candidate.yaml --since 2026-06-01
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    config, places = opened(config_path)
    name = chosen_model(config, model)
    settings, registry, now = config.models[name], Registry(places), time.time()
    eras, recorded = _on_record(places, registry, name)
    manifest = registry.manifest(name, eras[0].version)
    source = open_source(name, settings, registry.manifest(name, eras[-1].version).schema, places)
    try:
        windows = _between(windows_of(settings, source, manifest.data.get("last_at"), now), settings, since, until)
        if not windows:
            raise AbsentError(f"there is no complete window of {name} to replay in that time")
        replay = Replay(source, eras, _beginner(registry, name, settings), lateness_of(settings))
        tally, end = AlarmCounts(), now if until is None else min(now, _epoch(until))
        for one in _progress(replay.run(windows, end), len(windows), quiet=as_json):
            tally.add(one)
    finally:
        source.close()
    report = _report(name, settings, windows, tally, recorded)
    if as_json:
        print_json(report)
    else:
        _print(report)


def _on_record(places: Places, registry: Registry, model: str) -> tuple[list[Era], list[StoredAlarm]]:
    """The versions that served and the alarms that the daemon raised. Raises AbsentError without any version."""
    eras: list[Era] = []
    alarms: list[StoredAlarm] = []
    try:
        with StateReader.read_only(places.state_db) as reader:
            eras, alarms = eras_of(reader.history(model, EVERYTHING)), reader.alarms(model, EVERYTHING)
    except StateAbsentError:
        pass  # no daemon ran here yet: the version that serves is held against all that is there
    if not eras:
        served = registry.current(model)
        if served is None:
            raise AbsentError(f"{model} has no version yet: `driftd init` makes the first")
        eras = [Era(served, 0.0)]
    return eras, alarms


def _between(
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


def _beginner(registry: Registry, model: str, settings: ModelConfig) -> Any:
    def begin(version: int, predecessor: Monitor | None) -> Monitor:
        stored = registry.file(model, version, "reference.bin").read_bytes()
        return Monitor.begin(Reference.from_bytes(stored), monitor_settings(settings), predecessor)

    return begin


def _progress(looks: Iterator[Replayed], windows: int, *, quiet: bool) -> Iterable[Replayed]:
    """The looks, with a bar on a terminal that moves with the windows."""
    to = console()
    if quiet or not to.is_terminal:
        return looks
    return _tracked(looks, windows)


def _tracked(looks: Iterator[Replayed], windows: int) -> Iterator[Replayed]:
    pending: list[Replayed] = []

    def by_window() -> Iterator[list[Replayed]]:
        for one in looks:
            pending.append(one)
            if one.kind == "window":
                yield pending.copy()
                pending.clear()

    for found in track(by_window(), description="replaying", total=windows, transient=True):
        yield from found
    yield from pending


def _report(
    model: str, settings: ModelConfig, windows: Sequence[Window], tally: AlarmCounts, recorded: Sequence[StoredAlarm]
) -> dict[str, Any]:
    first, last = windows[0], windows[-1]
    by_time = settings.window.every is not None
    inside = [one for one in recorded if first.index <= one.window_index <= last.index]
    return {
        "model": model,
        "windows": len(windows),
        "from": first.start if by_time else None,
        "to": last.end if by_time else None,
        "years": (last.end - first.start) / YEAR if by_time else None,
        "false_alarms_per_year": settings.detect.false_alarms_per_year,
        "verdicts": dict(tally.verdicts),
        "cohorts": tally.cohorts,
        "alarms": tally.alarms,
        "recorded_alarms": len(inside),
    }


def _print(report: dict[str, Any]) -> None:
    to = console()
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(report["verdicts"].items()))
    dates = f" from {when(report['from'])} to {when(report['to'])} UTC" if report["from"] is not None else ""
    say(to, f"{report['model']}: {report['windows']} windows{dates} ({verdicts}), labels of {report['cohorts']}")
    rows = [[when(one["at"]), one["kind"], str(one["version"]), one["sentence"]] for one in report["alarms"]]
    if rows:
        print_table(to, ["window (UTC)", "kind", "version", "why"], rows, long="why")
    count = len(report["alarms"])
    over = f" in {span(report['to'] - report['from'])}" if report["from"] is not None else ""
    promised = f"the budget of false alarms is {report['false_alarms_per_year']:g} a year"
    say(to, f"{count} alarm{'' if count == 1 else 's'}{over}; {promised}", "bold")
    say(to, f"the daemon itself raised {report['recorded_alarms']} in these windows", "dim")


def _epoch(at: datetime) -> float:
    return at.replace(tzinfo=UTC).timestamp()
