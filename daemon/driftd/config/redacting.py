"""A config as it may be shown: in the log, on the page, by the CLI, in the history.

Secrets belong into files of their own, but trainers' parameters, commands and addresses have held passwords before, and
what is shown is copied into tickets.
"""

from __future__ import annotations

import re
from typing import Any

from driftd.config.model import Config

HIDDEN = "..."
_WORD = r"password|passwd|secret|token|api[_-]?key"
_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?$|secret|token$|credential|(api|private)_?key|auth(orization)?$", re.IGNORECASE
)
_IN_ADDRESS = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^/\s:@]*:)[^/\s@]+(?=@)", re.IGNORECASE)
_IN_QUERY = re.compile(rf"(?P<before>\b[\w-]*(?:{_WORD}|signature|sig)=)[^&\s;,]+", re.IGNORECASE)
_OPTION = re.compile(rf"--?[\w-]*(?:{_WORD})", re.IGNORECASE)


def shown(config: Config) -> dict[str, Any]:
    """The config as plain data, every value that may be a secret replaced by "..."."""
    found: dict[str, Any] = redacted(config.model_dump(mode="json"))
    return found


def redacted(value: Any) -> Any:
    """Plain data without what looks like a secret: by the name of its key, or as a part of an address or an option."""
    if isinstance(value, dict):
        return {key: _under(str(key), one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [
            HIDDEN if at and isinstance(value[at - 1], str) and _OPTION.fullmatch(value[at - 1]) else redacted(one)
            for at, one in enumerate(value)
        ]
    if isinstance(value, str):
        return _IN_QUERY.sub(rf"\g<before>{HIDDEN}", _IN_ADDRESS.sub(rf"\g<before>{HIDDEN}", value))
    return value


def _under(key: str, value: Any) -> Any:
    if value is None or isinstance(value, bool) or not _SECRET_NAME.search(key):
        return redacted(value)
    return HIDDEN
