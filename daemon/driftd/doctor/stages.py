"""The stages of each model's builds: what they need is installed, and their files are there."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from driftd.config.stage_schema import Stages
from driftd.doctor.installation import Finding, Installation, fail, ok


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
