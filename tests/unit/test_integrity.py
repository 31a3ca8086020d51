"""Finding out that a database file is broken, without writing to it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from driftd.store.integrity import (
    clear_mark,
    damage_marked,
    examine,
    handle_failure,
    is_damage,
    keep_aside,
    mark_damaged,
)
from driftd.store.migrations import migrate

SECONDS = 5.0


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a migrated database with some rows, all in the main file."""
    path = tmp_path_factory.mktemp("sound") / "state.db"
    migrate(path, "state")
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "insert into profiles values ('demand', ?, 0, 1, 10, ?)", [(index, bytes(3000)) for index in range(100)]
        )
    connection.close()
    return path.read_bytes()


def zeroed_page(content: bytes) -> bytes:
    return content[: 4096 * 2] + b"\xff" * 4096 + content[4096 * 3 :]


BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "text": (lambda _: b"hello " * 1000, "not a database"),
    "a few bytes": (lambda content: content[:50], "not a database"),
    "half": (lambda content: content[: len(content) // 2], "cut short"),
    "one page short": (lambda content: content[:-4096], "cut short"),
    "zeros": (lambda content: bytes(len(content)), "not a database"),
    "a page of rubbish": (zeroed_page, "Page|malformed|Tree"),
}


@pytest.mark.parametrize("fault", sorted(BROKEN))
def test_a_broken_file_is_found(tmp_path: Path, sound: bytes, fault: str) -> None:
    """Each way in which a file can be broken is told, and the file is left as it was."""
    change, words = BROKEN[fault]
    path = tmp_path / "state.db"
    broken = change(sound)
    path.write_bytes(broken)
    finding = examine(path, seconds=SECONDS)
    assert finding is not None
    assert any(word in finding for word in words.split("|")), finding
    assert path.read_bytes() == broken


def test_a_sound_file_and_an_absent_one_pass(tmp_path: Path, sound: bytes) -> None:
    """Nothing is said of a whole database, of none, and of one that was never written to."""
    path = tmp_path / "state.db"
    assert examine(path, seconds=SECONDS) is None
    path.touch()
    assert examine(path, seconds=SECONDS) is None
    path.write_bytes(sound)
    assert examine(path, seconds=SECONDS) is None


def test_a_rubbish_log_is_found(tmp_path: Path, sound: bytes) -> None:
    """A write-ahead log that SQLite would silently pass over, with its commits, is told; a real one passes."""
    path, wal = tmp_path / "state.db", tmp_path / "state.db-wal"
    path.write_bytes(sound)
    wal.write_bytes(b"rubbish!" * 1000)
    assert "state.db-wal is rubbish" in str(examine(path, seconds=SECONDS))
    wal.write_bytes(bytes(4096))  # a power cut before its first commit
    assert examine(path, seconds=SECONDS) is None
    wal.unlink()
    connection = sqlite3.connect(path)
    connection.execute("insert into cursors values ('demand', 'window', 3)")
    connection.commit()
    assert wal.stat().st_size > 0
    assert examine(path, seconds=SECONDS) is None
    connection.close()


def test_the_look_is_bounded(tmp_path: Path, sound: bytes) -> None:
    """Without time to read the pages only the header is judged: a start never waits for a large file."""
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table large(x)")
        rows = ((number,) for number in range(200_000))
        connection.executemany("insert into large values (?)", rows)
    connection.close()
    content = path.read_bytes()
    path.write_bytes(content[:-8192] + b"\xff" * 8192)
    assert examine(path, seconds=0.0) is None
    assert examine(path, seconds=60.0) is not None
    path.write_bytes(sound[:1000])
    assert examine(path, seconds=0.0) is not None


def test_only_broken_content_is_damage(tmp_path: Path, sound: bytes) -> None:
    """Malformed pages are damage; a lock or a missing table is not."""
    path = tmp_path / "state.db"
    path.write_bytes(zeroed_page(sound))
    with sqlite3.connect(path) as connection, pytest.raises(sqlite3.DatabaseError) as broken:
        connection.execute("vacuum into ?", (str(tmp_path / "copy.db"),))
    assert is_damage(broken.value)
    with pytest.raises(sqlite3.OperationalError) as absent:
        sqlite3.connect(tmp_path / "other.db").execute("select * from nothing")
    assert not is_damage(absent.value)
    assert not is_damage(ValueError("x"))


def test_a_failure_is_handled_unless_it_is_damage(tmp_path: Path, sound: bytes) -> None:
    """`handle_failure` hands an ordinary exception over and goes on, and lets one that means damage out."""
    handled: list[Exception] = []
    with handle_failure(handled.append):
        raise ValueError("the disk is full")
    assert [str(error) for error in handled] == ["the disk is full"]
    path = tmp_path / "state.db"
    path.write_bytes(zeroed_page(sound))
    with sqlite3.connect(path) as connection, pytest.raises(sqlite3.DatabaseError), handle_failure(handled.append):
        connection.execute("vacuum into ?", (str(tmp_path / "copy.db"),))
    assert len(handled) == 1


def test_the_broken_file_is_kept_once(tmp_path: Path, sound: bytes) -> None:
    """A broken file is copied with its log, and not again at the next start."""
    path = tmp_path / "state.db"
    path.write_bytes(sound[:5000])
    (tmp_path / "state.db-wal").write_bytes(b"log")
    kept = keep_aside(path)
    assert kept is not None
    assert kept.name.startswith("state.db.broken-")
    assert kept.read_bytes() == sound[:5000]
    assert kept.with_name(kept.name + "-wal").read_bytes() == b"log"
    assert keep_aside(path) == kept
    assert len(list(tmp_path.glob("state.db.broken-*"))) == 2


def test_the_first_word_of_damage_stays(tmp_path: Path) -> None:
    """What is left beside a damaged database says why first; a restore forgets it."""
    path = tmp_path / "events.db"
    assert damage_marked(path) is None
    mark_damaged(path, "page 3 is rubbish")
    mark_damaged(path, "malformed")
    assert damage_marked(path) == "page 3 is rubbish"
    clear_mark(path)
    assert damage_marked(path) is None


_WRITES = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('insert into t values (1)'); c.commit()"


def test_looking_takes_no_lock_away(tmp_path: Path) -> None:
    """A look leaves the locks of this process's connections alone: no other process removes the log under them."""
    path = tmp_path / "events.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute("create table t(x)")
        connection.commit()
        connection.execute("select * from t").fetchall()
        assert examine(path, seconds=SECONDS) is None
        subprocess.run([sys.executable, "-c", _WRITES, str(path)], check=True)
        assert path.with_name("events.db-wal").exists()
        assert connection.execute("select count(*) from t").fetchone() == (1,)


def test_looking_holds_no_removed_file(tmp_path: Path) -> None:
    """The room of a database that was removed is given back at the next look."""
    path = tmp_path / "events.db"
    for _ in range(3):
        path.write_bytes(b"rubbish" * 100)
        assert examine(path, seconds=SECONDS) is not None
        path.unlink()
    other = tmp_path / "state.db"
    other.write_bytes(b"rubbish" * 100)
    assert examine(other, seconds=SECONDS) is not None
    assert f"{path} (deleted)" not in held_files()


def held_files() -> set[str]:
    """What this process has open; a descriptor that is closed meanwhile is none."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(str(descriptor.readlink()))
    return found
