"""A standby on another host: copies while everything runs, a takeover, and never two that both write copies."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from document_examples import blocks, run_block
from driftd.events import Event
from driftd.paths import Places
from driftd.registry import Registry
from driftd.store.events.reader import EventReader
from driftd.store.standby import StandbyError, make_standby, read_standby, take_over
from driftd_processes import driftd
from loop_world import CONFIG, MODEL, ROWS, World

pytestmark = pytest.mark.slow

ELSEWHERE = "/mnt/standby/driftd"


def ids(places: Places) -> set[str]:
    """Every prediction that an event store holds."""
    schema = Registry(places).manifest(MODEL, 1).schema
    reader = EventReader(places.events_db(MODEL), schema, places.segments(MODEL))
    try:
        with reader.snapshot():
            return {str(name) for name in reader.rows(reader.seqs_between(0.0, 4e9), 4e9).ids}
    finally:
        reader.close()


def test_the_page_takes_another_host_to_where_the_last_copy_was(tmp_path: Path) -> None:
    """By the commands of docs/standby.md: all acknowledged until the copy is there, and checks go on after it."""
    copy, over = (block for block in blocks("standby.md") if block.language == "sh")
    to = tmp_path / "standby"
    copy, over = (replace(block, text=block.text.replace(ELSEWHERE, str(to))) for block in (copy, over))
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    world = World.begin(first, hours=40)
    world.live(2)
    run_block(copy, first)
    world.live(1)
    run_block(copy, first)
    acknowledged, checked = ids(world.places), world.daemon.assembly.store.cursor(MODEL, "window")
    world.live(1)  # is lost with the first host: one hour after the last copy
    (second / "config.yaml").write_text(CONFIG.format(state=second / "state"))
    began = time.monotonic()
    run_block(over, second)
    seconds = time.monotonic() - began
    places = Places(second / "state")
    assert ids(places) == acknowledged
    assert len(ids(world.places) - acknowledged) == ROWS
    assert str(places.current(MODEL).readlink()) == "versions/1"
    other = World.open(second / "config.yaml", places)
    try:
        other.catch_up(world.clock.now())
        history = other.assembly.store.history(MODEL, 10)
        assert Event.RESTORED in [line.event for line in history]
        assert other.unwatched == {}
        assert other.assembly.store.cursor(MODEL, "window") >= checked
    finally:
        other.close()
    world.close()
    refused = driftd(first, "backup", "--to", str(to))
    assert refused.returncode == 1
    assert "took over from the copies" in refused.stderr
    print(f"a takeover of {len(acknowledged)} predictions took {seconds:.1f} s")  # noqa: T201 - for the page
    again = driftd(second, "restore", "--from", str(to))
    assert again.returncode == 1
    assert "is not empty" in again.stderr
    assert driftd(second, "backup", "--to", str(to)).returncode == 0


def test_a_copy_links_what_never_changes_and_one_that_is_not_whole_is_passed_over(tmp_path: Path) -> None:
    """The second copy copies the databases alone; a damaged newest gives way to the one before; two stay."""
    world = World.begin(tmp_path, hours=40)
    world.live(1)
    world.close()
    to, config = tmp_path / "standby", tmp_path / "config.yaml"
    made = [make_standby(world.places, config, (MODEL,), to, program="1", now=1e9 + day) for day in range(3)]
    assert not made[0].exists()
    names = [name for name in read_standby(made[2]).files if name.startswith(("models/", "snapshots/"))]
    assert names
    assert all((made[1] / name).samefile(made[2] / name) for name in names)
    sizes = [made[2].joinpath(name).stat().st_size for name in ("state.db", f"events/{MODEL}/events.db")]
    assert read_standby(made[2]).copied == sum(sizes)
    with (made[2] / "state.db").open("r+b") as file:
        file.seek(5000)
        file.write(b"rubbish")
    other = Places(tmp_path / "other")
    other.root.mkdir()
    chosen, _ = take_over(other, to, who="ada@host", now=1e9)
    assert chosen == made[1]
    assert Registry(other).fault(MODEL, 1) is None
    with pytest.raises(StandbyError, match="ada@host took over"):
        make_standby(world.places, config, (MODEL,), to, program="1", now=2e9)
