"""`driftd diff`: how two versions differ in data, code, parameters and quality, over all rows and by segment."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click
import msgspec
from rich.console import Console

from driftd.cli.arguments import MODEL
from driftd.cli.table import print_table
from driftd.cli.terminal import (
    AbsentError,
    chosen_model,
    config_option,
    console,
    json_option,
    number,
    open_places,
    print_json,
    say,
)
from driftd.config.schema import Config
from driftd.formatting import format_time
from driftd.fsutil import hold_in_use
from driftd.paths import Places
from driftd.registry import ManifestError, Registry
from driftd.registry.version_quality import FeatureShift, MeasuredDiff, SegmentQuality
from driftd.store.state.reader import StateAbsentError, StateReader
from driftd.training.fork_server import SHARED
from driftd.training.jobs import JobLimits, start_job
from driftd.views.lineage import VersionDiff, diff_code, diff_versions

POLL_SECONDS = 0.05
_SHIFTS = 20  # features that are printed


@click.command()
@click.argument("a", type=int)
@click.argument("b", type=int)
@click.argument("model", required=False, type=MODEL)
@click.option("--recorded", is_flag=True, help="Only what is on record: no row is read, and nothing is scored.")
@click.option(
    "--by", "columns", multiple=True, metavar="COLUMN", help="Segments of this column; else `detect.segments`."
)
@click.option("--rows", type=click.IntRange(1, 1_000_000), default=20_000, show_default=True, help="Rows to score.")
@config_option
@json_option
def diff(
    config_path: Path,
    a: int,
    b: int,
    model: str | None,
    recorded: bool,
    columns: tuple[str, ...],
    rows: int,
    as_json: bool,
) -> None:
    """How version B of MODEL differs from version A: data, code, parameters, schema, quality, by segment too.

    A child process scores both on the newest labelled rows that neither learned from, under the limits of the config,
    and compares the rows that they did learn from.

    \b
    Example:
      driftd diff 3 7 demand
      driftd diff 3 7 demand --by region --rows 50000
      driftd diff 3 7 demand --recorded
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    config, places = open_places(config_path)
    name, registry = chosen_model(config, model), Registry(places)
    try:
        manifests = registry.manifest(name, a), registry.manifest(name, b)
    except ManifestError as error:
        raise AbsentError(str(error)) from error
    found = diff_code(diff_versions(*manifests), places, *manifests)
    if not recorded and a != b:
        with hold_in_use(places.model(name)):
            found = msgspec.structs.replace(found, measured=_measure(config, places, found, columns, rows))
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    _print(found, console())


def _measure(config: Config, places: Places, found: VersionDiff, columns: tuple[str, ...], rows: int) -> MeasuredDiff:
    """What a job measures; where it fails, the reason is a remark."""
    now = time.time()
    arguments = {
        "model": found.model,
        "model_config": config.models[found.model].model_dump(mode="json"),
        "state_dir": str(places.root.resolve()),
        "faulty": _faulty(places, found.model, now),
        "a": found.a,
        "b": found.b,
        "until": now,
        "rows": rows,
        "columns": list(columns),
    }
    limits = config.limits
    bounds = JobLimits(memory_bytes=limits.memory, wall_seconds=limits.timeout, threads=limits.threads)
    with tempfile.TemporaryDirectory(prefix="driftd-diff-") as folder:
        job = start_job(Path(folder) / "job", "diff", arguments, bounds, SHARED)
        try:
            while (result := job.poll()) is None:
                time.sleep(POLL_SECONDS)
        finally:
            job.kill()
    if not result.ok:
        return MeasuredDiff(remarks=[f"nothing was measured: {result.error}"])
    return msgspec.convert(result.value, MeasuredDiff)


def _faulty(places: Places, model: str, now: float) -> list[tuple[float, float]]:
    """The times of windows with a fault of the pipeline, which say nothing of a version."""
    try:
        with StateReader.read_only(places.state_db) as reader:
            return reader.faulty_spans(model, 0.0, now)
    except StateAbsentError:
        return []


def _print(found: VersionDiff, to: Console) -> None:
    a, b = f"version {found.a}", f"version {found.b}"
    if not found.differences:
        say(to, f"versions {found.a} and {found.b} of {found.model} are alike")
        return
    rows = [[line.part, line.name, line.a or "-", line.b or "-"] for line in found.differences]
    print_table(to, ["part", "what", a, b], rows)
    for change in found.code:
        say(to, f"\n{change.file}", "bold")
        for line in change.diff.splitlines():
            say(to, line, {"+": "green", "-": "red"}.get(line[:1], "dim"))
    if found.code_note:
        say(to, f"\n{found.code_note}", "yellow")
    if found.judged:
        say(to, f"\nas the gate judged {b} beside {a} ({found.judged_metric}; lower is better)", "bold")
        _print_segments(to, found.judged, a, b)
    if found.measured is not None:
        _print_measured(to, found.measured, a, b)


def _print_measured(to: Console, found: MeasuredDiff, a: str, b: str) -> None:
    if found.segments and found.since is not None:
        since = format_time(found.since)
        say(to, f"\n{found.metric} now, on rows from {since} on that neither learned from (lower is better)", "bold")
        _print_segments(to, found.segments, a, b)
    if found.shifts:
        say(to, "\nthe rows that they learned from, largest shift first", "bold")
        print_table(to, ["feature", "distance", a, b, "missing"], [_shift_row(each) for each in found.shifts[:_SHIFTS]])
    for remark in found.remarks:
        say(to, f"  {remark}", "yellow")


def _print_segments(to: Console, segments: list[SegmentQuality], a: str, b: str) -> None:
    rows = [
        [each.segment or "all rows", f"{each.rows:,}", _figure(each.other_loss), _figure(each.loss), _gain(each)]
        for each in segments
    ]
    print_table(to, ["segment", "rows", a, b, f"gain of {b} (95 %)"], rows)


def _gain(each: SegmentQuality) -> str:
    if each.gain is None:
        return "-"
    if each.gain_lower is None or each.gain_upper is None:
        return f"{number(each.gain)} (fewer than three days)"
    return f"{number(each.gain)} ({number(each.gain_lower)} to {number(each.gain_upper)})"


def _figure(value: float | None) -> str:
    return "-" if value is None else number(value)


def _shift_row(each: FeatureShift) -> list[str]:
    missing = f"{each.missing_a:.1%} -> {each.missing_b:.1%}"
    return [each.feature, f"{each.distance:.3f}", each.a, each.b, missing]
