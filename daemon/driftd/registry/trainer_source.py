"""The source of the trainer that made a version, kept in its folder, so that later versions can be compared with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from difflib import unified_diff
from pathlib import Path

import msgspec

from driftd.registry.manifest import Manifest, ManifestError, check_file

SOURCE = "trainer_source.json"
MOST_BYTES = 1 << 20  # of all files together: a trainer that is larger has its fingerprint alone
MOST_LINES = 2_000  # of one diff


class CodeChange(msgspec.Struct, frozen=True):
    """One file of the trainer that is not alike in two versions, as a unified diff."""

    file: str
    diff: str


def write_source(folder: Path, files: Iterable[Path]) -> bool:
    """Keep the files of a trainer in a staged version folder; False where they are too large, or no text."""
    paths = [path.resolve() for path in files]
    kept: dict[str, str] = {}
    size = 0
    for path in paths:
        content = path.read_bytes()
        size += len(content)
        if size > MOST_BYTES:
            return False
        try:
            kept[_name(path, paths)] = content.decode()
        except UnicodeDecodeError:
            return False
    if kept:
        (folder / SOURCE).write_text(json.dumps(kept, indent=1, sort_keys=True), "utf-8")
    return bool(kept)


def _name(path: Path, among: list[Path]) -> str:
    """The path of a file below the folder that holds all of them, so that the place of a checkout makes no change."""
    folders = {other.parent for other in among}
    top = min(folders, key=lambda folder: len(folder.parts))
    return path.relative_to(top).as_posix() if path.is_relative_to(top) else path.name


def read_source(folder: Path, manifest: Manifest) -> Mapping[str, str] | None:
    """The kept files by their names, after their hash matched; None where the version keeps none.

    Raises ManifestError where they were changed.
    """
    if SOURCE not in manifest.files:
        return None
    path = check_file(folder, manifest, SOURCE)
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except msgspec.DecodeError as error:
        raise ManifestError(f"{path} cannot be read ({error}): restore it from a backup") from error


def diff_sources(a: Mapping[str, str], b: Mapping[str, str], names: tuple[str, str]) -> list[CodeChange]:
    """The files that differ, in order; `names` are what the two versions are called in the diffs."""
    return [
        CodeChange(name, _diff(a.get(name, ""), b.get(name, ""), f"{names[0]}/{name}", f"{names[1]}/{name}"))
        for name in sorted({*a, *b})
        if a.get(name) != b.get(name)
    ]


def _diff(a: str, b: str, name_a: str, name_b: str) -> str:
    lines = list(unified_diff(a.splitlines(), b.splitlines(), name_a, name_b, lineterm=""))
    cut = [f"... {len(lines) - MOST_LINES} more lines"] if len(lines) > MOST_LINES else []
    return "\n".join([*lines[:MOST_LINES], *cut])
