"""What the daemon asks the child that holds the connection to an engine, and what comes back."""

from __future__ import annotations

import errno
from typing import Any

import msgspec

from driftd.records import Window

HEAD = 8  # bytes of a message's length
NO_MEMORY = errno.ENOMEM  # the exit code of a child that cannot even begin


class OpenRequest(msgspec.Struct, frozen=True, kw_only=True, tag="open"):
    """The first one: whose rows, by which config and schema."""

    model: str
    config: dict[str, Any]
    state_dir: str
    schema: dict[str, Any]


class RefreshRequest(msgspec.Struct, frozen=True, kw_only=True, tag="refresh"):
    """For the extent."""

    now: float


class ProfileRequest(msgspec.Struct, frozen=True, kw_only=True, tag="profile"):
    """For a window as counts on these bins."""

    window: Window
    schema: dict[str, Any]
    layout: dict[str, Any]
    served: dict[str, Any]


class CohortRequest(msgspec.Struct, frozen=True, kw_only=True, tag="cohort"):
    """For a window with the labels known by then; `known_by` None: with all that there are."""

    window: Window
    known_by: float | None
    features: tuple[str, ...]
    served: dict[str, Any]


class CountRequest(msgspec.Struct, frozen=True, kw_only=True, tag="count"):
    """For the number of labelled rows."""

    since: float | None
    known_by: float


class NewestRequest(msgspec.Struct, frozen=True, kw_only=True, tag="newest"):
    """For the time from which on lie so many labelled rows."""

    rows: int
    since: float | None
    known_by: float


class SchemaRequest(msgspec.Struct, frozen=True, kw_only=True, tag="schema"):
    """To read by another schema."""

    schema: dict[str, Any]


Request = OpenRequest | RefreshRequest | ProfileRequest | CohortRequest | CountRequest | NewestRequest | SchemaRequest


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What comes back: JSON of an extent, a number, bytes of a window or a cohort; or why there is nothing."""

    error: str = ""
    lacks_memory: bool = False  # the child is of no more use
    value: Any = None
    content: bytes = b""
