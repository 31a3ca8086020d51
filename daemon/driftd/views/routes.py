"""The page and its read-only JSON, answered beside the main loop; a response is kept until the state changes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from driftd.config.load import digest_of
from driftd.paths import Places
from driftd.registry import Registry
from driftd.store.state.chart_queries import SeriesReader, StateUnreadableError
from driftd.store.state.reader import StateAbsentError
from driftd.views.comparison import comparison_view
from driftd.views.conditions import ExportedValues, all_blind_spots, pressings, with_source_faults
from driftd.views.config import config_summary, config_view
from driftd.views.decision import decision_view
from driftd.views.decision_report import DecisionReport, decision_report
from driftd.views.decision_report_page import POLICY, links_under, report_page
from driftd.views.fleet import FleetView, LiveState, SparkCache, fleet_view
from driftd.views.label_requests import LabelRequestsView, label_requests_view
from driftd.views.lineage import ServedAt, served_at
from driftd.views.model import ModelView, UnwatchedView, model_view
from driftd.views.row_counts import all_row_counts
from driftd.views.scores import distribution_view, score_view
from driftd.views.stages import stage_log
from driftd.views.window_range import Asked
from driftd.web.security import BEARER, is_bearer
from driftd.web.tokens import Token

MOST_KEPT = 64  # answers


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """A JSON body and the tag by which a browser says that it has it already. `body` is empty for "there is none"."""

    tag: str
    body: bytes


NOTHING = CachedResponse("", b"")
Found = TypeVar("Found")


@dataclass(slots=True)
class ResponseCache:
    """Reads the state database by a connection of its own, one question at a time, and never writes."""

    path: Path
    beside: Callable[[], object] = lambda: None  # what answers depend on besides the database
    _reader: SeriesReader | None = None
    _file: tuple[int, int] = (0, 0)
    _kept: OrderedDict[str, tuple[object, CachedResponse]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, question: str, ask: Callable[[SeriesReader], msgspec.Struct | None]) -> CachedResponse:
        """What `ask` finds, from the shelf while nothing changed. Raises StateAbsentError, StateUnreadableError."""
        with self._lock, self._open().at_one_moment() as commit:
            mark = (commit, self.beside())
            kept = self._kept.get(question)
            if kept is not None and kept[0] == mark:
                self._kept.move_to_end(question)
                return kept[1]
            found = ask(self._open())
            answer = NOTHING if found is None else _answer(found)
            self._kept[question] = (mark, answer)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            return answer

    def ask(self, ask: Callable[[SeriesReader], Found]) -> Found:
        """What `ask` finds now, of one commit. Raises StateAbsentError, StateUnreadableError."""
        with self._lock, self._open().at_one_moment():
            return ask(self._open())

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._forget()

    def _open(self) -> SeriesReader:
        """The connection; a new one when another file stands in the place of the old (a backup was restored)."""
        try:
            stat = os.stat(self.path)  # noqa: PTH116 - one call gives both
        except FileNotFoundError:
            self._forget()
            raise StateAbsentError(f"no state database at {self.path}: the daemon makes it when it starts") from None
        if self._reader is None or self._file != (stat.st_dev, stat.st_ino):
            self._forget()
            self._reader = SeriesReader.read_only(self.path)
            self._file = (stat.st_dev, stat.st_ino)
        return self._reader

    def _forget(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = None
        self._kept.clear()


def _answer(found: msgspec.Struct) -> CachedResponse:
    body = msgspec.json.encode(found)  # NaN and the infinities as null
    return CachedResponse(f'"{hashlib.sha256(body).hexdigest()[:24]}"', body)


log = structlog.get_logger()

STATIC = Path(__file__).parent / "static"
LARGEST_ID = 2**63 - 1  # that SQLite can look up
LATEST = 1e11  # epoch seconds; later ones cannot be written as a date
_VERSION = re.compile(r"[0-9]{1,9}")
_WINDOW = re.compile(r"-?[0-9]{1,15}")

Ask = Callable[[SeriesReader], msgspec.Struct | None]


@dataclass(frozen=True, slots=True)
class PageWiring:
    """What the page needs of the daemon besides its state on disk; every function only looks."""

    places: Places
    config_path: Path
    models: Callable[[], Collection[str]]  # of the config in force
    obstacles: Callable[[], Mapping[str, str]]  # why some of them are not under watch
    metrics: ExportedValues  # the metrics
    now: Callable[[], float]
    url: Callable[[], str | None]  # at which people open the page, by the config in force
    source_faults: Callable[[], Mapping[str, str]]  # why sources give no rows, or not all of them
    last_round: Callable[[], float]  # when the main loop was last round, epoch seconds; 0 before the first
    ended: float | None = None  # of a replay that is over: its end, epoch seconds, which the page takes for now


class PageFiles(StaticFiles):
    """The page's own files: kept by browsers, but asked after each time, so that an upgrade shows at once."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, or only that it has not changed."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


