"""Bearer tokens (RFC 6750): read from a file that only driftd can read, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import stat
import threading
import time
from pathlib import Path

from driftd.places import credential

SHORTEST = 16  # characters; what is shorter can be guessed
LONGEST_FILE = 65_536
LOOK_SECONDS = 1.0  # how often the file is looked at for another content


class TokenFileError(Exception):
    """A file of tokens that cannot be used; the message says what to do."""


class Tokens:
    """The tokens of a file, one a line; several at once let clients move from one to the next.

    The file is looked at again about every second, so that tokens are changed without a restart. When it has become
    unusable nobody is let in until it is mended. Raises TokenFileError when it is unusable from the start.
    """

    def __init__(self, path: Path) -> None:
        self._path = credential(path)
        self._lock = threading.Lock()
        self._looked_at = time.monotonic()
        self._mark = self._marked()
        self._digests = _read(self._path)
        self.fault: str | None = None

    def accept(self, authorization: str | None) -> bool:
        """Whether an `Authorization` header bears one of the tokens."""
        scheme, _, given = (authorization or "").partition(" ")
        digest = _digest(given.strip())
        found = False
        for known in self._current():
            found = hmac.compare_digest(known, digest) or found  # every one is compared, whichever fits
        return found and scheme.lower() == "bearer"

    def _current(self) -> tuple[bytes, ...]:
        now = time.monotonic()
        with self._lock:
            if now - self._looked_at >= LOOK_SECONDS:
                self._looked_at = now
                mark = self._marked()
                if mark != self._mark:
                    self._mark = mark
                    self._reread()
            return self._digests

    def _reread(self) -> None:
        try:
            self._digests, self.fault = _read(self._path), None
        except TokenFileError as error:
            self._digests, self.fault = (), str(error)

    def _marked(self) -> tuple[int, ...]:
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
    short = [number for number, one in enumerate(tokens, 1) if len(one) < SHORTEST]
    if short:
        raise TokenFileError(
            f"token_file {path}: token {short[0]} has under {SHORTEST} characters; `openssl rand -hex 32` makes one"
        )
    return tuple(_digest(one) for one in tokens)


def _digest(token: str) -> bytes:
    """Of equal length whatever the token, so that the time of a comparison tells nothing."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
