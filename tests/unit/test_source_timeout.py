"""The time limit on reading from a source, which may hang: whom it costs what, and what happens afterwards."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftd.config.load import parse
from driftd.loop import maintenance, supervision
from driftd.loop.maintenance import back_up
from driftd.loop.supervision import SourceBusyError, SourceHangsError, SourceRefusesError, TimeoutWorker
from driftd.observe.metrics import Metrics
from driftd.paths import Places
from driftd.sources.engines.protocol import EngineError
from driftd.store.subprocesses import PathProbe, probe_hangs
from limits import HANG, wait


class HungFolder:
    """A folder whose one file does not answer: opening a pipe that nobody writes to hangs as a mount without host."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "logs"
        self.path.mkdir()
        self.file = self.path / "events.jsonl"
        os.mkfifo(self.file)
        self.reads = 0

    def read(self) -> bytes:
        """Hang until the file is mended."""
        self.reads += 1
        return self.file.read_bytes()

    def release(self) -> None:
        """Let those go on who hang."""
        while True:
            try:
                os.close(os.open(self.file, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:  # nobody reads
                return

    def mend(self) -> None:
        """Put a file in the place of the one that hangs; who hangs already, goes on to."""
        self.file.rename(self.path.with_name("pipe"))
        self.file.write_bytes(b"{}\n")


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[HungFolder]:
    """A folder that hangs until the test is over."""
    made = HungFolder(tmp_path)
    yield made
    made.file = made.file if made.file.is_fifo() else made.path.with_name("pipe")
    made.release()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks come one after the other."""
    monkeypatch.setattr(supervision, "FIRST_LOOK", 0.0)
    monkeypatch.setattr(supervision, "LONGEST_LOOK", 0.0)


def test_results_and_errors_come_through() -> None:
    """What the function returns or raises comes out of the guard unchanged."""
    guard = TimeoutWorker("demand", 5.0)
    assert guard.run(max, 1, 2) == 2
    with pytest.raises(KeyError, match="x"):
        guard.run({}.__getitem__, "x")
    guard.close()


def test_sources_share_the_thread_that_waits() -> None:
    """Calls of any number of sources, one after the other, are made in one thread, which is not the caller's."""
    guards = [TimeoutWorker(f"model_{number}", 5.0) for number in range(50)]
    before = threading.active_count()
    made_in = {guard.run(threading.get_ident) for guard in guards * 3}
    assert len(made_in) <= 1 + (before == threading.active_count())
    assert threading.get_ident() not in made_in
    assert threading.active_count() <= before + 1


def test_a_slow_source_is_left_and_its_answer_taken_later() -> None:
    """A caller with little patience goes on; who asks with the same key later gets the answer, made once."""
    guard, release, made = TimeoutWorker("demand", HANG, patience=0.0), threading.Event(), []

    def read() -> str:
        release.wait(HANG)
        made.append("window 3")
        return made[-1]

    with pytest.raises(SourceBusyError, match="demand is still being read"):
        guard.resume("window 3", read)
    with pytest.raises(SourceBusyError):  # something else, which waits for its turn
        guard.resume("refresh", lambda: "extent")
    assert not made
    threading.Timer(0.02, release.set).start()
    wait(lambda: made, "the read ends")
    wait(lambda: not guard.is_under_way, "the thread is free")
    assert guard.resume("window 3", read) == "window 3"
    assert made == ["window 3"]
    assert guard.took > 0.01  # of the read, not of fetching its answer
    guard.close()


def test_the_end_of_a_left_call_is_told() -> None:
    """Whoever went on is told that there is an answer now."""
    output = threading.Event()
    release = threading.Event()
    guard = TimeoutWorker("demand", HANG, patience=0.0, finished=output.set)
    with pytest.raises(SourceBusyError):
        guard.resume("refresh", lambda: release.wait(HANG))
    assert not output.is_set()
    release.set()
    assert output.wait(HANG)
    guard.close()


def test_a_hanging_source_costs_one_thread(hung: HungFolder) -> None:
    """After its time a source that hangs is not asked again, however often a round comes by, until it is back."""
    guard = TimeoutWorker("demand", 0.05, paths=[str(hung.path)])
    guard.run(len, "")  # begins the thread that waits, which the hanging call then takes
    before = threading.active_count()
    for _ in range(20):
        with pytest.raises(SourceHangsError, match="demand has not answered for"):
            guard.resume("refresh", hung.read)
    assert (hung.reads, guard.hangs, threading.active_count()) == (1, 1, before)
    hung.release()
    wait(lambda: not guard.is_under_way, "the thread is back")
    assert guard.resume("refresh", hung.read) == b""  # the answer that came late
    assert guard.run(len, "abc") == 3
    guard.close()


def test_a_lost_thread_is_replaced_once_its_paths_answer(hung: HungFolder, impatient: None) -> None:
    """A mount that was replaced under a hanging thread is read by a new one; a third is never begun beside both."""
    guard = TimeoutWorker("demand", 0.05, paths=[str(hung.path)])
    guard.run(len, "")  # begins the thread that waits, which the hanging call then takes
    threads = threading.active_count()
    with pytest.raises(SourceHangsError):
        guard.resume("refresh", hung.read)
    hung.mend()

    def is_replaced() -> bool:
        with pytest.raises((SourceHangsError, SourceBusyError)):
            guard.resume("refresh", hung.read)
        return guard.generation == 1

    wait(is_replaced, "the look says that the paths answer")
    assert guard.resume("refresh", hung.read) == b"{}\n"
    again = threading.Event()
    with pytest.raises(SourceHangsError):
        guard.resume("refresh", lambda: again.wait(HANG))
    for _ in range(50):
        with pytest.raises(SourceHangsError):
            guard.resume("refresh", hung.read)
    assert (guard.hangs, guard.generation, threading.active_count()) == (2, 1, threads + 1)
    again.set()
    guard.close()


def test_a_late_answer_does_not_outlive_its_source() -> None:
    """After `close` (a reload) the same guard goes on with a new source, and the old one's answer is nobody's."""
    guard, release = TimeoutWorker("demand", 0.05), threading.Event()
    with pytest.raises(SourceHangsError):
        guard.resume("refresh", lambda: release.wait(HANG) and "old")
    guard.close()
    release.set()
    wait(lambda: not guard.is_under_way, "the thread is back")
    assert guard.resume("refresh", lambda: "new") == "new"
    guard.close()


def test_a_probe_tells_what_hangs(hung: HungFolder, tmp_path: Path) -> None:
    """Folders, files and patterns that hang are told from those that answer, are absent or are closed to us."""
    (tmp_path / "closed").write_bytes(b"x")
    (tmp_path / "closed").chmod(0)
    assert PathProbe([str(tmp_path / "absent"), str(tmp_path / "closed")]).wait() == "reached"
    assert probe_hangs([str(hung.path)], 0.5)
    assert probe_hangs([str(hung.path / "*.jsonl")], 0.5)
    assert not probe_hangs([])
    hung.mend()
    assert not probe_hangs([str(hung.path), str(hung.path / "*.jsonl")])


def test_a_hung_folder_of_backups_loses_no_thread(
    hung: HungFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup that is due on a mount that hangs is told and counted, and tried again."""
    monkeypatch.setattr(maintenance, "PROBE_SECONDS", 0.3)
    text = (
        f"state_dir: {tmp_path}\nbackup: {{folder: {hung.path}}}\nmodels: {{demand: {{task: regression, target: y}}}}\n"
    )
    metrics, before = Metrics(), threading.active_count()
    config = parse(text.encode(), "config.yaml")
    assert back_up(config, tmp_path / "config.yaml", Places(tmp_path), metrics, 1e9) is None
    assert threading.active_count() == before
    assert b"driftd_backup_failures_total 1" in metrics.expose("")[0]


def test_an_engine_that_refuses_is_a_source_that_gave_no_answer() -> None:
    """No verdict follows from it: it is told apart from an error of a check, and the next call is made."""
    worker = TimeoutWorker("m", HANG)

    def refuse() -> None:
        raise EngineError("the query took longer than source.timeout")

    with pytest.raises(SourceRefusesError, match=r"longer than source.timeout"):
        worker.run(refuse)
    assert worker.run(lambda: 5) == 5
    assert worker.hangs == 0
