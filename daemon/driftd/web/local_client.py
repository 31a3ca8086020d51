"""Asks a server of ours on this host: by the address and the certificate that its config names."""

from __future__ import annotations

import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection

from driftd.config.schema import Access, Tls
from driftd.errors import DriftdError
from driftd.paths import credential
from driftd.web.tokens import first_token

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1", "*": "127.0.0.1"}  # noqa: S104 - compared, not bound
_UNKNOWN_PORT = "0"  # of the system's choice: only the log says which


class NoAnswerError(DriftdError):
    """Nobody answered; the message says why, in half a sentence."""


class CertificateError(NoAnswerError):
    """Somebody answered, but with another certificate than the config's, or one that is not valid (any more)."""


def can_be_asked(access: Access) -> bool:
    """Whether the config tells on which port the server is."""
    return access.listen.rpartition(":")[2] != _UNKNOWN_PORT


def local_host(listen: str) -> str:
    """The host by which a server that listens there is reached from this one."""
    host = listen.rpartition(":")[0].strip("[]")
    return _EVERYWHERE.get(host, host)


def ask(access: Access, path: str, seconds: float) -> tuple[int, str]:
    """The status and the text of a GET, with a token only where looking needs one. Raises NoAnswerError."""
    connection = _connection(access, seconds)
    file = access.token_file if access.protect == "all" else None
    token = first_token(file) if file is not None else None
    try:
        connection.request("GET", path, headers={} if token is None else {"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    except ssl.SSLCertVerificationError as error:
        raise CertificateError(error.verify_message) from error
    except (OSError, HTTPException) as error:
        raise NoAnswerError(str(error) or type(error).__name__) from error
    finally:
        connection.close()


def _connection(access: Access, seconds: float) -> HTTPConnection:
    host, port = local_host(access.listen), access.listen.rpartition(":")[2]
    if access.tls is None:
        return HTTPConnection(host, int(port), timeout=seconds)
    return HTTPSConnection(host, int(port), timeout=seconds, context=_trust_certificate(access.tls))


def _trust_certificate(tls: Tls) -> ssl.SSLContext:
    """Trust the config's certificate itself, whoever signed it and whatever name it is for: the host is this one.

    Where it cannot be read here, whoever listens there is asked: nothing secret is sent.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(credential(tls.certificate))
    except OSError:
        context.verify_mode = ssl.CERT_NONE
    return context
