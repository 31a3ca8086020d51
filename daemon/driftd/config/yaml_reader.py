"""Reads YAML as config.yaml means it: plain data, and the line of every key."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

DEEPEST = 40  # levels; a config needs eight
MOST_NODES = 250_000  # values, of a large fleet; aliases count each time, so that few lines cannot grow endlessly
KeyPath = tuple[str | int, ...]
Plain: TypeAlias = "bool | float | str | Sequence[Plain] | Mapping[str, Plain] | None"  # what YAML and JSON can hold

_UNFIT = re.compile("[\x00\ud800-\udfff]")
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]{1,400}")
_OTHER_BASE = re.compile(r"0o[0-7]{1,100}|0x[0-9a-fA-F]{1,100}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}
_KNOWN_TAGS = {
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "timestamp", "value", "merge")
}


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong. `line` counts from 1; `path` is the key that it is about, empty for the whole file."""

    line: int
    path: KeyPath = field(compare=False)
    sentence: str

    def describe(self, file: str) -> str:
        """`config.yaml:7: models.demand.window.evry: ...`."""
        where = f"{file}:{self.line}: "
        said = (f"{dotted_path(self.path)}: " if self.path else "") + self.sentence
        return where + "".join(character if character.isprintable() else repr(character)[1:-1] for character in said)


@dataclass(slots=True)
class Document:
    """The plain data of a file, the line of every key path, and what was wrong with the text."""

    data: Mapping[str, Plain] | None = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line_of(self, path: KeyPath) -> int:
        """The line of a key, or of the nearest key around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read(content: bytes) -> Document:
    """Read a file's bytes. Never raises: what is wrong stands in `problems`."""
    document = Document()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        sentence = f"byte {content[error.start]:#04x} is not UTF-8; save the file as UTF-8"
        document.problems.append(Problem(line, (), sentence))
        return document
    try:
        node = _compose(text)
    except yaml.YAMLError as error:
        document.problems.append(_not_yaml(error, text))
        return document
    except RecursionError:
        document.problems.append(Problem(1, (), f"it is nested too deep; a config has at most {DEEPEST} levels"))
        return document
    _Reader(document).take(node)
    return document


def _compose(text: str) -> yaml.Node | None:
    """The nodes of a text: by libyaml, which takes a fifth of the time; what it refuses, PyYAML says in its words.

    Raises yaml.YAMLError and RecursionError.
    """
    fast = getattr(yaml, "CSafeLoader", None)  # absent where PyYAML was built without libyaml
    if fast is not None:
        with contextlib.suppress(yaml.YAMLError):
            return yaml.compose(text, Loader=fast)
    return yaml.compose(text, Loader=yaml.SafeLoader)


def dotted_path(path: KeyPath) -> str:
    """`models.demand.retrain.on[0]`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


class _Reader:
    """Walks the nodes of one document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.nodes = 0
        self.around: list[int] = []  # the ids of the nodes that hold this one: an alias to one of them has no end

    def take(self, node: yaml.Node | None) -> None:
        """Fill the document from its root node."""
        if node is None:
            self._wrong(1, (), "the file is empty; `driftd init` writes a config from a file of your data")
            return
        if not isinstance(node, yaml.MappingNode):
            kind = "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
            self._wrong(_line(node), (), f"a config is a mapping of keys (models: ...), this is {kind}")
            return
        self.document.lines[()] = 1
        data = self._value(node, ())
        self.document.data = data if isinstance(data, Mapping) else None

    def _wrong(self, line: int, path: KeyPath, sentence: str) -> None:
        self.document.problems.append(Problem(line, path, sentence))

    def _value(self, node: yaml.Node, path: KeyPath) -> Plain:
        self.nodes += 1
        if self.nodes > MOST_NODES:
            if self.nodes == MOST_NODES + 1:
                self._wrong(_line(node), path, f"a config holds at most {MOST_NODES} values, aliases counted each time")
            return None
        if len(path) > DEEPEST or id(node) in self.around:
            reason = "an alias holds itself" if id(node) in self.around else "it is nested too deep"
            self._wrong(_line(node), path[:8], f"{reason}; a config has at most {DEEPEST} levels")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        self.around.append(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            return [self._item(child, (*path, index)) for index, child in enumerate(node.value)]
        finally:
            self.around.pop()

    def _item(self, node: yaml.Node, path: KeyPath) -> Plain:
        self.document.lines.setdefault(path, _line(node))
        return self._value(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Plain]:
        found: dict[str, Plain] = {}
        first_line: dict[str, int] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            line = _line(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self._wrong(line, path, "a key must be a word, this one is a list or a mapping")
                continue
            key = str(key_node.value)
            if key_node.tag == "tag:yaml.org,2002:merge":
                merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                continue
            if key in first_line:
                self._wrong(line, (*path, key), f"this key stands on line {first_line[key]} already; keep one of them")
                continue
            first_line[key] = line
            if self._has_unfit(key, line, path):
                continue
            self.document.lines[*path, key] = line
            found[key] = self._value(value_node, (*path, key))
        for base in merged:
            self._merge(found, base, path)
        return found

    def _merge(self, found: dict[str, Plain], base: yaml.Node, path: KeyPath) -> None:
        """`<<: *other`: the keys of another mapping, where this one does not say them itself."""
        if not isinstance(base, yaml.MappingNode):
            self._wrong(_line(base), path, "`<<` merges a mapping or a list of mappings")
            return
        own = {key: self.document.lines.get((*path, key)) for key in found}
        said = self._value(base, path)
        if isinstance(said, Mapping):
            found.update({key: value for key, value in said.items() if key not in found})
        for key, line in own.items():
            if line is not None:
                self.document.lines[*path, key] = line

    def _has_unfit(self, text: str, line: int, path: KeyPath) -> bool:
        """Whether a text holds, written as an escape, what no path, name or database can: U+0000, half a character."""
        found = _UNFIT.search(text)
        if found is not None:
            self._wrong(line, path, f"the character U+{ord(found[0]):04X} may not stand in a config")
        return found is not None

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Plain:
        text = str(node.value)
        if node.tag not in _KNOWN_TAGS:
            self._wrong(_line(node), path, f"the tag {node.tag} is not allowed; a config holds plain values")
            return None
        if self._has_unfit(text, _line(node), path):
            return None
        if node.style:  # quoted, or a block: text; of plain ones libyaml says "", PyYAML None
            return text
        if _NULL.fullmatch(text):
            return None
        if _BOOLEAN.fullmatch(text):
            return text.lower() == "true"
        return _number(text)


def _number(text: str) -> int | float | str:
    """A number of YAML 1.2's core schema, else the text itself."""
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OTHER_BASE.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return _NOT_FINITE.get(text.lower(), text)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _not_yaml(error: yaml.YAMLError, text: str) -> Problem:
    """PyYAML's own words, in one sentence with the line."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text[: int(error.position)].count("\n") + 1
        return Problem(line, (), f"the character U+{int(error.character):04X} may not stand in YAML")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = " ".join(str(part) for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part)
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    hint = "; indent with spaces" if "\\t" in said else ""
    return Problem(line, (), f"this is not YAML: {said or error} (column {column}){hint}")
