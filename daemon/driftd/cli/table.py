"""Tables and sentences that fit the terminal: words stay whole, in tables as long as they fit beside each other."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from driftd.formatting import visible

GAP = 2  # columns of the terminal between two columns of a table
LONG_WIDTH = 24  # columns that the long column has at least: words of it may then be cut
Cell = str | Text


def print_table(
    to: Console, headings: Sequence[str], rows: Sequence[Sequence[Cell]], *, long: str | None = None
) -> None:
    """A table no wider than the console; the column `long` gets the room that the others leave."""
    cells = [[_cell_text(cell) for cell in row] for row in rows]
    widths = column_widths([Text(heading) for heading in headings], cells, to.width, _index(headings, long))
    if widths is None:
        _print_blocks(to, headings, cells)
        return
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, GAP, 0, 0))
    for heading, width in zip(headings, widths, strict=True):
        table.add_column(heading, width=width, overflow="fold")
    for row in cells:
        table.add_row(*row)
    if to.is_terminal:
        to.print(table)
        return
    with to.capture() as printed:
        to.print(table)
    lines = [line.rstrip() for line in printed.get().splitlines()]  # what cuts by column or by line gets no blanks
    to.print(Text("\n".join(lines)), soft_wrap=True)


def column_widths(
    headings: Sequence[Text], rows: Sequence[Sequence[Text]], room: int, long: int | None
) -> list[int] | None:
    """The width of each column within `room`; None when not even their longest words fit beside each other.

    Narrow columns are filled first, so that what has to be wrapped is what is long anyway.
    """
    columns = [list(column) for column in zip(headings, *rows, strict=True)]
    whole = [max(cell_len(cell.plain) for cell in column) for column in columns]
    least = [max(_longest_word(cell) for cell in column) for column in columns]
    if long is not None:
        least[long] = min(least[long], LONG_WIDTH)
    spare = room - sum(least) - GAP * (len(columns) - 1)
    if spare < 0:
        return None
    by_want = sorted(range(len(columns)), key=lambda number: (number == long, whole[number] - least[number]))
    for number in by_want:
        more = min(spare, max(whole[number] - least[number], 0))
        least[number] += more
        spare -= more
    return least


def print_wrapped(to: Console, text: Text, *, indent: int = 0) -> None:
    """A text in lines that are no wider than the console, the later ones as far in as the first, and `indent` more.

    A word that is longer, such as a path, stays whole: it can be copied.
    """
    lead = len(text.plain) - len(text.plain.lstrip(" "))
    first, rest = " " * lead, " " * (lead + indent)
    body = text[lead:]
    for number, line in enumerate(body.divide(_breaks(body.plain, max(to.width - len(rest), 1)))):
        line.rstrip()
        to.print(Text(rest if number else first) + line, soft_wrap=True)


def _breaks(text: str, room: int) -> list[int]:
    """Where lines after the first begin, so that each has as many whole words as fit."""
    found: list[int] = []
    used = 0
    for word in re.finditer(r"\S+\s*", text):
        wide = cell_len(word[0].rstrip())
        if used and used + wide > room:
            found.append(word.start())
            used = 0
        used += cell_len(word[0])
    return found


def _print_blocks(to: Console, headings: Sequence[str], rows: Sequence[Sequence[Text]]) -> None:
    for row in rows:
        for number, (heading, cell) in enumerate(zip(headings, row, strict=True)):
            lead = "" if number == 0 else "  "
            print_wrapped(to, Text(f"{lead}{heading}: ") + cell, indent=2)


def _cell_text(cell: Cell) -> Text:
    return Text(visible(cell)) if isinstance(cell, str) else Text(visible(cell.plain), style=cell.style)


def _longest_word(cell: Text) -> int:
    return max(map(cell_len, cell.plain.split()), default=0)


def _index(headings: Sequence[str], long: str | None) -> int | None:
    return None if long is None else headings.index(long)
