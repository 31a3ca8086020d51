"""`driftd verify`: whether history, versions and snapshots are what they were when they were made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from driftd.cli.arguments import MODEL
from driftd.cli.progress import show_steps
from driftd.cli.terminal import chosen_model, config_option, console, json_option, open_places, print_json, say
from driftd.errors import ExitCode
from driftd.fsutil import sha256_of
from driftd.paths import Places
from driftd.registry import ManifestError, Registry
from driftd.registry.manifest import Manifest, check_file, content_of
from driftd.store.state.reader import StateReader

DATA = "data.parquet"


class VerifyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at, and what is not what it was; `head` is the newest entry of the chain."""

    faults: list[str]
    head: str
    decisions: int
    versions: int
    snapshots: int


@click.command()
@click.argument("model", required=False, type=MODEL)
@click.option("--anchor", help="A head of the chain that was written down before: it must still be in it.")
@config_option
@json_option
def verify(config_path: Path, model: str | None, anchor: str | None, as_json: bool) -> None:
    """Whether history, versions and snapshots are what they were when they were made, of MODEL or of all.

    Each decision and each version is bound to all before it by a hash. Whoever may write the database can make the
    whole chain anew: write the head that this prints down elsewhere, and give it as --anchor the next time.

    \b
    Example:
      driftd verify
      driftd verify --anchor 3f9a...
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    config, places = open_places(config_path)
    names = list(config.models) if model is None else [chosen_model(config, model)]
    with StateReader.read_only(places.state_db) as reader, show_steps("reading the chain") as tell:
        faults, head = reader.chain_faults(), reader.chain_head()
        if anchor is not None and not reader.is_chained(anchor):
            faults.append(f"chain: it has no entry {anchor}: it was made anew, or the anchor is of another state")
        counts = {"decisions": reader.count_decisions(), "versions": 0, "snapshots": 0}
        for name in names:
            tell(f"reading the versions of {name}")
            faults += _version_faults(reader, places, name, counts)
    if as_json:
        print_json(VerifyAnswer(faults=faults, head=head, **counts))
    else:
        _print(faults, head, counts)
    if faults:
        raise SystemExit(ExitCode.FAILED)


def _version_faults(reader: StateReader, places: Places, model: str, counts: dict[str, int]) -> Iterator[str]:
    registry, seen = Registry(places), set[str]()
    busy = {action.arguments.get("version") for action in reader.open_actions(model)}  # jobs may write there just now
    yield from _gone_versions(reader, places, registry, model)
    for version in registry.versions(model):
        counts["versions"] += 1
        try:
            manifest = registry.manifest(model, version)
        except ManifestError as error:
            yield f"version {version} of {model}: {error}"
            continue
        chained = reader.chained_content(model, version)
        if chained is None and version not in busy:
            yield f"version {version} of {model} is in no entry of the chain: the daemon has not seen it yet"
        if chained is not None and chained != content_of(manifest) and version not in busy:
            yield f"version {version} of {model}: its manifest was changed after the daemon saw it"
        yield from _file_faults(places, manifest)
        if manifest.snapshot and manifest.snapshot not in seen:
            seen.add(manifest.snapshot)
            counts["snapshots"] += 1
            yield from _snapshot_faults(places, model, manifest.snapshot)


def _gone_versions(reader: StateReader, places: Places, registry: Registry, model: str) -> Iterator[str]:
    """Versions that the chain knows and that are not there; of those that retention took the manifest is kept."""
    there = set(registry.versions(model))
    for version, content in reader.chained_contents(model):
        kept = places.retired_manifest(model, version)
        if version in there:
            continue
        if not kept.is_file():
            yield f"version {version} of {model} is gone, and retention did not take it: restore it from a backup"
            continue
        try:
            manifest = Manifest.from_dict(msgspec.json.decode(kept.read_bytes()))
        except (msgspec.DecodeError, ValueError, KeyError, TypeError) as error:
            yield f"version {version} of {model}: {kept} cannot be read ({error!r})"
            continue
        if content_of(manifest) != content:
            yield f"version {version} of {model}: {kept}, which retention left, was changed"


def _file_faults(places: Places, manifest: Manifest) -> Iterator[str]:
    for name in manifest.files:
        try:
            check_file(places.version(manifest.model, manifest.version), manifest, name)
        except ManifestError as error:
            yield f"version {manifest.version} of {manifest.model}: {error}"


def _snapshot_faults(places: Places, model: str, digest: str) -> Iterator[str]:
    path = places.snapshot(model, digest) / DATA
    if path.is_file() and sha256_of(path) != digest:  # one that retention took is no fault
        yield f"snapshot {digest[:12]} of {model}: {path} was changed or damaged"


def _print(faults: list[str], head: str, counts: dict[str, int]) -> None:
    to = console()
    for fault in faults:
        say(to, fault, "bold red")
    checked = ", ".join(f"{number:,} {name}" for name, number in counts.items())
    say(to, f"{checked}: {f'{len(faults)} faults' if faults else 'all are what they were'}")
    say(to, f"head of the chain: {head}")
