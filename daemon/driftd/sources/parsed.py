"""What came of parsing some lines."""

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
    shown = text.decode(errors="replace").strip()
    return repr(shown if len(shown) <= _SHOWN_CHARACTERS else shown[:_SHOWN_CHARACTERS] + "...")
