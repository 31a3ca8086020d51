"""Has an InferenceService of KServe load a version, by the API of Kubernetes, and reads back what it serves."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from driftd.config.credential_files import CredentialFileError, read_token
from driftd.errors import DriftdError
from driftd.outside.storage import StoragePlace

if TYPE_CHECKING:
    import httpx

BEFORE, VERSION = "driftd/before", "driftd/version"  # annotations: what was loaded before driftd, and which version is
_TRIES = 5  # of a patch that meets somebody else's change
_ASK_SECONDS = 15.0
_SHOWN = 300
_CONFLICT = 409
_FAILED = {"BlockedByFailedLoad", "InvalidSpec"}
_REASONS = {
    401: "it does not take the token of kserve.token_file",
    403: "it denies that: give the service account get and patch on inferenceservices.serving.kserve.io there",
    404: "there is no such InferenceService, or KServe is not installed",
}


class KServeError(DriftdError):
    """The InferenceService does not serve the version; the message says why, and holds no token."""


class KServePlace(msgspec.Struct, frozen=True, kw_only=True):
    """The section of the config, as a job is told it."""

    name: str
    namespace: str
    storage: StoragePlace
    uri: str | None = None
    server: str
    token_file: str
    ca_file: str | None = None
    poll: float

    @property
    def title(self) -> str:
        """As messages call it."""
        return f"the InferenceService {self.namespace}/{self.name}"

    @property
    def path(self) -> str:
        """Of the API."""
        return f"/apis/serving.kserve.io/v1beta1/namespaces/{self.namespace}/inferenceservices/{self.name}"

    def uri_of(self, copied: str) -> str:
        """How the service calls a folder that was copied to the storage."""
        return copied if self.uri is None else self.uri.rstrip("/") + copied.removeprefix(self.storage.path.rstrip("/"))


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """Of an InferenceService; what else stands there is left as it is."""

    generation: int = 0
    resource_version: str | None = None
    annotations: dict[str, str] = {}


class Spec(msgspec.Struct, frozen=True):
    """What an InferenceService is to load."""

    predictor: dict[str, object] = {}


class Condition(msgspec.Struct, frozen=True):
    """One of the conditions of a status."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class ModelStates(msgspec.Struct, frozen=True, rename="camel"):
    """How far the model of the newest spec is loaded."""

    target_model_state: str | None = None


class FailureInfo(msgspec.Struct, frozen=True):
    """Why a model could not be loaded."""

    reason: str = ""
    message: str = ""


class ModelStatus(msgspec.Struct, frozen=True, rename="camel"):
    """What KServe says of the model."""

    transition_status: str | None = None
    states: ModelStates = ModelStates()
    last_failure_info: FailureInfo = FailureInfo()


class Component(msgspec.Struct, frozen=True, rename="camel"):
    """The revisions of a component."""

    latest_created_revision: str | None = None
    latest_ready_revision: str | None = None


class Status(msgspec.Struct, frozen=True, rename="camel"):
    """How far a service has come."""

    observed_generation: int | None = None
    conditions: tuple[Condition, ...] = ()
    model_status: ModelStatus = ModelStatus()
    components: dict[str, Component] = {}


