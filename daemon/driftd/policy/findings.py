"""What can happen to a model, and the facts that policy needs to judge it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from driftd.records import ActionKind, Alarm, Window


@dataclass(frozen=True, slots=True)
class Alarmed:
    """A check's evidence crossed its threshold in this window."""

    alarm: Alarm
    number: int  # the alarm's id
    window: Window


@dataclass(frozen=True, slots=True)
class Faulted:
    """A check saw a broken pipeline."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Cleared:
    """A check saw no fault of the pipeline."""


@dataclass(frozen=True, slots=True)
class StepDone:
    """An action ended well."""

    kind: ActionKind
    arguments: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepFailed:
    """An action failed; `error` is the sentence that says why."""

    kind: ActionKind
    error: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shadowed:
    """The old champion was scored beside the new one."""

    decision: str  # continue | roll_back | confirm
    sentence: str
    labels: int
    version: int | None = None  # the new champion that was looked at; None where the shell did not say


@dataclass(frozen=True, slots=True)
class Asked:
    """A person asked by the CLI: retrain | approve | reject | rollback."""

    kind: str
    who: str
    text: str = ""
    version: int | None = None
    at: float | None = None  # when; None is now


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time went by; or the config changed."""


Finding = Alarmed | Faulted | Cleared | StepDone | StepFailed | Shadowed | Asked | Ticked


@dataclass(frozen=True, slots=True)
class Facts:
    """What the shell counted for this decision."""

    next_version: int = 1
    versions: frozenset[int] = frozenset()  # those that can be served
    labels: int = 0  # labelled rows since the change at hand (want, build), or since the swap (probation)
    labels_since_build: int = 0
    schedule_due: bool = False
    code: str | None = None  # the trainer's fingerprint now
    working: frozenset[ActionKind] = frozenset()  # kinds of the actions that are intended or started
    features: frozenset[str] | None = None  # of the champion; None where they are not known
