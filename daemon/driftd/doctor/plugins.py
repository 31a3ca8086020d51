"""Plug-ins of installed packages: those that the config names are there, one of each name, and can be imported."""

from __future__ import annotations

from collections.abc import Iterator

from driftd.config.named_plugins import plugins_named
from driftd.doctor.installation import Finding, Installation, fail, ok
from driftd.entry_points import PluginError, find_plugin, installed_plugins
from driftd.store.subprocesses import ChildError, run_apart

_IMPORT_SECONDS = 120.0
_TODO = "install its package into driftd's environment (pip install), and start driftd anew"


def plugins(installation: Installation) -> Iterator[Finding]:
    """Each plug-in of the config can be imported, in a process of its own; the others are told with their versions."""
    named = set()
    for key, kind, name in plugins_named(installation.config):
        named.add((kind, name))
        try:
            plugin = find_plugin(kind, name)
        except PluginError as error:
            yield fail(key, str(error), _TODO)
            continue
        try:
            run_apart("driftd.run_plugin", ["--import", kind, name], _IMPORT_SECONDS)
        except ChildError as error:
            yield fail(key, str(error), _TODO)
        else:
            yield ok(key, f"{plugin} can be imported")
    installed = installed_plugins()
    if not named and not installed:
        yield ok("plug-ins", "no installed package brings one, and the config names none")
    for plugin in installed:
        if (plugin.kind, plugin.name) not in named:
            yield ok(f"{plugin.kind} {plugin.name}", f"{plugin.distribution} {plugin.version} brings it, unused")
