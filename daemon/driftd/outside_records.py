"""What stands elsewhere, as frozen records: a system that serves by itself, whoever trains, a registry of others."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from driftd.events import SwapPurpose


class HandOverStage(StrEnum):
    """How far a hand-over to the system that serves has come."""

    DELIVER = "deliver"  # the other system is being told, or told again after a failure
    AWAIT = "await"  # it was told; somebody must confirm that it serves the version
    CONFIRMED = "confirmed"  # it serves the version; driftd begins to watch that
    TAKE_BACK = "take_back"  # it is being told to serve what served before


@dataclass(frozen=True, slots=True)
class HandOver:
    """A version that another system is to serve. Times are epoch seconds."""

    version: int
    purpose: SwapPurpose
    stage: HandOverStage
    since: float
    until: float  # confirmed by then, or taken back
    reason: str
    from_version: int | None = None
    attempts: int = 1  # to tell the other system what the stage says
    retry_at: float | None = None  # after a failure; None while nothing failed
    error: str = ""  # of the last try
    delivery: str = ""  # what the other system was told, in a clause


@dataclass(frozen=True, slots=True)
class VersionRequest:
    """A version that whoever trains elsewhere was asked for. Times are epoch seconds."""

    since: float  # of the request that it passes on
    reason: str
    attempts: int = 1
    retry_at: float | None = None


@dataclass(frozen=True, slots=True)
class MovedAlias:
    """The alias of a registry names another version than driftd moved it to."""

    number: str | None  # the version there; None: the alias is gone
    version: int | None  # which of this model's versions that is; None: none that is known here
    since: float  # when that was seen, epoch seconds


@dataclass(frozen=True, slots=True)
class RegistryState:
    """How far a registry of others knows this model's versions. Times are epoch seconds."""

    where: str  # the server, the name and the alias: of another one nothing is known
    registered: tuple[int, ...] = ()  # the versions that are there, or cannot be brought there
    alias: int | None = None  # the version that the alias was moved to and read back; None: it is not known, or owed
    looked_at: float = 0.0
    moved: MovedAlias | None = None
    failures: int = 0  # tries in a row
    retry_at: float | None = None  # None while nothing failed
    error: str = ""  # of the last try
