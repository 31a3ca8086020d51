"""The plug-ins that installed packages bring, by their entry points. Listing them runs none of their code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from driftd.errors import DriftdError
from driftd.plugin_protocols import PLUGIN_KINDS

GROUPS = {
    kind: f"driftd.{'registries' if kind == 'registry' else f'{kind}s'}" for kind in PLUGIN_KINDS
}  # of entry points, by the kind of plug-in


class PluginError(DriftdError):
    """Code of the user that cannot be found, raises, or gives what cannot be used; the message says which."""


@dataclass(frozen=True, slots=True)
class InstalledPlugin:
    """A plug-in that an installed package brings."""

    kind: str
    name: str
    target: str  # module:attribute
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"the {self.kind} {self.name} of {self.distribution} {self.version}"


def installed_plugins(kind: str | None = None) -> list[InstalledPlugin]:
    """Those of a kind, or all, by kind and name."""
    kinds = PLUGIN_KINDS if kind is None else (kind,)
    return [_describe(found, point) for found in kinds for point in _points(found)]


def _points(kind: str) -> tuple[EntryPoint, ...]:
    return _read_points(kind, tuple(sys.path))


@cache
def _read_points(kind: str, _paths: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """What is installed does not change while a process runs: a package is seen after the next start."""
    return tuple(sorted(entry_points(group=GROUPS[kind]), key=lambda point: (point.name, point.value)))


def _describe(kind: str, point: EntryPoint) -> InstalledPlugin:
    name, version = ("an unknown package", "?") if point.dist is None else (point.dist.name, point.dist.version)
    return InstalledPlugin(kind, point.name, point.value, name, version)


def find_plugin(kind: str, name: str) -> InstalledPlugin:
    """The plug-in of a kind with a name. Raises PluginError where none, or more than one, is installed."""
    return _describe(kind, _point(kind, name))


def _point(kind: str, name: str) -> EntryPoint:
    found = {point.value: point for point in _points(kind) if point.name == name}
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        known = ", ".join(dict.fromkeys(point.name for point in _points(kind))) or "none"
        raise PluginError(
            f"no installed package brings a {kind} {name!r} (entry points of {GROUPS[kind]}); installed: {known}"
        )
    plugins = [_describe(kind, point) for point in found.values()]
    packages = " and ".join(f"{plugin.distribution} {plugin.version}" for plugin in plugins)
    raise PluginError(f"{packages} bring a {kind} {name!r} each: uninstall all but one")


def load_plugin(kind: str, name: str) -> Callable[..., Any]:
    """Import a plug-in: for child processes alone. Raises PluginError, with the package and its version."""
    point = _point(kind, name)
    plugin = _describe(kind, point)
    try:
        found = point.load()
    except Exception as error:  # importing runs the user's code, which may raise anything
        raise PluginError(f"{plugin} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise PluginError(f"{plugin} is nothing that can be called, but {type(found).__name__} ({plugin.target})")
    function: Callable[..., Any] = found
    return function


@contextmanager
def blame(plugin: InstalledPlugin) -> Iterator[None]:
    """Turn what a plug-in raises into a PluginError that says which package and version it is of."""
    try:
        yield
    except (MemoryError, DriftdError):
        raise
    except Exception as error:
        words = " ".join(str(error).split()) or "no words"
        raise PluginError(f"{plugin} raised {type(error).__name__}: {words}") from error
