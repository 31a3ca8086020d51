"""Whether a running daemon would take a config up without a restart."""

from __future__ import annotations

from pathlib import Path

from driftd.config.load import ConfigError
from driftd.config.model import Config
from driftd.config.redacting import shown
from driftd.places import Places
from driftd.store.state_reader import StateAbsentError, StateReader


def require_reloadable(config: Config, path: Path) -> None:
    """Raise ConfigError for a change that the daemon refuses while it runs, as its reload does."""
    try:
        with StateReader.read_only(Places(config.state_dir).state_db) as reader:
            in_force = reader.config_in_force()
    except StateAbsentError:
        raise ConfigError(f"{path}: no daemon keeps its state in {config.state_dir}; {_RESTART}") from None
    before = (in_force.content or {}).get("http", {}) if in_force is not None else {}
    now = shown(config)["http"]
    changed = [key for key, value in before.items() if key in now and now[key] != value]
    if changed:
        raise ConfigError(f"{path}: http.{changed[0]} is not what the daemon runs with; {_RESTART}")


_RESTART = "state_dir and http change only with a restart of driftd: systemctl restart driftd"
