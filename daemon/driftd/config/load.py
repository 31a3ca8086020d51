"""Reads config.yaml, whole or not at all, with every fault at once, and notices when the file changes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from pydantic import ValidationError

from driftd.config.cross_checks import contradictions
from driftd.config.errors import format_error
from driftd.config.included import Included, included_files, join_models
from driftd.config.schema import Config
from driftd.config.yaml_reader import read
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
        included = tuple(Included(file, file.read_bytes()) for file in included_files(path, content))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        where = getattr(error, "filename", None) or path
        hint = (
            "; `driftd init` writes a config, --config or $DRIFTD_CONFIG names another"
            if isinstance(error, FileNotFoundError)
            else ""
        )
        raise ConfigError(f"{where}: cannot be read: {reason}{hint}") from error
    return parse(content, str(path), included)


def digest_of(path: Path) -> str | None:
    """The hash of a config's content now, as `Config.hash` has it; None when it cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST + 1)
        return _digest(content, [Included(other, other.read_bytes()) for other in included_files(path, content)])
    except (OSError, ValueError):
        return None


def files_of(path: Path) -> dict[str, Path]:
    """The files that a config is made of, by the names that their copies get: its own, and those of `models_from`."""
    try:
        included = included_files(path, path.read_bytes())
    except (OSError, ValueError):
        included = []
    return {
        "config.yaml": path,
        **{f"models_from/{number:03d}-{file.name}": file for number, file in enumerate(included)},
    }


def parse(content: bytes, name: str = "config.yaml", included: Sequence[Included] = ()) -> Config:
    """Check the bytes of a config; `name` is how the report calls them. Raises ConfigError; nothing else.

    `included` are the files of `models_from`, whose models it has too.
    """
    if len(content) > LONGEST:
        raise ConfigError(f"{name}:1: the file has {len(content)} bytes; a config has at most {LONGEST}")
    joined = join_models(read(content), name, included)
    document, problems = joined.document, list(joined.problems)
    unread = {problem.path for _, problem in problems}  # what pydantic says of these only follows from that
    config = None
    if document.data is not None:
        try:
            config = Config.model_validate(document.data)
        except ValidationError as error:
            for fault in error.errors(include_url=False):
                path, sentence = format_error(fault, document.data)
                if path not in unread:
                    problems.append(joined.problem(path, sentence))
        problems += [joined.problem(path, sentence) for path, sentence in contradictions(document.data)]
    if problems or config is None:
        raise ConfigError("\n".join(problem.describe(file) for file, problem in sorted(set(problems))))
    return config.with_hash(_digest(content, included))


def _digest(content: bytes, included: Sequence[Included] = ()) -> str:
    whole = hashlib.sha256(content)
    for file in included:
        whole.update(b"\0" + file.path.name.encode() + b"\0" + file.content)
    return whole.hexdigest()[:12]


ABSENT = "absent"


@dataclass(slots=True)
class ConfigDigest:
    """The hash of a config's content for who asks each second: not each file of `models_from` is read each time.

    They are read anew once one of them has another size, inode or time than before. Who writes a file twice within a
    tick of its clock, or sets its times back, is noticed within `READ_EVERY` seconds.
    """

    path: Path
    monotonic: Callable[[], float] = time.monotonic
    _known: tuple[bytes, tuple[_Look, ...]] | None = None
    _digest: str | None = None
    _read_at: float = 0.0

    def read(self) -> str | None:
        """See `digest_of`."""
        try:
            with self.path.open("rb") as file:
                content = file.read(LONGEST + 1)
            files = included_files(self.path, content)
            seen = content, tuple(_look(file) for file in files)
            now = self.monotonic()
            if self._digest is None or seen != self._known or not self._read_at <= now < self._read_at + READ_EVERY:
                self._known = None  # in case that a file cannot be read
                self._digest = _digest(content, [Included(other, other.read_bytes()) for other in files])
                self._known, self._read_at = seen, now
        except (OSError, ValueError):
            return None
        return self._digest


READ_EVERY = 30.0  # seconds; a change that no file shows is noticed after so many, and is in force two looks later
_Look = tuple[str, int, int, int, int]


def _look(file: Path) -> _Look:
    status = file.stat()
    return str(file), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@dataclass(slots=True)
class ConfigWatch:
    """Calls `changed` once the file's content is another than the one `known` to the daemon, and stands still.

    Two looks in a row must see the same: between them an editor has written the rest of the file, or put a new file in
    the place of the old one.
    """

    path: Path
    known: Callable[[], str]  # the hash of what the daemon read last, whether it took it or refused it
    changed: Callable[[], None]
    monotonic: Callable[[], float] = time.monotonic
    _seen: str = ""
    _told: str = ""
    _digest: ConfigDigest = field(init=False)

    def __post_init__(self) -> None:
        self._digest = ConfigDigest(self.path, self.monotonic)

    def look(self) -> None:
        """One look; called about once a second."""
        now = self._digest.read() or ABSENT
        settled, self._seen = now == self._seen, now
        if settled and now not in (self.known(), self._told):
            self._told = now
            self.changed()
        elif settled and now == self.known():
            self._told = ""
