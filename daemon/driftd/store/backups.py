"""Backups of what cannot be built again: one folder each, whole or absent. The daemon makes them in a child process."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from driftd.errors import DriftdError, raise_shortage
from driftd.fsutil import sha256_of, sync, sync_tree
from driftd.paths import Places
from driftd.store.descriptors import open_database
from driftd.store.integrity import DamagedError, damage_marked, examine, mark_damaged
from driftd.store.schema_versions import KINDS, DatabaseError, pending_steps
from driftd.store.state.reader import StateReader
from driftd.store.subprocesses import ChildError, run_apart

CONTENT = "backup.json"
STATE, CONFIG, MODELS_FROM, MANIFESTS = "state.db", "config.yaml", "models_from", "manifests"
DAILY, BY_HAND = "daily", "by-hand"
_UNFINISHED = ".unfinished-"
_CLOCKS_DIFFER = 120.0  # seconds
_LATER_KEPT = 3  # of the backups that were made for another reason than the time of day
_FULL_CHECK_SECONDS = 3600.0
_LARGE_CHECK_SECONDS = 600.0  # for what is too large to be copied: read, so that damage does not stay unseen


class BackupError(DriftdError):
    """A backup that could not be made or read; the message says why and what to do."""


class BackedUpModel(msgspec.Struct, frozen=True):
    """Where a model stood: its phase, the version that served, the versions on disk, and whether its events are in."""

    phase: str
    champion: int | None
    versions: tuple[int, ...]
    events: str = "none"  # `included`, `none`, or why they were left out


class Backup(msgspec.Struct, frozen=True):
    """What `backup.json` says. `files` maps each file, relative to the folder, to its SHA-256."""

    made_at: float
    reason: str
    program: str
    schema: str  # the last migration step of state.db
    models: dict[str, BackedUpModel]
    files: dict[str, str]
    bytes: int
    name: str = ""  # of the folder; not written

    def is_ahead(self, now: float) -> bool:
        """Whether its time is yet to come: a clock that was ahead made it, or the clock is behind now."""
        return self.made_at > now + _CLOCKS_DIFFER


class Plan(msgspec.Struct, frozen=True):
    """What to back up: where, the config file in force, and how large an events database may be to come along."""

    state_dir: Path
    folder: Path
    config: dict[str, Path]  # the files that it is made of, by the names of their copies
    models: tuple[str, ...]
    now: float
    program: str
    reason: str = DAILY
    most_events_bytes: int = 0
    keep: int = 7


def make_backup(plan: Plan) -> Backup:
    """Make one backup, check it, and let the oldest go. Raises BackupError, OSError, sqlite3.Error.

    Run it in a child process (`backup_apart`): it reads everything.
    """
    places = Places(plan.state_dir)
    damage = damage_marked(places.state_db)
    if damage is not None:
        raise BackupError(f"state.db is damaged, so the good backups are kept and none is made: {damage}")
    plan.folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    _sweep(plan.folder)
    final = _free(plan.folder / _name(plan))
    staged = plan.folder / f"{_UNFINISHED}{final.name}"
    staged.mkdir(mode=0o750)
    try:
        made = _write_backup(plan, places, staged)
        sync_tree(staged)
        staged.rename(final)
        sync(plan.folder)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    prune_backups(plan.folder, plan.keep, plan.now)
    return msgspec.structs.replace(made, name=final.name)


def list_backups(folders: Iterable[Path]) -> list[tuple[Path, Backup]]:
    """The backups in some folders, newest first; what cannot be read as one is passed over."""
    found = []
    for folder in dict.fromkeys(folders):
        if folder.is_dir():
            found += [(path, backup) for path in folder.iterdir() if (backup := read_backup(path)) is not None]
    return sorted(found, key=lambda item: item[1].made_at, reverse=True)


def read_backup(path: Path) -> Backup | None:
    """What a backup says that it holds; None when the folder is none."""
    if path.name.startswith("."):
        return None
    try:
        return msgspec.structs.replace(msgspec.json.decode((path / CONTENT).read_bytes(), type=Backup), name=path.name)
    except (OSError, ValueError) as error:
        raise_shortage(error)
        return None


def of_the_past(backups: Sequence[tuple[Path, Backup]], now: float) -> list[tuple[Path, Backup]]:
    """Those of some backups that a clock which is right can have made, in their order."""
    return [(path, backup) for path, backup in backups if not backup.is_ahead(now)]


def check_backup(path: Path, backup: Backup) -> str | None:
    """Why a backup cannot be used, read whole; None when it can."""
    for name, digest in backup.files.items():
        try:
            if sha256_of(path / name) != digest:
                return f"{name} is not what was backed up (its SHA-256 differs)"
        except OSError as error:
            raise_shortage(error)
            return f"{name} cannot be read: {error.strerror or error}"
    return examine(path / STATE, seconds=_FULL_CHECK_SECONDS)


def prune_backups(folder: Path, keep: int, now: float) -> list[str]:
    """Delete the oldest daily backups over `keep`, and the oldest others over three; returns their names.

    Those whose time is yet to come are counted for themselves: whichever clock is wrong, they push nothing out.
    """
    gone = []
    found = list_backups([folder])
    past = of_the_past(found, now)
    ahead = [item for item in found if item not in past]
    for backups, times in ((past, 1), (ahead, 2)):  # on a clock that is behind, the good ones are among those
        of_the_day = [path for path, backup in backups if backup.reason == DAILY]
        others = [path for path, backup in backups if backup.reason != DAILY]
        for path in [*of_the_day[times * keep :], *others[times * _LATER_KEPT :]]:
            path.rename(path.with_name(f"{_UNFINISHED}{path.name}"))  # gone in one step for whoever lists
            gone.append(path.name)
    _sweep(folder)
    return gone


def copy_database(source: Path, target: Path) -> None:
    """A whole copy of a database that others write to meanwhile, in one file, checked page by page and index by index.

    Raises DamagedError when the source or the copy is broken, sqlite3.Error and OSError when it cannot be made.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(open_database(f"{source.resolve().as_uri()}?mode=ro", uri=True, timeout=60.0)) as connection:
            connection.execute("vacuum into ?", (str(target),))
        with closing(open_database(target)) as connection:
            found = [str(row[0]) for row in connection.execute("pragma integrity_check(3)")]
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise DamagedError(f"{source} is damaged: {error}") from error
    if found != ["ok"]:
        raise DamagedError(f"{source} is damaged: {'; '.join(found)}")


