"""The checks before every request: who may look, change or operate something, and what a browser may do."""

from __future__ import annotations

import ipaddress
import json
import re
import socket
import time
from collections.abc import Callable, Collection, Mapping

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from driftd.config.schema import Access
from driftd.web.tokens import Token, Tokens

log = structlog.get_logger()

ANY_HOST = "*"
ALWAYS_OPEN = "/-/healthy"  # for whoever watches whether the process is there
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LONGEST_PATH = 1000  # characters; Python refuses numbers of over 4300 digits, file systems names of over 255
BUILDS = "/api/v1/builds/"  # what is asked below it needs the token of one build, which is looked at there
OPERATED = "/api/v1/"  # what is asked below it of the models is never anonymous, whatever guards the address
BEARER = "driftd-bearer"  # of a scope: the token that the request bears, where it bears one
HAS_TOKENS = "driftd-has-tokens"  # of a scope: whether this address knows any
NO_OPERATOR = (
    "this needs a token that may operate: write a line `TOKEN role=operate name=...` into the file of http.token_file "
    "and send it as Authorization: Bearer TOKEN (docs/security.md)"
)
NO_SUBMITTER = NO_OPERATOR.replace("may operate", "may submit or operate").replace("role=operate", "role=submit")
ONLY_SUBMITS = (
    "this token hands versions in (role=submit) and does nothing else: use one without a role, or with role=operate"
)
_SUBMITTED = re.compile(r"/api/v1/models/[^/]+/versions")  # where versions are handed in
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
        Called with why a request was refused: `token`, `role`, `origin`, `host` or `address`.
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
    very address that is asked. What operates models (`OPERATED`) needs both: a token with that role in the header, and
    no page of another origin.
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
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        looks = scope["method"] in SAFE_METHODS
        bearer = self._bearer(headers, looks=looks)
        is_build = scope["path"].startswith(BUILDS) and len(scope["path"]) <= LONGEST_PATH
        refusal = None if is_build else self._refusal(scope, headers, bearer, looks=looks)
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

        known = {BEARER: bearer, HAS_TOKENS: self._tokens is not None}
        await self._app({**scope, **known}, receive, send_with_headers)

    def _bearer(self, headers: Mapping[bytes, str], *, looks: bool) -> Token | None:
        if self._tokens is None:
            return None
        return self._tokens.bearer(headers.get(b"authorization"), as_password=looks)

    def _refusal(
        self, scope: Scope, headers: Mapping[bytes, str], bearer: Token | None, *, looks: bool
    ) -> tuple[int, str, str] | None:
        if len(scope["path"]) > LONGEST_PATH:
            return 414, "address", f"a path has at most {LONGEST_PATH} characters"
        host = headers.get(b"host", "")
        needed = not looks or (self._protects_all and scope["path"] != ALWAYS_OPEN)
        if self._tokens is not None and bearer is None and needed:
            return 401, "token", "this needs a token: Authorization: Bearer ... (token_file in the config)"
        is_nameless = looks and not host  # an old client names none, a browser does
        if bearer is None and not is_nameless and not self._knows(host):
            known = "ask by a number, localhost or one of `hosts` in the config, or bear a token"
            return 403, "host", f"{known}: a name may point here by fraud"
        if self._tokens is None and not looks and not _is_own(headers, host):
            return 403, "origin", "a page of another origin may not do this"
        refusal = None if looks else _role_refusal(scope["path"], headers, bearer)
        if self._has_journal and not looks and refusal is None:
            self._journal(None if bearer is None else bearer.name, scope, headers)
        return refusal

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


def _role_refusal(path: str, headers: Mapping[bytes, str], bearer: Token | None) -> tuple[int, str, str] | None:
    """Why a token may not change what it asks to change: its role, or the page that sends it."""
    if path.startswith(OPERATED):
        return _operating_refusal(headers, bearer, submits=_SUBMITTED.fullmatch(path) is not None)
    return (403, "role", ONLY_SUBMITS) if bearer is not None and bearer.only_submits else None


def _operating_refusal(
    headers: Mapping[bytes, str], bearer: Token | None, *, submits: bool
) -> tuple[int, str, str] | None:
    """Why a request to operate a model is refused, whatever guards the address.

    What the browser says of the site goes first: behind a proxy the address that was asked is not the one here.
    """
    if bearer is None or not (bearer.may_submit if submits else bearer.may_operate):
        return 403, "role", NO_SUBMITTER if submits else NO_OPERATOR
    site = headers.get(b"sec-fetch-site")
    is_own = site in {"none", "same-origin"} if site is not None else _is_own(headers, headers.get(b"host", ""))
    return None if is_own else (403, "origin", "a page of another origin may not do this, whatever token it bears")


def is_bearer(authorization: str | None) -> bool:
    """Whether an `Authorization` header has a token, as a program or a script sets it; a browser sends passwords."""
    return (authorization or "").partition(" ")[0].lower() == "bearer"


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
