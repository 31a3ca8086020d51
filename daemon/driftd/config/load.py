"""Reading config.yaml: whole or not at all, and every fault at once, with its line, its key and what is allowed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import ValidationError

from driftd.config.crossing import contradictions
from driftd.config.model import Config
from driftd.config.reading import Problem, read
from driftd.config.telling import told

LONGEST = 1_000_000  # bytes; a config of more is something else


class ConfigError(Exception):
    """A config that cannot be used. The message is the whole report: one line a fault, by line of the file."""


def load(path: Path) -> Config:
    """Read and check a config. Raises ConfigError; nothing else."""
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = "; `driftd init` writes a config" if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(f"{path}: cannot be read: {reason}{hint}") from error
    return parse(content, str(path))


def digest_of(path: Path) -> str | None:
    """The hash of a config's content now, as `Config.hash` has it; None when it cannot be read."""
    try:
        with path.open("rb") as file:
            return _digest(file.read(LONGEST + 1))
    except (OSError, ValueError):
        return None


def parse(content: bytes, name: str = "config.yaml") -> Config:
    """Check the bytes of a config; `name` is how the report calls them. Raises ConfigError; nothing else."""
    if len(content) > LONGEST:
        raise ConfigError(f"{name}:1: the file has {len(content)} bytes; a config has at most {LONGEST}")
    document = read(content)
    problems = list(document.problems)
    unread = {problem.path for problem in problems}  # what pydantic says of these only follows from that
    config = None
    if document.data is not None:
        try:
            config = Config.model_validate(document.data)
        except ValidationError as error:
            for one in error.errors(include_url=False):
                path, sentence = told(one, document.data)
                if path not in unread:
                    problems.append(Problem(document.line_of(path), path, sentence))
        problems += [
            Problem(document.line_of(path), path, sentence) for path, sentence in contradictions(document.data)
        ]
    if problems or config is None:
        raise ConfigError("\n".join(problem.told(name) for problem in sorted(set(problems))))
    return config.hashed(_digest(content))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
