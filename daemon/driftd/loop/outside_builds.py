"""What belongs to systems outside: the jobs of a build that is made there, and how what serves is told.

A build outside is three jobs: one orders it, one waits for it, one takes in what came back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from driftd.config.deploy_schema import KServe
from driftd.config.model_schema import ModelConfig
from driftd.config.schema import Http
from driftd.config.trainer_schema import OutsideTrainer, Storage
from driftd.outside.exchange import Exchange, Outcome, exchange_folder, submission_folder
from driftd.paths import Places, credential
from driftd.records import ModelState, TrainArguments
from driftd.store.state.records import StoredAction
from driftd.training.jobs import JobResult, read_result

OUTSIDE = "outside"  # of the arguments of a job of training: what belongs to a build outside
MARGIN_SECONDS = 120.0  # after its deadline: until then the job that waits has said so itself


@dataclass(frozen=True, slots=True)
class OutsideJobs:
    """What each job of a build outside is told besides; of a version that was submitted there is only the last."""

    received: Mapping[str, object]
    order: Mapping[str, object] | None = None
    wait: Mapping[str, object] | None = None
    seconds: float = 0.0  # until the deadline


@dataclass(frozen=True, slots=True)
class Stage:
    """One job of a build outside."""

    folder: Path
    task: str
    arguments: Mapping[str, object]
    waits_seconds: float | None = None  # of a job that only waits, and takes nobody's place meanwhile


def outside_arguments(
    trainer: object, http: Http, places: Places, action: StoredAction, arguments: TrainArguments
) -> dict[str, object]:
    """What the jobs of a build outside are told besides; empty where the build is made here."""
    if arguments.submission is not None:
        folder = submission_folder(places, action.model, arguments.submission)
        place = {"folder": str(folder), "place": "submitted", "trained_until": arguments.trained_until}
        return {OUTSIDE: OutsideJobs(place)}
    if not isinstance(trainer, OutsideTrainer):
        return {}
    build = f"{action.model}-{action.id}"
    folder, way = exchange_folder(places.job(f"{build}-{action.kind}")), way_of(trainer)
    order = {
        "folder": str(folder),
        "build": build,
        "way": way,
        "deadline": trainer.deadline,
        "largest": trainer.largest,
        "url": trainer.url or own_address(http),
        "storage": None if trainer.storage is None else storage_of(trainer.storage),
    }
    wait = {"folder": str(folder), "way": way, "poll": trainer.poll}
    received = {"folder": str(folder), "place": way["place"]}
    return {OUTSIDE: OutsideJobs(received, order, wait, trainer.deadline)}


def way_of(trainer: OutsideTrainer) -> dict[str, object]:
    """How a builder is started, with the secrets and the files that hold some."""

    def file(path: Path | None) -> str | None:
        return None if path is None else str(credential(path))

    return {
        "place": _place_of(trainer),
        "webhook": None if trainer.webhook is None else trainer.webhook.get_secret_value(),
        "webhook_file": file(trainer.webhook_file),
        "start": trainer.start,
        "body": trainer.body,
        "form": trainer.form,
        "headers_file": file(trainer.headers_file),
        "secret_file": file(trainer.secret_file),
        "timeout": trainer.timeout,
    }


def _place_of(trainer: OutsideTrainer) -> str:
    if trainer.start is not None:
        return Path(trainer.start[0]).name
    if trainer.webhook is not None:
        return trainer.webhook.get_secret_value().partition("://")[2].partition("/")[0].rpartition("@")[2]
    return f"the webhook of {trainer.webhook_file}"


def storage_of(storage: Storage) -> dict[str, object]:
    """A place that others read, with the whole path of its keys."""
    store = storage.object_store
    if store is None:
        return {"path": storage.path, "object_store": None}
    keys = store.credentials_file
    content = store.model_dump(mode="json") | ({} if keys is None else {"credentials_file": str(credential(keys))})
    return {"path": storage.path, "object_store": content}


def ways_to_tell(model: ModelConfig) -> dict[str, object]:
    """How the system that serves is told; the secret is in no other job's arguments."""
    deploy = model.deploy
    file = deploy.webhook_file
    return {
        "allow_joblib": model.allow_joblib,
        "command": deploy.command,
        "webhook": None if deploy.webhook is None else deploy.webhook.get_secret_value(),
        "webhook_file": None if file is None else str(credential(file)),
        "mlflow": None if deploy.mlflow is None else deploy.mlflow.model_dump(mode="json"),
        "kserve": kserve_of(deploy.kserve),
        "plugin": deploy.plugin,
        "options": deploy.options,
        "timeout": deploy.timeout,
    }


def kserve_of(kserve: KServe | None) -> dict[str, object] | None:
    """The InferenceService that serves, with the whole path of its token."""
    if kserve is None:
        return None
    places = {"token_file": str(credential(kserve.token_file)), "storage": storage_of(kserve.storage)}
    return {**kserve.model_dump(mode="json"), **places}


def own_address(http: Http) -> str:
    """The address of the daemon as it listens; a builder on another host needs `trainer.url`."""
    return f"{'http' if http.tls is None else 'https'}://{http.listen}"


def next_stage(folder: Path, own: Mapping[str, object], outside: OutsideJobs) -> Stage:
    """The job that comes next, by what those before it left; `own` are the arguments of the training."""
    if outside.order is not None and read_result(folder / "order") is None:
        return Stage(folder / "order", "order", {**own, **outside.order})
    if outside.wait is not None and read_result(folder / "wait") is None:
        return Stage(folder / "wait", "await", outside.wait, outside.seconds + MARGIN_SECONDS)
    return Stage(folder, "receive", {**own, **outside.received})


def failed_stage(folder: Path) -> JobResult | None:
    """How a job before the last one failed; None where none has."""
    results = (read_result(folder / name) for name in ("order", "wait"))
    return next((result for result in results if result is not None and not result.ok), None)


def put_aside(places: Places, state: ModelState, action: StoredAction) -> None:
    """Give up a build outside that nobody waits for any more: its builder is told, where it can be."""
    arguments = action.typed_arguments
    if not isinstance(arguments, TrainArguments) or arguments.submission is not None:
        return
    if state.build is not None and state.build.number == arguments.version:
        return
    exchange = Exchange.of(places, f"{action.model}-{action.id}")
    if exchange is not None and exchange.outcome is None:
        exchange.settle(Outcome(state="closed", sentence="the build was put aside: its version is not wanted any more"))
