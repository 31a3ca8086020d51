"""The `current` link of a model as serving reads it: at every request, by one system call."""

from __future__ import annotations

import os

from driftd.places import Places


class NothingServedError(Exception):
    """No version can be served: none is linked yet, or the linked one cannot be loaded and no other was before."""


class CurrentLink:
    """What a model's `current` link says, as text; whoever kept the text can tell a swap by comparing."""

    def __init__(self, places: Places, model: str) -> None:
        self._path = str(places.current(model))

    def read(self) -> str:
        """The target of the link; empty when there is none."""
        try:
            return os.readlink(self._path)  # noqa: PTH115 - pathlib takes ten times as long, at every request
        except OSError:
            return ""


def version_of(target: str) -> int | None:
    """The version that a link's target names."""
    name = target.rpartition("/")[2]
    return int(name) if name.isdecimal() else None
