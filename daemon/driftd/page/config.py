"""The config in force, its hash and time, the override, the last refusal: what the daemon runs, not the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from driftd.config.durations import FOR_PEOPLE
from driftd.config.model import Config
from driftd.config.redacting import redacted_config
from driftd.page.standing import config_standing
from driftd.store.state_reader import StateReader

READ_BACK = 30  # configs


def config_view(reader: StateReader, config_path: Path) -> dict[str, Any]:
    """Everything that the page says of the config."""
    in_force = reader.config_in_force()
    content = redacted_config(in_force.content) if in_force is not None and in_force.content is not None else None
    return {
        **config_standing(reader, config_path),
        "path": str(config_path),
        "override": override_told(content or {}),
        "set": None if content is None else as_yaml(as_written(content, only_set=True)),
        "whole": None if content is None else as_yaml(as_written(content, only_set=False)),
        "read": [{"at": one.at, "hash": one.hash, "error": one.error} for one in reader.configs(READ_BACK)],
    }


def config_summary(reader: StateReader, config_path: Path) -> dict[str, Any]:
    """What every view shows of the config: whether the file was taken up, and the override."""
    standing = config_standing(reader, config_path)
    in_force = reader.config_in_force()
    return {**standing, "override": override_told((in_force.content if in_force is not None else None) or {})}


def override_told(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the override asks; None when nothing. Whether it has lapsed is for the reader's clock to say."""
    override: Mapping[str, Any] = content.get("override") or {}
    asked = {key: value for key, value in override.items() if value and key not in {"reason", "expires"}}
    if not asked:
        return None
    words = [f"{key} {_words(value)}" for key, value in asked.items()]
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
            f"{key} ({_words(one)})" if isinstance(one, Mapping) else f"{key} {one}" for key, one in value.items()
        )
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
