"""The `inspect` task: what an existing model says of itself. A process of its own, because loading may run code."""

from __future__ import annotations

import msgspec

from driftd.training.adoption import read_model


class Arguments(msgspec.Struct, frozen=True):
    """A file, or the address of a model in a registry of models."""

    source: str
    allow_pickle: bool = False


def run(arguments: Arguments) -> dict[str, object]:
    """The `ModelCard` of the model that `source` names. Raises AdoptionError, ArtefactError."""
    return read_model(arguments.source, allow_pickle=arguments.allow_pickle).card().to_dict()
