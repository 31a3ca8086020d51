"""Reads config.yaml, whole or not at all, with every fault at once, and notices when the file changes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import ValidationError

from driftd.config.cross_checks import contradictions
from driftd.config.errors import format_error
from driftd.config.schema import Config
from driftd.config.yaml_reader import Problem, read
from driftd.errors import DriftdError, ExitCode

LONGEST = 1_000_000  # bytes; a config of more is something else


class ConfigError(DriftdError):
    """A config that cannot be used. The message is the whole report: one line a fault, by line of the file."""

    exit_code: ClassVar[int] = ExitCode.USAGE

    @property
    def report(self) -> str:
        """The message alone: each of its lines names the file."""
        return str(self)


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
            for fault in error.errors(include_url=False):
                path, sentence = format_error(fault, document.data)
                if path not in unread:
                    problems.append(Problem(document.line_of(path), path, sentence))
        problems += [
            Problem(document.line_of(path), path, sentence) for path, sentence in contradictions(document.data)
        ]
    if problems or config is None:
        raise ConfigError("\n".join(problem.describe(name) for problem in sorted(set(problems))))
    return config.with_hash(_digest(content))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


ABSENT = "absent"


@dataclass(slots=True)
class ConfigWatch:
    """Calls `changed` once the file's content is another than the one `known` to the daemon, and stands still.

    Two looks in a row must see the same: between them an editor has written the rest of the file, or put a new file in
    the place of the old one.
    """

    path: Path
    known: Callable[[], str]  # the hash of what the daemon read last, whether it took it or refused it
    changed: Callable[[], None]
    _seen: str = ""
    _told: str = ""

    def look(self) -> None:
        """One look; called about once a second."""
        now = digest_of(self.path) or ABSENT
        settled, self._seen = now == self._seen, now
        if settled and now not in (self.known(), self._told):
            self._told = now
            self.changed()
        elif settled and now == self.known():
            self._told = ""
