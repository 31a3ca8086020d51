"""The stages of each model's builds: what they need is installed, and their files are there."""

from __future__ import annotations

import importlib.util
import ipaddress
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from driftd.config.stage_schema import Stages
from driftd.config.trainer_schema import OutsideTrainer, Trainer
from driftd.doctor.installation import Finding, Installation, fail, ok, warn
from driftd.errors import DriftdError
from driftd.loop.outside_builds import own_address, way_of
from driftd.outside.start import Way


def stages(installation: Installation) -> Iterator[Finding]:
    """Of models with checks of rows or tests of versions: the libraries are installed, the files are there."""
    configured = {name: model.stages for name, model in installation.config.models.items()}
    if all(each == Stages() for each in configured.values()):
        yield ok("stages", "no stage of a build is configured beside training and gate")
    for name, each in configured.items():
        faults = [*stage_faults(each)]
        for said, todo in faults:
            yield fail(name, said, todo)
        if not faults and each != Stages():
            yield ok(name, "what the stages of its builds need is there")


def stage_faults(each: Stages) -> Iterator[tuple[str, str]]:
    """What the stages of a model lack here, and what to do about it."""
    for key, module, command in each.libraries():
        if importlib.util.find_spec(module) is None:
            yield f"stages.{key} needs {module}, which is not installed: builds fail at this stage", command
    files = {"check_data.great_expectations": each.check_data.great_expectations, "test.tests": each.test.tests}
    for key, path in files.items():
        if path is not None and not Path(path).exists():
            yield f"stages.{key}: there is no {path} here: builds fail at this stage", "write it, or mend the path"


def builder_reach(name: str, trainer: Trainer, installation: Installation) -> Finding:
    """Whether a builder that a webhook starts is told an address by which it can give its model back."""
    fine = ok(name, "its trainer is a builder outside, which a webhook starts: nothing was started")
    if not isinstance(trainer, OutsideTrainer):
        return fine
    address = trainer.url or own_address(installation.config.http)
    try:
        webhook = msgspec.convert(way_of(trainer), Way).address
    except DriftdError as error:
        return fail(name, f"its webhook is not known: {error}", "write its address into the file of webhook_file")
    if _is_here(webhook) or not _is_here(address):
        return fine
    where = urlsplit(webhook).hostname
    said = f"its builder is elsewhere ({where}), but is told to come back to {address}, which only this host reaches"
    return warn(name, said, "set trainer.url to the address of this daemon that the builder reaches (https://...)")


def _is_here(address: str) -> bool:
    """Whether an address leads to the host that asks it."""
    host = urlsplit(address).hostname or ""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return found.is_loopback or found.is_unspecified
