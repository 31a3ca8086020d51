"""Removes secrets from a config before it is shown: in the log, on the page, by the CLI, in the history."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from driftd.config.schema import Config
from driftd.config.yaml_reader import Plain

HIDDEN = "..."
_OPTIONS = "options"  # of a plug-in
_WORD = r"password|passwd|secret|token|api[_-]?key|(?:secret|access|account|private)[\w-]*key"
_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?$|secret|token$|credential|(api|private)_?key|auth(orization)?$", re.IGNORECASE
)
_IN_ADDRESS = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^/\s:@]*:)[^/\s@]+(?=@)", re.IGNORECASE)
_IN_QUERY = re.compile(rf"(?P<before>\b[\w-]*(?:{_WORD}|signature|sig)=)[^&\s;,]+", re.IGNORECASE)
_OPTION = re.compile(rf"--?[\w-]*(?:{_WORD})", re.IGNORECASE)


def redacted_dict(config: Config) -> dict[str, Plain]:
    """The config as plain data, every value that may be a secret replaced by "..."."""
    return redact_config(config.model_dump(mode="json"))


def redact_config(content: Mapping[str, Plain]) -> dict[str, Plain]:
    """A whole config as plain data without its secrets. It stays a valid config: names are the user's own, not keys."""
    models = content.get("models")
    if not isinstance(models, Mapping):
        return redact_section(content)
    named = {name: redact_model(model) if isinstance(model, Mapping) else model for name, model in models.items()}
    return {key: named if key == "models" else redact(value) for key, value in content.items()}


def redact_model(content: Mapping[str, Plain]) -> dict[str, Plain]:
    """One model's section of it: what trainers and detectors are handed is where a key's name says what it holds."""
    plain = {key: redact(value, by_name=key in {"parameters", "trainer"}) for key, value in content.items()}
    detect = plain.get("detect")
    if not isinstance(detect, dict) or not isinstance(detect.get("detectors"), list):
        return plain
    detectors = [redact_model(found) if isinstance(found, Mapping) else found for found in detect["detectors"]]
    return plain | {"detect": detect | {"detectors": detectors}}


def redact_section(content: Mapping[str, Plain], *, by_name: bool = False) -> dict[str, Plain]:
    """A mapping without secrets; see `redact`."""
    return {
        key: HIDDEN if by_name and _is_secret(str(key), item) else redact(item, by_name=by_name or key == _OPTIONS)
        for key, item in content.items()
    }


def redact_command(words: Sequence[str]) -> list[str]:
    """The words of a command without secrets: what follows an option that names one is hidden."""
    return [str(word) for word in _redact_items(words, by_name=False)]


def redact(value: Plain, *, by_name: bool = False) -> Plain:
    """Plain data without secrets in addresses and options; with `by_name` also without values of keys that name one."""
    if isinstance(value, Mapping):
        return redact_section(value, by_name=by_name)
    if isinstance(value, list | tuple):
        return _redact_items(value, by_name=by_name)
    if isinstance(value, str):
        return _IN_QUERY.sub(rf"\g<before>{HIDDEN}", _IN_ADDRESS.sub(rf"\g<before>{HIDDEN}", value))
    return value


def _redact_items(items: Sequence[Plain], *, by_name: bool) -> list[Plain]:
    return [
        HIDDEN if at and _is_secret_option(items[at - 1]) else redact(item, by_name=by_name)
        for at, item in enumerate(items)
    ]


def _is_secret_option(item: Plain) -> bool:
    return isinstance(item, str) and _OPTION.fullmatch(item) is not None


def _is_secret(key: str, value: Plain) -> bool:
    return value is not None and not isinstance(value, bool) and _SECRET_NAME.search(key) is not None
