"""The page over real HTTP, under the strictest policy that it promises to live with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from driftd.observe.http import HttpThread
from driftd.page.routes import Page, PageWiring
from driftd.places import Places

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'"
)


class StrictPolicy:
    """Adds the policy to every answer that has none of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message["headers"])
                if not any(name == b"content-security-policy" for name, _ in headers):
                    message = {**message, "headers": [*headers, (b"content-security-policy", POLICY.encode())]}
            await send(message)

        await self.app(scope, receive, sent)


@contextmanager
def served(
    places: Places, config_path: Path, obstacles: dict[str, str] | None = None, listen: str = "127.0.0.1:0"
) -> Iterator[str]:
    """The address of the page of a state directory."""

    async def report(request: object) -> Response:
        assert hasattr(request, "path_params")
        path = places.report(request.path_params["model"], request.path_params["alarm"])
        return FileResponse(path) if path.is_file() else Response(status_code=404)

    page = Page(PageWiring(places, config_path, lambda: obstacles or {}, time.time))
    routes = [Route("/reports/{model:str}/{alarm:int}", report), *page.routes()]
    http = HttpThread(StrictPolicy(Starlette(routes=routes)), listen)  # type: ignore[arg-type]
    http.start()
    try:
        yield f"http://{http.address}"
    finally:
        http.stop()
        page.close()
