"""What commands print fits the terminal."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from cli_samples import Run, alarm_of, check, decide, publish
from driftd.cli.table import LONG_WIDTH, print_table
from driftd.cli.terminal import say
from driftd.store.state.writer import StateStore

WORDS = st.text("abcd", min_size=1, max_size=40)
CELLS = st.lists(WORDS, max_size=8).map(" ".join)


def printed(width: int, headings: list[str], rows: list[list[str]], long: str | None) -> list[str]:
    """The lines of a table on a terminal of so many columns."""
    out = io.StringIO()
    print_table(Console(file=out, width=width), headings, rows, long=long)
    return out.getvalue().splitlines()


@settings(deadline=None, max_examples=150)
@given(data=st.data(), width=st.integers(40, 200), columns=st.integers(1, 6))
def test_a_table_is_no_wider_than_the_terminal(data: st.DataObject, width: int, columns: int) -> None:
    """At any width and with any texts no line is wider, unless one word is; no text is lost."""
    headings = [f"h{number}" for number in range(columns)]
    rows = data.draw(st.lists(st.lists(CELLS, min_size=columns, max_size=columns), max_size=4))
    long = data.draw(st.sampled_from([None, *headings]))
    lines = printed(width, headings, rows, long)
    for line in lines:
        assert cell_len(line.rstrip()) <= width or max(map(len, line.split())) > width - LONG_WIDTH
    letters = re.sub(r"h\d:?|\s", "", "".join(lines))
    assert sorted(letters) == sorted("".join("".join(row) for row in rows).replace(" ", ""))


def test_a_word_that_is_wider_than_the_terminal_stays_whole() -> None:
    """A path can be copied from a sentence, whatever the width."""
    out = io.StringIO()
    say(Console(file=out, width=40), "  kept: /var/lib/driftd/" + "a" * 60 + " and more")
    assert "/var/lib/driftd/" + "a" * 60 in out.getvalue().splitlines()[1]
    assert all(line.startswith("  ") for line in out.getvalue().splitlines())


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize(
    "command", [("status",), ("history",), ("versions", "demand"), ("explain",), ("check-config",), ("doctor",)]
)
def test_commands_fit_the_width_that_columns_names(
    driftd: Run,
    store: StateStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    width: int,
    command: tuple[str, ...],
) -> None:
    """On a terminal whose width COLUMNS names no line is wider, but for a word such as a path."""
    sentence = "the loss rose from .1 to .2 over the last seven windows, most of it in the segment north of the river"
    alarm = alarm_of(store, sentence=sentence)
    decide(store, "alarm", f"performance: {sentence}", alarm=alarm)
    check(store)
    publish(tmp_path / "state", reason=sentence, trigger="performance")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    _, out, _ = driftd(*command)
    for line in re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", out).splitlines():
        assert len(line.rstrip()) <= width or len(line.split()) <= 1, line
    assert len(out.splitlines()) > 1


def test_a_pipe_gets_whole_lines(driftd: Run, store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal a decision is one line, however long, whatever COLUMNS says."""
    monkeypatch.setenv("COLUMNS", "80")
    decide(store, "alarm", "it rose " * 20)
    assert "it rose " * 19 in driftd("history")[1].splitlines()[1]
