"""Maintenance beside the main loop: disk figures, sealing, retention, backups."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import structlog

from driftd.config.load import files_of
from driftd.config.schema import Config
from driftd.loop.disk import sweep
from driftd.observe.metrics import Metrics
from driftd.paths import Places
from driftd.store.backups import DAILY, Backup, BackupError, Plan, backup_apart, is_due, list_backups, of_the_past
from driftd.store.cutoff import SortedTimes, choose_cutoff
from driftd.store.events.retention import RetentionLimits, needs_upkeep, upkeep_apart
from driftd.store.integrity import damage_marked, handle_failure
from driftd.store.state.writer import StateStore
from driftd.store.subprocesses import PROBE_SECONDS, probe_hangs

PRUNE_AGAIN = 3600.0  # seconds until what failed is tried again
FOLDERS = {
    "events": "events",
    "models": "versions",
    "snapshots": "snapshots",
    "jobs": "jobs",
    "reports": "reports",
    "backups": "backups",
}


def disk_free(places: Places) -> tuple[int, int]:
    """Free bytes for driftd and the size of the file system of `state_dir`. Raises OSError when it cannot be asked."""
    stats = os.statvfs(places.root)
    return stats.f_bavail * stats.f_frsize, stats.f_blocks * stats.f_frsize


def sizes(places: Places) -> dict[str, int]:
    """Bytes on disk of each part of `state_dir`; `state` is everything that is in none of the folders."""
    found = dict.fromkeys(["state", *FOLDERS.values()], 0)
    with contextlib.suppress(FileNotFoundError):
        for path in places.root.iterdir():
            found[FOLDERS.get(path.name, "state")] += disk_usage(path)
    return found


def disk_usage(path: Path) -> int:
    """Bytes on disk of a file or a folder with all that is in it; what vanishes meanwhile counts nothing."""
    total = 0
    with contextlib.suppress(FileNotFoundError):
        total += path.lstat().st_blocks * 512
    if path.is_dir() and not path.is_symlink():
        with contextlib.suppress(FileNotFoundError), os.scandir(path) as entries:
            total += sum(disk_usage(Path(entry.path)) for entry in entries)
    return total


log = structlog.get_logger()

EVERY_SECONDS = 600.0
SCORES_MOVED_A_DAY = 200_000  # of those that lie as an earlier driftd wrote them: 1.4 s of work
PRUNED_EVERY = 86_400.0 / 4  # where nothing is cold, old rows are looked for so often
BACKUP_FIRST_SECONDS, BACKUP_LOOK_SECONDS = 30.0, 120.0


def retention_limits(config: Config) -> RetentionLimits:
    """What the config says of events."""
    retention = config.retention
    return RetentionLimits(retention.events, retention.event_bytes, share=retention.share)


@dataclass(slots=True)
class DoneUpkeep:
    """What the upkeep of event stores remembers, by model."""

    at: dict[str, float] = field(default_factory=dict)  # when it last ended well
    held: dict[str, str] = field(default_factory=dict)  # why rows over their age were kept; empty when none were
    keep_seconds: float = 0.0  # what the config said of their age then


def maintain_events(
    config: Config,
    places: Places,
    now: float,
    done: DoneUpkeep | None = None,
    *,
    most_bytes: int | None = None,
) -> dict[str, bool]:
    """Seal and prune, in one child, the event stores where something is to be done; a failure never touches another.

    A run that fails (a full disk) loses nothing: the next one goes on from there. What is too old is looked for now and
    then also where nothing is cold, by what `done` remembers. `most_bytes` is what one store may take by
    `retention.disk`. Returns, by model, whether it ended well, or whether there was nothing to do.
    """
    done = done or DoneUpkeep()
    limits = retention_limits(config)
    if most_bytes is not None:
        limits = replace(limits, most_bytes=min(most_bytes, limits.most_bytes or most_bytes))
    if limits.keep_seconds != done.keep_seconds:
        done.at, done.keep_seconds = {}, limits.keep_seconds
    ended_well = {model: damage_marked(places.events_db(model)) is None for model in config.models}
    stores = {
        model: (places.events_db(model), places.segments(model))
        for model, is_whole in ended_well.items()  # nothing is written to one that waits to be restored
        if is_whole and not _is_at_rest(places.events_db(model), now, done.at.get(model), limits)
    }
    for model, found in upkeep_apart(stores, now, limits).items():
        if found.error:
            log.warning("upkeep_failed", model=model, error=found.error)
            ended_well[model] = False
            continue
        done.at[model], done.held[model] = now, found.pruned.held
        if found.sealed or found.pruned.rows:
            log.info(
                "upkeep_done",
                model=model,
                sealed_rows=sum(segment.rows for segment in found.sealed),
                pruned_rows=found.pruned.rows,
                pruned_segments=found.pruned.segments,
            )
    return ended_well


def _is_at_rest(path: Path, now: float, done_at: float | None, limits: RetentionLimits) -> bool:
    looked_lately = done_at is not None and 0 <= now - done_at < PRUNED_EVERY
    return looked_lately and not needs_upkeep(path, now, limits)


class Prunable(Protocol):
    """A model whose versions, snapshots, jobs and reports are pruned."""

    def prune_disk(self) -> None:
        """Remove what is beyond its retention and not in use."""
        ...


def prune(
    places: Places, models: Mapping[str, Prunable], store: StateStore, config: Config, metrics: Metrics, now: float
) -> bool:
    """Remove what killed processes left, and what is beyond its retention; False where it failed, which is told.

    A database that is damaged is told by its exception: the daemon ends on it.
    """

    def report(error: Exception) -> None:
        log.warning("prune_failed", error=str(error), kind=type(error).__name__)
        failed.append(error)

    failed: list[Exception] = []
    with handle_failure(report):  # a disk that is full, or a state that is locked, costs no round
        for path in sweep(places, now):
            log.info("leftover_removed", path=str(path))
        for model in models.values():
            model.prune_disk()
        prune_checks(store, config, metrics, now)
    return not failed


def prune_checks(store: StateStore, config: Config, metrics: Metrics, now: float) -> None:
    """Forget the checks of every model that are older than `retention.checks`, unless the clock is in doubt."""
    for state in store.models():
        times = store.check_times(state.model)
        if not times:
            continue
        cutoff = choose_cutoff(SortedTimes(times), now, config.retention.checks, config.retention.share)
        if state.model in config.models:
            metrics.model(state.model).hold_deletion("checks", held=cutoff.at is None)
        if cutoff.at is None:
            log.warning("deletion_held", model=state.model, rows="checks", reason=cutoff.reason)
            continue
        store.prune(state.model, before=cutoff.at)
    most = SCORES_MOVED_A_DAY
    for state in store.models():
        most -= store.move_scores(state.model, most)


def back_up(config: Config, config_path: Path, places: Places, metrics: Metrics, now: float) -> Backup | None:
    """Make the daily backup when it is due, in a child; returns it. A failure is told and tried again."""
    folder = config.backup.folder or places.backups
    try:
        if config.backup.folder is not None:
            _require_answer(folder)
        if not is_due([folder], config.backup.every, now):
            newest = of_the_past(list_backups([folder]), now)[0][1]
            metrics.record_backup(newest.made_at, newest.bytes)
            return None
        made = backup_apart(backup_plan(config, config_path, places, now))
    except (BackupError, OSError) as error:
        metrics.count_failed_backup()
        log.error("backup_failed", folder=str(folder), error=str(error))
        return None
    metrics.record_backup(made.made_at, made.bytes)
    left_out = {name: model.events for name, model in made.models.items() if model.events.startswith("left out")}
    log.info(
        "backup_made", backup=str(folder / made.name), bytes=made.bytes, **({"left_out": left_out} if left_out else {})
    )
    return made


def _require_answer(folder: Path) -> None:
    """Look by a child process: a thread that hangs would be lost, and the end of the daemon would wait for it."""
    if probe_hangs([str(folder)], PROBE_SECONDS):
        raise BackupError(f"{folder} does not answer within {PROBE_SECONDS:.0f} s")


def backup_plan(config: Config, config_path: Path, places: Places, now: float, *, reason: str = DAILY) -> Plan:
    """What the config says of backups, as an order."""
    return Plan(
        state_dir=places.root,
        folder=config.backup.folder or places.backups,
        config=files_of(config_path),
        models=tuple(config.models),
        now=now,
        reason=reason,
        program=version("driftd"),
        most_events_bytes=config.backup.events,
        keep=config.backup.keep,
    )