class InferenceService(msgspec.Struct, frozen=True):
    """What of an InferenceService is looked at."""

    metadata: Metadata = Metadata()
    spec: Spec = Spec()
    status: Status = Status()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a service has come with what it is to load."""

    state: Literal["ready", "waiting", "failed"]
    words: str


def serve_uri(place: KServePlace, uri: str | None, version: int, timeout: float) -> str:
    """Have the service load `uri`, and wait until it serves that; None: what it loaded before driftd.

    Returns what serves, in a clause. Raises KServeError, also where that takes longer than `timeout` (seconds): a
    service that is late goes on loading, and the next try finds it ready.
    """
    progress: list[str] = []
    try:
        return asyncio.run(_serve_in_time(place, uri, version, timeout, progress))
    except TimeoutError:
        last = f": {progress[-1]}" if progress else ""
        raise KServeError(f"{place.title} does not serve it within {timeout:g} s (deploy.timeout){last}") from None


async def _serve_in_time(place: KServePlace, uri: str | None, version: int, timeout: float, said: list[str]) -> str:
    async with asyncio.timeout(timeout), _client(place) as client:
        before, wanted = await _patch(client, place, uri, version)
        while True:
            progress = await _look(client, place, wanted)
            said.append(progress.words)
            if progress.state == "ready":
                return f"{place.title} serves {wanted} ({progress.words})"
            if progress.state == "failed":
                if before != wanted:
                    await _patch(client, place, before, None)
                raise KServeError(f"{place.title} cannot serve {wanted}: {progress.words}; it loads {before} again")
            await asyncio.sleep(place.poll)


@asynccontextmanager
async def _client(place: KServePlace) -> AsyncIterator[httpx.AsyncClient]:
    import httpx  # noqa: PLC0415 - only where KServe is the way

    try:
        token = read_token(Path(place.token_file))
        verify: ssl.SSLContext | bool = (
            True if place.ca_file is None else ssl.create_default_context(cafile=place.ca_file)
        )
    except (CredentialFileError, OSError) as error:
        raise KServeError(f"the API server cannot be asked: {error}") from None
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=place.server, headers=headers, verify=verify, timeout=_ASK_SECONDS, follow_redirects=False
    ) as client:
        yield client


async def _ask(
    client: httpx.AsyncClient, place: KServePlace, patch: Mapping[str, object] | None = None
) -> InferenceService | None:
    """Get the service, or patch it; None where somebody else changed it meanwhile."""
    import httpx  # noqa: PLC0415 - see above

    try:
        if patch is None:
            answer = await client.get(place.path)
        else:
            headers = {"Content-Type": "application/merge-patch+json"}
            answer = await client.patch(place.path, content=msgspec.json.encode(patch), headers=headers)
    except httpx.TimeoutException:
        raise KServeError(f"the API server {place.server} gave no answer within {_ASK_SECONDS:g} s") from None
    except (httpx.HTTPError, OSError) as error:
        raise KServeError(f"the API server {place.server} cannot be asked: {error or type(error).__name__}") from None
    if patch is not None and answer.status_code == _CONFLICT:
        return None
    if not answer.is_success:
        why = _REASONS.get(answer.status_code) or " ".join(answer.text.split())[:_SHOWN]
        raise KServeError(f"the API server answers {answer.status_code} for {place.title}: {why}")
    try:
        return msgspec.json.decode(answer.content, type=InferenceService)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise KServeError(f"what the API server says of {place.title} cannot be read: {error}") from None


async def _patch(
    client: httpx.AsyncClient, place: KServePlace, uri: str | None, version: int | None
) -> tuple[str, str]:
    """Set what the service loads; returns what that was before, and what it is to be now."""
    for _ in range(_TRIES):
        service = await _get(client, place)
        key, loaded = _model_of(service, place)
        noted = service.metadata.annotations
        wanted = uri if uri is not None else noted.get(BEFORE, loaded)
        if loaded == wanted:
            return loaded, wanted
        annotations = {VERSION: None if version is None else str(version), BEFORE: noted.get(BEFORE, loaded)}
        metadata = {"resourceVersion": service.metadata.resource_version, "annotations": annotations}
        patch = {"metadata": metadata, "spec": {"predictor": {key: {"storageUri": wanted}}}}
        if await _ask(client, place, patch) is not None:
            return loaded, wanted
    raise KServeError(f"{place.title} was changed by somebody else at each of {_TRIES} tries (409)")


async def _get(client: httpx.AsyncClient, place: KServePlace) -> InferenceService:
    service = await _ask(client, place)
    assert service is not None  # only a patch meets a conflict
    return service


def _model_of(service: InferenceService, place: KServePlace) -> tuple[str, str]:
    """The key of the predictor under which a model is loaded, and from where."""
    predictor = service.spec.predictor
    for key in ("model", *predictor):
        section = predictor.get(key)
        uri = section.get("storageUri") if isinstance(section, Mapping) else None
        if isinstance(uri, str):
            return key, uri
    raise KServeError(f"{place.title} loads no model by a storageUri (spec.predictor.model.storageUri): set one once")


async def _look(client: httpx.AsyncClient, place: KServePlace, wanted: str) -> Progress:
    """How far the service has come; an answer that fails now may come the next time."""
    try:
        service = await _get(client, place)
        _, loaded = _model_of(service, place)
    except KServeError as error:
        return Progress("waiting", str(error))
    if loaded != wanted:
        return Progress("failed", f"somebody else had it load {loaded}")
    return progress_of(service)


def progress_of(service: InferenceService) -> Progress:
    """What the status of a service says of what its spec asks for. Pure."""
    status, newest = service.status, service.metadata.generation
    model = status.model_status
    if (newest if status.observed_generation is None else status.observed_generation) < newest:
        return Progress("waiting", "its controller has not taken the change up yet")
    if model.states.target_model_state == "FailedToLoad" or model.transition_status in _FAILED:
        info = model.last_failure_info
        said = info.message or info.reason or model.transition_status or "it failed to load"
        return Progress("failed", said[:_SHOWN])
    ready = next((item for item in status.conditions if item.type == "Ready"), Condition())
    if ready.status != "True":
        return Progress("waiting", f"not ready: {(ready.message or ready.reason or 'no word')[:_SHOWN]}")
    if model.transition_status not in (None, "UpToDate"):
        return Progress("waiting", f"it goes over to the new model ({model.transition_status})")
    revisions = status.components.get("predictor", Component())
    created, serving = revisions.latest_created_revision, revisions.latest_ready_revision
    if created != serving:
        return Progress("waiting", f"revision {created} is not ready, {serving} serves")
    return Progress("ready", f"ready, revision {serving}" if serving else "ready")
