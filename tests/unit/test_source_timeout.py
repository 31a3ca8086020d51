"""The time limit on reading from a source."""

from __future__ import annotations

import threading

import pytest

from driftd.loop.supervision import SourceHangsError, TimeoutWorker


def test_results_and_errors_come_through() -> None:
    """What the function returns or raises comes out of the guard unchanged."""
    guard = TimeoutWorker("demand", 5.0)
    assert guard.run(max, 1, 2) == 2
    with pytest.raises(KeyError, match="x"):
        guard.run({}.__getitem__, "x")
    guard.close()


def test_all_reading_happens_in_one_thread() -> None:
    """A source meets only one thread, so that its connections need not be shared."""
    guard = TimeoutWorker("demand", 5.0)
    assert guard.run(threading.get_ident) == guard.run(threading.get_ident) != threading.get_ident()
    guard.close()


def test_a_hanging_source_is_left_behind() -> None:
    """After a hang the guard raises, names the model, and answers the next call from a new thread."""
    guard, release = TimeoutWorker("demand", 0.05), threading.Event()
    with pytest.raises(SourceHangsError, match="demand did not answer within"):
        guard.run(release.wait)
    assert guard.run(len, "abc") == 3
    release.set()
    guard.close()
