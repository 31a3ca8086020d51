"""Reading config.yaml."""

from __future__ import annotations

import hashlib
from pathlib import Path

import yaml
from pydantic import ValidationError

from driftd.config.model import Config


class ConfigError(Exception):
    """A config that cannot be used; the message is the whole report."""


def load(path: Path) -> Config:
    """Read and check a config. Raises ConfigError."""
    try:
        content = path.read_bytes()
        config = Config.model_validate(yaml.safe_load(content))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise ConfigError(f"{path}: {error}") from error
    return config.model_copy(update={"hash": hashlib.sha256(content).hexdigest()[:12]})
