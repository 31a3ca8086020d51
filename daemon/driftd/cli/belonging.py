"""Whom a state directory belongs to: what is made in it must belong to the user that the services run as."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click


@contextmanager
def as_owner_of(folder: Path) -> Iterator[None]:
    """Work as the owner of an existing folder, where root does; children that are started inside stay that user.

    Raises click.ClickException when the folder belongs to another user and this one is not root.
    """
    if not folder.exists() or folder.stat().st_uid == os.geteuid():
        yield
        return
    found = folder.stat()
    if os.geteuid() != 0:
        name = name_of(found.st_uid)
        raise click.ClickException(
            f"{folder} belongs to {name}, and so must all that is made in it: run this as `sudo -u {name} driftd ...`, "
            f"or with sudo alone (root works as {name} there)"
        )
    groups, umask = os.getgroups(), os.umask(0o777 & ~found.st_mode)
    os.setgroups([found.st_gid])
    os.setresgid(found.st_gid, found.st_gid, 0)
    os.setresuid(found.st_uid, found.st_uid, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)
        os.umask(umask)


def name_of(user: int) -> str:
    """A user's name, or the number of one that has none."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
