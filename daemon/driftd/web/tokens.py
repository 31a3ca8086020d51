"""The file of bearer tokens (RFC 6750): which there are, how each is called, and which may operate models."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import stat
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from driftd.errors import DriftdError, ExitCode
from driftd.paths import credential

SHORTEST = 16  # characters; what is shorter can be guessed
LONGEST_FILE = 65_536
SHOWN_DIGITS = 8  # of a token's SHA-256: which of them it was, and nothing that helps to guess it
LOOK_SECONDS = 1.0  # how often the file is looked at for another content
SUBMIT = "submit"  # the role that may hand in versions, and nothing else
OPERATE = "operate"  # the role that may ask for what the commands ask for: retrain, approve, roll back, pause, ...
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class TokenFileError(DriftdError):
    """A file of tokens that cannot be used; the message says what to do."""

    exit_code: ClassVar[int] = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class Token:
    """A line of the file: `TOKEN`, or `TOKEN role=operate name=ada`."""

    digest: bytes  # SHA-256: of equal length whatever the token, so that the time of a comparison tells nothing
    given_name: str = ""
    may_operate: bool = False
    may_submit: bool = False

    @property
    def only_submits(self) -> bool:
        """Whether it may hand versions in, and change nothing else."""
        return self.may_submit and not self.may_operate

    @property
    def name(self) -> str:
        """As the journal and the history call it: its name, else the first digits of its SHA-256."""
        return self.given_name or f"token {self.digest.hex()[:SHOWN_DIGITS]}"


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
        self._tokens = _read(self._path)
        self.fault: str | None = None

    def accept(self, authorization: str | None) -> bool:
        """Whether an `Authorization` header bears one of the tokens."""
        return self.bearer(authorization) is not None

    def bearer(self, authorization: str | None, *, as_password: bool = False) -> Token | None:
        """The token that a header bears; None where it bears none.

        `as_password`: also as the password of any user (Basic), as browsers ask people for it. For what is only looked
        at: a browser sends a password along with the requests of other sites' pages.
        """
        scheme, _, given = (authorization or "").partition(" ")
        given = given.strip()
        if as_password and scheme.lower() == "basic":
            scheme, given = "bearer", _password_in(given)
        digest = _digest(given)
        found = None
        for known in self._current():  # every one is compared, whichever fits
            found = known if hmac.compare_digest(known.digest, digest) else found
        return found if scheme.lower() == "bearer" else None

    def _current(self) -> tuple[Token, ...]:
        now = time.monotonic()
        with self._lock:
            if now - self._looked_at >= LOOK_SECONDS:
                self._looked_at = now
                mark = self._file_mark()
                if mark != self._mark:
                    self._mark = mark
                    self._reread()
            return self._tokens

    def _reread(self) -> None:
        try:
            self._tokens, self.fault = _read(self._path), None
        except TokenFileError as error:
            self._tokens, self.fault = (), str(error)

    def _file_mark(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode


def _read(path: Path) -> tuple[Token, ...]:
    try:
        mode = path.stat().st_mode
        with path.open("rb") as file:
            text = file.read(LONGEST_FILE).decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "a token is plain ASCII"
        raise TokenFileError(f"token_file {path} cannot be read: {reason}") from None
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise TokenFileError(f"token_file {path} may be read by everybody (mode {mode & 0o777:o}): chmod o= {path}")
    lines = _lines(text)
    if not lines:
        raise TokenFileError(f"token_file {path} holds no token: write one a line, such as `openssl rand -hex 32`")
    return tuple(_token_of(line, f"token_file {path}: token {number}") for number, line in enumerate(lines, 1))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _token_of(line: str, where: str) -> Token:
    """What a line says, with the sentence that begins with `where` if it cannot be used."""
    secret, words = _split(line)
    if len(secret) < SHORTEST:
        raise TokenFileError(f"{where} has under {SHORTEST} characters; `openssl rand -hex 32` makes one")
    given = dict(word.partition("=")[::2] for word in words)
    if set(given) - {"role", "name"} or len(given) < len(words):
        raise TokenFileError(f"{where}: after a token stand at most `role={OPERATE}` and `name=...`, each once")
    role = given.get("role", "")
    if role not in (OPERATE, SUBMIT, "") or ("role" in given and not role):
        raise TokenFileError(f"{where}: the roles are `role={OPERATE}` and `role={SUBMIT}`; leave it out for neither")
    if "name" in given and not _NAME.fullmatch(given["name"]):
        raise TokenFileError(f"{where}: a name has at most 64 letters, digits, dots, dashes, underscores and @")
    return Token(_digest(secret), given.get("name", ""), role == OPERATE, bool(role))


def _split(line: str) -> tuple[str, list[str]]:
    """The token and what is said of it; a line with blanks and no `=` is one token, as before there were roles."""
    secret, *words = line.split()
    return (secret, words) if any("=" in word for word in words) else (line, [])


def first_token(path: Path) -> str | None:
    """A token of a file, for a request of our own; None where this user cannot read one."""
    try:
        lines = _lines(credential(path).read_text("ascii")[:LONGEST_FILE])
    except (OSError, UnicodeDecodeError):
        return None
    return next((_split(line)[0] for line in lines), None)


def _password_in(given: str) -> str:
    try:
        return base64.b64decode(given, validate=True).decode("utf-8", "surrogateescape").partition(":")[2]
    except ValueError:
        return ""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
