"""The config in force beside the config file: its hash and time, the override, the last refusal."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from driftd.config.load import digest_of
from driftd.config.redact import redact_config
from driftd.config.schema import Config
from driftd.config.types import FOR_PEOPLE
from driftd.config.yaml_reader import read
from driftd.formatting import format_time
from driftd.paths import Places
from driftd.store.state.chart_queries import SeriesReader
from driftd.store.state.reader import StateAbsentError, StateReader
from driftd.store.state.records import StoredConfig


@dataclass(frozen=True, slots=True)
class ConfigInForce:
    """What was applied last; of no models before a daemon applied one."""

    stored: StoredConfig | None

    @property
    def content(self) -> Mapping[str, Any]:
        """The whole config, without secrets."""
        return (self.stored.content if self.stored is not None else None) or {}

    @property
    def models(self) -> Mapping[str, Any]:
        """The models by name."""
        found: Mapping[str, Any] = self.content.get("models", {})
        return found

    def knows(self, model: str) -> bool:
        """Whether a model is in the config; true for all while no config was recorded."""
        return self.stored is None or model in self.models

    def window_seconds(self, model: str) -> float | None:
        """The length of a model's windows; None for windows of rows and for models that are gone."""
        every = self.models.get(model, {}).get("window", {}).get("every")
        return None if every is None else float(every)

    def by_rows(self, model: str) -> bool:
        """Whether a model's windows count rows."""
        return self.models.get(model, {}).get("window", {}).get("rows") is not None

    def metric(self, model: str, reader: SeriesReader) -> str | None:
        """The metric that is watched; what `auto` came to is known from the last evaluated labels."""
        named = self.models.get(model, {}).get("detect", {}).get("performance", {}).get("metric")
        return reader.latest_subject(model, "performance") if named in {None, "auto"} else str(named)


def config_in_force(reader: SeriesReader) -> ConfigInForce:
    """The config that the daemon applied last."""
    return ConfigInForce(reader.config_in_force())


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
        return Config.model_validate(stored.content).with_hash(stored.hash)
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
    runs = f"config {in_force.hash} is in force since {format_time(in_force.at)}"
    if refused is not None and refused.error is not None:
        return f"{path} was REFUSED at {format_time(refused.at)} and {runs}: {refused.error.splitlines()[0]}"
    if file != in_force.hash:
        return f"{path} (now {file}) has not been taken up; {runs}: a running daemon reads it within seconds"
    return runs


def override_in_force(override: dict[str, Any], expires: float | None) -> dict[str, Any] | None:
    """What an override asks, None when it asks nothing or has lapsed."""
    if expires is not None and expires <= time.time():
        return None
    return {key: value for key, value in override.items() if value} or None


READ_BACK = 30  # configs


def config_view(reader: StateReader, config_path: Path) -> dict[str, Any]:
    """Everything that the page says of the config."""
    in_force = reader.config_in_force()
    content = redact_config(in_force.content) if in_force is not None and in_force.content is not None else None
    return {
        **config_standing(reader, config_path),
        "path": str(config_path),
        "override": override_view(content or {}),
        "set": None if content is None else as_yaml(as_written(content, only_set=True)),
        "whole": None if content is None else as_yaml(as_written(content, only_set=False)),
        "read": [{"at": entry.at, "hash": entry.hash, "error": entry.error} for entry in reader.configs(READ_BACK)],
    }


def config_summary(reader: StateReader, config_path: Path) -> dict[str, Any]:
    """What every view shows of the config: whether the file was taken up, and the override."""
    standing = config_standing(reader, config_path)
    in_force = reader.config_in_force()
    return {**standing, "override": override_view((in_force.content if in_force is not None else None) or {})}


def override_view(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the override asks; None when nothing. Whether it has lapsed is for the reader's clock to say."""
    override: Mapping[str, Any] = content.get("override") or {}
    parts = {key: value for key, value in override.items() if value and key not in {"reason", "expires"}}
    if not parts:
        return None
    words = [f"{key} {_words(value)}" for key, value in parts.items()]
    return {"sentence": "; ".join(words), "reason": override.get("reason"), "expires": override.get("expires")}


def as_yaml(value: object) -> str:
    """As a person would write it."""
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100))


def as_written(content: Mapping[str, Any], *, only_set: bool) -> dict[str, Any]:
    """The config as people write it, or what of it differs from the defaults; an older daemon's as it was stored."""
    try:
        config = Config.model_validate(dict(content))
        return config.model_dump(mode="json", exclude_defaults=only_set, context=FOR_PEOPLE)
    except ValidationError:
        return dict(content)


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(
            f"{key} ({_words(item)})" if isinstance(item, Mapping) else f"{key} {item}" for key, item in value.items()
        )
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
