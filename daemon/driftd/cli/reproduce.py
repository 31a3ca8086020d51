"""`driftd reproduce`: build a version again from its lineage and say whether it is the same."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import click
import msgspec
from msgspec import UNSET, UnsetType

from driftd.cli.arguments import MODEL
from driftd.cli.progress import show_steps
from driftd.cli.terminal import (
    AbsentError,
    chosen_model,
    config_option,
    console,
    json_option,
    load_config,
    number,
    print_json,
    say,
)
from driftd.config.schema import Config
from driftd.errors import ExitCode
from driftd.fsutil import hold_in_use
from driftd.paths import Places
from driftd.registry import Manifest, Registry
from driftd.training.fork_server import SHARED
from driftd.training.jobs import JobLimits, start_job

POLL_SECONDS = 0.05
STYLES = {"same": "bold green", "different": "bold red", "cannot": "bold yellow"}


class RebuiltFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a rebuilt version beside those on record, as far as the comparison came."""

    sha256: str | UnsetType = UNSET
    sha256_recorded: str | UnsetType = UNSET
    held_out_rows: int | UnsetType = UNSET
    predictions_that_differ: int | UnsetType = UNSET
    loss: float | UnsetType | None = UNSET
    loss_recorded: float | UnsetType | None = UNSET
    rows: int | UnsetType = UNSET
    artefact: str | UnsetType = UNSET  # the name of its file


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """What the child found: `same`, `different` or `cannot`; `differs` is among data, code, parameters, libraries."""

    outcome: Literal["same", "different", "cannot"]
    sentence: str
    differs: list[str]
    details: dict[str, str]  # a sentence for each of the four
    figures: RebuiltFigures


class ReproduceAnswer(Rebuilt, frozen=True, kw_only=True):
    """What came of building a version again."""

    model: str
    version: int


@click.command()
@click.argument("model", type=MODEL)
@click.argument("version", type=click.IntRange(1))
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the rebuilt artefact and the log of the build in this folder.",
)
@config_option
@json_option
def reproduce(config_path: Path, model: str, version: int, keep: Path | None, as_json: bool) -> None:
    """Build VERSION of MODEL again from its lineage, and say whether it is the same.

    Its snapshot, trainer, parameters, seed and number of threads are those that its manifest records; it is trained in
    a child process under the limits of the config. Nothing is published. The artefact's hash decides, else its
    predictions on the hold-out rows of the snapshot. Ends with 0 when it is the same, 7 when it differs, 4 when it
    cannot be built again because its snapshot or its trainer is gone.

    \b
    Example:
      driftd reproduce demand 3
      driftd reproduce demand 3 --keep rebuilt/
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    config = load_config(config_path)
    places = Places(config.state_dir)
    name = chosen_model(config, model)
    registry = Registry(places)
    if version not in registry.versions(name):
        known = ", ".join(map(str, registry.versions(name))) or "none"
        raise AbsentError(f"{name} has no version {version}; there are: {known}")
    manifest = registry.manifest(name, version)
    with _scratch(keep) as scratch, hold_in_use(places.model(name)):
        found = _rebuilt(config, places, manifest, scratch)
    if as_json:
        print_json(ReproduceAnswer(model=name, version=version, **msgspec.structs.asdict(found)))
    else:
        _print(found, keep)
    if found.outcome == "cannot":
        raise SystemExit(ExitCode.ABSENT)
    if found.outcome == "different":
        raise SystemExit(ExitCode.DIFFERENT)


@contextmanager
def _scratch(keep: Path | None) -> Iterator[Path]:
    """A folder for the build, removed afterwards unless it is to be kept."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise click.UsageError(f"{keep} is not empty: name a new folder")
        yield keep.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="driftd-reproduce-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _rebuilt(config: Config, places: Places, manifest: Manifest, scratch: Path) -> Rebuilt:
    """What the child found. Raises ClickException when the build itself failed."""
    arguments = {
        "model": manifest.model,
        "model_config": config.models[manifest.model].model_dump(mode="json"),
        "state_dir": str(places.root.resolve()),
        "version": manifest.version,
        "scratch": str(scratch),
    }
    job = start_job(scratch / "job", "reproduce", arguments, _limits(config, manifest), SHARED)
    try:
        with show_steps(f"building {manifest.model}/{manifest.version} again"):
            while (result := job.poll()) is None:
                time.sleep(POLL_SECONDS)
    finally:
        job.kill()
    if not result.ok:
        raise click.ClickException(f"{manifest.model}/{manifest.version} could not be built again: {result.error}")
    return msgspec.convert(result.value, Rebuilt)


def _limits(config: Config, manifest: Manifest) -> JobLimits:
    """The limits of a build, with the threads of then: sums over several threads differ in their last bit."""
    threads = str(manifest.libraries.get("threads", ""))
    return JobLimits(
        memory_bytes=config.limits.memory,
        wall_seconds=config.limits.timeout,
        threads=int(threads) if threads.isdecimal() else config.limits.threads,
    )


def _print(found: Rebuilt, keep: Path | None) -> None:
    to, figures = console(), found.figures
    say(to, found.sentence, STYLES[found.outcome])
    for name, sentence in found.details.items():
        say(to, f"  {name}: {sentence}", "yellow" if name in found.differs else "dim")
    if figures.sha256 and figures.sha256_recorded and figures.sha256 != figures.sha256_recorded:
        say(to, f"  artefact: {figures.sha256[:12]}, recorded {figures.sha256_recorded[:12]}", "yellow")
    if isinstance(figures.loss, float):
        measured = f"loss on {figures.held_out_rows} hold-out rows {number(figures.loss)}"
        say(to, f"  {measured}, recorded {number(figures.loss_recorded)}", "dim")
    if keep is not None and figures.artefact:
        say(to, f"  kept: {keep / figures.artefact}", "dim")
