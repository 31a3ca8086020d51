"""Removes secrets from a config before it is shown: in the log, on the page, by the CLI, in the history."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from driftd.config.schema import Config

HIDDEN = "..."
_WORD = r"password|passwd|secret|token|api[_-]?key"
_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?$|secret|token$|credential|(api|private)_?key|auth(orization)?$", re.IGNORECASE
)
_IN_ADDRESS = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^/\s:@]*:)[^/\s@]+(?=@)", re.IGNORECASE)
_IN_QUERY = re.compile(rf"(?P<before>\b[\w-]*(?:{_WORD}|signature|sig)=)[^&\s;,]+", re.IGNORECASE)
_OPTION = re.compile(rf"--?[\w-]*(?:{_WORD})", re.IGNORECASE)


def redacted_dict(config: Config) -> dict[str, Any]:
    """The config as plain data, every value that may be a secret replaced by "..."."""
    return redact_config(config.model_dump(mode="json"))


def redact_config(content: Mapping[str, Any]) -> dict[str, Any]:
    """A whole config as plain data without its secrets. It stays a valid config: names are the user's own, not keys."""
    models = content.get("models")
    named = {name: redact_model(model) for name, model in models.items()} if isinstance(models, Mapping) else models
    return {key: named if key == "models" else redact(value) for key, value in content.items()}


def redact_model(content: Mapping[str, Any]) -> dict[str, Any]:
    """One model's section of it: what a trainer is handed is the only place where a key's name says what it holds."""
    return {key: redact(value, by_name=key == "parameters") for key, value in content.items()}


def redact(value: Any, *, by_name: bool = False) -> Any:
    """Plain data without secrets in addresses and options; with `by_name` also without values of keys that name one."""
    if isinstance(value, Mapping):
        return {
            key: HIDDEN if by_name and _is_secret(str(key), item) else redact(item, by_name=by_name)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [
            HIDDEN
            if at and isinstance(value[at - 1], str) and _OPTION.fullmatch(value[at - 1])
            else redact(item, by_name=by_name)
            for at, item in enumerate(value)
        ]
    if isinstance(value, str):
        return _IN_QUERY.sub(rf"\g<before>{HIDDEN}", _IN_ADDRESS.sub(rf"\g<before>{HIDDEN}", value))
    return value


def _is_secret(key: str, value: Any) -> bool:
    return value is not None and not isinstance(value, bool) and _SECRET_NAME.search(key) is not None
