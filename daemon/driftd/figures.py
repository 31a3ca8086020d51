"""The figures of a decision: what a line of history carries for machines beside its sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from driftd.actions import ActionKind
from driftd.events import GateDecision, RollbackCause, Trigger


class DecisionFigures(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Every figure that some event carries, None where this decision has none: those are not written."""

    # which version, and in whose place
    version: int | None = None
    from_version: int | None = msgspec.field(default=None, name="from")
    previous: int | None = None  # whom a champion on probation is compared with
    champion: int | None = None  # whom a challenger is compared with
    # an alarm, and the build that it caused
    alarm: int | None = None  # its id
    kind: str | None = None  # data | prediction | performance | harm | quality
    evidence: float | None = None
    threshold: float | None = None
    trigger: Trigger | None = None
    labels: int | None = None  # labelled rows
    change_at: float | None = None  # epoch seconds
    step: ActionKind | None = None  # at which a build failed
    failures: int | None = None  # builds in a row
    # what the gate says
    decision: GateDecision | None = None
    gain: float | None = None
    lower: float | None = None
    upper: float | None = None
    rows: int | None = None
    blocks: int | None = None
    # what people ask
    who: str | None = None
    cause: RollbackCause | None = None
    asks: str | None = None  # of the override
    backup: float | None = None  # when the backup was made, epoch seconds

    @property
    def rollback_cause(self) -> RollbackCause:
        """What asked for a rollback; lines of before `cause` was written name a person where one did."""
        if self.cause is not None:
            return self.cause
        return RollbackCause.PERSON if self.who is not None else RollbackCause.PROBATION

    def to_dict(self) -> dict[str, object]:
        """As JSON: only what this decision has."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    @classmethod
    def from_dict(cls, stored: Mapping[str, object]) -> DecisionFigures:
        """The figures of a stored line; what another driftd wrote and this one cannot read counts as absent."""
        try:
            return msgspec.convert(dict(stored), cls)
        except msgspec.ValidationError:
            return msgspec.convert({name: value for name, value in stored.items() if _is_readable(name, value)}, cls)


def _is_readable(name: str, value: object) -> bool:
    try:
        msgspec.convert({name: value}, DecisionFigures)
    except msgspec.ValidationError:
        return False
    return True
