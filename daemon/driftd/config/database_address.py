"""The address of a database, and the file that says who asks: no message holds what is secret in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit

from driftd.config.credential_files import CredentialFileError
from driftd.paths import credential

_LONGEST = 4000  # bytes of a file of credentials
_LINE = re.compile(r"\s*(user|password)\s*[:=]\s*(.*?)\s*")
_SQL_FORMS = "duckdb:///path/of/a/file or postgresql://host:port/database"


def sql_address(text: str) -> str:
    """The address of a database, without a password. Raises ValueError; the sentence does not repeat the address."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError(f"this is no address; write {_SQL_FORMS}") from None
    if parts.scheme not in {"duckdb", "postgresql"}:
        said = f"{parts.scheme}: is no database that is read" if parts.scheme else "the kind of the database is missing"
        raise ValueError(f"{said}; write {_SQL_FORMS}")
    if parts.password is not None or "password" in parts.query.lower():
        raise ValueError("the address holds a password, and configs are shown: put it into credentials_file")
    if parts.scheme == "duckdb" and (parts.netloc or len(parts.path) < 2):  # noqa: PLR2004 - more than the slash
        raise ValueError("a file of DuckDB has an absolute path, after three slashes: duckdb:///srv/logs/events.duckdb")
    if parts.scheme == "postgresql" and len(parts.path) < 2:  # noqa: PLR2004 - see above
        raise ValueError("the name of the database is missing: postgresql://host:port/database")
    return text


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is and who asks; `secrets` are what no message may hold."""

    parts: SplitResult
    user: str | None = None
    password: str | None = None

    @property
    def shown(self) -> str:
        """The address without user, password and options."""
        parts = self.parts
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{parts.path}"

    def hide(self, text: str) -> str:
        """A message without the password in any form."""
        for secret in filter(None, {self.password, quote(self.password or "", safe="")}):
            text = text.replace(secret, "...")
        return text


def read_address(url: str, file: Path | None) -> Address:
    """The address of a config with what its file of credentials says. Raises CredentialFileError without a secret."""
    parts = urlsplit(url)
    named = Address(parts, unquote(parts.username) if parts.username else None)
    if file is None:
        return named
    try:
        text = credential(file).read_text("utf-8")[:_LONGEST].strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise CredentialFileError(f"credentials_file {file} cannot be read: {reason}") from None
    if "://" in text:
        whole = urlsplit(text)
        if whole.scheme != parts.scheme:
            raise CredentialFileError(f"credentials_file {file} holds an address that is not of {parts.scheme}")
        return Address(whole, unquote(whole.username or "") or None, unquote(whole.password or "") or None)
    found = [_LINE.fullmatch(line) for line in text.splitlines() if line.strip()]
    if not found or None in found:
        raise CredentialFileError(
            f"credentials_file {file} must hold lines `user: ...` and `password: ...`, or a whole address"
        )
    values = {match[1]: match[2] for match in found if match is not None}
    return Address(parts, values.get("user", named.user), values.get("password"))
