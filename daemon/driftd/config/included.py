"""Models in files of their own: `models_from: conf.d/*.yaml` divides many of them among people, and among daemons."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from driftd.config.yaml_reader import Document, KeyPath, Plain, Problem, read

_KEY = "models_from"
MOST_FILES = 2_000


@dataclass(frozen=True, slots=True)
class Included:
    """A file of models, and what stands in it."""

    path: Path
    content: bytes


@dataclass(slots=True)
class Joined:
    """A config with the models of all its files; a problem is told of the file that it stands in."""

    document: Document
    name: str
    problems: list[tuple[str, Problem]] = field(default_factory=list)  # by the name of the file
    _origins: dict[str, tuple[str, Document]] = field(default_factory=dict)  # of models

    def problem(self, path: KeyPath, sentence: str) -> tuple[str, Problem]:
        """A problem with a key, in its file and on its line."""
        name, document = self.name, self.document
        if len(path) > 1 and path[0] == "models" and path[1] in self._origins:
            name, document = self._origins[str(path[1])]
        return name, Problem(document.line_of(path), path, sentence)

    def add(self, name: str, document: Document) -> None:
        """Take the models of another file in; what else stands there is a problem."""
        self.problems += [(name, problem) for problem in document.problems]
        data = document.data
        if data is None or self.document.data is None:
            return
        for key in data:
            if key != "models":
                sentence = f"{key} stands in the main file alone; a file of `{_KEY}` has models and nothing else"
                self.problems.append((name, Problem(document.line_of((key,)), (key,), sentence)))
        models, own = data.get("models"), self.document.data.get("models")
        if not isinstance(models, dict):
            if "models" not in data:
                self.problems.append((name, Problem(1, (), "it has no models: begin it with `models:`")))
            return
        joined: dict[str, Plain] = dict(own) if isinstance(own, dict) else {}
        for model, section in models.items():
            if model in joined:
                where = self._origins[model][0] if model in self._origins else self.name
                sentence = f"the model {model} stands in {where} too; name one of them otherwise"
                self.problems.append((name, Problem(document.line_of(("models", model)), ("models", model), sentence)))
                continue
            joined[model] = section
            self._origins[model] = name, document
        self.document.data = {**self.document.data, "models": joined}


def join_models(document: Document, name: str, included: Sequence[Included]) -> Joined:
    """The config of a document and of the files that it includes."""
    joined = Joined(document, name, [(name, problem) for problem in document.problems])
    for file in included:
        joined.add(str(file.path), read(file.content))
    pattern = None if document.data is None else document.data.get(_KEY)
    if isinstance(pattern, str) and not included:
        joined.problems.append(joined.problem((_KEY,), f"no file matches {pattern}, seen from the folder of this file"))
    return joined


def included_files(path: Path, content: bytes) -> list[Path]:
    """The files that a config includes, in the order of their names. Raises ValueError where there are too many."""
    if _KEY.encode() not in content:
        return []
    pattern = _pattern_of(content)
    if pattern is None:
        return []
    found = sorted(file for file in _matches(path.parent, pattern) if file.is_file())
    if len(found) > MOST_FILES:
        raise ValueError(f"{_KEY}: {pattern} matches {len(found)} files; at most {MOST_FILES} are read")
    return found


def _matches(folder: Path, pattern: str) -> Iterator[Path]:
    return (folder / name for name in glob.iglob(pattern, root_dir=folder))  # noqa: PTH207 - a pattern may be absolute


@lru_cache(maxsize=8)
def _pattern_of(content: bytes) -> str | None:
    """The pattern that a config has, read once for each content: the file is looked at every second."""
    data = read(content).data
    pattern = None if data is None else data.get(_KEY)
    return pattern if isinstance(pattern, str) else None
