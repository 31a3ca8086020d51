"""How both servers listen: one socket, bound before ready is said, one set of limits, Prometheus's formats."""

from __future__ import annotations

import resource
import socket
import ssl
from collections.abc import Callable
from typing import ClassVar

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.types import ASGIApp

from driftd.config.schema import Tls
from driftd.errors import DriftdError, ExitCode
from driftd.paths import credential
from driftd.web.connections import AcceptLimiter, TimeoutConfig, TimeoutProtocol

Encoder = Callable[[Collector], bytes]


def encoder_for(accept: str) -> tuple[Encoder, str]:
    """An encoder and its content type for an `Accept` header; the plain one for a header that makes no sense."""
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):  # prometheus_client compares a version that is no number, and fails
        return choose_encoder("")


BACKLOG = 2048
IDLE_SECONDS = 30  # a connection without a request is closed
MOST_CONNECTIONS = 2000  # beyond, whoever keeps driftd waiting longest is lost, or the newcomer gets a 503


class TlsError(DriftdError):
    """A certificate or key that cannot be used; the message says which and why."""

    exit_code: ClassVar[int] = ExitCode.USAGE


def bound_socket(address: str) -> AcceptLimiter:
    """A listening socket on `host:port` or `[::1]:port`. Raises OSError."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host.strip("[]"), int(port)), family=family, backlog=BACKLOG)
    # Inherited by every connection. Without it an answer's body waits 40 ms for the client to acknowledge its head.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return AcceptLimiter(listening, most_connections())


def format_address(listening: socket.socket) -> str:
    """`host:port` as bound; the port is a real one even where 0 was asked for."""
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def most_connections() -> int:
    """How many connections are open at once: half of the files that may be open is left for the stores."""
    return min(MOST_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)


def server_config(app: ASGIApp, tls: Tls | None, *, grace_seconds: int, backlog: int = BACKLOG) -> TimeoutConfig:
    """Uvicorn's settings for an application. Raises TlsError when the certificate or the key cannot be used."""
    config = TimeoutConfig(
        app,
        http=TimeoutProtocol,
        loop="asyncio",  # the one that takes a listening socket's own way to accept
        ws="none",
        log_level="error",  # a client's rubbish is its own; what matters driftd logs itself
        access_log=False,
        proxy_headers=False,  # logs and the history name an address: a header that anybody can send does not
        server_header=False,
        date_header=True,
        lifespan="off",
        backlog=backlog,
        limit_concurrency=most_connections(),
        timeout_graceful_shutdown=grace_seconds,
        timeout_keep_alive=IDLE_SECONDS,
    )
    config.load()
    if tls is not None:
        config.ssl = context_of(tls)
    return config


def context_of(tls: Tls) -> ssl.SSLContext:
    """TLS 1.2 and newer, with this certificate and key. Raises TlsError."""
    certificate, key = credential(tls.certificate), credential(tls.key)
    for name, path in (("certificate", certificate), ("key", key)):
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            raise TlsError(f"tls.{name}: {path} cannot be read: {error.strerror}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=lambda: b"")  # else OpenSSL asks the terminal
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise TlsError(
            f"tls: {certificate} and {key} are no certificate with its key ({reason.lower().replace('_', ' ')}): "
            "both are PEM files, the key without a password"
        ) from None
    return context
