"""The versions of each model: whole, reproducible, and the one served that should be; with a way back that works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from driftd.doctor.installation import Finding, Installation, fail, ok, warn
from driftd.loop.replaying import eras_of
from driftd.records import ModelState
from driftd.registry import ManifestError, Registry
from driftd.registry.durable import sha256_of

_FROM_COPY = "put its folder back from your own backup of models/"


def versions(installation: Installation) -> Iterator[Finding]:
    """Every file of every version matches its hash; every snapshot its name; the link names the champion."""
    registry, states = Registry(installation.places), installation.states()
    for name in installation.config.models:
        state = states.get(name)
        faults = dict(_faults(registry, name))
        champion, served = (state.champion if state else None), registry.current(name)
        way_back = _way_back(installation, registry, name, state, faults)
        link = list(_link(installation, name, champion, served, way_back))
        yield from link
        for version, said in faults.items():
            if version in (champion, served):
                yield fail(name, f"version {version}, which serves, is damaged: {said}", f"{_FROM_COPY}, or {way_back}")
            else:
                yield warn(name, f"version {version} is damaged: {said}", _FROM_COPY)
        if not faults and not link:
            yield ok(name, f"{len(registry.versions(name))} versions match their hashes, version {served} serves")
        yield from _snapshots(installation, name)


def _link(
    installation: Installation, name: str, champion: int | None, served: int | None, way_back: str
) -> Iterator[Finding]:
    """What is wrong with `current`."""
    link = installation.places.current(name)
    names = f"the link names version {served}"
    if served is None and link.is_symlink():
        names = f"the link {link} names {link.readlink()}, which is not there"
    if champion is None:
        if served is None and link.is_symlink():
            yield fail(name, names, f"{_FROM_COPY}, or point the link to a version that is there: ln -sfn versions/N")
    elif not installation.places.version(name, champion).is_dir():
        yield fail(name, f"{names}; the store says {champion}, whose folder is gone", f"{_FROM_COPY}, or {way_back}")
    elif served != champion:
        todo = "sudo systemctl restart driftd: it points the link to its champion (or says why it cannot)"
        yield fail(name, f"{names}, the store says {champion}", todo)


def _way_back(
    installation: Installation, registry: Registry, name: str, state: ModelState | None, faults: dict[int, str]
) -> str:
    """How to go back to the last version that served, is whole and is not barred: a challenger never proved itself."""
    if state is None:
        return "train the model anew under another name: no other version of it ever served"
    if state.pinned is not None:
        return f"pin another version than {state.pinned} in the config's override"
    with installation.reader() as reader:
        served = [era.version for era in eras_of(reader.history(name, limit=-1))]
    whole = set(registry.versions(name)) - set(faults) - {state.champion, *state.barred}
    good = [version for version in served if version in whole]
    if not good:
        return f"build it again: `{installation.command(f'retrain {name} --why damaged')}` (no other version served)"
    return f"go back: `{installation.command(f'rollback {name} --to {good[-1]} --why damaged')}`"


def _faults(registry: Registry, name: str) -> Iterator[tuple[int, str]]:
    for version in registry.versions(name):
        try:
            for file in registry.manifest(name, version).files:
                registry.file(name, version, file)
        except (ManifestError, OSError) as error:
            yield version, str(error)


def _snapshots(installation: Installation, name: str) -> Iterator[Finding]:
    folder = installation.places.snapshot(name, "x").parent
    found = sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    broken = [path.name[:12] for path in found if not _matches(path)]
    if broken:
        todo = "restore them from your own backup: versions built from them cannot be reproduced without"
        yield warn(name, f"snapshots {', '.join(broken)} do not match their names", todo)


def _matches(snapshot: Path) -> bool:
    data = snapshot / "data.parquet"
    return data.is_file() and sha256_of(data) == snapshot.name
