"""Noticing a changed config, however an editor saves it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from driftd.config.load import ConfigWatch, digest_of

OLD, NEW = "a: 1\n", "a: 2\n"


@dataclass
class Daemon:
    """What the watch sees of a daemon: the content it read last, and the reloads it is asked for."""

    path: Path
    read: str = ""
    reloads: list[str] = field(default_factory=list)

    def reload(self) -> None:
        self.read = digest_of(self.path) or "absent"
        self.reloads.append(self.path.read_text() if self.path.exists() else "absent")


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    path = tmp_path / "config.yaml"
    path.write_text(OLD)
    return Daemon(path, digest_of(path) or "")


@pytest.fixture
def look(daemon: Daemon) -> Callable[[int], None]:
    watch = ConfigWatch(daemon.path, lambda: daemon.read, daemon.reload)

    def looks(times: int) -> None:
        for _ in range(times):
            watch.look()

    return looks


def by_rename(path: Path) -> None:
    """Vim and most others: a new file takes the name."""
    beside = path.with_suffix(".swp")
    beside.write_text(NEW)
    os.replace(beside, path)  # noqa: PTH105 - what editors call


def by_writing_over(path: Path) -> None:
    """Nano, `>`: the same file is truncated and written."""
    path.write_text(NEW)


def by_backup(path: Path) -> None:
    """Emacs: the old file is moved away and a new one is made."""
    path.rename(path.with_suffix(".yaml~"))
    path.write_text(NEW)


@pytest.mark.parametrize("save", [by_rename, by_writing_over, by_backup])
def test_each_way_of_saving_is_noticed_once(
    save: Callable[[Path], None], daemon: Daemon, look: Callable[[int], None]
) -> None:
    """Two looks after the save the reload is asked for, and not again."""
    look(3)
    assert daemon.reloads == []
    save(daemon.path)
    look(2)
    assert daemon.reloads == [NEW]
    look(3)
    assert daemon.reloads == [NEW]


def test_the_swap_of_a_folder_behind_links_is_noticed(tmp_path: Path) -> None:
    """Kubernetes: config.yaml -> ..data/config.yaml, and ..data is replaced by a link to another folder."""
    for name, content in (("..1", OLD), ("..2", NEW)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(content)
    (tmp_path / "..data").symlink_to("..1")
    path = tmp_path / "config.yaml"
    path.symlink_to("..data/config.yaml")
    daemon = Daemon(path, digest_of(path) or "")
    watch = ConfigWatch(path, lambda: daemon.read, daemon.reload)
    watch.look()
    (tmp_path / "..data_tmp").symlink_to("..2")
    os.replace(tmp_path / "..data_tmp", tmp_path / "..data")  # noqa: PTH105 - an atomic swap of links
    watch.look()
    watch.look()
    assert daemon.reloads == [NEW]


def test_a_file_that_is_still_being_written_is_waited_for(daemon: Daemon, look: Callable[[int], None]) -> None:
    """An empty or half-written file between two looks is never read."""
    look(1)
    for part in ("", "a", "a: ", NEW):
        daemon.path.write_text(part)
        look(1)
    assert daemon.reloads == []
    look(1)
    assert daemon.reloads == [NEW]


def test_a_touch_and_a_change_that_was_taken_back_are_no_changes(daemon: Daemon, look: Callable[[int], None]) -> None:
    """Only what differs from what was read last counts."""
    look(1)
    os.utime(daemon.path, (1, 1))
    look(2)
    daemon.path.write_text(NEW)
    look(1)
    daemon.path.write_text(OLD)
    look(3)
    assert daemon.reloads == []


def test_a_file_that_is_gone_is_told_once_and_its_return_too(daemon: Daemon, look: Callable[[int], None]) -> None:
    """A config that was deleted is a change that the daemon must refuse aloud; the old content's return is another."""
    daemon.path.unlink()
    look(4)
    assert daemon.reloads == ["absent"]
    daemon.path.write_text(OLD)
    look(4)
    assert daemon.reloads == ["absent", OLD]


def test_a_daemon_that_is_busy_is_asked_once(daemon: Daemon) -> None:
    """While the main loop has not come to the reload, no further one is posted for the same content."""
    asked: list[int] = []
    watch = ConfigWatch(daemon.path, lambda: daemon.read, lambda: asked.append(1))
    daemon.path.write_text(NEW)
    for _ in range(5):
        watch.look()
    assert asked == [1]
