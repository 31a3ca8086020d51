"""Whole copies of a state directory for another host: made while everything runs, taken over there.

A copy is one folder, whole or absent. What never changes (versions, snapshots, sealed segments) is a hard link to the
copy before, so that a copy every few minutes costs the databases and what is new.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from driftd.errors import DriftdError
from driftd.fsutil import sha256_of, sync, sync_tree, write_durably
from driftd.paths import Places
from driftd.store.backups import STATE, copy_config, copy_database, is_config
from driftd.store.descriptors import open_database
from driftd.store.integrity import DamagedError
from driftd.store.migrations import ensure_current
from driftd.store.restore import mark_restored
from driftd.store.state.reader import StateReader

CONTENT, ACTIVE, NEWEST = "standby.json", "active.json", "newest"
INSTALLATION = ".installation"  # in a state directory: which one it is, wherever it is moved to
KEPT = 2  # whole copies
_UNFINISHED, _STAGED = ".unfinished-", ".taking-over"
_TRIES = 3  # of an event store whose retention removes a segment just now
_OWN = frozenset({"driftd.lock", INSTALLATION, "backups"})  # what a state directory without a state may hold


class StandbyError(DriftdError):
    """A copy that cannot be made or taken over; the message says why and what to do."""


class Standby(msgspec.Struct, frozen=True):
    """What `standby.json` says of a copy. `files` maps each file to its size; `hashes` the databases and the config."""

    made_at: float  # epoch seconds, before the first byte was read: everything acknowledged by then is in it
    program: str
    installation: str  # that it is of
    files: dict[str, int]
    hashes: dict[str, str]
    copied: int = 0  # bytes that were not in the copy before


class Active(msgspec.Struct, frozen=True):
    """Which installation may write copies here: the one that works."""

    installation: str
    who: str
    since: float


def make_standby(
    places: Places, config: Mapping[str, Path], models: tuple[str, ...], to: Path, *, program: str, now: float
) -> Path:
    """Copy the state, the event stores, versions and snapshots into a new folder below `to`; returns it.

    Raises StandbyError where another installation has taken over, or a database is damaged; OSError, sqlite3.Error.
    """
    own = _installation(places)
    _require_active(to, own)
    to.mkdir(parents=True, exist_ok=True, mode=0o750)
    _sweep(to)
    before = next(iter(_copies(to)), None)
    staged = to / f"{_UNFINISHED}{_name(before, now)}"
    staged.mkdir(mode=0o750)
    try:
        copied = _Copier(places.root, staged, before)
        copied.databases(places, models)
        for folder in ("models", "snapshots"):
            copied.tree(folder)
        copy_config(config, staged)
        _link_champions(staged)
        _write_content(staged, Standby(now, program, own, {}, {}, copied.bytes))
        sync_tree(staged)
        final = to / staged.name.removeprefix(_UNFINISHED)
        staged.rename(final)
    except DamagedError as error:
        raise StandbyError(f"no copy is made of a damaged database: {error}") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    _point(to, final)
    for old in _copies(to)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def _name(before: Path | None, now: float) -> str:
    """The name of the next copy: it sorts after the one before, whatever the clock did between the two."""
    last = before.name.partition("-")[0] if before is not None else "0"
    number = int(last) + 1 if last.isdecimal() else 1
    return f"{number:06d}-{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"


class _Copier:
    """Copies from a state directory; what the copy before has unchanged is linked."""

    def __init__(self, root: Path, staged: Path, before: Path | None) -> None:
        self._root, self._staged, self._before = root, staged, before
        self.bytes = 0

    def databases(self, places: Places, models: tuple[str, ...]) -> None:
        """The state first: no event or version that it names is younger than what is copied after it."""
        copy_database(places.state_db, self._staged / STATE)
        self.bytes += (self._staged / STATE).stat().st_size
        for model in models:
            if places.events_db(model).exists():
                self._events(places, model)

    def _events(self, places: Places, model: str) -> None:
        copy = Places(self._staged)
        for left in reversed(range(_TRIES)):
            copy.events_db(model).unlink(missing_ok=True)
            copy_database(places.events_db(model), copy.events_db(model))
            try:
                for segment in _segments(copy.events_db(model)):
                    self.file(places.segments(model).relative_to(places.root) / segment)
            except FileNotFoundError:
                if not left:
                    raise
                continue  # retention removed it meanwhile, and its line in the database
            self.bytes += copy.events_db(model).stat().st_size
            return

    def tree(self, folder: str) -> None:
        """A folder of immutable folders. What is half made has a name with a dot; what goes meanwhile is left out."""
        for path in sorted((self._root / folder).rglob("*")):
            relative = path.relative_to(self._root)
            if any(part.startswith(".") for part in relative.parts) or path.is_symlink() or not path.is_file():
                continue
            with suppress(FileNotFoundError):
                self.file(relative)

    def file(self, relative: Path) -> None:
        """One file, with its time: by it and by its size the next copy knows it again."""
        source, target = self._root / relative, self._staged / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        known = None if self._before is None else self._before / relative
        status = source.stat()
        if known is not None and known.exists() and _same(known.stat(), status):
            with suppress(OSError):  # a file system without hard links
                os.link(known, target)
                return
        shutil.copy2(source, target)
        self.bytes += status.st_size


def _same(a: os.stat_result, b: os.stat_result) -> bool:
    return a.st_size == b.st_size and int(a.st_mtime) == int(b.st_mtime)


def _segments(events_db: Path) -> list[str]:
    with closing(open_database(f"{events_db.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        return [str(file) for (file,) in connection.execute("select file from segments order by id")]


def _link_champions(staged: Path) -> None:
    """`current` as the copied state has it: the link on disk may be of a swap that came after."""
    places = Places(staged)
    with StateReader.read_only(places.state_db) as reader:
        for state in reader.models():
            if state.champion is not None and places.version(state.model, state.champion).is_dir():
                places.current(state.model).symlink_to(f"versions/{state.champion}")


def _write_content(staged: Path, content: Standby) -> None:
    found = {str(path.relative_to(staged)): path for path in _files(staged)}
    hashed = {name: sha256_of(path) for name, path in found.items() if path.suffix == ".db" or is_config(name)}
    sizes = {name: path.stat().st_size for name, path in found.items()}
    whole = msgspec.structs.replace(content, files=sizes, hashes=hashed)
    (staged / CONTENT).write_bytes(msgspec.json.format(msgspec.json.encode(whole)) + b"\n")


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())


def take_over(places: Places, source: Path, *, who: str, now: float) -> tuple[Path, Standby]:
    """Make the newest whole copy below `source` the state. Call it with the lock of the (empty) state directory held.

    From then on the installation that the copy is of makes no more copies there. Nothing of a state that is there
    already is touched: then, and where no copy is whole, StandbyError is raised.
    """
    chosen, content = _newest(source)
    held = sorted(path.name for path in places.root.iterdir() if path.name not in _OWN)
    if held:
        raise StandbyError(
            f"{places.root} is not empty ({', '.join(held[:3])}): a copy is taken over into an empty state_dir, and "
            "nothing is overwritten. Move what is there away first"
        )
    write_durably(source / ACTIVE, msgspec.json.encode(Active(_installation(places), who, now)))
    staged = places.root / _STAGED
    shutil.copytree(chosen, staged, symlinks=True)
    ensure_current(staged / STATE, "state", keep=False)
    mark_restored(staged / STATE, backup=f"the copy {chosen.name}", made_at=content.made_at, who=who, now=now)
    sync_tree(staged)
    for name in ("snapshots", "models", "events", STATE):  # the state last: without it nothing begins
        if (staged / name).exists():
            (staged / name).rename(places.root / name)
    shutil.rmtree(staged)
    sync(places.root)
    return chosen, content


def read_standby(path: Path) -> Standby:
    """What a whole copy says of itself."""
    return msgspec.json.decode((path / CONTENT).read_bytes(), type=Standby)


def _newest(source: Path) -> tuple[Path, Standby]:
    refused = []
    for path in _copies(source):
        content = read_standby(path)
        fault = _fault(path, content)
        if fault is None:
            return path, content
        refused.append(f"{path.name}: {fault}")
    raise StandbyError("; ".join(refused) or f"there is no copy in {source}: `driftd backup --to` makes them")


def _fault(path: Path, content: Standby) -> str | None:
    for name, size in content.files.items():
        if not (path / name).is_file() or (path / name).stat().st_size != size:
            return f"{name} is not there, or not of the size that it had"
    changed = (name for name, known in content.hashes.items() if sha256_of(path / name) != known)
    return next((f"{name} is not as it was" for name in changed), None)


def _copies(to: Path) -> list[Path]:
    """The whole copies, newest first."""
    found = to.iterdir() if to.is_dir() else ()
    whole = [path for path in found if not path.is_symlink() and (path / CONTENT).is_file()]
    return sorted((path for path in whole if not path.name.startswith(".")), key=lambda path: path.name, reverse=True)


def _point(to: Path, final: Path) -> None:
    fresh = to / f".{NEWEST}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(final.name)
    fresh.rename(to / NEWEST)
    sync(to)


def _require_active(to: Path, own: str) -> None:
    """Whoever was taken over from must not write copies on: its state is no longer the one that is worked by."""
    try:
        active = msgspec.json.decode((to / ACTIVE).read_bytes(), type=Active)
    except FileNotFoundError:
        return
    if active.installation != own:
        at = f"{datetime.fromtimestamp(active.since, UTC):%Y-%m-%dT%H:%M:%SZ}"
        raise StandbyError(
            f"{active.who} took over from the copies in {to} at {at}, so no copy of this state is made: stop this "
            "driftd (systemctl stop driftd driftd-serve), or take over from there again with `driftd restore --from`"
        )


def _installation(places: Places) -> str:
    path = places.root / INSTALLATION
    if not path.exists():
        write_durably(path, uuid.uuid4().hex.encode())
    return path.read_text().strip()


def _sweep(to: Path) -> None:
    """Remove what a killed copy left."""
    for left in to.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left, ignore_errors=True)
