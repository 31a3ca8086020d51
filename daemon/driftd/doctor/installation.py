"""What is examined, and what an examination says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from driftd.config.load import ConfigError, load
from driftd.config.schema import Config
from driftd.paths import Places
from driftd.records import ModelState
from driftd.store.ownership import Holder, command_for, holder, rather_as_owner
from driftd.store.schema_versions import DatabaseError
from driftd.store.state.reader import StateAbsentError, StateReader
from driftd.views.config import last_applied, named_state_dir


class FindingLevel(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"  # works, but not for long or not as wanted
    FAIL = "fail"  # something does not work


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: how it is, and what to do about it where that is not as it should be."""

    subject: str
    level: FindingLevel
    said: str
    todo: str = ""
    check: str = ""


def ok(subject: str, said: str) -> Finding:
    """As it should be."""
    return Finding(subject, FindingLevel.OK, said)


def warn(subject: str, said: str, todo: str) -> Finding:
    """Not as it should be; works all the same."""
    return Finding(subject, FindingLevel.WARN, said, todo)


def fail(subject: str, said: str, todo: str) -> Finding:
    """Does not work."""
    return Finding(subject, FindingLevel.FAIL, said, todo)


@dataclass(frozen=True, slots=True)
class Installation:
    """A config, its state directory, and the moment of the examination."""

    config_path: Path
    config: Config
    places: Places
    now: float
    daemon: Holder | None
    lock_fault: str = ""  # why it cannot be told whether there is a daemon

    @classmethod
    def of(cls, config_path: Path, config: Config, now: float) -> Installation:
        """What a config names; its state need not be there, nor be ours to read."""
        places = Places(config.state_dir)
        try:
            return cls(config_path, config, places, now, holder(places.lock))
        except OSError as error:
            return cls(config_path, config, places, now, None, f"{places.lock}: {error.strerror or error}")

    def states(self) -> dict[str, ModelState]:
        """Where each model of the config stands by the store; those that it does not know are left out."""
        with self.reader() as reader:
            return {state.model: state for state in reader.models() if state.model in self.config.models}

    def reader(self) -> StateReader:
        """The state database. Raises StateAbsentError, DatabaseError."""
        return StateReader.read_only(self.places.state_db)

    def command(self, arguments: str) -> str:
        """A command of driftd's on this installation, to be typed as it stands."""
        return command_for(self.places.root, f"{arguments} --config {self.config_path}")


Check = Callable[[Installation], Iterable[Finding]]
Told = Callable[[str], None]
AS_WHO_ASKS = frozenset({"files", "secrets"})  # all others are made, by root, as the user whose state it is
OF_THE_FILE = frozenset({"config", "secrets"})  # what has nothing to look at in a file that cannot be used
WITHOUT_A_CONFIG = frozenset({"files", "disk", "clock", "libraries", "databases"})


def examine_all(
    config_path: Path, now: float, checks: Mapping[str, Check], report: Told = lambda _: None
) -> Iterator[Finding]:
    """Run every check; one that fails itself is a finding, and the others go on. `told` hears what is looked at.

    Of a file that cannot be used, the config in force is examined; where none is known, what needs no config.
    """
    try:
        config, left_out = load(config_path), frozenset[str]()
    except ConfigError as error:
        config, left_out = _instead(config_path, checks)
        yield _refused_config(config_path, str(error), config)
    installation = Installation.of(config_path, config, now)
    passed_over: list[str] = []
    for name in [check for check in checks if check not in left_out]:
        report(name)
        try:
            yield from _findings(name, checks[name], installation)
        except StateAbsentError:
            passed_over.append(name)
    if passed_over:
        yield _without_state(installation, passed_over)


def _without_state(installation: Installation, names: Sequence[str]) -> Finding:
    """One finding for every check that asks the state database, where there is none (yet)."""
    said = f"there is no state database, so this was not looked at: {', '.join(names)}"
    todo = f"start the daemon once ({installation.command('run')}, or its unit), then ask again"
    return replace(warn(str(installation.places.state_db), said, todo), check="databases")


def _instead(config_path: Path, checks: Mapping[str, Check]) -> tuple[Config, frozenset[str]]:
    """The config to go by in place of a file that cannot be used, and the checks that it is no good for."""
    root = named_state_dir(config_path) or Config.model_fields["state_dir"].default
    bare = Config.model_construct(state_dir=root, models={})
    try:
        with rather_as_owner(Places(root)):
            in_force = last_applied(config_path)
    except Exception:  # noqa: BLE001 - whatever is wrong with the state is what the checks of it are to tell
        in_force = None
    if in_force is None:
        return bare, frozenset(checks) - WITHOUT_A_CONFIG
    return in_force.model_copy(update={"state_dir": root}), OF_THE_FILE  # wherever the state was when it was applied


def _refused_config(config_path: Path, fault: str, instead: Config) -> Finding:
    todo = "correct the file (`driftd check-config` tells each fault); a running daemon keeps the config before it"
    if config_path.exists() and not os.access(config_path, os.R_OK):
        todo = f"run this as somebody who may read it: {command_for(instead.state_dir, 'doctor')}"
    goes_by = f"the config in force ({instead.hash})" if instead.hash else f"{instead.state_dir} alone"
    return Finding("config", FindingLevel.FAIL, fault, f"{todo}. What follows goes by {goes_by}", "config")


def _findings(name: str, check: Check, installation: Installation) -> list[Finding]:
    """What a check finds; raises StateAbsentError where it needs a state that is not there."""
    found: list[Finding] = []
    try:
        with nullcontext() if name in AS_WHO_ASKS else rather_as_owner(installation.places):
            found.extend(check(installation))
    except StateAbsentError:
        raise  # told once, of all checks that ask it
    except (DatabaseError, OSError) as error:
        found.append(fail(name, f"could not look: {error}", "see the finding on databases and files"))
    except Exception as error:  # noqa: BLE001 - the boundary of a check: a fault in one must not hide the others
        said = f"could not look: {type(error).__name__}: {error}"
        found.append(fail(name, said, "look at the other findings first; else report this"))
    return [replace(finding, check=name) for finding in found]
