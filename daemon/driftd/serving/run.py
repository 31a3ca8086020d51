"""`driftd serve`: the process around the routes. It needs no daemon, and the daemon needs no server."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import structlog
import uvicorn
from starlette.types import ASGIApp

from driftd.config.load import load
from driftd.config.schema import Config, Tls
from driftd.observe.logs import configure_logs
from driftd.observe.systemd import ServiceManager, hangups
from driftd.paths import Places
from driftd.serving.endpoint import Endpoint
from driftd.serving.http import Serving
from driftd.serving.metrics import ServingMetrics
from driftd.serving.requests import RequestLimits
from driftd.store.descriptors import raise_limit
from driftd.web.security import RequestGuard
from driftd.web.server import bound_socket, format_address, server_config

log = structlog.get_logger()

PREPARE_SECONDS = 1.0  # between two looks at the links
GRACE_SECONDS = 5  # for requests under way when told to stop


def serve(config_path: Path, *, log_level: str = "info") -> int:
    """Serve every model of a config until SIGTERM or SIGINT; returns the exit code.

    Raises ConfigError, OSError when the address cannot be had, TokenFileError and TlsError.
    """
    manager = ServiceManager.from_environment()
    configure_logs(level=log_level)
    raise_limit()
    # Else joblib counts cores by lscpu, which sees none in the sandbox of the unit, and complains.
    os.environ.setdefault("LOKY_MAX_CPU_COUNT", str(max(1, len(os.sched_getaffinity(0)) - 1)))
    config = load(config_path)
    endpoints = endpoints_of(config)
    metrics, ended = ServingMetrics(sorted(endpoints)), threading.Event()
    app = Serving(endpoints, RequestLimits(config.serve.max_body, config.serve.max_batch), metrics)
    try:
        fenced = RequestGuard.of(app, config.serve, metrics.count_refused_request)
        threading.Thread(target=_prepare, args=(list(endpoints.values()), ended), name="prepare", daemon=True).start()
        run_app(fenced, config.serve.listen, models=sorted(endpoints), manager=manager, tls=config.serve.tls)
    finally:
        ended.set()
        app.close()
        for endpoint in endpoints.values():
            endpoint.close()
        log.info("stopped")
    return 0


def _prepare(endpoints: Sequence[Endpoint], ended: threading.Event) -> None:
    """Load and warm what serves, at the start and after each swap, so that no prediction waits for it."""
    while not ended.is_set():
        for endpoint in endpoints:
            endpoint.prepare()
        ended.wait(PREPARE_SECONDS)


def endpoints_of(config: Config) -> dict[str, Endpoint]:
    """One endpoint for each model of the config."""
    places = Places(config.state_dir)
    return {
        name: Endpoint(
            name,
            places,
            allow_joblib=model.allow_joblib,
            is_external=model.is_external,
            preload=config.serve.preload,
            fallback=config.serve.fallback and name not in config.override.pin,
            keep_seconds=config.retention.events,
            window_seconds=model.window.every or 0.0,
        )
        for name, model in config.models.items()
    }


class _Server(uvicorn.Server):
    """Tells the service manager from the event loop itself: that it answers, that it is alive, that it ends."""

    def __init__(self, config: uvicorn.Config, manager: ServiceManager, status: str) -> None:
        super().__init__(config)
        self._manager = manager
        self._status = status

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """The socket answers from here on."""
        await super().startup(sockets)
        self._manager.status(self._status)
        self._manager.ready()

    async def on_tick(self, counter: int) -> bool:
        """Give a sign of life, ten times a second; uvicorn's own callback goes by the wall clock, which may jump."""
        self._manager.alive()
        if hangups.take():
            log.warning("hangup_ignored", reason="driftd serve reads its config once: restart it to change that")
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more, and finish what is under way."""
        log.info("stopping")
        self._manager.announce_stop()
        await super().shutdown(sockets)


def run_app(
    app: ASGIApp, listen: str, *, models: list[str], manager: ServiceManager | None = None, tls: Tls | None = None
) -> None:
    """Answer on an address until a signal; then take no more, finish what is under way, and return.

    Raises OSError when the address cannot be had, TlsError when the certificate cannot be used.
    """
    config = server_config(app, tls, grace_seconds=GRACE_SECONDS)
    listening = config.doorway = bound_socket(listen)
    manager = manager or ServiceManager()
    server = _Server(config, manager, f"answers on {listen} for {', '.join(models)}")

    def stop(_number: int, _frame: FrameType | None) -> None:
        """Before uvicorn listens to signals, and after: it stops by itself and then raises the signal once more.

        Nothing is logged in here: the signal may have come in the middle of a line.
        """
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    hangups.catch()
    log.info("serving", address=format_address(listening), models=models)
    server.run(sockets=[listening])
