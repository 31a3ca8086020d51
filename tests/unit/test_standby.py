"""Copies for a standby: what is linked, what is passed over, and that two never both write copies."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from driftd.paths import Places
from driftd.records import ModelState
from driftd.store.standby import StandbyError, make_standby, read_standby, take_over
from driftd.store.state.writer import StateStore

MODEL, DAY, NOW = "demand", 86_400.0, 1_700_000_000.0


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A state with a champion, whose version is two files."""
    made = Places(tmp_path / "state")
    made.root.mkdir()
    with StateStore.open(made.state_db) as store:
        store.save_state(ModelState(MODEL, champion=1), NOW)
    made.version(MODEL, 1).mkdir(parents=True)
    (made.version(MODEL, 1) / "manifest.json").write_text("{}")
    (made.version(MODEL, 1) / "model.skops").write_bytes(b"x" * 1000)
    made.current(MODEL).symlink_to("versions/2")  # a swap that the state does not know yet
    (tmp_path / "config.yaml").write_text("models: {}\n")
    return made


def copy(places: Places, to: Path, now: float = NOW) -> Path:
    return make_standby(places, {"config.yaml": places.root.parent / "config.yaml"}, (MODEL,), to, program="1", now=now)


def empty(places: Places) -> Places:
    other = Places(places.root.parent / "other")
    other.root.mkdir()
    return other


def test_a_copy_links_what_did_not_change_and_two_stay(places: Places) -> None:
    """The next copy copies the databases alone, `newest` names it, and its link is that of the state."""
    to = places.root.parent / "to"
    first, second, third = (copy(places, to, NOW + day * DAY) for day in range(3))
    assert not first.exists()
    artefact = f"models/{MODEL}/versions/1/model.skops"
    assert (second / artefact).samefile(third / artefact)
    assert read_standby(third).copied == (third / "state.db").stat().st_size
    assert (to / "newest").resolve() == third
    assert str((third / "models" / MODEL / "current").readlink()) == "versions/1"


def test_a_copy_that_is_not_whole_is_passed_over(places: Places) -> None:
    """A database that is not as it was gives way to the copy before, which becomes the state, noted as restored."""
    to, other = places.root.parent / "to", empty(places)
    before, newest = copy(places, to), copy(places, to, NOW + DAY)
    with (newest / "state.db").open("r+b") as file:
        file.seek(5000)
        file.write(b"rubbish")
    assert take_over(other, to, who="ada@host", now=NOW)[0] == before
    assert (other.current(MODEL) / "model.skops").read_bytes() == b"x" * 1000
    with closing(sqlite3.connect(other.state_db)) as connection:
        rows = connection.execute("select who, backup, made_at, model from restores").fetchall()
    assert rows == [("ada@host", f"the copy {before.name}", NOW, MODEL)]
    (before / "models" / MODEL / "versions" / "1" / "model.skops").unlink()
    with pytest.raises(StandbyError, match=r"is not there.*|is not as it was"):
        take_over(Places(places.root), to, who="ada@host", now=NOW)


def test_who_took_over_alone_makes_copies(places: Places) -> None:
    """The other host's copies fail and say who works now; a state that is there is never overwritten."""
    to, other = places.root.parent / "to", empty(places)
    copy(places, to)
    take_over(other, to, who="ada@host", now=NOW)
    with pytest.raises(StandbyError, match="ada@host took over from the copies"):
        copy(places, to, NOW + DAY)
    with pytest.raises(StandbyError, match="is not empty"):
        take_over(other, to, who="ada@host", now=NOW)
    (other.root.parent / "config.yaml").write_text("models: {}\n")
    assert copy(other, to, NOW + DAY).is_dir()
