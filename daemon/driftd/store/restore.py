"""Putting a backup in a broken database's place: prepared beside it, then renamed, with the broken files kept.

Whenever this is killed, the next start finds the old database, none (and refuses, saying how to go on), or the restored
one; never an old write-ahead log beside a new database, which SQLite would play into it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from driftd.fsutil import sync
from driftd.paths import Places
from driftd.store.backups import STATE, Backup, BackupError, check_backup, events_in, of_the_past
from driftd.store.descriptors import open_database
from driftd.store.events.writer import FileGate, connect, transaction
from driftd.store.integrity import clear_mark
from driftd.store.migrations import ensure_current

UNANSWERED = "not answered: the state was restored from a backup of the time when this was asked; ask again"


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done: where the replaced files are now, and what else was put aside."""

    kept: Path | None
    aside: tuple[Path, ...] = ()


def newest_good(backups: Sequence[tuple[Path, Backup]], now: float) -> tuple[Path, Backup, list[str]]:
    """The newest backup that can be used, and a sentence for each newer one that cannot. Raises BackupError.

    One whose time is yet to come is used where there is no other.
    """
    past = of_the_past(backups, now)
    ahead = [item for item in backups if item not in past]
    refused = [f"{backup.name} is set aside: its time is yet to come (a clock was ahead)" for _, backup in ahead]
    for path, backup in [*past, *ahead]:
        fault = check_backup(path, backup)
        if fault is None:
            return path, backup, refused
        refused.append(f"{backup.name} cannot be used: {fault}")
    raise BackupError(
        "; ".join(refused) or "there is no backup: start driftd without state.db and it adopts what serves"
    )


def restore_state(places: Places, chosen: Path, backup: Backup, *, who: str, now: float) -> Restored:
    """Make a backup the state. Call it with the state directory's lock held, and the backup checked.

    Raises DatabaseError when the backup was made by a newer driftd, OSError and sqlite3.Error when it cannot be done;
    then the state is as it was.
    """
    path = places.state_db
    fresh = path.with_name(f".{path.name}.restoring")
    _clear(fresh)
    try:
        shutil.copyfile(chosen / STATE, fresh)
        ensure_current(fresh, "state", keep=False)
        newest_action = mark_restored(fresh, backup=backup.name, made_at=backup.made_at, who=who, now=now)
        sync(fresh)
        jobs = _later_jobs_aside(places, newest_action, now)
        kept = _replace(path, fresh, now)
    finally:
        _clear(fresh)
    return Restored(kept, (jobs,) if jobs is not None else ())


def restore_events(places: Places, model: str, chosen: Path | None, *, now: float) -> Restored:
    """Make a backup, or with None an empty database, the event store of a model. Applications may go on running.

    Sealed files that the backup does not know are put aside, so that sealing does not remove them.
    """
    path = places.events_db(model)
    fresh = path.with_name(f".{path.name}.restoring")
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear(fresh)
    try:
        if chosen is not None:
            shutil.copyfile(events_in(chosen, model), fresh)
        ensure_current(fresh, "events", keep=False)
        aside = _match_segments(fresh, places.segments(model), now)
        with closing(open_database(fresh)) as connection:
            connection.execute("pragma journal_mode = wal")
        sync(fresh)
        turns = FileGate(path)
        try:
            with turns.enter_to_replace():
                kept = _replace(path, fresh, now)
        finally:
            turns.close()
    finally:
        _clear(fresh)
    return Restored(kept, (aside,) if aside is not None else ())


def mark_restored(fresh: Path, *, backup: str, made_at: float, who: str, now: float) -> int:
    """Note the restore for every model, so that the next start reconciles it; returns the newest action's id."""
    with closing(open_database(fresh, isolation_level=None)) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute("begin immediate")
        connection.execute(
            "insert into restores(at, who, backup, made_at, model) select ?, ?, ?, ?, model from models",
            (now, who, backup, made_at),
        )
        connection.execute(
            "update requests set handled_at = ?, outcome = ? where handled_at is null", (now, UNANSWERED)
        )
        connection.execute("commit")
        (newest,) = connection.execute("select coalesce(max(id), 0) from actions").fetchone()
    return int(newest)


def _later_jobs_aside(places: Places, newest_action: int, now: float) -> Path | None:
    """Job folders are named by their action's number; those of forgotten ones would answer for new ones."""
    jobs = places.job("x").parent
    later = [path for path in jobs.iterdir() if _action_of(path.name) > newest_action] if jobs.is_dir() else []
    if not later:
        return None
    aside = _move_aside(later, jobs, now)
    sync(jobs)
    return aside


def _action_of(job: str) -> int:
    """`demand-57-train` is of action 57; a name of another form is of none."""
    parts = job.rsplit("-", 2)
    return int(parts[1]) if len(parts) == 3 and parts[1].isdecimal() else 0  # noqa: PLR2004 - model, action, kind


def _replace(path: Path, fresh: Path, now: float) -> Path | None:
    """Rename the old files aside, its log before anything new stands there, and the new one into its place."""
    kept = path.with_name(f"{path.name}.before-restore-{_stamp(now)}") if path.exists() else None
    for ending in ("", "-wal", "-shm"):
        part = path.with_name(path.name + ending)
        if part.exists() and kept is not None:
            part.rename(kept.with_name(kept.name + ending))
        else:
            part.unlink(missing_ok=True)
    clear_mark(path)
    sync(path.parent)
    fresh.rename(path)
    sync(path.parent)
    return kept


def _match_segments(fresh: Path, segments: Path, now: float) -> Path | None:
    """Forget the rows of sealed files that are gone since the backup; put files aside that it does not know."""
    with closing(connect(fresh)) as connection:
        registered = connection.execute("select id, file, first_seq, last_seq from segments").fetchall()
        with transaction(connection):
            for number, file, first, last in registered:
                if not (segments / file).exists():
                    connection.execute("delete from predictions where seq between ? and ?", (first, last))
                    connection.execute("delete from segments where id = ?", (number,))
    known = {file for _, file, _, _ in registered}
    found = segments.glob("*.parquet") if segments.is_dir() else ()
    unknown = [segment for segment in found if segment.name not in known]
    if not unknown:
        return None
    return _move_aside(unknown, segments, now)


def _move_aside(paths: Iterable[Path], folder: Path, now: float) -> Path:
    """Move what the backup does not know out of a folder, beside it; returns the new folder."""
    aside = folder.with_name(f"{folder.name}.before-restore-{_stamp(now)}")
    aside.mkdir(exist_ok=True)
    for path in paths:
        path.rename(aside / path.name)
    return aside


def _clear(fresh: Path) -> None:
    for ending in ("", "-wal", "-shm", ".lock"):
        fresh.with_name(fresh.name + ending).unlink(missing_ok=True)


def _stamp(now: float) -> str:
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}"
