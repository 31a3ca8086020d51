"""`driftd profile-job`: what a job of yours has to count, for `source: {kind: profiles}`."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import click

from driftd.cli.arguments import MODEL
from driftd.cli.terminal import AbsentError, chosen_model, config_option, echo, open_places, print_json
from driftd.config.model_schema import ModelConfig
from driftd.config.source_schema import ProfilesSourceConfig
from driftd.formatting import format_time
from driftd.fsutil import write_durably
from driftd.paths import Places
from driftd.registry import Registry
from driftd.sources.protocol import default_lateness, window_index
from driftd.store.state.reader import StateAbsentError, StateReader
from driftd_detectors.batches.drops import JOB_FILE, DropJob
from driftd_detectors.batches.rows import RowNames
from driftd_detectors.performance.segments import segment_columns
from driftd_detectors.reference import Reference
from driftd_detectors.window_data import ServedBy


@click.command("profile-job")
@click.argument("model", type=MODEL)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Write it to this file instead (-: standard output) of job.json in the folder of the source.",
)
@config_option
def profile_job(config_path: Path, model: str, output: Path | None) -> None:
    """Write what a job has to count for MODEL: columns, bins, windows; docs/profile-format.md.

    For models with `source: {kind: profiles}`. The job stays the same until another version serves; then it is
    written again, and windows that were not checked yet are counted again.

    \b
    Example:
      driftd profile-job demand
      driftd profile-job demand --output - | jq .version
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    config, places = open_places(config_path)
    name = chosen_model(config, model)
    settings = config.models[name]
    if not isinstance(settings.source, ProfilesSourceConfig):
        raise click.UsageError(f"{name} reads rows by itself (source: {{kind: {settings.source.kind}}}): count nothing")
    job, cursor = _job(name, settings, settings.source, places)
    if output is not None and str(output) == "-":
        print_json(json.loads(job.to_json()))
        return
    path = Path(settings.source.path) / JOB_FILE if output is None else output
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, job.to_json().encode())
    echo(f"{path}: counts for version {job.version} of {name}, {_describe_wait(settings, job, cursor)}")


def _job(name: str, settings: ModelConfig, source: ProfilesSourceConfig, places: Places) -> tuple[DropJob, int | None]:
    """The job of the version that serves, and the index of the window that is to be checked next."""
    registry, since, cursor = Registry(places), None, None
    champion = registry.current(name)
    try:
        with StateReader.read_only(places.state_db) as store:
            state, cursor = store.model(name), store.cursor(name, "window")
    except StateAbsentError:
        state = None  # the daemon has not begun yet
    if state is not None and state.champion is not None:
        champion, since = state.champion, state.served_since
    if champion is None:
        raise AbsentError(f"model {name} has no version yet: `driftd init` makes the first one")
    versions = frozenset(registry.versions(name))
    others = versions - {champion} if registry.manifest(name, champion).is_logged else None
    reference = Reference.from_bytes(registry.file(name, champion, "reference.bin").read_bytes())
    assert settings.window.every is not None  # the config says so of this source
    job = DropJob(
        name,
        champion,
        settings.window.every,
        reference.schema,
        reference.layout,
        ServedBy(champion, others, -math.inf if since is None else since),
        segment_columns(reference.segments),
        RowNames(**{str(meaning): column for meaning, column in source.columns.items()}),
    )
    return job, cursor


def _describe_wait(settings: ModelConfig, job: DropJob, cursor: int | None) -> str:
    if cursor is None:
        return "from the first window on that it drops"
    lateness = default_lateness(settings.window) if settings.window.lateness is None else settings.window.lateness
    over = max(0, window_index(time.time() - lateness, job.every) - cursor)
    return f"from the window of {format_time(cursor * job.every)} on; {over:,} windows are over and wait"
