"""Rows of `state.db` as frozen records."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

import msgspec

from driftd.actions import decode_arguments
from driftd.formatting import encodable
from driftd.records import ActionArguments, ActionKind, DecisionFigures, Verdict
from driftd_detectors.assessment import share_of_limit


@dataclass(frozen=True, slots=True)
class StoredTransition:
    """One line of a model's history. `event` is a member of `Event`, or what another driftd called it."""

    id: int
    at: float
    model: str
    event: str
    phase_from: str
    phase_to: str
    reason: str
    figures: dict[str, Any]  # as they are stored, only to be shown
    actor: str
    config_hash: str

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> StoredTransition:
        """Read a row of `transitions`."""
        return cls(**{**dict(row), "figures": json.loads(row["figures"])})

    @property
    def decision_figures(self) -> DecisionFigures:
        """The figures with their types: whatever follows from them reads them here."""
        return DecisionFigures.from_dict(self.figures)


@dataclass(frozen=True, slots=True)
class StoredAction:
    """One intended deed and how far it came: intended | started | done | failed | dropped."""

    id: int
    transition_id: int | None
    model: str
    kind: ActionKind
    arguments: dict[str, Any]  # as they are stored, only to be shown and to be passed on
    status: str
    intended_at: float
    started_at: float | None
    finished_at: float | None
    result: dict[str, Any] | None

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> StoredAction:
        """Read a row of `actions`."""
        return cls(
            **{
                **dict(row),
                "kind": ActionKind(row["kind"]),
                "arguments": json.loads(row["arguments"]),
                "result": json.loads(row["result"]) if row["result"] else None,
            }
        )

    @property
    def typed_arguments(self) -> ActionArguments:
        """The arguments with their types. Raises msgspec.ValidationError where another driftd wrote other ones."""
        return decode_arguments(self.kind, self.arguments)


class KindEvidence(msgspec.Struct, frozen=True):
    """The evidence of one kind after a check, against the threshold at which it alarms."""

    evidence: float
    threshold: float
    verdict: Verdict
    sentence: str  # what changed, in the reader's units
    figures: str = ""  # the same with evidence, threshold and effect sizes

    @property
    def share(self) -> float:
        """How far it has come to its threshold, in 0 .. 1."""
        return share_of_limit(self.evidence, self.threshold)


class CheckFigures(msgspec.Struct, frozen=True):
    """The figures of a check that people see: realised and estimated losses, and how many labels there were."""

    loss: float | None = None
    low: float | None = None
    high: float | None = None
    baseline: float | None = None
    tolerated: float | None = None
    labels: float | None = None
    coverage: float | None = None
    estimated: float | None = None
    estimated_low: float | None = None
    estimated_high: float | None = None
    estimate_off: float = 0.0
    unseen_labels: float = 0.0  # labels outside the classes of the version


@dataclass(frozen=True, slots=True)
class StoredCheck:
    """One evaluated window; `kind` is `window` (data, prediction, quality) or `labels` (performance)."""

    id: int
    at: float
    model: str
    kind: str
    window_index: int
    window_start: float
    window_end: float
    rows: int
    verdict: Verdict
    reason: str
    version: int | None
    figures: dict[str, Any]
    evidence: dict[str, KindEvidence]  # by kind

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> StoredCheck:
        """Read a row of `checks`."""
        return cls(
            **{
                **dict(row),
                "verdict": Verdict(row["verdict"]),
                "figures": json.loads(row["figures"]),
                "evidence": msgspec.convert(json.loads(row["evidence"]), dict[str, KindEvidence]),
            }
        )


@dataclass(frozen=True, slots=True)
class StoredAlarm:
    """One alarm, with its report once that is rendered."""

    id: int
    at: float
    model: str
    kind: str
    subject: str
    version: int | None
    window_index: int
    window_start: float
    window_end: float
    evidence: float
    threshold: float
    sentence: str
    leaders: list[tuple[str, float]]
    change_start: float | None
    absorbed_at: float | None
    report: str | None
    second_opinion: list[dict[str, Any]] | None
    cleared_at: float | None = None  # when its evidence fell

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> StoredAlarm:
        """Read a row of `alarms`."""
        opinion = row["second_opinion"]
        return cls(
            **{
                **dict(row),
                "leaders": [(subject, share) for subject, share in json.loads(row["leaders"])],
                "second_opinion": json.loads(opinion) if opinion else None,
            }
        )


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """What somebody asked of the daemon, by a command or by HTTP, and what it answered."""

    id: int
    at: float
    who: str
    model: str
    kind: str  # spelled like its command; some of earlier releases have `_` for `-`
    arguments: dict[str, Any]
    handled_at: float | None
    outcome: str | None
    key: str | None = None  # by which its sender knows it again
    refused: int | None = None  # 1 where the outcome says that it cannot be done; None before it is answered

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> StoredRequest:
        """Read a row of `requests`; bytes of a command line that are not UTF-8 came as halves of characters."""
        given = json.loads(row["arguments"]).items()
        arguments = {name: encodable(value) if isinstance(value, str) else value for name, value in given}
        return cls(**{**dict(row), "arguments": arguments})


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """What `versions` tells of a version to whoever asks by SQL; its manifest is the truth."""

    model: str
    version: int
    created_at: float
    parent: int | None
    trigger: str
    reason: str
    trainer: str
    fingerprint: str
    snapshot: str
    artefact: str
    seed: int
    rows: int | None  # that it learned from
    decision: str | None  # of the gate
    metric: str | None  # whose loss follows, on rows that the version had not seen
    loss: float | None
    gain: float | None  # over the version that served
    gain_lower: float | None
    gain_upper: float | None
    content: str  # SHA-256 of its lineage, as the chain has it


@dataclass(frozen=True, slots=True)
class StoredScore:
    """The score of one stream in one window."""

    window_index: int
    kind: str
    subject: str
    component: str
    value: float | None
    evidence: float

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> StoredScore:
        """Read a row of `scores`."""
        return cls(*row)


@dataclass(frozen=True, slots=True)
class StoredConfig:
    """A config that was read: applied (`content` is what came into force, without secrets), or refused with `error`."""

    id: int
    at: float
    hash: str
    error: str | None
    content: dict[str, Any] | None

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> StoredConfig:
        """Read a row of `configs`."""
        return cls(**{**dict(row), "content": json.loads(row["content"]) if row["content"] else None})


@dataclass(frozen=True, slots=True)
class StoredRestore:
    """One restore of one model's state; `reconciled_at` is None until the daemon has compared it with the disk."""

    id: int
    at: float
    who: str
    backup: str
    made_at: float
    model: str
    reconciled_at: float | None

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> StoredRestore:
        """Read a row of `restores`."""
        return cls(**dict(row))