def copy_config(files: Mapping[str, Path], staged: Path) -> None:
    """Copy the files that a config is made of under the names of their copies."""
    for name, file in files.items():
        (staged / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, staged / name)


def is_config(name: str) -> bool:
    """Whether a file of a copy is part of the config."""
    return name == CONFIG or name.startswith(f"{MODELS_FROM}/")


def _write_backup(plan: Plan, places: Places, staged: Path) -> Backup:
    copy_database(places.state_db, staged / STATE)
    if pending_steps(staged / STATE, "state") and plan.reason in {DAILY, BY_HAND}:
        raise BackupError(f"{places.state_db} has not the schema of this program: it is migrated at the daemon's start")
    models = {name: _model(plan, places, staged, name) for name in plan.models}
    copy_config(plan.config, staged)
    files = {str(path.relative_to(staged)): sha256_of(path) for path in sorted(staged.rglob("*")) if path.is_file()}
    size = sum((staged / name).stat().st_size for name in files)
    schema = next(
        (name for name in reversed(KINDS["state"].names) if name not in pending_steps(staged / STATE, "state")), ""
    )
    made = Backup(plan.now, plan.reason, plan.program, schema, models, files, size)
    (staged / CONTENT).write_bytes(msgspec.json.format(msgspec.json.encode(made)) + b"\n")
    return made


def _model(plan: Plan, places: Places, staged: Path, model: str) -> BackedUpModel:
    versions = list(_manifests(places, model))
    for version, manifest in versions:
        target = staged / MANIFESTS / model / f"{version}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(manifest, target)
    phase, champion = _state_of(staged / STATE, model)
    events = _events(plan, places, staged, model)
    return BackedUpModel(phase, champion, tuple(version for version, _ in versions), events)


