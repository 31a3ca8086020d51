"""Which columns of a file are wanted and how they are read, and what came of parsing some lines."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Example:
    """One line that is no row: its number among the parsed lines, from 0 on, and its beginning."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """Rows as a table, how many lines are no rows (always the same ones), and the first of these."""

    table: pa.Table
    malformed: int = 0
    example: Example | None = None


def example_of_line(lines: bytes, text: bytes) -> Example:
    """The example for a line with this text."""
    start = max(lines.find(text), 0)
    return Example(lines.count(b"\n", 0, start), shorten(text))


def shorten(text: bytes) -> str:
    """The beginning of a line, in quotes."""
    line = text.decode(errors="replace").strip()
    return repr(line if len(line) <= _SHOWN_CHARACTERS else line[:_SHOWN_CHARACTERS] + "...")


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
