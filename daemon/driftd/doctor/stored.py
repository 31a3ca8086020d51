"""What is stored: databases whole and current, backups young, nothing left lying."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from driftd.doctor.installation import Finding, Installation, fail, ok, warn
from driftd.store.backlog import oldest_unsealed
from driftd.store.backups import list_backups
from driftd.store.integrity import damage_marked, examine
from driftd.store.kinds import DatabaseError, pending

_CHECK_SECONDS = 60.0
_UNSEALED_SECONDS = 3 * 86_400.0  # a day cold is sealed in any case
_LATE = 2.0  # times the interval of backups
DAY = 86_400.0
_STOP, _START = "sudo systemctl stop driftd", "sudo systemctl start driftd"


def databases(installation: Installation) -> Iterator[Finding]:
    """Whole, by SQLite's quick check, and with this program's schema."""
    restore = installation.command("restore")
    yield from _database(installation.places.state_db, "state", f"{_STOP}; {restore}; {_START}")
    for name, model in installation.config.models.items():
        path = installation.places.events_db(name)
        if model.source.kind == "store" and path.exists():
            yield from _database(path, "events", installation.command(f"restore --events {name}"))


def _database(path: Path, kind: str, restore: str) -> Iterator[Finding]:
    if not path.exists():
        yield fail(str(path), "does not exist", f"start the daemon; if there are backups: {restore}")
        return
    finding = damage_marked(path) or examine(path, seconds=_CHECK_SECONDS)
    if finding is not None:
        yield fail(str(path), f"is damaged: {finding}", restore)
        return
    try:
        missing = pending(path, kind)
    except DatabaseError as error:
        yield fail(str(path), str(error), "install the newer driftd again, or restore a backup from before it")
        return
    if missing:
        yield warn(str(path), f"lacks {', '.join(missing)}", "restart the daemon: it migrates, after a backup")
    else:
        yield ok(str(path), f"{path.stat().st_size / 1e6:,.1f} MB, whole, schema current")


def backlog(installation: Installation) -> Iterator[Finding]:
    """Events that were never sealed into segments: the daemon's upkeep does that."""
    for name, model in installation.config.models.items():
        path = installation.places.events_db(name)
        if model.source.kind != "store" or damage_marked(path) is not None:
            continue
        oldest = oldest_unsealed(path)
        if oldest is not None and installation.now - oldest > _UNSEALED_SECONDS:
            said = f"its oldest unsealed events are {(installation.now - oldest) / DAY:.0f} days old"
            yield warn(name, said, "upkeep does not end well: grep the daemon's log for upkeep_failed")
        else:
            yield ok(name, "no backlog of events to seal")


def backups(installation: Installation) -> Iterator[Finding]:
    """The newest backup is as young as the config wants."""
    config, by_hand = installation.config.backup, installation.command("backup")
    folder = config.folder or installation.places.backups
    found = [backup for _, backup in list_backups([folder])]
    if not found:
        yield warn(str(folder), "holds no backup", f"a running daemon makes one within a minute; else: {by_hand}")
        return
    age = installation.now - found[0].made_at
    said = f"{len(found)} backups, the newest {age / 3600:.1f} h old ({found[0].name})"
    if age > _LATE * config.every:
        yield fail(str(folder), said, f"grep the daemon's log for backup_failed; `{by_hand}` makes one now")
    else:
        yield ok(str(folder), said)
