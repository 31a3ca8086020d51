"""The page over the daemon's real HTTP, with the fence and its strict policy, beside no daemon."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from driftd.api.looks import LookApi, LookWiring
from driftd.api.routes import ApiWiring, RequestApi
from driftd.config.load import load
from driftd.config.schema import Http
from driftd.loop.looks import LookJobs
from driftd.observe import model_families
from driftd.observe.http import HttpThread, Wiring, application
from driftd.observe.metrics import Metrics
from driftd.paths import Places
from driftd.views.routes import PageWiring, StatusPage
from limits import HANG


def new_context(browser: Any, **options: Any) -> Any:
    """A browser's profile that has kept nothing, and waits as long as the tests do."""
    context = browser.new_context(**options)
    context.set_default_timeout(HANG * 1000)
    return context


def seconds_until_drawn(browser: Any, address: str, last: str) -> float:
    """How long a browser that has kept nothing takes from an address until the element `last` is drawn."""
    context = new_context(browser, viewport={"width": 1200, "height": 900})
    page = context.new_page()
    began = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.wait_for_selector(last)
    page.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    seconds = time.perf_counter() - began
    context.close()
    return seconds


def idle_page(folder: Path) -> StatusPage:
    """The page of a state in `folder`, with the config `c.yaml` beside it and no daemon, at the beginning of time."""
    return StatusPage(
        PageWiring(
            Places(folder),
            folder / "c.yaml",
            models=tuple,
            obstacles=dict,
            metrics=Metrics().board,
            now=lambda: 0.0,
            url=lambda: None,
            source_faults=dict,
            last_round=lambda: 0.0,
        )
    )


@contextmanager
def serve_page(
    places: Places,
    config_path: Path,
    obstacles: dict[str, str] | None = None,
    listen: str = "127.0.0.1:0",
    metrics: Metrics | None = None,
    token_file: Path | None = None,
    models: Sequence[str] = (),
    shows_rows: bool = False,
) -> Iterator[str]:
    """The address of the page of a state directory; `models` may be asked for things by the tokens of a file."""
    metrics = metrics or Metrics()
    page = StatusPage(
        PageWiring(
            places,
            config_path,
            models=lambda: metrics.board.owners(model_families.WINDOW_SECONDS),
            obstacles=lambda: obstacles or {},
            metrics=metrics.board,
            now=time.time,
            url=lambda: None,
            source_faults=dict,
            last_round=time.time,
        )
    )
    status = lambda: {name: {"obstacle": obstacle} for name, obstacle in (obstacles or {}).items()}  # noqa: E731
    wiring = Wiring(metrics, lambda: None, lambda: None, status, places.report)
    api = RequestApi(ApiWiring(places.state_db, lambda: models, lambda: None))
    looks = LookJobs(places, lambda: load(config_path), time.time)
    look_api = LookApi(LookWiring(lambda: models, lambda: shows_rows, looks.ask))
    routes = [*api.routes(), *look_api.routes(), *page.routes()]
    http = HttpThread(application(wiring, routes), Http(listen=listen, token_file=token_file))
    http.start()
    try:
        yield f"http://{http.address}"
    finally:
        http.stop()
        looks.stop()
        page.close()
