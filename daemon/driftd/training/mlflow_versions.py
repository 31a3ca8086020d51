"""Versions in MLflow's registry of models: found by the hash of their manifest, made once, named by an alias.

For child processes only: MLflow is imported here. Every request has a limit of time; what is done twice is done once.
A look at an alias loads neither scikit-learn nor MLflow's flavours, which take most of a task's time.
"""

from __future__ import annotations

import inspect
import math
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from driftd.config.registry_schema import credential_in
from driftd.errors import DriftdError
from driftd.registry.manifest import MANIFEST, Manifest

if TYPE_CHECKING:
    from driftd.registry.loaded import LoadedVersion

EXPERIMENT = "driftd"
MODEL, VERSION, IDENTITY = "driftd_model", "driftd_version", "driftd_manifest"  # tags
_RETRIES = 1  # of a request: the whole task is tried again later
_REQUEST_SECONDS = 30.0
_LONGEST_TEXT = 500


class MlflowError(DriftdError):
    """MLflow is away or refuses; the message says how it answered, and holds no secret."""


class MlflowPlace(msgspec.Struct, frozen=True, kw_only=True):
    """A registered model with an alias, and the files of what one needs to be let in."""

    name: str
    alias: str
    tracking_uri: str | None = None
    username: str | None = None
    token_file: str | None = None
    password_file: str | None = None


@contextmanager
def open_client(place: MlflowPlace, timeout: float) -> Iterator[Any]:
    """A client of the place, whose requests take at most so many seconds; gives the environment back afterwards.

    Raises MlflowError for whatever fails inside, ImportError where MLflow is not installed.
    """
    given = _credentials(place)
    with limited_requests(timeout, given):
        mlflow = _mlflow()
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - only where MLflow is the place

        try:
            yield mlflow.MlflowClient(tracking_uri=place.tracking_uri, registry_uri=place.tracking_uri)
        except (MlflowException, OSError) as error:  # those of `requests` are OSErrors
            raise MlflowError(f"MLflow fails: {_without_secrets(str(error), given)}") from None


@contextmanager
def limited_requests(
    timeout: float = _REQUEST_SECONDS, more: Mapping[str, str] = MappingProxyType({})
) -> Iterator[None]:
    """Have MLflow's requests end in time, and set more of its variables; gives the environment back afterwards."""
    given = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, round(min(timeout, _REQUEST_SECONDS)))),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(_RETRIES),  # by itself it goes on for a quarter of an hour
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        **more,
    }
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _mlflow() -> Any:
    """MLflow without its flavours, which reports nothing to its makers. Raises ImportError with what to install."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        import mlflow  # noqa: PLC0415 - only where MLflow is the place
    except ImportError as error:
        raise ImportError(f"MLflow, where versions are registered ({error}): pip install 'driftd[mlflow]'") from error
    return mlflow


def _credentials(place: MlflowPlace) -> dict[str, str]:
    files = {"MLFLOW_TRACKING_TOKEN": place.token_file, "MLFLOW_TRACKING_PASSWORD": place.password_file}
    found = {name: credential_in(Path(path)) for name, path in files.items() if path is not None}
    return found if place.username is None else {"MLFLOW_TRACKING_USERNAME": place.username, **found}


def _without_secrets(said: str, given: Mapping[str, str]) -> str:
    for name in ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD"):
        said = said.replace(given[name], "***") if given.get(name) else said
    return " ".join(said.split())[:_LONGEST_TEXT].rstrip(".")


def registered_model(client: Any, name: str) -> Any:
    """The registered model of a name; None where there is none."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - MLflow is imported by now

    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def number_of(client: Any, name: str, manifest: Manifest) -> str | None:
    """The number that a version has there; None where it is not registered. Of two, the older one counts."""
    if registered_model(client, name) is None:
        return None
    found = client.search_model_versions(f"name='{name}' and tags.{IDENTITY}='{manifest.identity}'")
    return str(min(int(version.version) for version in found)) if found else None


def register(client: Any, name: str, manifest: Manifest, folder: Path, loaded: LoadedVersion | None) -> tuple[str, str]:
    """Register a version: its model, its figures, its lineage as tags; gives its number, and how its model is kept.

    `folder` holds the version's files, `loaded` the model, where it can be loaded here. The run is found again by its
    tag, and the version is made with its tags by one request: what was interrupted goes on, and nothing is made twice.
    """
    tags = lineage_tags(manifest)
    if (number := _adopted_from(client, name, manifest)) is not None:
        for key, value in tags.items():
            client.set_model_version_tag(name, number, key, value)
        return number, "it is the version that was adopted from there"
    if registered_model(client, name) is None:
        with _made_meanwhile():
            client.create_registered_model(name)
    run = _run_of(client, manifest, tags)
    with tempfile.TemporaryDirectory(prefix="driftd-mlflow-") as scratch:
        how = write_model(Path(scratch) / "model", manifest, folder, loaded)
        client.log_artifacts(run.info.run_id, str(Path(scratch) / "model"), "model")
    client.log_artifact(run.info.run_id, str(folder / MANIFEST), "driftd")
    for key, figure in figures_of(manifest).items():
        client.log_metric(run.info.run_id, key, figure)
    source = f"{run.info.artifact_uri}/model"
    made = client.create_model_version(name, source, run_id=run.info.run_id, tags=tags)
    client.set_terminated(run.info.run_id)
    return str(made.version), how


