"""Adopting an existing model: what the jobs are told, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from driftd.errors import DriftdError

PICKLES = (".joblib", ".pkl", ".pickle")
MLFLOW_SCHEME = "mlflow:"
_REGISTRY_SCHEME = "models:/"  # what MLflow itself calls an address of its registry


class AdoptionError(DriftdError):
    """A model that cannot be adopted; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What an existing model says of itself. None: it does not say."""

    kind: str  # the name of its class
    sha256: str
    artefact: str  # the name that its artefact has in the registry
    features: tuple[str, ...] | None = None  # in its own order
    feature_count: int | None = None
    classes: tuple[str, ...] | None = None  # as class names, in the order of its probabilities
    task: str | None = None
    version: str | None = None  # in the registry of models that it came from
    runs_code: bool = False  # whether loading its artefact runs code of its maker
    categories: tuple[tuple[int, tuple[str, ...] | None], ...] = ()  # places of features that are text; which, if known
    stored_with: str | None = None  # the version of scikit-learn that stored it, where another one is installed

    def to_dict(self) -> dict[str, object]:
        """The JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, object]) -> ModelCard:
        """Read what `to_dict` wrote. Raises msgspec.ValidationError when it is something else."""
        return msgspec.convert(dict(stored), cls)


@dataclass(frozen=True, slots=True)
class AdoptionOrder:
    """An existing model that shall be version 1."""

    source: str
    sha256: str  # of the original, as it was inspected
    allow_pickle: bool = False
    classes: tuple[str, ...] = ()  # every class that the model can answer, as the target names it
    names: tuple[str, ...] = ()  # of its classes, in the order of its probabilities, where it has other names or none
    unseen: bool = False  # whether the model was trained on none of the rows
    sample: str | None = None  # Parquet file with some rows as they stand in the user's file

    def to_dict(self) -> dict[str, object]:
        """The JSON form."""
        return asdict(self)


def require_permission(source: str, *, allow_pickle: bool) -> str:
    """The source as the jobs take it: MLflow's own `models:/name@alias` gets the scheme by which it is known here.

    Raises AdoptionError for a file that is not there, and for a pickle, by its name, without permission.
    """
    if source.startswith(_REGISTRY_SCHEME):
        return f"{MLFLOW_SCHEME}{source}"
    if not source.startswith(MLFLOW_SCHEME) and not Path(source).exists():
        raise AdoptionError(f"{source} does not exist")
    if not source.startswith(MLFLOW_SCHEME) and Path(source).suffix.lower() in PICKLES and not allow_pickle:
        raise AdoptionError(refusal(source))
    return source


def refusal(source: str) -> str:
    """What a user is told who names a pickle without permission to load it."""
    return (
        f"{source} is a pickle: loading it runs whatever code is in it, with your rights. If you trust whoever made "
        "it, say --allow-pickle. It is then kept as skops where skops can hold it, so that it runs this once only; "
        "where not, the config gets `allow_joblib: true` and it runs at each load."
    )
