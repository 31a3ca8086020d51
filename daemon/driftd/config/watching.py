"""Noticing that the config file changed, however it was saved.

The content is read and hashed at every look: editors replace the file by a rename, truncate and write it, Kubernetes
swaps a symbolic link two folders up, and only the content tells all of these apart from a touch. A config is a few
kilobytes: a look each second costs nothing, and needs no watch that could be lost with the inode it stood on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from driftd.config.load import digest_of

ABSENT = "absent"


@dataclass(slots=True)
class ConfigWatch:
    """Calls `changed` once the file's content is another than the one `known` to the daemon, and stands still.

    Two looks in a row must see the same: between them an editor has written the rest of the file, or put a new file in
    the place of the old one.
    """

    path: Path
    known: Callable[[], str]  # the hash of what the daemon read last, whether it took it or refused it
    changed: Callable[[], None]
    _seen: str = ""
    _told: str = ""

    def look(self) -> None:
        """One look; called about once a second."""
        now = digest_of(self.path) or ABSENT
        settled, self._seen = now == self._seen, now
        if settled and now not in (self.known(), self._told):
            self._told = now
            self.changed()
        elif settled and now == self.known():
            self._told = ""
