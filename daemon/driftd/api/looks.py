"""Looks that take a child process: how good the predictions of some windows were, and a few of their rows."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import structlog
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from driftd.web.security import BEARER, is_bearer
from driftd.web.tokens import Token

log = structlog.get_logger()

WINDOW = re.compile(r"-?[0-9]{1,15}")
MOST_WINDOWS = 1_000_000  # of one look
RETRY_SECONDS = 1
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a text that begins so is run by a spreadsheet
NO_ROWS = (
    "rows are not shown here: they are the data of your users. `show_rows: true` in the section http of the config "
    "shows samples of them to whoever bears a token (docs/security.md)"
)
NOBODY = "rows are shown only to whoever bears a token: Authorization: Bearer TOKEN"

LookKind = Literal["quality", "rows"]


@dataclass(frozen=True, slots=True)
class LookOrder:
    """What is looked at: the windows of a model from `first` to `last`, as the checks number them."""

    kind: LookKind
    model: str
    first: int
    last: int


class LookView(msgspec.Struct, frozen=True, kw_only=True):
    """How far a look has come, and what it found."""

    status: Literal["working", "done", "failed", "busy"]
    sentence: str = ""
    value: Mapping[str, Any] | None = None


class RowSample(msgspec.Struct, frozen=True):
    """What the `rows` job drew."""

    columns: list[str]
    rows: list[list[object]]


@dataclass(frozen=True, slots=True)
class LookWiring:
    """What looks need of the daemon."""

    models: Callable[[], Collection[str]]  # of the config in force
    shows_rows: Callable[[], bool]
    ask: Callable[[LookOrder], LookView]  # begins a job, or tells how far it is; must not block


class LookApi:
    """GET /api/models/{model}/quality, /rows and /rows.csv: 200 with what was found, 202 while a job works."""

    def __init__(self, wiring: LookWiring) -> None:
        self._wiring = wiring

    def routes(self) -> list[BaseRoute]:
        """What is answered."""
        return [
            Route("/api/models/{model:str}/quality", self._quality),
            Route("/api/models/{model:str}/rows", self._rows),
            Route("/api/models/{model:str}/rows.csv", self._csv),
        ]

    async def _quality(self, request: HttpRequest) -> Response:
        return await self._answer(request, "quality")

    async def _rows(self, request: HttpRequest) -> Response:
        refused = self._row_refusal(request)
        return refused if refused is not None else await self._answer(request, "rows")

    async def _csv(self, request: HttpRequest) -> Response:
        refused = self._row_refusal(request)
        if refused is not None:
            return refused
        found = await self._look(request, "rows")
        if isinstance(found, Response):
            return found
        if found.status != "done" or found.value is None:
            return _respond(found)
        self._journal(request)
        model = re.sub(r"[^A-Za-z0-9._-]", "_", request.path_params["model"])
        name = f"{model}-{request.query_params['first']}-{request.query_params['last']}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(
            _as_csv(msgspec.convert(found.value, RowSample)), headers=headers, media_type="text/csv; charset=utf-8"
        )

    def _row_refusal(self, request: HttpRequest) -> Response | None:
        """Rows are data of people: shown where the config says so, to whoever bears a token in the header."""
        if not self._wiring.shows_rows():
            return _error(403, NO_ROWS)
        bearer = request.scope.get(BEARER)
        if not isinstance(bearer, Token) or not is_bearer(request.headers.get("authorization")):
            return _error(403, NOBODY)
        return None

    def _journal(self, request: HttpRequest) -> None:
        """Who was shown rows of whom is written down, once they are sent."""
        bearer = request.scope[BEARER]
        first, last = (request.query_params[name] for name in ("first", "last"))
        log.info("rows_shown", model=request.path_params["model"], who=bearer.name, first=first, last=last)

    async def _answer(self, request: HttpRequest, kind: LookKind) -> Response:
        found = await self._look(request, kind)
        if isinstance(found, Response):
            return found
        if kind == "rows" and found.status == "done":
            self._journal(request)
        return _respond(found)

    async def _look(self, request: HttpRequest, kind: LookKind) -> LookView | Response:
        if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
            return _error(403, "a page of another origin may not start a job")
        model = request.path_params["model"]
        if model not in self._wiring.models():
            return _error(404, f"there is no model {model[:80]!r}")
        ends = [request.query_params.get(name, "") for name in ("first", "last")]
        if not all(WINDOW.fullmatch(text) for text in ends):
            return _error(422, "first and last are the numbers of windows", "first")
        first, last = (int(text) for text in ends)
        if not first <= last < first + MOST_WINDOWS:
            return _error(422, f"last is not before first, and at most {MOST_WINDOWS:,} windows after it", "last")
        return await asyncio.to_thread(self._wiring.ask, LookOrder(kind, model, first, last))


def _respond(found: LookView) -> Response:
    status = {"working": 202, "busy": 503}.get(found.status, 200)
    headers = {"Retry-After": str(RETRY_SECONDS)} if status != 200 else {}  # noqa: PLR2004 - OK
    return Response(msgspec.json.encode(found), status, headers, "application/json")


def _as_csv(value: RowSample) -> str:
    """The rows as CSV; a text that a spreadsheet would run as a formula begins with an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([_cell(name) for name in value.columns])
    writer.writerows([[_cell(cell) for cell in row] for row in value.rows])
    return text.getvalue()


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _error(status: int, sentence: str, at: str = "") -> Response:
    return Response(msgspec.json.encode({"error": sentence, "field": at}), status, media_type="application/json")
