"""A standby on another host, by the commands of its page: copies while everything runs, and a takeover."""

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
