"""Bearer tokens (RFC 6750), and the checks before every request: who may change something, what a browser may do."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import socket
import stat
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import ClassVar

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from driftd.config.schema import Access
from driftd.errors import DriftdError, ExitCode
from driftd.paths import credential

SHORTEST = 16  # characters; what is shorter can be guessed
LONGEST_FILE = 65_536
SHOWN_DIGITS = 8  # of a token's SHA-256: which of them it was, and nothing that helps to guess it
LOOK_SECONDS = 1.0  # how often the file is looked at for another content


class TokenFileError(DriftdError):
    """A file of tokens that cannot be used; the message says what to do."""

    exit_code: ClassVar[int] = ExitCode.USAGE


class Tokens:
    """The tokens of a file, one a line; several at once let clients move from one to the next.

    The file is looked at again about every second, so that tokens are changed without a restart. When it has become
    unusable nobody is let in until it is mended. Raises TokenFileError when it is unusable from the start.
    """

    def __init__(self, path: Path) -> None:
        self._path = credential(path)
        self._lock = threading.Lock()
        self._looked_at = time.monotonic()
        self._mark = self._file_mark()
        self._digests = _read(self._path)
        self.fault: str | None = None

    def accept(self, authorization: str | None) -> bool:
        """Whether an `Authorization` header bears one of the tokens."""
        return self.name_of(authorization) is not None

    def name_of(self, authorization: str | None, *, as_password: bool = False) -> str | None:
        """The token that a header bears, as the journal calls it; None where it bears none.

        `as_password`: also as the password of any user (Basic), as browsers ask people for it. For what is only looked
        at: a browser sends a password along with the requests of other sites' pages.
        """
        scheme, _, given = (authorization or "").partition(" ")
        given = given.strip()
        if as_password and scheme.lower() == "basic":
            scheme, given = "bearer", _password_in(given)
        digest = _digest(given)
        found = False
        for known in self._current():
            found = hmac.compare_digest(known, digest) or found  # every one is compared, whichever fits
        return f"token {digest.hex()[:SHOWN_DIGITS]}" if found and scheme.lower() == "bearer" else None

    def _current(self) -> tuple[bytes, ...]:
        now = time.monotonic()
        with self._lock:
            if now - self._looked_at >= LOOK_SECONDS:
                self._looked_at = now
                mark = self._file_mark()
                if mark != self._mark:
                    self._mark = mark
                    self._reread()
            return self._digests

    def _reread(self) -> None:
        try:
            self._digests, self.fault = _read(self._path), None
        except TokenFileError as error:
            self._digests, self.fault = (), str(error)

    def _file_mark(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode


def _read(path: Path) -> tuple[bytes, ...]:
    try:
        mode = path.stat().st_mode
        with path.open("rb") as file:
            text = file.read(LONGEST_FILE).decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "a token is plain ASCII"
        raise TokenFileError(f"token_file {path} cannot be read: {reason}") from None
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise TokenFileError(f"token_file {path} may be read by everybody (mode {mode & 0o777:o}): chmod o= {path}")
    tokens = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not tokens:
        raise TokenFileError(f"token_file {path} holds no token: write one a line, such as `openssl rand -hex 32`")
    short = [number for number, token in enumerate(tokens, 1) if len(token) < SHORTEST]
    if short:
        raise TokenFileError(
            f"token_file {path}: token {short[0]} has under {SHORTEST} characters; `openssl rand -hex 32` makes one"
        )
    return tuple(_digest(token) for token in tokens)


def first_token(path: Path) -> str | None:
    """A token of a file, for a request of our own; None where this user cannot read one."""
    try:
        lines = credential(path).read_text("ascii")[:LONGEST_FILE].splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    return next((line.strip() for line in lines if line.strip() and not line.startswith("#")), None)


def _password_in(given: str) -> str:
    try:
        return base64.b64decode(given, validate=True).decode("utf-8", "surrogateescape").partition(":")[2]
    except ValueError:
        return ""


def _digest(token: str) -> bytes:
    """Of equal length whatever the token, so that the time of a comparison tells nothing."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


log = structlog.get_logger()

ANY_HOST = "*"
ALWAYS_OPEN = "/-/healthy"  # for whoever watches whether the process is there
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LONGEST_PATH = 1000  # characters; Python refuses numbers of over 4300 digits, file systems names of over 255
LOG_SECONDS = 10.0  # refusals are told at most so often: a flood of them must not fill the disk
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# A report is HTML of another program with scripts of its own: it runs in an origin of its own and reaches nothing.
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
HEADERS = {
    b"content-security-policy": PAGE_POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}

Refused = Callable[[str], None]