@contextmanager
def _made_meanwhile() -> Iterator[None]:
    """Pass over that somebody else has just made the same thing."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - MLflow is imported by now

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _adopted_from(client: Any, name: str, manifest: Manifest) -> str | None:
    """The number there of the very version that was adopted, where that is of the same registered model."""
    adopted = manifest.adopted
    if adopted is None or adopted.version is None or f"models:/{name}" not in adopted.source:
        return None
    address = adopted.source.rpartition("models:/")[2]
    if address.split("@")[0].split("/")[0] != name:
        return None
    found = client.search_model_versions(f"name='{name}'")
    return next((str(version.version) for version in found if str(version.version) == adopted.version), None)


def _run_of(client: Any, manifest: Manifest, tags: Mapping[str, str]) -> Any:
    """The run of a version, which an earlier try may have begun."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        with _made_meanwhile():
            client.create_experiment(EXPERIMENT)
        experiment = client.get_experiment_by_name(EXPERIMENT)
    number = experiment.experiment_id
    found = client.search_runs([number], filter_string=f"tags.{IDENTITY}='{manifest.identity}'", max_results=1)
    return found[0] if found else client.create_run(
        number, tags=dict(tags), run_name=f"{manifest.model}/{manifest.version}"
    )  # fmt: skip


def lineage_tags(manifest: Manifest) -> dict[str, str]:
    """Where a version comes from, as tags."""
    adopted = manifest.adopted
    values = {
        MODEL: manifest.model,
        VERSION: manifest.version,
        IDENTITY: manifest.identity,
        "driftd_snapshot": manifest.snapshot,
        "driftd_parent": manifest.parent,
        "driftd_trainer": manifest.trainer.reference,
        "driftd_trainer_fingerprint": manifest.trainer.fingerprint,
        "driftd_commit": manifest.trainer.commit,
        "driftd_trigger": manifest.trigger,
        "driftd_reason": manifest.reason,
        "driftd_gate": manifest.status,
        "driftd_artefact": manifest.artefact,
        "driftd_sha256": manifest.files.get(manifest.artefact),
        "driftd_adopted_from": None if adopted is None else adopted.source,
        "driftd_adopted_run": None if adopted is None else adopted.run_id,
    }
    return {key: str(value)[:_LONGEST_TEXT] for key, value in values.items() if value not in (None, "")}


def figures_of(manifest: Manifest) -> dict[str, float]:
    """The figures of a version on the rows that judged it, and what its gate said, as metrics."""
    gate = {f"gate_{key}": value for key, value in (manifest.gate or {}).items()}
    rows = {key: manifest.data.get(key) for key in ("training_rows", "held_out_rows")}
    found = {**manifest.metrics, **gate, **rows}
    return {key: float(value) for key, value in found.items() if _is_figure(value)}


def _is_figure(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def write_model(target: Path, manifest: Manifest, folder: Path, loaded: LoadedVersion | None) -> str:
    """Write what MLflow is to keep of a version; says how, in a clause.

    A model of MLflow stays what it was; one of scikit-learn's interface is written as such, with skops where that can
    hold it; of every other one MLflow keeps the artefact, which only driftd loads.
    """
    from driftd.registry.artefact import MLFLOW  # noqa: PLC0415 - only who registers pays for scikit-learn
    from driftd.registry.foreign_models import OnnxModel  # noqa: PLC0415 - see above

    artefact = folder / manifest.artefact
    if manifest.artefact == MLFLOW:
        target.mkdir()
        with zipfile.ZipFile(artefact) as archive:
            archive.extractall(target)
        return "as it was adopted"
    if loaded is not None and not isinstance(loaded.estimator, OnnxModel):
        with suppress(Exception):  # whatever a library raises: then the artefact is kept
            return _write_sklearn(target, manifest, loaded)
    for left in target.glob("*") if target.is_dir() else ():
        left.unlink()
    target.mkdir(exist_ok=True)
    (target / manifest.artefact).write_bytes(artefact.read_bytes())
    return f"as the file {manifest.artefact} alone, which MLflow does not load"


def _write_sklearn(target: Path, manifest: Manifest, loaded: LoadedVersion) -> str:
    import mlflow.sklearn  # noqa: PLC0415 - a part of MLflow that is imported by itself

    pinned = [f"{library}=={version}" for library, version in manifest.libraries.items() if library != "python"]
    way = format_of(mlflow.sklearn.save_model, manifest.artefact)
    mlflow.sklearn.save_model(loaded.estimator, str(target), pip_requirements=pinned, **way)
    return f"loadable by MLflow ({way['serialization_format']})"


def format_of(save_model: Callable[..., Any], artefact: str) -> dict[str, object]:
    """As skops with the types that driftd trusts, where its own artefact is that and this MLflow can; else a pickle."""
    from driftd.registry.artefact import SKOPS, TRUSTED  # noqa: PLC0415 - see above

    if artefact == SKOPS and "skops_trusted_types" in inspect.signature(save_model).parameters:
        return {"serialization_format": "skops", "skops_trusted_types": sorted(TRUSTED)}
    return {"serialization_format": "cloudpickle"}


def alias_target(client: Any, name: str, alias: str) -> str | None:
    """The number of the version that an alias names; None where there is no such alias, or no such model."""
    known = registered_model(client, name)
    number = None if known is None else known.aliases.get(alias)
    return None if number is None else str(number)


def move_alias(client: Any, name: str, alias: str, number: str) -> str | None:
    """Have an alias name a version, and read it back; gives the number that it named before.

    Raises MlflowError where it reads back as another one: somebody else moves it too.
    """
    before = alias_target(client, name, alias)
    if before != number:
        client.set_registered_model_alias(name, alias, number)
    found = alias_target(client, name, alias)
    if found != number:
        raise MlflowError(f"{name}@{alias} names version {found} after it was moved to {number}: who else moves it?")
    return before
