"""The status page of a demonstration that has run: the daemon's own page over its state, which nothing changes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from driftd.api.looks import LookApi, LookWiring
from driftd.api.routes import ApiWiring, RequestApi
from driftd.config.load import load
from driftd.config.schema import Http
from driftd.errors import DriftdError
from driftd.loop.looks import LookJobs
from driftd.observe.http import HttpThread, Wiring, application
from driftd.observe.logs import configure_logs
from driftd.observe.metrics import Metrics
from driftd.paths import Places
from driftd.store.state.reader import StateAbsentError, StateReader
from driftd.views.routes import PageWiring, StatusPage

FREE_PORT = "127.0.0.1:0"
LOOK_SECONDS = 3600.0


class NoDemonstrationError(DriftdError):
    """There is no demonstration in the folder: run `driftd demo` first."""


@contextmanager
def page_of(folder: Path, listen: str = FREE_PORT) -> Iterator[str]:
    """The address of the page of a demonstration's state.

    No daemon runs, no request is taken, nothing stays written. The page takes the end of the replay for now. Raises
    NoDemonstrationError.
    """
    config_path = folder / "config.yaml"
    if not config_path.exists():
        raise NoDemonstrationError(f"there is no demonstration in {folder}: `driftd demo --folder {folder}` runs one")
    config = load(config_path)
    places = Places(config.state_dir)
    beside = [places.state_db.with_name(f"{places.state_db.name}{suffix}") for suffix in ("-wal", "-shm")]
    made = [path for path in beside if not path.exists()]
    metrics, ended = Metrics(), end_of(places)
    page = StatusPage(
        PageWiring(
            places,
            config_path,
            models=tuple,
            obstacles=dict,
            metrics=metrics.board,
            now=lambda: ended,
            url=lambda: None,
            source_faults=dict,
            last_round=lambda: 0.0,  # as before the first: the page does not take a daemon for stuck
            ended=ended,
        )
    )
    refusal = "this is the page of a demonstration: no daemon runs"
    wiring = Wiring(metrics, lambda: refusal, lambda: refusal, dict, places.report)
    looks = LookJobs(places, lambda: config, lambda: ended)
    look_api = LookApi(LookWiring(lambda: config.models, lambda: False, looks.ask))
    api = RequestApi(ApiWiring(places.state_db, tuple, lambda: None))
    routes = [*api.routes(), *look_api.routes(), *page.routes()]
    http = HttpThread(application(wiring, routes), Http(listen=listen))
    http.start()
    try:
        yield f"http://{http.address}/"
    finally:
        http.stop()
        looks.stop()
        page.close()
        for path in made:  # empty ones, which SQLite makes for a reader and leaves
            path.unlink(missing_ok=True)


def serve_page(folder: Path, console: Console) -> None:
    """Serve the page of a demonstration until Ctrl-C."""
    configure_logs(level="error")
    with page_of(folder) as address:
        console.print(f"The page of this year: {address}  (read-only; Ctrl-C ends)", soft_wrap=True, highlight=False)
        try:
            while True:
                time.sleep(LOOK_SECONDS)
        except KeyboardInterrupt:
            console.print(f"Once more: driftd demo --page --folder {folder}", soft_wrap=True, highlight=False)


def end_of(places: Places) -> float:
    """When the replay ended: its last check or decision, epoch seconds. Raises NoDemonstrationError."""
    try:
        with StateReader.read_only(places.state_db) as reader:
            moments = [check.at for check in reader.checks(limit=1)] + [line.at for line in reader.history(limit=1)]
    except StateAbsentError:
        moments = []
    if not moments:
        raise NoDemonstrationError(f"the demonstration in {places.root.parent} was ended before it began: run it again")
    return max(moments)
