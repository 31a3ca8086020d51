"""Keeping house, off the main loop: what is cold is sealed, what is over its age goes, and backups are made."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import structlog

from driftd.config.model import Config
from driftd.observe.metrics import Metrics
from driftd.places import Places
from driftd.store.apart import ChildError
from driftd.store.backup_apart import backup_apart
from driftd.store.backups import DAILY, Backup, BackupError, Plan, is_due, list_backups
from driftd.store.events_retention import Limits
from driftd.store.integrity import damage_marked
from driftd.store.kinds import DatabaseError
from driftd.store.upkeep import upkeep_apart

log = structlog.get_logger()

EVERY_SECONDS = 600.0
BACKUP_FIRST_SECONDS, BACKUP_LOOK_SECONDS = 30.0, 120.0


def keep_house(config: Config, places: Places, now: float) -> dict[str, bool]:
    """Seal and prune the event store of each model in a child; one model's failure never touches another.

    A run that fails (a full disk) loses nothing: the next one goes on from there. Returns, by model, whether it ended
    well.
    """
    ended_well = dict.fromkeys(config.models, True)
    limits = Limits(config.retention.events, config.retention.event_bytes)
    for model in config.models:
        if damage_marked(places.events_db(model)) is not None:
            ended_well[model] = False  # nothing is written to it until it is restored
            continue
        try:
            done = upkeep_apart(places.events_db(model), places.segments(model), now, limits)
        except (ChildError, DatabaseError, OSError) as error:
            log.warning("upkeep_failed", model=model, error=str(error))
            ended_well[model] = False
            continue
        if done.sealed or done.pruned.rows:
            log.info(
                "upkeep_done",
                model=model,
                sealed_rows=sum(one.rows for one in done.sealed),
                pruned_rows=done.pruned.rows,
                pruned_segments=done.pruned.segments,
            )
    return ended_well


def back_up(config: Config, config_path: Path, places: Places, metrics: Metrics, now: float) -> Backup | None:
    """Make the daily backup when it is due, in a child; returns it. A failure is told and tried again."""
    folder = config.backup.folder or places.backups
    try:
        if not is_due([folder], config.backup.every, now):
            newest = list_backups([folder])[0][1]
            metrics.backed_up(newest.made_at, newest.bytes)
            return None
        made = backup_apart(backup_plan(config, config_path, places, now))
    except (BackupError, OSError) as error:
        metrics.backup_failed()
        log.error("backup_failed", folder=str(folder), error=str(error))
        return None
    metrics.backed_up(made.made_at, made.bytes)
    left_out = {name: model.events for name, model in made.models.items() if model.events.startswith("left out")}
    log.info(
        "backup_made", backup=str(folder / made.name), bytes=made.bytes, **({"left_out": left_out} if left_out else {})
    )
    return made


def backup_plan(config: Config, config_path: Path, places: Places, now: float, *, reason: str = DAILY) -> Plan:
    """What the config says of backups, as an order."""
    return Plan(
        state_dir=places.root,
        folder=config.backup.folder or places.backups,
        config=config_path,
        models=tuple(config.models),
        now=now,
        reason=reason,
        program=version("driftd"),
        most_events_bytes=config.backup.events,
        keep=config.backup.keep,
    )