class StatusPage:
    """The questions that may be asked over HTTP."""

    def __init__(self, wiring: PageWiring) -> None:
        self._wiring = wiring
        self._registry = Registry(wiring.places)
        self._sparks = SparkCache()
        self._shelf = ResponseCache(wiring.places.state_db, lambda: (digest_of(wiring.config_path), self._beside()))

    def routes(self) -> list[BaseRoute]:
        """The page at `/`, the runbook, their files, and the API."""
        return [
            Route("/", self._index),
            Route("/runbook", self._runbook),
            Route("/models/{model:str}/compare", self._compare_page),
            Route("/api/fleet", self._fleet),
            Route("/api/config", self._config),
            Route("/api/models/{model:str}", self._model),
            Route("/api/models/{model:str}/scores", self._scores),
            Route("/api/v1/models/{model:str}/label-requests", self._label_requests),
            Route("/api/models/{model:str}/distribution", self._distribution),
            Route("/api/models/{model:str}/compare", self._compare),
            Route("/api/models/{model:str}/served", self._serving_version),
            Route("/api/models/{model:str}/stages/{version:int}/{stage:str}/log", self._stage_log),
            Route("/api/decisions/{decision:int}", self._decision),
            Route("/api/alarms/{alarm:int}", self._alarm),
            Route("/alarms/{alarm:int}/report", self._alarm_report),
            Route("/decisions/{decision:int}/report", self._decision_report),
            Mount("/page", PageFiles(directory=STATIC)),
        ]

    def close(self) -> None:
        """Let go of the database."""
        self._shelf.close()

    def _beside(self) -> LiveState:
        wiring = self._wiring
        models = wiring.models()
        return LiveState(
            wiring.obstacles(),
            with_source_faults(pressings(wiring.metrics, models, wiring.now()), wiring.source_faults()),
            all_row_counts(wiring.metrics, models),
            all_blind_spots(wiring.metrics, models),
        )

    async def _index(self, _: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    async def _runbook(self, _: Request) -> Response:
        return FileResponse(STATIC / "runbook.html", headers={"Cache-Control": "no-cache"})

    async def _fleet(self, request: Request) -> Response:
        def ask(reader: SeriesReader) -> FleetView:
            summary = config_summary(reader, self._wiring.config_path)
            return fleet_view(reader, self._registry, self._beside(), summary, self._sparks)

        return await self._respond(request, ask)

    async def _config(self, request: Request) -> Response:
        return await self._respond(request, lambda reader: config_view(reader, self._wiring.config_path))

    async def _model(self, request: Request) -> Response:
        model, asked = request.path_params["model"], _read_range(request)

        def ask(reader: SeriesReader) -> ModelView | UnwatchedView | None:
            summary = config_summary(reader, self._wiring.config_path)
            return model_view(reader, self._registry, model, asked, self._beside(), summary)

        return await self._respond(request, ask)

    async def _scores(self, request: Request) -> Response:
        model, asked = request.path_params["model"], _read_range(request)
        return await self._respond(request, lambda reader: score_view(reader, model, asked))

    async def _label_requests(self, request: Request) -> Response:
        model, at = request.path_params["model"], _moment(request.query_params.get("at"))

        def ask(reader: SeriesReader) -> LabelRequestsView | None:
            draw = reader.label_draw(model, at)
            return None if draw is None else label_requests_view(draw, reader.label_draw_times(model))

        return await self._respond(request, ask)

    async def _distribution(self, request: Request) -> Response:
        model, feature = request.path_params["model"], request.query_params.get("feature", "")
        windows = _windows(request)
        return await self._respond(
            request, lambda reader: distribution_view(reader, self._registry, model, feature, windows)
        )

    async def _compare(self, request: Request) -> Response:
        model, query = request.path_params["model"], request.query_params
        a, b = _number(query.get("a")), _number(query.get("b"))
        return await self._respond(request, lambda reader: comparison_view(reader, self._registry, model, a, b))

    async def _compare_page(self, request: Request) -> Response:
        """An address that can be sent to others and leads to the page's own."""
        model, query = quote(request.path_params["model"], safe=""), request.query_params
        a, b = _number(query.get("a")), _number(query.get("b"))
        return RedirectResponse(f"../../#/model/{model}/compare?a={a}&b={b}", status_code=302)

    async def _serving_version(self, request: Request) -> Response:
        """Which version served at a time (epoch seconds)."""
        model, at = request.path_params["model"], _moment(request.query_params.get("at"))

        def ask(reader: SeriesReader) -> ServedAt | None:
            known = at is not None and reader.model(model) is not None
            return served_at(reader, self._registry, model, at) if known and at is not None else None

        return await self._respond(request, ask)

    async def _stage_log(self, request: Request) -> Response:
        """What the job of a stage printed. It may have printed rows, so it is shown to whoever bears a token."""
        if not isinstance(request.scope.get(BEARER), Token) or not is_bearer(request.headers.get("authorization")):
            said = "a log is shown only to whoever bears a token: Authorization: Bearer TOKEN (http.token_file)"
            return _json({"error": said}, 403, {})
        given, places = request.path_params, self._wiring.places
        version, attempt = min(given["version"], LARGEST_ID), _number(request.query_params.get("attempt")) or None
        try:
            found = await asyncio.to_thread(
                self._shelf.ask,
                lambda reader: stage_log(reader, places, given["model"], version, given["stage"], attempt),
            )
        except (StateAbsentError, StateUnreadableError, OSError) as error:
            return _json({"error": f"{error}"}, 503, {})
        if found is None:
            return _json({"error": "There is no log of this stage (any more)."}, 404, {})
        return Response(found, media_type="text/plain; charset=utf-8")

    async def _decision(self, request: Request) -> Response:
        number = min(request.path_params["decision"], LARGEST_ID)
        return await self._respond(
            request, lambda reader: decision_view(reader, self._wiring.places, decision=number, alarm=None)
        )

    async def _alarm(self, request: Request) -> Response:
        number = min(request.path_params["alarm"], LARGEST_ID)
        return await self._respond(
            request, lambda reader: decision_view(reader, self._wiring.places, decision=None, alarm=number)
        )

    async def _alarm_report(self, request: Request) -> Response:
        return await self._respond_report(request, "alarm", min(request.path_params["alarm"], LARGEST_ID))

    async def _decision_report(self, request: Request) -> Response:
        return await self._respond_report(request, "decision", min(request.path_params["decision"], LARGEST_ID))

    async def _respond_report(self, request: Request, kind: str, number: int) -> Response:
        """The report to forward; made anew each time, since it says when it was made."""

        def ask(reader: SeriesReader) -> DecisionReport | None:
            decision, alarm = (number, None) if kind == "decision" else (None, number)
            places, now = self._wiring.places, self._wiring.now()
            return decision_report(reader, places, decision=decision, alarm=alarm, now=now)

        headers = {"Cache-Control": "no-cache"}
        try:
            found = await asyncio.to_thread(self._shelf.ask, ask)
        except (StateAbsentError, StateUnreadableError) as error:
            log.warning("page_unanswered", path=request.url.path, error=str(error))
            return _json({"error": f"{error}"}, 503, headers)
        if found is None:
            return _json({"error": "There is nothing of this name or number."}, 404, headers)
        links = links_under(self._wiring.url() or str(request.base_url), found, f"{kind}/{number}")
        headers["Content-Security-Policy"] = POLICY
        return HTMLResponse(report_page(found, links).encode("utf-8", "backslashreplace"), headers=headers)

    async def _respond(self, request: Request, ask: Ask) -> Response:
        """The answer with its tag, or only that nothing changed. In a thread: metrics and health go on beside it."""
        question = f"{request.url.path}?{request.url.query}"
        headers = {"Cache-Control": "no-cache", "Driftd-Last-Round": f"{self._wiring.last_round():.3f}"}
        if self._wiring.ended is not None:
            headers["Driftd-Ended"] = f"{self._wiring.ended:.3f}"
        try:
            answer = await asyncio.to_thread(self._shelf.answer, question, ask)
        except (StateAbsentError, StateUnreadableError) as error:
            log.warning("page_unanswered", path=request.url.path, error=str(error))
            return _json({"error": f"{error}"}, 503, headers)
        if answer is NOTHING:
            return _json({"error": "There is nothing of this name or number."}, 404, headers)
        headers["ETag"] = answer.tag
        if request.headers.get("if-none-match") == answer.tag:
            return Response(status_code=304, headers=headers)
        return Response(answer.body, media_type="application/json", headers=headers)


def _read_range(request: Request) -> Asked:
    query = request.query_params
    return Asked(query.get("span"), _moment(query.get("from")), _moment(query.get("to")))


def _windows(request: Request) -> tuple[int, int] | None:
    """The windows that a query names, `first` and `last`; None where it names none."""
    ends = [request.query_params.get(name, "") for name in ("first", "last")]
    return (int(ends[0]), int(ends[1])) if all(_WINDOW.fullmatch(text) for text in ends) else None


def _number(text: str | None) -> int:
    """The number of a version; 0, which no version has, for what is none."""
    return int(text) if text is not None and _VERSION.fullmatch(text) else 0


def _moment(text: str | None) -> float | None:
    """Epoch seconds of a query; None for what is no such number."""
    try:
        at = float(text or "")
    except ValueError:
        return None
    return at if abs(at) < LATEST else None  # NaN and infinity are not


def _json(value: object, status: int, headers: Mapping[str, str]) -> Response:
    return Response(msgspec.json.encode(value), status, headers, "application/json")