class RequestGuard:
    """An ASGI application around another.

    Parameters
    ----------
    app
        What answers.
    tokens
        Whoever changes something must bear one of these; None: nobody need.
    refused
        Called with why a request was refused: `token`, `origin`, `host` or `address`.
    hosts
        The names by which it may be asked, besides numbers and localhost; `*` is any name.
    protects_all
        Whoever only looks must bear a token too.
    has_journal
        Each request that may change something is a line of the log, with who.

    Notes
    -----
    Requests that change something are those with another method than GET, HEAD and OPTIONS. A name that was made to
    point here (DNS rebinding) would let a web page in an operator's browser read everything: the Host header must be a
    number, localhost or one of `hosts`, unless the request bears a token, which no such page has. Without tokens such a
    page could also send requests to 127.0.0.1 that change something: what a browser says of its origin must then be the
    very address that is asked.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        tokens: Tokens | None = None,
        refused: Refused = lambda _: None,
        hosts: Collection[str] = (),
        protects_all: bool = False,
        has_journal: bool = False,
    ) -> None:
        self._app = app
        self._hosts = frozenset(host.lower().rstrip(".") for host in hosts)
        self._tokens = tokens
        self._refused = refused
        self._protects_all = protects_all
        self._has_journal = has_journal
        self._told_at = float("-inf")
        self._untold = 0

    @classmethod
    def of(cls, app: ASGIApp, access: Access, refused: Refused, *, has_journal: bool = False) -> RequestGuard:
        """As a config says it. Raises TokenFileError."""
        tokens = None if access.token_file is None else Tokens(access.token_file)
        return cls(
            app,
            tokens=tokens,
            refused=refused,
            hosts=hosts_of(access),
            protects_all=access.protect == "all",
            has_journal=has_journal,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on; every answer gets the headers that it has not itself."""
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await self._refuse(*refusal, scope, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                known = {name.lower() for name, _ in given}
                message = {
                    **message,
                    "headers": given + [header for header in HEADERS.items() if header[0] not in known],
                }
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> tuple[int, str, str] | None:
        if len(scope["path"]) > LONGEST_PATH:
            return 414, "address", f"a path has at most {LONGEST_PATH} characters"
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host, looks = headers.get(b"host", ""), scope["method"] in SAFE_METHODS
        who = None
        if self._tokens is not None:
            who = self._tokens.name_of(headers.get(b"authorization"), as_password=looks)
            needed = not looks or (self._protects_all and scope["path"] != ALWAYS_OPEN)
            if who is None and needed:
                return 401, "token", "this needs a token: Authorization: Bearer ... (token_file in the config)"
        if (
            who is None and not (looks and not host) and not self._knows(host)
        ):  # an old client names none, a browser does
            known = "ask by a number, localhost or one of `hosts` in the config, or bear a token"
            return 403, "host", f"{known}: a name may point here by fraud"
        if self._tokens is None and not looks and not _is_own(headers, host):
            return 403, "origin", "a page of another origin may not do this"
        if self._has_journal and not looks:
            self._journal(who, scope, headers)
        return None

    def _knows(self, host: str) -> bool:
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        return ANY_HOST in self._hosts or name.lower().rstrip(".") in self._hosts or _is_plain(name)

    def _journal(self, who: str | None, scope: Scope, headers: Mapping[bytes, str]) -> None:
        client = scope.get("client") or ("unknown", 0)
        log.info(
            "request_taken",
            method=scope["method"],
            path=scope["path"][:200],
            client=client[0],
            who=who or "no token",
            agent=headers.get(b"user-agent", "")[:100],
        )

    async def _refuse(self, status: int, reason: str, sentence: str, scope: Scope, send: Send) -> None:
        self._refused(reason)
        self._tell(reason, scope)
        body = json.dumps({"error": sentence, "field": ""}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),  # what it may still send is not read
            *HEADERS.items(),
        ]
        if status == 401:  # noqa: PLR2004 - Unauthorized
            headers.append((b"www-authenticate", b'Bearer realm="driftd"'))
            if self._protects_all:
                headers.append((b"www-authenticate", b'Basic realm="driftd: any user, a token as the password"'))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _tell(self, reason: str, scope: Scope) -> None:
        now = time.monotonic()
        self._untold += 1
        if now - self._told_at >= LOG_SECONDS:
            client = scope.get("client") or ("unknown", 0)
            log.warning(
                "request_refused", reason=reason, client=client[0], path=scope["path"][:200], times=self._untold
            )
            self._told_at, self._untold = now, 0


def _is_own(headers: Mapping[bytes, str], host: str) -> bool:
    """Whether what a browser says of the page that asks is the address that is asked; programs say nothing."""
    if headers.get(b"sec-fetch-site", "none") not in {"none", "same-origin"}:
        return False
    return b"origin" not in headers or headers[b"origin"] in {f"http://{host}", f"https://{host}"}


def hosts_of(access: Access) -> frozenset[str]:
    """The names by which a server may be asked: those of the config, what it listens on, this host's own.

    Any name where a proxy is said to guard the address, unless the config names some.
    """
    if access.allow_anonymous and not access.hosts:
        return frozenset({ANY_HOST})
    own = socket.gethostname()
    return frozenset({*access.hosts, access.listen.rpartition(":")[0], own, own.partition(".")[0]}) - {""}


def _is_plain(name: str) -> bool:
    """Whether the name in a Host header is a number or localhost."""
    if name.lower() == "localhost":
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
