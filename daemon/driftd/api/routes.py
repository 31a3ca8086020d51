"""The API that takes requests: each is posted as its command posts it, and its answer is read back by its number."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from driftd.api.answers import RefusalError, error_answer, json_answer, read_body
from driftd.api.openapi import document
from driftd.api.requests import REQUESTS, Request, RequestView, SessionView, post
from driftd.store.integrity import describe_sqlite_error
from driftd.store.schema_versions import DatabaseError
from driftd.store.state.reader import StateAbsentError, StateReader
from driftd.store.state.records import StoredRequest
from driftd.web.security import BEARER, HAS_TOKENS, NO_OPERATOR, NO_SUBMITTER, is_bearer
from driftd.web.tokens import Token

log = structlog.get_logger()

LONGEST_BODY = 16_384  # bytes
LONGEST_KEY = 128  # characters
AT_ONCE, A_SECOND = 30, 1.0  # requests of one token: so many at once, and so many a second from then on
MOST_WAITING = 1000  # requests that no loop has answered yet: more say nothing new, and fill the disk
ID = re.compile(r"[0-9]{1,18}")  # what SQLite can look up
RETRY_SECONDS = 5


@dataclass(frozen=True, slots=True)
class ApiWiring:
    """What the API needs of the daemon."""

    state_db: Path
    models: Callable[[], Collection[str]]  # of the config in force
    posted: Callable[[], None]  # has the loop look for requests soon


@dataclass(slots=True)
class RateLimiter:
    """How much each token may ask: a bucket that fills again by the second."""

    _left: dict[str, tuple[float, float]] = field(default_factory=dict)  # by token: how much is left, as of when

    def take(self, name: str, now: float) -> bool:
        """Whether there is one more for this token; `now` is monotonic seconds."""
        left, at = self._left.get(name, (float(AT_ONCE), now))
        left = min(float(AT_ONCE), left + (now - at) * A_SECOND)
        self._left[name] = (left - 1.0 if left >= 1.0 else left, now)
        return left >= 1.0


class RequestApi:
    """POST /api/v1/models/{model}/{action}, GET /api/v1/requests/{id} and the OpenAPI document.

    The guard before it lets only tokens with the role `operate` through to what changes something.
    """

    def __init__(self, wiring: ApiWiring) -> None:
        self._wiring = wiring
        self._rates = RateLimiter()

    def routes(self) -> list[BaseRoute]:
        """What is answered."""
        return [
            Route("/api/v1/models/{model:str}/{action:str}", self._post, methods=["POST"]),
            Route("/api/v1/requests/{request:str}", self._show),
            Route("/api/v1/session", self._session),
            Route("/openapi.json", self._document),
        ]

    async def _document(self, _: HttpRequest) -> Response:
        return json_answer(document())

    async def _session(self, request: HttpRequest) -> Response:
        """Who the token in the header is; a password lets only look, so it is nobody here."""
        is_token = is_bearer(request.headers.get("authorization"))
        bearer = request.scope.get(BEARER) if is_token else None
        has_tokens = bool(request.scope.get(HAS_TOKENS))
        if is_token and not isinstance(bearer, Token):
            sentence = "this token is not in the file of http.token_file (any more)"
            why = sentence if has_tokens else "no token is known: http.token_file names no file"
            return error_answer(RefusalError(401, why))
        if not isinstance(bearer, Token):
            return json_answer(msgspec.to_builtins(SessionView(name=None, operates=False, has_tokens=has_tokens)))
        view = SessionView(name=bearer.name, operates=bearer.may_operate, has_tokens=True)
        return json_answer(msgspec.to_builtins(view))

    async def _show(self, request: HttpRequest) -> Response:
        text = request.path_params["request"]
        try:
            found = await asyncio.to_thread(self._read, int(text)) if ID.fullmatch(text) else None
        except RefusalError as error:
            return error_answer(error)
        if found is None:
            return error_answer(RefusalError(404, f"there is no request {text[:40]}", "request"))
        return json_answer(msgspec.to_builtins(RequestView.of(found)))

    async def _post(self, request: HttpRequest) -> Response:
        try:
            bearer = self.bearer(request)
            asked = await self._read_request(request)
            return await self.keep(request, bearer, asked, key_of(request.headers, bearer))
        except RefusalError as error:
            return error_answer(error)
        except ClientDisconnect:
            return Response(status_code=400)

    async def keep(self, request: HttpRequest, bearer: Token, asked: Request, key: str | None) -> Response:
        """Keep what is asked for the loop, and answer with where it is found. Raises RefusalError."""
        client = request.client.host if request.client is not None else "unknown"
        who, model = f"{bearer.name} by API from {client}", request.path_params["model"]
        stored, is_repeated = await asyncio.to_thread(self._store, model, asked, who, key)
        log.info(
            "request_posted",
            request=stored.id,
            model=model,
            kind=asked.kind,
            who=bearer.name,
            client=client,
            repeated=is_repeated,
        )
        self._wiring.posted()
        location = {"Location": f"/api/v1/requests/{stored.id}"}
        return json_answer(msgspec.to_builtins(RequestView.of(stored)), 202, location)

    def bearer(self, request: HttpRequest, *, submits: bool = False) -> Token:
        """Who asks, where that may be. Raises RefusalError."""
        bearer = request.scope.get(BEARER)
        may = isinstance(bearer, Token) and (bearer.may_submit if submits else bearer.may_operate)
        if not isinstance(bearer, Token) or not may:  # the guard let nobody else through
            raise RefusalError(403, NO_SUBMITTER if submits else NO_OPERATOR)
        if not self._rates.take(bearer.name, time.monotonic()):
            raise RefusalError(429, f"a token may ask {AT_ONCE} times at once and {A_SECOND:g} a second", "", 1)
        return bearer

    async def _read_request(self, request: HttpRequest) -> Request:
        action = request.path_params["action"]
        kind = REQUESTS.get(action)
        if kind is None:
            raise RefusalError(404, f"there is no action {action[:80]!r}; there are {', '.join(REQUESTS)}", "action")
        self.require_model(request.path_params["model"])
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RefusalError(415, "the body is JSON: send Content-Type: application/json")
        return decode(kind, await read_body(request, LONGEST_BODY))

    def require_model(self, model: str) -> None:
        """Raises RefusalError for a model that is not in the config in force."""
        models = self._wiring.models()
        if model not in models:
            known = ", ".join(sorted(models)) or "none"
            raise RefusalError(404, f"there is no model {model[:80]!r}; there are {known}", "model")

    def _store(self, model: str, request: Request, who: str, key: str | None) -> tuple[StoredRequest, bool]:
        """The request as it is stored, and whether it was before."""
        path = self._wiring.state_db
        with _usable_state():
            with StateReader.read_only(path) as reader:
                waiting, newest = reader.count_waiting_requests(), reader.newest_request()
            if waiting >= MOST_WAITING:
                sentence = f"{waiting:,} requests wait for an answer already: see /-/healthy"
                raise RefusalError(503, sentence, retry_after=RETRY_SECONDS)
            number = post(path, model, request, who=who, key=key)
        stored = self._read(number)
        if stored is None:
            raise RefusalError(503, "it was kept and is gone: the state was replaced meanwhile", retry_after=1)
        if not _is_same(stored, model, request):
            raise RefusalError(409, f"this Idempotency-Key is that of request {number}, which asks for something else")
        return stored, number <= newest

    def submissions_in_use(self, model: str) -> frozenset[str]:
        """The keys of versions of a model that were handed in and whose files are needed yet. Raises RefusalError."""
        with _usable_state(), StateReader.read_only(self._wiring.state_db) as reader:
            return reader.submissions_in_use(model)

    def _read(self, number: int) -> StoredRequest | None:
        with _usable_state(), StateReader.read_only(self._wiring.state_db) as reader:
            return reader.request(number)


@contextmanager
def _usable_state() -> Iterator[None]:
    """Whatever the database cannot do now is told as something to try again; raises RefusalError."""
    try:
        yield
    except (StateAbsentError, DatabaseError) as error:
        raise RefusalError(503, str(error), retry_after=RETRY_SECONDS) from error
    except RefusalError:
        raise
    except ValueError as error:  # of the one field that is read when the request is posted
        raise RefusalError(422, str(error), "until") from error
    except Exception as error:
        sentence = describe_sqlite_error(error)
        if sentence is None:
            raise
        raise RefusalError(503, f"it cannot be kept now: {sentence}", retry_after=RETRY_SECONDS) from error


def decode(kind: type[Request], body: bytes) -> Request:
    """The body of a request; an empty one has no fields. Raises RefusalError with what is allowed."""
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.ValidationError as error:
        sentence, _, path = str(error).partition(" - at `$")
        allowed = ", ".join(kind.__struct_fields__)
        raise RefusalError(422, f"{sentence}. {kind.kind} takes {allowed}", path.strip("`.")) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusalError(400, f"the body is not JSON: {error}") from None


def key_of(headers: Mapping[str, str], bearer: Token) -> str | None:
    """The key of a request, which is its token's own: two people may choose the same."""
    given = headers.get("idempotency-key")
    if given is None:
        return None
    if not 0 < len(given) <= LONGEST_KEY or not given.isascii() or not given.isprintable():
        raise RefusalError(422, f"an Idempotency-Key has 1 to {LONGEST_KEY} printable characters", "Idempotency-Key")
    return f"{bearer.name}/{given}"


def _is_same(stored: StoredRequest, model: str, asked: Request) -> bool:
    """Whether a stored request asks the same; a span from now ends at another moment each time."""
    given = {**asked.arguments(stored.at), "until": None}
    return (stored.model, stored.kind, {**stored.arguments, "until": None}) == (model, asked.kind, given)
