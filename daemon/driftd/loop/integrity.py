"""Checks that databases and versions are whole, at start and in each round."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import structlog

from driftd.config.schema import Config
from driftd.errors import is_shortage
from driftd.observe.metrics import Metrics
from driftd.paths import Places
from driftd.registry import Registry
from driftd.store.backups import list_backups
from driftd.store.integrity import (
    EVENTS_SECONDS,
    STATE_SECONDS,
    DamagedError,
    damage_marked,
    examine,
    keep_aside,
    mark_damaged,
)
from driftd.store.ownership import command_for

log = structlog.get_logger()


def require_whole_state(config: Config, config_path: Path, places: Places) -> None:
    """Refuse to begin on a state database that is damaged, or gone while backups of it exist.

    Nothing is changed; the broken file is copied aside once. Raises DamagedError with what to do.
    """
    path = places.state_db
    finding = damage_marked(path) or examine(path, seconds=STATE_SECONDS) or _loss(config, places)
    if finding is not None:
        raise DamagedError(state_sentence(path, finding, config_path))


def state_sentence(path: Path, finding: str, config_path: Path) -> str:
    """What a person is told of a damaged state database; the broken file is kept aside on the way."""
    kept = keep_aside(path) if path.exists() else None
    log.error("state_damaged", path=str(path), finding=finding, kept=str(kept) if kept else None)
    restore = command_for(path.parent, f"restore --config {config_path}")
    aside = f"The broken file is kept as {kept.name}. " if kept is not None else ""
    return (
        f"{path} is damaged: {finding}. {aside}driftd does not run on it, and nothing was changed; the versions that "
        f"serve go on serving. Restore the newest good backup: `{restore}` (`--list` shows "
        "what there is), then start driftd again."
    )


def _loss(config: Config, places: Places) -> str | None:
    """A missing or empty database is how a first start finds things, but not where backups of it stand."""
    path = places.state_db
    if path.exists() and path.stat().st_size:
        return None
    backups = list_backups([config.backup.folder or places.backups, places.backups])
    if not backups:
        return None
    what = "the file is empty" if path.exists() else "the file is gone"
    folder = backups[0][0].parent
    return f"{what}, though backups of it exist in {folder} (to begin anew on purpose, move them away)"


@dataclass(slots=True)
class EventsWatch:
    """Looks at events databases, at each state of a file once."""

    places: Places
    config_path: Path
    _seen: dict[str, tuple[tuple[int, int, int], str | None]] = field(default_factory=dict)

    def require_whole(self, model: str) -> None:
        """Raises DamagedError when the event store of a model must not be used."""
        path = self.places.events_db(model)
        if not path.exists():
            return
        finding = damage_marked(path) or self._examine(model, path)
        if finding is not None:
            raise DamagedError(self.keep_damaged(model, finding))

    def require_unmarked(self, model: str) -> None:
        """Raises DamagedError when somebody found the event store of a model damaged since it was taken under watch."""
        finding = damage_marked(self.places.events_db(model))
        if finding is not None:
            raise DamagedError(finding)

    def keep_damaged(self, model: str, finding: str) -> str:
        """Keep the broken file aside, leave word for whoever writes to it; returns what a person is told."""
        path = self.places.events_db(model)
        if damage_marked(path) is None:
            kept = keep_aside(path)
            mark_damaged(path, finding)
            log.error("events_damaged", model=model, path=str(path), finding=finding, kept=str(kept) if kept else None)
        restore = command_for(self.places.root, f"restore --events {model} --config {self.config_path}")
        return (
            f"{path} is damaged: {finding}. {model} is not watched and takes no events in; its served version goes on "
            f"answering. Restore it: `{restore}`."
        )

    def _examine(self, model: str, path: Path) -> str | None:
        status = path.stat()
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        if model not in self._seen or self._seen[model][0] != stamp:
            self._seen[model] = (stamp, examine(path, seconds=EVENTS_SECONDS))
        return self._seen[model][1]


def check_versions(config: Config, places: Places, metrics: Metrics) -> None:
    """Hash the version that serves of each model: a damaged one serves only where it is in memory already."""
    registry = Registry(places)
    for model in config.models:
        served = registry.current(model)
        if served is not None:
            check_version(registry, model, served, metrics)


def check_version(registry: Registry, model: str, version: int, metrics: Metrics) -> None:
    """Hash the files of one version that serves, and tell when they are not what was published."""
    try:
        fault = registry.fault(model, version)
    except OSError as error:
        if is_shortage(error):  # the next look tells: nothing is known of its files
            log.warning("version_not_checked", model=model, version=version, reason=str(error))
            return
        fault = str(error)
    metrics.model(model).set_version_damaged(damaged=fault is not None)
    if fault is not None:
        log.error("version_damaged", model=model, version=version, reason=fault, todo=rollback_hint(model))


def rollback_hint(model: str) -> str:
    """What a person can do about a damaged version that serves."""
    return f'put its folder back from your own backup, or `driftd rollback {model} --why "damaged"`'
