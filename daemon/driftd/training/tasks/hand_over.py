"""The `hand_over` task: tells the system that serves what to do with a version, by a program, a webhook or MLflow.

A version to deploy is first loaded and compared with its own predictions. A task that was killed runs again, and one
that failed is tried again: whoever is told must be able to hear the same thing twice.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import msgspec

from driftd.config.redact import redact_command
from driftd.config.schema import address_in
from driftd.entry_points import find_plugin
from driftd.errors import DriftdError
from driftd.events import HandOverAction
from driftd.formatting import describe_exit
from driftd.outside.kserve import KServePlace, serve_uri
from driftd.outside.storage import copy_files
from driftd.paths import Places
from driftd.registry import Manifest, Registry
from driftd.registry.foreign_models import OnnxModel
from driftd.registry.loaded import LoadedVersion
from driftd.registry.manifest import MANIFEST, PROBE
from driftd.training.mlflow_versions import (
    VERSION,
    MlflowPlace,
    alias_target,
    move_alias,
    number_of,
    open_client,
    register,
    registered_model,
)
from driftd.training.references import compare_probe

_LINE_SHOWN = 200
_ANSWER_BYTES = 2000


class HandOverError(DriftdError):
    """The other system could not be told; the message says how it answered, and holds no secret."""


class RegisteredAlias(msgspec.Struct, frozen=True):
    """A model of MLflow's registry, and the alias that says which version of it serves."""

    name: str
    alias: str
    tracking_uri: str | None = None


class Arguments(msgspec.Struct, frozen=True, kw_only=True):
    """What to tell, and by which of the ways; `until` (epoch seconds) is when the confirmation is due."""

    model: str
    state_dir: str
    action: HandOverAction
    version: int | None = None
    from_version: int | None = msgspec.field(default=None, name="from")
    reason: str
    until: float | None = None
    allow_joblib: bool = False
    command: tuple[str, ...] | None = None
    webhook: str | None = None
    webhook_file: str | None = None
    mlflow: RegisteredAlias | None = None
    kserve: KServePlace | None = None
    plugin: str | None = None
    options: dict[str, object] = {}
    timeout: float


def run(arguments: Arguments) -> dict[str, object]:
    """Tell it. Raises HandOverError, and what loading the version raises."""
    registry = Registry(Places(Path(arguments.state_dir)))
    manifest = None if arguments.version is None else registry.manifest(arguments.model, arguments.version)
    if manifest is not None and manifest.is_logged:
        manifest = None  # there is nothing of it to hand over
    loaded = None if manifest is None else _load(registry, manifest, arguments)
    path = None if manifest is None else registry.file(manifest.model, manifest.version, manifest.artefact)
    message = message_of(arguments, path, None if manifest is None else manifest.files[manifest.artefact])
    file = f"{path}, SHA-256 {message['sha256']}" if path is not None else "no artefact"
    sentence = f"{_tell(arguments, message, loaded)}: {file}"
    return {"sentence": sentence, "serves": arguments.kserve is not None}


def _load(registry: Registry, manifest: Manifest, arguments: Arguments) -> LoadedVersion:
    loaded = registry.load(manifest.model, manifest.version, allow_joblib=arguments.allow_joblib)
    compare_probe(loaded, registry.file(manifest.model, manifest.version, PROBE))
    return loaded


def message_of(arguments: Arguments, artefact: Path | None, sha256: str | None = None) -> dict[str, object]:
    """What the other system gets as JSON; None where there is nothing to say."""
    until = arguments.until
    return {
        "action": str(arguments.action),
        "model": arguments.model,
        "version": arguments.version,
        "from": arguments.from_version,
        "artefact": None if artefact is None else str(artefact),
        "sha256": sha256,
        "reason": arguments.reason,
        "confirm_by": None if until is None else datetime.fromtimestamp(until, UTC).isoformat(),
    }


def variables_of(message: dict[str, object]) -> dict[str, str]:
    """The same for simple programs: DRIFTD_ACTION, DRIFTD_MODEL, ...; empty where there is nothing to say."""
    return {f"DRIFTD_{name.upper()}": "" if value is None else str(value) for name, value in message.items()}


def _tell(arguments: Arguments, message: dict[str, object], loaded: LoadedVersion | None) -> str:
    if arguments.command is not None:
        return _run(arguments.command, message, arguments.timeout)
    webhook = arguments.webhook
    if webhook is not None or arguments.webhook_file is not None:
        return _post(webhook or address_in(Path(arguments.webhook_file or "")), message, arguments.timeout)
    if arguments.mlflow is not None:
        return _move_alias(arguments.mlflow, arguments, loaded)
    if arguments.kserve is not None:
        return _load_in_kserve(arguments.kserve, arguments, path_of(arguments, loaded))
    if arguments.plugin is not None:
        return _call_plugin(arguments.plugin, {"message": message, "options": arguments.options}, arguments.timeout)
    return "nothing is configured that tells it (deploy), so people do"


def _run(command: tuple[str, ...], message: dict[str, object], timeout: float) -> str:
    """Run a program; what it started ends with this job."""
    program = f"`{' '.join(redact_command(command))}`"
    _say_to(command, message, timeout, program)
    return f"by {program}"


def _call_plugin(name: str, given: dict[str, object], timeout: float) -> str:
    """Call a deployer of an installed package, in a process of its own: one that hangs is ended in time."""
    plugin = find_plugin("deployer", name)
    command = (sys.executable, "-m", "driftd.run_plugin", plugin.kind, name)
    said = _say_to(command, given, timeout, str(plugin))
    return f"by {plugin}{f', which says: {said[-1][:_LINE_SHOWN]}' if said else ''}"


