"""Files of credentials: of databases, clusters, object stores and registries."""

from __future__ import annotations

from pathlib import Path

from driftd.errors import DriftdError
from driftd.paths import credential


class CredentialFileError(DriftdError):
    """A file of credentials cannot be used; the message says why, and does not hold what is in it."""


def read_token(path: Path) -> str:
    """The token that a file holds, a credential of systemd where it is a bare name. Raises CredentialFileError."""
    file = credential(path)
    try:
        found = file.read_text("utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise CredentialFileError(f"token_file {file} cannot be read: {reason}") from None
    if len(found) != 1:
        raise CredentialFileError(f"token_file {file} holds no token: write it there, alone, on one line")
    return found[0]
