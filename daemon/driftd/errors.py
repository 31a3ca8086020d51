"""The base of driftd's exceptions, and the exit codes of its commands. Imports the standard library alone."""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, Self


class ExitCode(IntEnum):
    """How a command of driftd ends; `meaning` is what `driftd --help` and docs/cli.md say of it."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        """A member of this value that carries its meaning."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    DONE = 0, "done"
    FAILED = 1, "failed: the message says why (doctor: something fails)"
    USAGE = 2, "the command line or the config is wrong"
    UNANSWERED = 3, "asked, but no daemon has answered yet"
    ABSENT = 4, "there is no such thing (no state, model, version, alarm)"
    REFUSED = 5, "the daemon refused: the message says why"
    DAMAGED = 6, "a database is damaged and must be restored first: systemd does not start driftd again by itself"
    DIFFERENT = 7, "compared, and not the same"


class DriftdError(Exception):
    """An error whose message is a sentence for people: no traceback is needed to act on it.

    A command that it reaches the end of prints the message and ends with `exit_code`. An error that is raised without
    a message has the first sentence of its class's docstring for one.
    """

    exit_code: ClassVar[int] = ExitCode.FAILED

    @property
    def report(self) -> str:
        """What a command prints of the error before it ends."""
        return f"driftd: {self}"

    def __str__(self) -> str:
        return super().__str__() or (type(self).__doc__ or "").partition("\n")[0]
