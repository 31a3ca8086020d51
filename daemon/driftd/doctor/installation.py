"""What is examined, and what an examination says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from driftd.config.load import ConfigError, load
from driftd.config.model import Config
from driftd.places import Places
from driftd.records import ModelState
from driftd.store.kinds import DatabaseError
from driftd.store.lock import Holder, holder
from driftd.store.state_reader import StateAbsentError, StateReader


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"  # works, but not for long or not as wanted
    FAIL = "fail"  # something does not work


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: how it is, and what to do about it where that is not as it should be."""

    subject: str
    level: Level
    said: str
    todo: str = ""
    check: str = ""


def ok(subject: str, said: str) -> Finding:
    """As it should be."""
    return Finding(subject, Level.OK, said)


def warn(subject: str, said: str, todo: str) -> Finding:
    """Not as it should be; works all the same."""
    return Finding(subject, Level.WARN, said, todo)


def fail(subject: str, said: str, todo: str) -> Finding:
    """Does not work."""
    return Finding(subject, Level.FAIL, said, todo)


@dataclass(frozen=True, slots=True)
class Installation:
    """A config, its state directory, and the moment of the examination."""

    config_path: Path
    config: Config
    places: Places
    now: float
    daemon: Holder | None

    @classmethod
    def found(cls, config_path: Path, now: float) -> Installation:
        """Raises ConfigError when the config cannot be read: then nothing is known of the rest."""
        config = load(config_path)
        places = Places(config.state_dir)
        return cls(config_path, config, places, now, holder(places.lock))

    def states(self) -> dict[str, ModelState]:
        """Where each model of the config stands by the store; those that it does not know are left out."""
        with self.reader() as reader:
            return {state.model: state for state in reader.models() if state.model in self.config.models}

    def reader(self) -> StateReader:
        """The state database. Raises StateAbsentError, DatabaseError."""
        return StateReader.read_only(self.places.state_db)


Check = Callable[[Installation], Iterable[Finding]]


def examine_all(
    config_path: Path, now: float, checks: dict[str, Check], told: Callable[[str], None] = lambda _: None
) -> Iterator[Finding]:
    """Run every check; one that fails itself is a finding, and the others go on. `told` hears what is looked at."""
    try:
        installation = Installation.found(config_path, now)
    except ConfigError as error:
        todo = "correct the file (`driftd check-config` tells each fault); a running daemon keeps the config before it"
        yield Finding("config", Level.FAIL, str(error), todo, "config")
        return
    for name, check in checks.items():
        told(name)
        try:
            for one in check(installation):
                yield Finding(one.subject, one.level, one.said, one.todo, name)
        except StateAbsentError as error:
            yield Finding("state.db", Level.FAIL, str(error), "start the daemon once", name)
        except (DatabaseError, OSError) as error:
            yield Finding(name, Level.FAIL, f"could not look: {error}", "see the finding on databases and files", name)
        except Exception as error:  # noqa: BLE001 - the boundary of a check: a fault in one must not hide the others
            said = f"could not look: {type(error).__name__}: {error}"
            yield Finding(name, Level.FAIL, said, "look at the other findings first; else report this", name)
