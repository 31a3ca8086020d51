"""Writes a fault of a config as a sentence: which key, what is wrong, what is allowed, what was perhaps meant."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from driftd.config.cross_checks import choices
from driftd.config.schema import Config
from driftd.config.yaml_reader import KeyPath

_LONGEST_SHOWN = 60
_QUOTED = re.compile(r"'([^']*)'")
_KINDS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "string": "text (in quotes where it looks like something else)",
    "dict": "a mapping of keys",
    "model": "a mapping of keys",
    "model_attributes": "a mapping of keys",
    "tuple": "a list",
    "list": "a list",
    "datetime": "a time such as 2026-12-01T00:00:00Z",
    "datetime_from_date": "a time such as 2026-12-01T00:00:00Z",
    "path": "a path",
    "finite_number": "a finite number",
}
_FORM = re.compile(r"_(type|parsing|parsing_size|from_float)$")
_CHOICES = {"literal_error", "enum", "union_tag_invalid", "union_tag_not_found"}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def format_error(error: ErrorDetails, data: object) -> tuple[KeyPath, str]:
    """The key path in the file and the sentence for one of pydantic's errors about `data`."""
    path = in_file(error["loc"], data)
    kind = error["type"]
    if kind == "extra_forbidden":
        return path, _unknown(path, _tag_of(error))
    if kind == "missing":
        key = str(error["loc"][-1])
        return path, f"the required key {key!r} is missing" + _about(path, key, _tag_of(error))
    return path, _sentence(kind, error, path)


def _tag_of(error: ErrorDetails) -> str:
    """The step before the last one: the tag of a member, where the section is one of several."""
    return str(error["loc"][-2]) if len(error["loc"]) > 1 else ""


def in_file(loc: tuple[int | str, ...], data: object) -> KeyPath:
    """Pydantic's path without what is not in the file: absent keys, the tag of a union's member, marks of keys."""
    path: list[str | int] = []
    for step in loc:
        here: Any = data
        inside = isinstance(step, int) and step < len(here) if isinstance(here, list) else step in here
        if inside:
            data = here[step]
            path.append(step)
        if not isinstance(data, Mapping | list):
            break
    return tuple(path)


def _describer(path: KeyPath) -> Callable[[object], str]:
    """How a value at this place is repeated: as it is, or, where secrets stand, only by its kind."""
    first, second, third = (*path, "", "", "")[:3]
    addressed = first == "notify" and third in {"", "webhook", "webhook_file", "command"}
    handed = first == "models" and third in {"trainer", "parameters"}
    return _veil if second != "" and (addressed or handed) else _short


def _veil(value: object) -> str:
    if isinstance(value, str):
        return f"a text of {len(value)} characters"
    return _short(value)


def _sentence(kind: str, error: ErrorDetails, path: KeyPath) -> str:
    describe = _describer(path)
    given, context = error.get("input"), error.get("ctx", {})
    if kind == "value_error":
        return str(context.get("error", error["msg"]))
    if kind in _CHOICES:
        allowed = _QUOTED.findall(str(context.get("expected") or context.get("expected_tags") or "")) or _tags_at(path)
        return _no_choice(given, allowed, describe)
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"must be {words} {_number(context[name])}, not {describe(given)}"
    if kind in {"too_short", "string_too_short"}:
        return "must not be empty"
    expected = _KINDS.get(_FORM.sub("", kind))
    message = error["msg"][:1].lower() + error["msg"][1:]
    return f"{message} (got {describe(given)})" if expected is None else f"must be {expected}, not {describe(given)}"


def _no_choice(given: Any, allowed: list[str], describe: Callable[[object], str]) -> str:
    if isinstance(given, Mapping) and "kind" not in given:
        return f"the required key 'kind' is missing{choices('', allowed)}"
    word = given["kind"] if isinstance(given, Mapping) else given
    return f"{describe(word)} is not allowed{choices(str(word), allowed)}"


def _unknown(path: KeyPath, tag: str) -> str:
    allowed = allowed_below(path[:-1], tag)
    return f"there is no such key{choices(str(path[-1]), allowed)}"


def _about(path: KeyPath, key: str, tag: str) -> str:
    """What a missing key is for."""
    for model in _members_tagged(path, tag):
        if key in model.model_fields and (text := model.model_fields[key].description):
            return f": {text}"
    return ""


def allowed_below(path: KeyPath, tag: str = "") -> list[str]:
    """The keys that may stand below a path of the file; empty where any name may. `tag` says which of several kinds."""
    return sorted({name for model in _members_tagged(path, tag) for name in model.model_fields})


def _members_tagged(path: KeyPath, tag: str) -> list[type[BaseModel]]:
    sections = _sections_at(path)
    return [model for model in sections if tag in _tags_of(model)] or sections


def _tags_at(path: KeyPath) -> list[str]:
    return [tag for model in _sections_at(path) for tag in _tags_of(model)]


def _tags_of(model: type[BaseModel]) -> tuple[str, ...]:
    tag: str | None = getattr(model, "tag", None)  # of a member that its keys tell, and no `kind`
    own = () if tag is None else (tag,)
    return get_args(model.model_fields["kind"].annotation) if "kind" in model.model_fields else own


def _sections_at(path: KeyPath) -> list[type[BaseModel]]:
    kinds: list[Any] = [Config]
    for step in path:
        kinds = [below for kind in kinds for below in _below(kind, step)]
    return [model for kind in kinds for model in _members(kind, _model_or_none)]


def _below(kind: Any, step: str | int) -> Iterator[Any]:
    for model in _members(kind, _model_or_none):
        if step in model.model_fields:
            yield model.model_fields[str(step)].annotation
    for mapping in _members(kind, lambda part: part if get_origin(part) is dict else None):
        yield get_args(mapping)[1]


def _members(kind: Any, wanted: Callable[[Any], Any]) -> Iterator[Any]:
    """The members of a (nested) union that are wanted."""
    if (found := wanted(kind)) is not None:
        yield found
    elif get_origin(kind) in (Union, UnionType):
        for part in get_args(kind):
            yield from _members(part, wanted)
    elif get_origin(kind) is Annotated:
        yield from _members(get_args(kind)[0], wanted)


def _model_or_none(kind: Any) -> type[BaseModel] | None:
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _number(bound: float) -> str:
    return str(int(bound)) if bound == int(bound) else str(bound)


def _short(value: object) -> str:
    if isinstance(value, Mapping):
        return "a mapping of keys"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
