"""The daemon's own HTTP: metrics, health, reload, reports. Read-only but for the reload; never waits for a check."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from driftd.config.schema import Http
from driftd.observe.metrics import Metrics
from driftd.web.security import REPORT_POLICY, Refused, RequestGuard
from driftd.web.server import bound_socket, format_address, server_config

log = structlog.get_logger()

GRACE_SECONDS = 2
ACCEPTED_AT_ONCE = 128  # asyncio accepts its whole backlog before any connection is counted: files must be left
LARGEST_ALARM = 2**63 - 1  # that SQLite can count; a larger number is not even the name of a file


@dataclass(frozen=True, slots=True)
class Wiring:
    """What the pages need of the daemon; every function is called in the HTTP thread and must not block on a check."""

    metrics: Metrics
    is_ready: Callable[[], str | None]  # None when ready, else why not
    reload: Callable[[], str | None]  # posts a reload and waits for its answer
    status: Callable[[], dict[str, Any]]
    report: Callable[[str, int], Path]
    standstill: Callable[[], str | None] = lambda: None  # why the main loop counts as hung; None while it moves
    faulty: Callable[[], str | None] = lambda: None  # which models fail, and why; None when none does


def application(wiring: Wiring, page: Sequence[BaseRoute] = ()) -> Starlette:
    """The routes of the daemon; those of the page come from the room that makes it."""

    async def metrics(request: Request) -> Response:
        body, content_type = wiring.metrics.expose(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": content_type})

    def answer_probe(obstacle: str | None, well: str) -> Response:
        if obstacle is not None:
            return PlainTextResponse(f"{obstacle}\n", status_code=503)
        return PlainTextResponse("".join(f"{line}\n" for line in (well, wiring.faulty()) if line))

    async def healthy(_: Request) -> Response:
        return answer_probe(wiring.standstill(), "driftd is healthy")

    async def ready(_: Request) -> Response:
        return answer_probe(wiring.standstill() or wiring.is_ready(), "driftd is ready")

    async def reload(_: Request) -> Response:
        refusal = await asyncio.to_thread(wiring.reload)
        return PlainTextResponse(f"{refusal or 'the config is applied'}\n", status_code=400 if refusal else 200)

    async def status(_: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(wiring.status))

    async def report(request: Request) -> Response:
        alarm = min(request.path_params["alarm"], LARGEST_ALARM)
        path = wiring.report(request.path_params["model"], alarm)
        if path.is_symlink() or not path.is_file():
            return PlainTextResponse("there is no report for this alarm (yet)\n", status_code=404)
        return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/-/healthy", healthy),
            Route("/-/ready", ready),
            Route("/-/reload", reload, methods=["POST", "PUT"]),
            Route("/api/status", status),
            Route("/reports/{model:str}/{alarm:int}", report),
            *page,
        ]
    )


class HttpThread:
    """uvicorn in a thread of its own, on a socket that is bound before the daemon says it is ready.

    Raises OSError when the address cannot be had, TokenFileError and TlsError when its files cannot be used.
    """

    def __init__(self, app: ASGIApp, http: Http, refused: Refused = lambda _: None) -> None:
        fenced = RequestGuard.of(app, http, refused, has_journal=True)
        config = server_config(fenced, http.tls, grace_seconds=GRACE_SECONDS, backlog=ACCEPTED_AT_ONCE)
        self._server = uvicorn.Server(config)
        self._socket = config.doorway = bound_socket(http.listen)
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)

    @property
    def address(self) -> str:
        """`host:port` as bound; the port is a real one even where 0 was asked for."""
        return format_address(self._socket)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()
        log.info("http_listening", address=self.address)

    def stop(self) -> None:
        """Stop answering, within about two seconds."""
        self._server.should_exit = True
        self._thread.join(timeout=3)
        self._socket.close()

    def _serve(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))