def _state_of(state_db: Path, model: str) -> tuple[str, int | None]:
    with closing(open_database(f"{state_db.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        try:
            state = StateReader(connection).model(model)
        except msgspec.DecodeError:
            return "not readable by this driftd", None  # the backup holds it all the same
    return ("not watched yet", None) if state is None else (str(state.phase), state.champion)


def _manifests(places: Places, model: str) -> Iterator[tuple[int, Path]]:
    folder = places.model(model) / "versions"
    numbers = sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal()) if folder.is_dir() else []
    for number in numbers:
        manifest = places.version(model, number) / "manifest.json"
        if manifest.is_file():
            yield number, manifest


def _events(plan: Plan, places: Places, staged: Path, model: str) -> str:
    """Copy a model's events database unless it is absent, too large or damaged; says which."""
    source = places.events_db(model)
    if not source.exists():
        return "none"
    size = source.stat().st_size
    if size > plan.most_events_bytes:
        finding = damage_marked(source) or examine(source, seconds=_LARGE_CHECK_SECONDS)
        if finding is not None:
            mark_damaged(source, finding)
        return f"left out: {size:,} bytes are more than backup.events allows ({plan.most_events_bytes:,})"
    damage = damage_marked(source)
    if damage is not None:
        return f"left out: {source} is damaged: {damage}"
    target = events_in(staged, model)
    try:
        copy_database(source, target)
    except DamagedError as error:
        target.unlink(missing_ok=True)
        mark_damaged(source, str(error))
        return f"left out: {error}"
    return "included"


def events_in(backup: Path, model: str) -> Path:
    """Where a model's events database is in a backup."""
    return backup / "events" / model / "events.db"


def _name(plan: Plan) -> str:
    return f"{datetime.fromtimestamp(plan.now, UTC):%Y%m%dT%H%M%SZ}-{plan.reason}"


def _free(path: Path) -> Path:
    """The path, or that with the first number after it that no other backup of the same second has."""
    names = (path, *(path.with_name(f"{path.name}-{number}") for number in range(2, 1000)))
    return next(name for name in names if not name.exists())


def _sweep(folder: Path) -> None:
    """Remove what a killed run left."""
    for left in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left, ignore_errors=True)


def is_due(folders: Sequence[Path], every: float, now: float) -> bool:
    """Whether the newest daily backup is older than `every`. One from the future, made before a clock jump, is none."""
    made = [backup.made_at for _, backup in list_backups(folders) if backup.reason == DAILY and backup.made_at <= now]
    return not made or now - max(made) >= every


_LONGEST_SECONDS = 3600.0


class Outcome(msgspec.Struct, frozen=True):
    """What the child tells: the backup, or why there is none."""

    backup: Backup | None = None
    error: str = ""


def backup_apart(plan: Plan) -> Backup:
    """Make a backup in a child process, which this call waits for. Raises BackupError with one sentence."""
    order = msgspec.json.encode(plan, enc_hook=str).decode()
    try:
        output = run_apart("driftd.store.backups", [order], _LONGEST_SECONDS)
    except ChildError as error:
        raise BackupError(f"the backup failed: {error}") from error
    outcome = msgspec.json.decode(output, type=Outcome)
    if outcome.backup is None:
        raise BackupError(outcome.error)
    return outcome.backup


def main() -> None:
    """Make the backup that the JSON on the command line orders, and print what came of it."""
    plan = msgspec.json.decode(sys.argv[1], type=Plan, dec_hook=lambda kind, value: kind(value))
    try:
        outcome = Outcome(make_backup(plan))
    except (BackupError, DatabaseError, OSError, sqlite3.Error) as error:
        outcome = Outcome(error=f"no backup could be made in {plan.folder}: {error}")
    sys.stdout.write(msgspec.json.encode(outcome).decode())


if __name__ == "__main__":
    main()
