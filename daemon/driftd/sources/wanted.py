"""Which columns of a file are wanted, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestedColumns:
    """Columns to read: all of them, those that are text whatever they look like, those in which text is a time.

    `identity` is text with a value of its own in every row, so not worth a dictionary. `event_times` are read by
    `event_times.read_times` alone, so that a row has one time, whichever columns are read beside it. A name with dots
    that the file does not have is a path into nested objects.
    """

    identity: str
    columns: tuple[str, ...]
    texts: tuple[str, ...] = ()
    times: tuple[str, ...] = ()
    event_times: tuple[str, ...] = ()