def _say_to(command: tuple[str, ...], message: dict[str, object], timeout: float, program: str) -> list[str]:
    """Run a program with a message; the lines that it said. Raises HandOverError."""
    leash = [sys.executable, "-m", "driftd.training.process_tree", str(os.getpid()), *command]
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    environment = {**os.environ, "PATH": path, **variables_of(message)}
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as output:
        stdin.write(json.dumps(message).encode())
        stdin.seek(0)
        try:
            code = subprocess.run(
                leash, stdin=stdin, stdout=output, stderr=output, env=environment, timeout=timeout, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            raise HandOverError(f"{program} was ended: it took longer than {timeout:g} s") from None
        said = _end_of(output)
    print("\n".join(said), flush=True)  # noqa: T201 - the log
    if code != 0:
        last = f": {said[-1][:_LINE_SHOWN]}" if said else ""
        raise HandOverError(f"{program} ended with {describe_exit(code)}{last}")
    return said


def _end_of(output: IO[bytes]) -> list[str]:
    output.seek(max(0, output.seek(0, os.SEEK_END) - _ANSWER_BYTES))
    return output.read().decode("utf-8", "replace").strip().splitlines()


def _post(address: str, message: dict[str, object], timeout: float) -> str:
    """Post the message; `timeout` (seconds) is for the whole of it, however slowly the answer comes."""
    import httpx  # noqa: PLC0415 - only where a webhook is the way

    try:
        asyncio.run(_post_in_time(address, message, timeout))
    except (TimeoutError, httpx.TimeoutException):
        raise HandOverError(f"the webhook gave no answer within {timeout:g} s (deploy.timeout)") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        reason = str(error).replace(address, "the webhook") or "no words"
        raise HandOverError(f"the webhook cannot be told: {type(error).__name__}: {reason}") from None
    return f"by a POST to {urlsplit(address).hostname}"


async def _post_in_time(address: str, message: dict[str, object], timeout: float) -> None:
    import httpx  # noqa: PLC0415 - only where a webhook is the way

    async with (
        asyncio.timeout(timeout),
        httpx.AsyncClient(timeout=timeout, follow_redirects=False) as client,
        client.stream("POST", address, json=message) as answer,
    ):
        if answer.is_success:
            return  # what it says besides is not waited for
        if answer.is_redirect:
            raise HandOverError(
                f"the webhook answers with a redirect ({answer.status_code}), which is not followed: configure the "
                "address to which it leads"
            )
        said = b""
        async for chunk in answer.aiter_bytes():
            said += chunk
            if len(said) >= _ANSWER_BYTES:
                break
    words = " ".join(said[:_ANSWER_BYTES].decode("utf-8", "replace").split())[:_LINE_SHOWN]
    raise HandOverError(f"the webhook answers {answer.status_code}{f': {words}' if words else ''}")


def path_of(arguments: Arguments, loaded: LoadedVersion | None) -> Path | None:
    """The artefact of the version that is to serve; None where there is none."""
    registry = Registry(Places(Path(arguments.state_dir)))
    manifest = None if loaded is None else loaded.manifest
    return None if manifest is None else registry.file(manifest.model, manifest.version, manifest.artefact)


def _load_in_kserve(place: KServePlace, arguments: Arguments, artefact: Path | None) -> str:
    """Copy the version to where the service finds it, have it load that, and read back that it serves it."""
    if arguments.action is HandOverAction.ASK:
        raise HandOverError("an InferenceService cannot be asked for a new version: use a command or a webhook")
    uri = None
    if artefact is not None:
        files = (artefact, artefact.parent / MANIFEST)
        uri = place.uri_of(copy_files(place.storage, files, arguments.model, str(arguments.version)))
    return f"by KServe: {serve_uri(place, uri, arguments.version or 0, arguments.timeout)}"


_BEFORE = "driftd_before"  # the tag of a registered model: what its alias named before driftd


def _move_alias(where: RegisteredAlias, arguments: Arguments, loaded: LoadedVersion | None) -> str:
    """Register the version where it is not yet, and move the alias to it; back to what it named before driftd."""
    if arguments.action is HandOverAction.ASK:
        raise HandOverError("MLflow's registry cannot be asked for a new version: use a command or a webhook")
    place = MlflowPlace(name=where.name, alias=where.alias, tracking_uri=where.tracking_uri)
    with open_client(place, arguments.timeout) as client:
        if loaded is not None:
            number = _register(client, place, loaded, Registry(Places(Path(arguments.state_dir))))
        elif (known := registered_model(client, where.name)) is not None:
            number = known.tags.get(_BEFORE)
        else:
            number = None
        if number is None:
            client.delete_registered_model_alias(where.name, where.alias)
            return f"by MLflow: {where.name}@{where.alias} names no version, as before"
        move_alias(client, where.name, where.alias, number)
    return f"by MLflow: {where.name}@{where.alias} names version {number}"


def _register(client: Any, place: MlflowPlace, loaded: LoadedVersion, registry: Registry) -> str:
    """The number of the version there. What the alias named before the first of driftd's is kept as a tag."""
    manifest = loaded.manifest
    if isinstance(loaded.estimator, OnnxModel):
        raise HandOverError("an ONNX graph is not registered with MLflow by driftd: use a command or a webhook")
    if (number := number_of(client, place.name, manifest)) is not None:
        return number
    before = alias_target(client, place.name, place.alias)
    artefact = registry.file(manifest.model, manifest.version, manifest.artefact)
    number, _ = register(client, place.name, manifest, artefact.parent, loaded)
    if before is not None and VERSION not in client.get_model_version(place.name, before).tags:
        client.set_registered_model_tag(place.name, _BEFORE, before)
    return number
