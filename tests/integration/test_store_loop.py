"""The whole loop over objects and over files: a drift is found at the same window, by the same evidence."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from driftd.events import Event
from driftd.outside.storage import StorageError, StoragePlace, copy_files
from driftd.records import Verdict
from loop_world import CONFIG, HOUR, LABEL_DELAY, MODEL, START, World, hour
from object_store_worlds import Store, store
from store_proxy import Proxy, proxy_of

__all__ = ["store"]
pytestmark = pytest.mark.slow

WATCHED = CONFIG.replace("retrain: {{on: [performance], cooldown: 1h}}", "retrain: {{on: []}}")


def world_of(folder: Path, source: str) -> World:
    """A model under watch over a source."""
    return World.begin(folder, config=WATCHED.replace("    target: y\n", f"    target: y\n    source: {source}\n"))


def rows_of(number: int, shift: float) -> pd.DataFrame:
    """The predictions of an hour, with their labels; from a time on `a` is shifted, and the truth with `b`."""
    frame, truth = hour(number)
    at = START + number * HOUR + np.arange(len(frame)) * HOUR / len(frame)
    prediction = 3 * frame["a"] + np.where(frame["c"] == "red", 2.0, 0.0)
    return frame.assign(
        a=frame["a"] + shift,
        prediction=prediction,
        prediction_id=[f"{number}-{row}" for row in range(len(frame))],
        at=at,
        label=truth + shift * 2.5 * (frame["b"] > 0),
        label_at=at + LABEL_DELAY,
        version=1,
    )


def pass_hour(world: World) -> None:
    """Let an hour pass."""
    world.hours += 1
    world.clock.advance_to(START + world.hours * HOUR + LABEL_DELAY + 60)
    world.daemon.catch_up(world.clock.now())


def key_of(number: int) -> str:
    """Where the rows of an hour lie."""
    at = datetime.fromtimestamp(START + number * HOUR, UTC)
    return f"year={at.year}/month={at.month:02}/day={at.day:02}/hour={at.hour:02}/{number}.parquet"


def found_by(world: World) -> list[Any]:
    """What the checks and the alarms of a model say, and the Profiles that they keep."""
    reader = world.daemon.assembly.store
    checks = [
        (kind, check.window_index, check.rows, check.verdict, check.reason, check.figures)
        for kind in ("window", "labels")
        for check in reader.checks(MODEL, 1000, kind)
    ]
    alarms = [(alarm.kind, alarm.window_index, alarm.evidence, alarm.sentence) for alarm in reader.alarms(MODEL, 100)]
    monitor = reader.monitor(MODEL)
    assert monitor is not None
    return [checks, alarms, monitor[2]]


def test_a_planted_drift_is_found_at_the_same_window(store: Store, tmp_path: Path) -> None:
    """Checks, alarms and evidence over objects equal those over files, through a drift of data and of the concept."""
    bucket, logs = store.bucket("planted-drift"), tmp_path / "logs"
    reach = f'{{{{endpoint: "{store.endpoint}", region: us-east-1, credentials_file: "{store.keys}"}}}}'
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    here = world_of(tmp_path / "here", f"{{{{kind: files, path: {logs}}}}}")
    there = world_of(tmp_path / "there", f"{{{{kind: files, path: {bucket}/logs, object_store: {reach}}}}}")
    for number in range(14):
        path = logs / key_of(here.hours)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows_of(here.hours, 1.0 if number > 7 else 0.0).to_parquet(path)
        store.put(f"{bucket}/logs/{key_of(here.hours)}", path.read_bytes())
        for world in (here, there):
            pass_hour(world)
    found = found_by(here)
    assert found_by(there) == found
    assert len(found[1]) >= 2
    assert Event.ALARM in there.events
    for world in (here, there):
        world.close()


@pytest.fixture
def proxy(store: Store) -> Any:
    """A proxy in front of the store."""
    with proxy_of(store.endpoint) as made:
        yield made


def test_windows_wait_while_the_store_is_away(store: Store, proxy: Proxy, tmp_path: Path) -> None:
    """Denied listing or denied reading, nothing is checked, told as a fault; then each window is, once and in order."""
    bucket = store.bucket("away-for-hours")
    reach = f'{{{{endpoint: "{proxy.endpoint}", region: us-east-1, credentials_file: "{store.keys}"}}}}'
    world = world_of(tmp_path, f"{{{{kind: files, path: {bucket}/logs, object_store: {reach}}}}}")
    for number, trouble in enumerate(["none", "none", "denied", "get denied", "keys", "none"]):
        path = tmp_path / f"{number}.parquet"
        rows_of(world.hours, 0.0).to_parquet(path)
        store.put(f"{bucket}/logs/{key_of(world.hours)}", path.read_bytes())
        proxy.trouble = trouble  # type: ignore[assignment]  # one of them
        pass_hour(world)
        extent = world.daemon.models[MODEL].scheduler.extent
        assert extent is not None
        assert bool(extent.faults) is (trouble != "none")
        checks = world.daemon.assembly.store.checks(MODEL, 1000, "window")
        assert len(checks) == (number + 1 if trouble == "none" else 2)
    checks = list(reversed(world.daemon.assembly.store.checks(MODEL, 1000, "window")))
    assert [check.window_index for check in checks] == list(range(checks[0].window_index, checks[0].window_index + 6))
    assert {check.rows for check in checks} == {200}
    assert Verdict.ERROR not in {check.verdict for check in checks}
    world.close()


def test_the_rows_of_a_build_are_copied_to_a_bucket(store: Store, tmp_path: Path) -> None:
    """A builder that reads the store finds them at the address that is told, the newest words; else it is said why."""
    bucket, rows = store.bucket("builds"), tmp_path / "rows.parquet"
    place = StoragePlace(path=f"{bucket}/for-ci/", object_store=store.settings().model_dump(mode="json"))
    for content in (b"rows", b"others"):
        rows.write_bytes(content)
        told = copy_files(place, [rows], MODEL, "build-demand-7")
        with store.client.open_input_stream(f"{told.removeprefix('s3://')}/rows.parquet") as found:
            assert found.read() == content
    assert told == f"{bucket}/for-ci/{MODEL}/build-demand-7"
    nowhere = StoragePlace(path="s3://no-such-bucket/x", object_store=place.object_store)
    with pytest.raises(StorageError, match="cannot be written: there is no such bucket"):
        copy_files(nowhere, [rows], MODEL, "build-demand-7")
