"""What takes longer than a moment says so on standard error, and standard output stays as it is."""

from __future__ import annotations

import threading

import pytest

from driftd.cli.progress import show_rows, show_steps
from limits import HANG


class Seen(threading.Event):
    """What was written, and the moment when something was."""


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], threading.Event]:
    """The lines that `say` would print."""
    lines, come = [], threading.Event()

    def say(_to: object, text: str) -> None:
        lines.append(text)
        come.set()

    monkeypatch.setattr("driftd.cli.progress.say", say)
    return lines, come


def test_a_pipe_gets_a_line_now_and_then(written: tuple[list[str], threading.Event]) -> None:
    """Each line names the step of that moment."""
    lines, come = written
    with show_steps("reading", every=0.01) as tell:
        assert come.wait(HANG)
        tell("training")
        while "training, 0 s ..." not in lines:
            come.clear()
            assert come.wait(HANG)
    assert lines[0] == "reading, 0 s ..."


def test_what_is_quick_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that is done before the first line is due prints none."""
    with show_steps("reading") as tell:
        tell("training")
    with show_rows("loading rows") as rows:
        rows.begin("loading rows", 10)
        rows.advance(10)
    assert capsys.readouterr() == ("", "")


def test_rows_are_counted() -> None:
    """The sentence has how many of how many are done."""
    with show_rows("loading rows") as rows:
        rows.begin("loading rows", 3000)
        assert list(rows.track(["a", "b"])) == ["a", "b"]
        rows.advance(1998)
        assert rows.sentence() == "loading rows 2,000 of 3,000, 0 s"


def test_the_thread_ends_with_the_work() -> None:
    """Nothing is said after the work, however it ends."""
    before = threading.active_count()
    with pytest.raises(ValueError, match="broken"), show_steps("reading"):
        raise ValueError("broken")
    assert threading.active_count() == before
