"""Whom a state directory belongs to: what is made in it must belong to the user that the services run as."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from driftd.places import Places

OTHERS = 0o007  # who is neither the owner nor of the group has no business in a state
_FIRST_PERSON = 1000  # numbers of users below it are those of services (login.defs, sysusers.d)


class ForeignStateError(Exception):
    """A state directory of another user, in which this one must not make anything; the message says what to run."""

    plain = True


@contextmanager
def as_owner_of(folder: Path) -> Iterator[None]:
    """Work as the owner of an existing folder, where root does; children that are started inside stay that user.

    Raises ForeignStateError when the folder belongs to another user and this one is not root.
    """
    if not folder.exists() or folder.stat().st_uid == os.geteuid():
        yield
        return
    found = folder.stat()
    if os.geteuid() != 0:
        name = name_of(found.st_uid)
        raise ForeignStateError(
            f"{folder} belongs to {name}, and so must all that is made in it: run this as `sudo -u {name} driftd ...`, "
            f"or with sudo alone (root works as {name} there)"
        )
    with _working_as(found.st_uid, found.st_gid, 0o777 & ~found.st_mode):
        yield


@contextmanager
def rather_as_owner(places: Places) -> Iterator[None]:
    """For what reads, or asks: root works as the user whose `state.db` it is, everybody else as who they are.

    Even a reader leaves files behind (SQLite's index of a log, the catalogue of a folder of logs), and a file of root's
    is one that the daemon cannot write. Where root has a part in the state, it goes on as root. Members of the state's
    group may read and ask, so they are let through.
    """
    if os.geteuid() != 0:
        yield
        return
    found = [path.stat() for path in (places.root, places.state_db) if path.exists()]
    if not found or any(one.st_uid == 0 for one in found):
        yield
        return
    with _working_as(found[-1].st_uid, found[-1].st_gid, 0o777 & ~found[0].st_mode):
        yield


def command_for(folder: Path, command: str) -> str:
    """A command line of driftd's that a person at this host can type as it stands, whoever they are."""
    try:
        owner = folder.stat().st_uid
    except OSError:
        return f"driftd {command}"
    asker = os.getresuid()[2]  # who this process is when it works as another for a while
    is_mine = owner == asker and not 0 < owner < _FIRST_PERSON
    name = name_of(owner)
    user = f"'#{name}'" if name.isdecimal() else name  # as sudo takes a number
    return f"driftd {command}" if is_mine else f"sudo -u {user} driftd {command}"


def name_of(user: int) -> str:
    """A user's name, or the number of one that has none."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


@contextmanager
def closed_to_others() -> Iterator[None]:
    """Make nothing that everybody may read: folders 0750 and files 0640 where the umask was 022."""
    umask = os.umask(0o077)
    os.umask(umask | OTHERS)
    try:
        yield
    finally:
        os.umask(umask)


@contextmanager
def _working_as(user: int, group: int, umask: int) -> Iterator[None]:
    groups, before = os.getgroups(), os.umask(umask | OTHERS)
    os.setgroups([group])
    os.setresgid(group, group, 0)
    os.setresuid(user, user, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)
        os.umask(before)
