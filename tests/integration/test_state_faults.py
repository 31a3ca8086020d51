"""The daemon's own database on a disk that fails: real errors of the kernel's calls, injected on these files alone."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from driftd.paths import Places
from driftd.registry import Registry
from driftd.serving.client import Driftd
from driftd.store.integrity import examine
from fault_counts import Counts, address, daemon, events_of, fail_calls, number, strace, window_indices
from limits import HANG, time_limit, wait
from loop_world import MODEL
from row_windows import CONFIG, FIRST, first_version, live

pytestmark = pytest.mark.slow

TURNED, AFTER = 24, 6  # windows: until the build can be judged, then of the new version's probation
FAULT_SECONDS = 1.2  # longer than a tick
# Each call at all, and every second one: so that a transaction fails at its first write, within, and at its commit.
FAULTS = [("fdatasync", "EIO"), ("pwrite64", "ENOSPC"), ("pwrite64", "EIO:when=2+2")]


@dataclass
class Trial:
    """A real daemon whose state.db fails again and again, and the application beside it."""

    places: Places
    process_id: int
    http: httpx.Client
    application: Driftd
    call: str
    error: str
    windows: int = 0

    def go_on(self, windows: int, at: float | None = None) -> None:
        """The rows of windows come while the disk fails; with the disk whole again, all are checked."""
        with fail_calls(self.process_id, self.call, self.error, *state_files(self.places)):
            for _ in range(windows):
                live(self.application, FIRST + self.windows, at)
                self.windows += 1
            time.sleep(FAULT_SECONDS)
        wait(lambda: len(window_indices(self.places, MODEL)) == self.windows, "the windows are checked")

    def until(self, event: str) -> None:
        """Let the disk fail and mend in turns until something was decided."""
        deadline = time.monotonic() + HANG
        while event not in events_of(self.places, MODEL):
            assert time.monotonic() < deadline, f"it was not {event}: {events_of(self.places, MODEL)}"
            with fail_calls(self.process_id, self.call, self.error, *state_files(self.places)):
                time.sleep(FAULT_SECONDS)
            time.sleep(FAULT_SECONDS)

    @property
    def failures(self) -> float:
        """How many rounds and messages failed by now."""
        return number(self.http, "driftd_model_step_errors_total") + number(self.http, "driftd_messages_failed_total")


def state_files(places: Places) -> tuple[Path, Path]:
    """The daemon's database and its log."""
    return places.state_db, places.state_db.with_name("state.db-wal")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config whose model has its first version."""
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(state=tmp_path / "state"))
    first_version(path, Places(tmp_path / "state"))
    return path


@pytest.mark.parametrize("together", [3, pytest.param(1, marks=pytest.mark.soak)])  # windows within one fault
@pytest.mark.parametrize(("call", "error"), FAULTS)
def test_a_daemon_whose_database_fails_goes_on_and_does_everything_once(
    config: Path, call: str, error: str, together: int
) -> None:
    """From the first window to the end of probation, whatever fails: windows are checked and versions swapped once."""
    places, log = Places(config.parent / "state"), config.parent / "log"
    with (
        Driftd(places.root, MODEL) as application,
        daemon(config, log) as process,
        httpx.Client(base_url=address(log), timeout=HANG) as http,
    ):
        wait(lambda: http.get("/-/ready").status_code == 200, "the first round")
        trial = Trial(places, process.pid, http, application, call, error)
        for _ in range(TURNED // together):
            trial.go_on(together)
        trial.until("promoted")
        for _ in range(AFTER // together):
            trial.go_on(together, at=time.time())
        trial.until("confirmed")
        failures = trial.failures
        assert process.poll() is None, "it ended"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=time_limit(10)) == 0
    output = [line for line in map(json.loads, log.read_text().splitlines()) if line["event"] == "model_step_failed"]
    assert 1 <= len(output) < failures
    decided = events_of(places, MODEL)
    assert [decided.count(item) for item in ("build_started", "promoted", "confirmed", "build_failed")] == [1, 1, 1, 0]
    assert window_indices(places, MODEL) == list(range(TURNED + AFTER))
    assert (Registry(places).versions(MODEL), Registry(places).current(MODEL)) == ((1, 2), 2)
    assert examine(places.state_db, seconds=5.0) is None
    counts = Counts()
    counts.faults[f"{call} {error} under state.db"] += int(failures)
    print(counts.line())  # noqa: T201 - the figures are what this test is for


@pytest.mark.parametrize(("call", "error"), FAULTS)
def test_a_start_on_a_disk_that_fails_is_refused_and_the_next_one_goes_on(config: Path, call: str, error: str) -> None:
    """A start that cannot write its state ends with 1 and a sentence, no traceback; the next one lacks nothing."""
    places = Places(config.parent / "state")
    with Driftd(places.root, MODEL) as application:
        for turn in range(2):  # the database is made, then it is there and a changed config must be recorded
            live(application, FIRST + turn)
            config.write_text(config.read_text() + f"# {turn}\n")
            log = config.parent / f"refused-{turn}"
            with daemon(config, log, *strace(call, error, *state_files(places))) as process:
                assert process.wait(timeout=HANG) == 1, log.read_text()
            assert "Traceback" not in log.read_text()
            assert log.read_text().splitlines()[-1].startswith("driftd: ")
            with daemon(config, config.parent / "log") as process:
                wait(lambda seen=turn: window_indices(places, MODEL) == list(range(seen + 1)), "the window is checked")
                assert process.poll() is None
    assert examine(places.state_db, seconds=5.0) is None
