"""Whether the version that serves is whole, and the one that should serve. Hashed anew only when its files changed."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from driftd.places import Places
from driftd.registry import Registry

Stamp = tuple[tuple[str, int, int], ...]  # name, size, nanoseconds


def served_fault(places: Places, model: str, champion: int | None) -> str | None:
    """What is wrong with what serves, in one sentence with the way on; None when nothing is."""
    served, link = Registry(places).current(model), places.current(model)
    doctor = "`driftd doctor` says what to do"
    if served is None:
        names = link.readlink() if link.is_symlink() else None
        return None if names is None else f"the link {link} names {names}, which is not there: {doctor}"
    if (fault := _fault(places, model, served, _stamp(places.version(model, served)))) is not None:
        return f"version {served}, which serves, is damaged: {fault}; {doctor}"
    if champion not in {None, served}:
        return f"version {served} serves, not {champion}: a swap is under way, or else {doctor}"
    return None


@lru_cache(maxsize=1000)
def _fault(places: Places, model: str, version: int, _unchanged: Stamp) -> str | None:
    try:
        return Registry(places).fault(model, version)
    except OSError as error:
        return str(error)


def _stamp(folder: Path) -> Stamp:
    try:
        found = [(path.name, path.stat()) for path in folder.iterdir()]
    except OSError:
        return ()
    return tuple(sorted((name, told.st_size, told.st_mtime_ns) for name, told in found))
