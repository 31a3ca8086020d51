"""The host: files and their modes, room on the disk, the clock, the libraries."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from driftd.doctor.installation import Finding, Installation, fail, ok, warn
from driftd.store.descriptors import describe_capacity
from driftd.store.ownership import name_of
from driftd.store.state.reader import StateAbsentError

_LEAST_FREE, _LITTLE_FREE = 256 << 20, 0.05  # bytes; share of the file system
_AHEAD = 120.0  # seconds that stored times may lie in the future
_TOLD = 3
_SYNCHRONIZED = Path("/run/systemd/timesync/synchronized")


def files(installation: Installation) -> Iterator[Finding]:
    """state_dir and what is in it: there, writable, of one owner, and of nobody else's business."""
    root = installation.places.root
    if not root.is_dir():
        yield fail(str(root), "does not exist", "start the daemon once, or correct state_dir in the config")
        return
    whole = root.stat()
    owner = name_of(whole.st_uid)
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        yield fail(
            str(root),
            f"cannot be written by {name_of(os.geteuid())}",
            f"run as {owner}: {installation.command('doctor')}",
        )
    faults = list(_file_faults(root, whole, owner))
    yield from faults
    if whole.st_mode & stat.S_IRWXO:
        said = f"everybody may look into it (mode {stat.S_IMODE(whole.st_mode):o}): it holds predictions and labels"
        yield warn(str(root), said, f"chmod o-rwx {root}")
    if not faults:
        yield ok(str(root), f"belongs to {owner}, mode {stat.S_IMODE(whole.st_mode):o}")


def _file_faults(root: Path, whole: os.stat_result, owner: str) -> Iterator[Finding]:
    found = [(path, path.lstat()) for path in _paths(root)]
    foreign = [path for path, status in found if status.st_uid != whole.st_uid]
    real = [(path, status) for path, status in found if not stat.S_ISLNK(status.st_mode)]
    open_to_all = [path for path, status in real if status.st_mode & stat.S_IWOTH]
    locked = [path for path, status in real if path.suffix == ".db" and not status.st_mode & stat.S_IWUSR]
    if foreign:
        todo = f"chown -R {owner}: {root} (a command was run as another user)"
        yield fail(str(root), f"{_some(foreign)} do not belong to {owner}, who owns state_dir", todo)
    if open_to_all:
        yield fail(str(root), f"{_some(open_to_all)} can be written by everybody", f"chmod -R o-w {root}")
    if locked:
        yield fail(str(root), f"{_some(locked)} cannot be written by their owner", "chmod u+w the files named")


def disk(installation: Installation) -> Iterator[Finding]:
    """Room for events, snapshots, versions and backups."""
    backups = installation.config.backup.folder or installation.places.backups
    seen = set()
    for folder in (installation.places.root, backups):
        at = next((place for place in (folder, *folder.parents) if place.exists()), Path("/"))
        if at.stat().st_dev in seen:
            continue
        seen.add(at.stat().st_dev)
        usage = shutil.disk_usage(at)
        said = f"{usage.free / 1e9:.1f} GB of {usage.total / 1e9:.1f} GB are free"
        todo = "make room, or keep less (retention.events, backup.keep); driftd takes no events in on a full disk"
        if usage.free < _LEAST_FREE:
            yield fail(str(folder), said, todo)
        elif usage.free < _LITTLE_FREE * usage.total:
            yield warn(str(folder), said, todo)
        else:
            yield ok(str(folder), said)


def capacity(installation: Installation) -> Iterator[Finding]:
    """How many models this host takes."""
    said, fits = describe_capacity(len(installation.config.models))
    todo = "raise LimitNOFILE or the memory, or watch some of the models on another host"
    yield ok("models", said) if fits else warn("models", said, todo)


def clock(installation: Installation) -> Iterator[Finding]:
    """Windows are cut by the wall clock: it must run evenly, be set by somebody, and not lie behind what is stored."""
    wall, even = time.time(), time.monotonic()
    time.sleep(0.05)
    drift = abs((time.time() - wall) - (time.monotonic() - even))
    if drift > 0.02:  # noqa: PLR2004 - seconds within the 50 ms that were waited
        yield warn(
            "clock", f"the wall clock moved {drift:.2f} s against the monotonic one just now", "look at who sets it"
        )
    newest = _newest_stamp(installation)
    if newest is not None and newest > installation.now + _AHEAD:
        ahead = (newest - installation.now) / 60
        said = f"state.db holds times {ahead:.0f} min in the future: the clock was ahead, or is behind now"
        todo = "set the clock (timedatectl); if it is right: `driftd reset-cursor MODEL` where windows were passed over"
        yield fail("clock", said, todo)
    synchronized = _is_synchronized()
    if synchronized is False:
        yield warn("clock", "is not synchronized with a time server", "enable it: timedatectl set-ntp true")
    elif newest is None or newest <= installation.now + _AHEAD:
        said = "is synchronized" if synchronized else "runs evenly (whether it is synchronized cannot be told here)"
        yield ok("clock", said)


def libraries(_: Installation) -> Iterator[Finding]:
    """Python and the libraries within what this driftd was tried with."""
    try:
        wanted = [Requirement(requirement) for requirement in requires("driftd") or ()]
    except PackageNotFoundError:
        yield warn(
            "libraries", "driftd is not installed as a package, so its pins cannot be read", "pip install driftd"
        )
        return
    wrong = []
    for requirement in wanted:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is absent")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found} (wanted {requirement.specifier})")
    if wrong:
        yield fail("libraries", "; ".join(wrong), "install driftd again into an environment of its own")
    else:
        yield ok("libraries", f"driftd {version('driftd')} on Python {sys.version.split()[0]}, all within their pins")


def _newest_stamp(installation: Installation) -> float | None:
    try:
        with installation.reader() as reader:
            stamps = [decision.at for decision in reader.history(limit=1)]
            stamps += [check.at for check in reader.checks(limit=1)]
            stamps += [config.at for config in reader.configs(1)]
    except StateAbsentError:
        return None
    return max(stamps, default=None)


def _is_synchronized() -> bool | None:
    """Whether somebody sets the clock; None when that cannot be told."""
    if _SYNCHRONIZED.exists():
        return True
    program = shutil.which("timedatectl")
    if program is None:
        return None
    try:
        answer = subprocess.run(
            [program, "show", "-p", "NTPSynchronized", "--value"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return {"yes": True, "no": False}.get(answer.stdout.strip())


def _paths(root: Path) -> Iterator[Path]:
    """The folders and files whose owner matters; not every job's and segment's file."""
    for pattern in (
        "*",
        "events/*",
        "events/*/*",
        "models/*",
        "models/*/*",
        "models/*/versions/*",
        "snapshots/*",
        "backups/*",
    ):
        yield from root.glob(pattern)


def _some(paths: list[Path]) -> str:
    more = f" and {len(paths) - _TOLD} more" if len(paths) > _TOLD else ""
    return ", ".join(map(str, paths[:_TOLD])) + more
