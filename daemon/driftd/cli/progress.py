"""What a command says while it works: a line that changes on a terminal, one line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from driftd.cli.terminal import console, say
from driftd.formatting import visible

EVERY_SECONDS = 10.0  # between two lines where there is no terminal; a command that is quicker says nothing
Item = TypeVar("Item")
Tell = Callable[[str], None]


@contextmanager
def show_steps(first: str, *, every: float = EVERY_SECONDS) -> Iterator[Tell]:
    """Show on standard error what is being done, and for how long; the function that it gives names the next step."""
    to, began, steps = console(stderr=True), time.monotonic(), [first]

    def sentence() -> str:
        return f"{visible(steps[-1])}, {time.monotonic() - began:.0f} s"

    with _again(sentence, to, every):
        yield steps.append


@contextmanager
def show_rows(first: str, *, every: float = EVERY_SECONDS) -> Iterator[RowProgress]:
    """Show on standard error how many of so many rows, windows or bytes are done."""
    to = console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=to, transient=True, disable=not to.is_terminal) as progress:
        rows = RowProgress(progress, first)
        if to.is_terminal:
            yield rows
            return
        with _again(rows.sentence, to, every):
            yield rows


class RowProgress:
    """How much of something is done."""

    def __init__(self, progress: Progress, description: str) -> None:
        self._progress, self._began = progress, time.monotonic()
        self._description, self._done, self._total = description, 0, 0
        self._task = progress.add_task(description, total=None)

    def begin(self, description: str, total: int) -> None:
        """From here on, so many are to be done."""
        self._description, self._total, self._done = description, total, 0
        self._progress.update(self._task, description=description, total=total, completed=0)

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        self._done += count
        self._progress.advance(self._task, count)

    def track(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items; each is done when the next is asked for."""
        for item in items:
            yield item
            self.advance()

    def sentence(self) -> str:
        """How far it is, in half a sentence."""
        share = f" {self._done:,} of {self._total:,}" if self._total else ""
        return f"{self._description}{share}, {time.monotonic() - self._began:.0f} s"


@contextmanager
def _again(sentence: Callable[[], str], to: Console, every: float) -> Iterator[None]:
    """Say it again: in place each half second on a terminal, as a line each `every` seconds elsewhere."""
    done = threading.Event()
    if to.is_terminal:
        with to.status(sentence()) as status:
            thread = threading.Thread(target=_repeat, args=(done, 0.5, lambda: status.update(sentence())), daemon=True)
            yield from _while_alive(thread, done)
        return
    thread = threading.Thread(target=_repeat, args=(done, every, lambda: say(to, f"{sentence()} ...")), daemon=True)
    yield from _while_alive(thread, done)


def _while_alive(thread: threading.Thread, done: threading.Event) -> Iterator[None]:
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _repeat(done: threading.Event, every: float, act: Callable[[], None]) -> None:
    while not done.wait(every):
        act()
