"""The whole loop over log files that go empty, come out of order, change their types or cannot be read for a while."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from driftd.records import Verdict
from loop_world import CONFIG, HOUR, LABEL_DELAY, MODEL, START, World, hour

pytestmark = pytest.mark.slow

WRITTEN = CONFIG.replace("    target: y\n", "    target: y\n    source: {{kind: files, path: {state}/../logs}}\n")


class Logs:
    """An application that writes its own logs, one file an hour, and a daemon that reads them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "logs"
        self.folder.mkdir()
        self.world = World.begin(folder, config=WRITTEN)

    def hour(self, *, order: str = "as it was", **instead: Any) -> None:
        """Write an hour's rows, some columns replaced, in an order, and let the daemon look."""
        lines = self._lines(instead)
        if order == "backwards":
            lines.reverse()
        (self.folder / f"{self.world.hours}.jsonl").write_text("".join(lines))
        self.passes()

    def passes(self) -> None:
        """Let an hour pass."""
        world = self.world
        world.hours += 1
        world.clock.advance_to(START + world.hours * HOUR + LABEL_DELAY + 60)
        world.daemon.catch_up(world.clock.now())

    def _lines(self, instead: dict[str, Any]) -> list[str]:
        number = self.world.hours
        frame, truth = hour(number)
        at = START + number * HOUR + np.arange(len(frame)) * HOUR / len(frame)
        frame = frame.assign(
            prediction=3 * frame["a"] + np.where(frame["c"] == "red", 2.0, 0.0),
            prediction_id=[f"{number}-{row}" for row in range(len(frame))],
            at=at,
            label=truth,
            label_at=at + LABEL_DELAY,
            version=1,
        ).assign(**instead)
        return [json.dumps(row) + "\n" for row in pd.DataFrame(frame).to_dict("records")]

    def checks(self) -> list[Any]:
        """The checks of windows, oldest first."""
        return list(reversed(self.world.daemon.assembly.store.checks(MODEL, 1000, "window")))


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Logs]:
    """A model under watch over files."""
    made = Logs(tmp_path)
    yield made
    made.world.close()


def test_a_column_that_changes_its_type_is_a_fault_and_no_drift(logs: Logs) -> None:
    """Numbers that become words: a quality fault names the column and blocks builds, until they are numbers again."""
    for _ in range(3):
        logs.hour()
    for _ in range(2):
        logs.hour(a="n/a")
    assert logs.world.events.count("quality_fault") == 1
    blocked = logs.world.daemon.models[MODEL].state.blocked
    assert blocked is not None
    assert "a" in blocked
    for _ in range(3):
        logs.hour()
    assert "quality_restored" in logs.world.events
    assert {alarm.kind for alarm in logs.world.daemon.assembly.store.alarms(MODEL, 10)} == {"quality"}
    assert "build_started" not in logs.world.events


def test_a_source_without_a_row_says_so_and_goes_on(logs: Logs) -> None:
    """Hours without a file are no windows of drift: they stay inconclusive, and what comes after is checked as ever."""
    logs.hour()
    for _ in range(5):
        logs.passes()
    for _ in range(2):
        logs.hour()
    checks = logs.checks()
    assert [check.rows for check in checks] == [200, 0, 0, 0, 0, 0, 200, 200]
    assert all(check.verdict == Verdict.INCONCLUSIVE for check in checks if not check.rows)
    assert {check.verdict for check in checks[-2:]} == {Verdict.OK}
    assert not {"alarm", "quality_fault"} & set(logs.world.events)


def test_rows_that_come_backwards_change_nothing(logs: Logs, tmp_path: Path) -> None:
    """An hour's rows written last first give the same checks as in order."""
    (tmp_path / "other").mkdir()
    ordered = Logs(tmp_path / "other")
    for _ in range(3):
        logs.hour(order="backwards")
        ordered.hour()
    output = [(check.window_index, check.rows, check.verdict, check.reason) for check in logs.checks()]
    assert output == [(check.window_index, check.rows, check.verdict, check.reason) for check in ordered.checks()]
    ordered.world.close()


def test_files_that_are_gone_for_a_while(logs: Logs) -> None:
    """While a folder is away (a mount) nothing is checked; back again, no window is left out or checked twice."""
    logs.hour()
    away = logs.folder.with_name("away")
    logs.folder.rename(away)
    logs.passes()
    logs.passes()
    assert len(logs.checks()) == 1
    away.rename(logs.folder)
    for number in (logs.world.hours - 2, logs.world.hours - 1):
        logs.world.hours = number
        (logs.folder / f"{number}.jsonl").write_text("".join(logs._lines({})))
    logs.world.hours += 1
    logs.hour()
    checks = logs.checks()
    assert [check.window_index for check in checks] == list(range(checks[0].window_index, checks[0].window_index + 4))
    assert [check.rows for check in checks] == [200] * 4
    assert "alarm" not in logs.world.events
