"""The config file beside the config that the daemon runs: whether a change was read, and if not, why."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from driftd.config.load import digest_of
from driftd.config.model import Config
from driftd.config.reading import read
from driftd.page.words import when
from driftd.places import Places
from driftd.store.state_reader import StateAbsentError, StateReader
from driftd.store.state_records import StoredConfig


def last_applied(config_path: Path) -> Config | None:
    """The config in force of the state directory that a bad file names; None when that cannot be told."""
    root = named_state_dir(config_path)
    if root is None:
        return None
    try:
        with StateReader.read_only(Places(root).state_db) as reader:
            stored = reader.config_in_force()
    except StateAbsentError:
        return None
    return None if stored is None else readable(stored)


def readable(stored: StoredConfig) -> Config | None:
    """A stored config as it was; None of one that another driftd stored in a way that this one cannot read."""
    try:
        return Config.model_validate(stored.content).hashed(stored.hash)
    except ValidationError:
        return None


def named_state_dir(config_path: Path) -> Path | None:
    """The state directory that a file names, however bad the rest of it is; None when that cannot be told."""
    try:
        data = read(config_path.read_bytes()).data
    except (OSError, ValueError):
        return None
    root = data.get("state_dir", Config.model_fields["state_dir"].default) if isinstance(data, dict) else None
    return None if root is None else Path(str(root))


def config_standing(reader: StateReader, config_path: Path) -> dict[str, Any]:
    """Which config is in force since when, and how the file on disk compares: the proof that it was read."""
    in_force = reader.config_in_force()
    file = digest_of(config_path)
    last = next(iter(reader.configs(1)), None)
    refused = last if last is not None and last.error is not None and last.hash == (file or "absent") else None
    return {
        "file": file,
        "in_force": in_force.hash if in_force else None,
        "since": in_force.at if in_force else None,
        "refused": refused.error if refused else None,
        "refused_at": refused.at if refused else None,
        "sentence": _sentence(config_path, file, in_force, refused),
    }


def _sentence(path: Path, file: str | None, in_force: StoredConfig | None, refused: StoredConfig | None) -> str:
    if in_force is None:
        return f"no daemon has read {path} yet: start `driftd run`"
    runs = f"config {in_force.hash} is in force since {when(in_force.at)} UTC"
    if refused is not None and refused.error is not None:
        return f"{path} was REFUSED at {when(refused.at)} UTC and {runs}: {refused.error.splitlines()[0]}"
    if file != in_force.hash:
        return f"{path} (now {file}) has not been taken up; {runs}: a running daemon reads it within seconds"
    return runs


def override_in_force(override: dict[str, Any], expires: float | None) -> dict[str, Any] | None:
    """What an override asks, None when it asks nothing or has lapsed."""
    if expires is not None and expires <= time.time():
        return None
    return {key: value for key, value in override.items() if value} or None
