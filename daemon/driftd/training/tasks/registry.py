"""The `registry` task: registers a version elsewhere, moves the alias there to it, or looks where the alias points.

A task that was killed runs again, and one that failed is tried again: each finds what is there already.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from driftd.entry_points import PluginError, blame, find_plugin, load_plugin
from driftd.errors import DriftdError
from driftd.events import RegistryTask
from driftd.paths import Places
from driftd.plugin_protocols import RegistryPlugin, VersionFiles
from driftd.registry import Registry
from driftd.registry.manifest import Manifest, ManifestError
from driftd.training.mlflow_versions import (
    IDENTITY,
    MODEL,
    VERSION,
    MlflowError,
    MlflowPlace,
    alias_target,
    move_alias,
    number_of,
    open_client,
    register,
)

if TYPE_CHECKING:
    from driftd.registry.loaded import LoadedVersion


class Arguments(msgspec.Struct, frozen=True, kw_only=True):
    """What to do there with which version; `timeout` in seconds is for the whole of it."""

    model: str
    state_dir: str
    task: RegistryTask
    version: int
    place: MlflowPlace | None
    plugin: str | None = None
    options: dict[str, object] = {}
    allow_joblib: bool = False
    timeout: float


def run(arguments: Arguments) -> dict[str, object]:
    """The fields of a `RegistryResult`. Raises MlflowError, ImportError, PluginError."""
    place, registry = arguments.place, Registry(Places(Path(arguments.state_dir)))
    if arguments.plugin is not None:
        return _ask_plugin(arguments, arguments.plugin, registry)
    if place is None:
        raise MlflowError("no registry is configured any more (registry.mlflow, registry.plugin)")
    with open_client(place, arguments.timeout) as client:
        if arguments.task is RegistryTask.LOOK:
            return _look(client, place, registry, arguments.model)
        try:
            number, how = _ensure(client, place.name, registry, arguments)
        except ManifestError as error:
            return {"sentence": str(error), "is_fit": False}
        if arguments.task is RegistryTask.REGISTER:
            return {"sentence": f"{place.name} version {number}, {how}", "number": number, "version": arguments.version}
        before = move_alias(client, place.name, place.alias, number)
        named = "it named none before" if before is None else f"it named {before} before"
        said = f"{place.name}@{place.alias} is version {number} there" + ("" if before == number else f"; {named}")
        return {"sentence": said, "number": number, "version": arguments.version}


def _ask_plugin(arguments: Arguments, name: str, registry: Registry) -> dict[str, object]:
    """The same by a plug-in: what it raises is told with its package and version."""
    plugin, model = find_plugin("registry", name), arguments.model
    factory = load_plugin("registry", name)
    with blame(plugin):
        there: RegistryPlugin = factory(dict(arguments.options))
        if arguments.task is RegistryTask.LOOK:
            return _look_by_plugin(there, name, registry, model)
        try:
            files = _files_of(registry, model, arguments.version)
        except ManifestError as error:
            return {"sentence": str(error), "is_fit": False}
        number = str(there.register(files))
        if there.identity(number) != files.identity:
            raise PluginError(f"{plugin} registered version {files.version} as {number}, and has another one there")
        if arguments.task is RegistryTask.REGISTER:
            return {"sentence": f"{name} has it as {number}", "number": number, "version": arguments.version}
        before = there.alias()
        if before != number:
            there.move(number)
        if (found := there.alias()) != number:
            raise PluginError(f"the alias names {found} after {plugin} moved it to {number}: who else moves it?")
    named = "" if before == number else f"; it named {before or 'none'} before"
    return {"sentence": f"the alias of {name} is {number}{named}", "number": number, "version": arguments.version}


def _files_of(registry: Registry, model: str, version: int) -> VersionFiles:
    """The files of a version, after the hash of its artefact matched. Raises ManifestError."""
    manifest = registry.manifest(model, version)
    artefact = registry.file(model, version, manifest.artefact)
    return VersionFiles(model, version, manifest.identity, artefact, manifest.to_dict())


def _look_by_plugin(there: RegistryPlugin, name: str, registry: Registry, model: str) -> dict[str, object]:
    number = there.alias()
    if number is None:
        return {"sentence": f"the alias of {name} names no version", "number": None, "version": None}
    identity = there.identity(number)
    own = (known for known in registry.versions(model) if registry.manifest(model, known).identity == identity)
    version = None if identity is None else next(own, None)
    known = f"which is version {version} of {model}" if version is not None else "which is none of driftd's"
    return {"sentence": f"the alias of {name} names {number}, {known}", "number": number, "version": version}


def _ensure(client: Any, name: str, registry: Registry, arguments: Arguments) -> tuple[str, str]:
    """The number of the version there, which is made where there is none, and how its model is kept."""
    model, version = arguments.model, arguments.version
    manifest = registry.manifest(model, version)
    artefact = registry.file(model, version, manifest.artefact)  # its hash matches, or it goes nowhere
    if (number := number_of(client, name, manifest)) is not None:
        return number, "as before"
    loaded = _load(registry, manifest, allow_joblib=arguments.allow_joblib)
    return register(client, name, manifest, artefact.parent, loaded)


def _load(registry: Registry, manifest: Manifest, *, allow_joblib: bool) -> LoadedVersion | None:
    """The model; None where it cannot be loaded here: then MLflow keeps its artefact alone."""
    from driftd.registry.artefact import ArtefactError  # noqa: PLC0415 - only who registers pays for scikit-learn

    with suppress(ArtefactError, ImportError):
        return registry.load(manifest.model, manifest.version, allow_joblib=allow_joblib)
    return None


def _look(client: Any, place: MlflowPlace, registry: Registry, model: str) -> dict[str, object]:
    """What the alias names there, and which of this model's versions that is."""
    number = alias_target(client, place.name, place.alias)
    if number is None:
        return {"sentence": f"{place.name}@{place.alias} names no version", "number": None, "version": None}
    found = client.get_model_version(place.name, number)
    version = _own_version(found.tags, registry, model)
    known = f", which is version {version} of {model}" if version is not None else ", which is none of driftd's"
    said = f"{place.name}@{place.alias} names version {number}{known}"
    return {"sentence": said, "number": number, "version": version}


def _own_version(tags: dict[str, str], registry: Registry, model: str) -> int | None:
    """The version of this model whose tags these are, where it is still here and the same."""
    text = tags.get(VERSION, "")
    if tags.get(MODEL) != model or not text.isdecimal():
        return None
    try:
        manifest = registry.manifest(model, int(text))
    except DriftdError:
        return None
    return manifest.version if manifest.identity == tags.get(IDENTITY) else None
