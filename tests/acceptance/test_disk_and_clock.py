"""The real daemon on a disk that fills up, and on a clock that is hours or years wrong: only the fault is made."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx
import pytest

from driftd.paths import Places
from fault_counts import Counts, address, daemon, environment, events_of, number, window_indices
from limits import HANG, time_limit, wait

pytestmark = pytest.mark.slow

CONFIG = """\
state_dir: {state}
http: {{listen: "127.0.0.1:0"}}
models:
  demand: {{task: regression, target: y}}
"""
CLOCK = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long offset(void) {
    char digits[32] = {0};
    const char *path = getenv("RT_OFFSET_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    if (read(file, digits, 31) < 0) digits[0] = 0;
    close(file);
    return atol(digits);
}
int clock_gettime(clockid_t clock, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += offset();
    return failed;
}
int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


YEAR = 31_557_600
LEAPS = (-3600, -7200, 10_800, -10 * YEAR, YEAR, 5 * YEAR, 0)  # seconds beside the true time


def resident_bytes(process: subprocess.Popen[bytes]) -> int:
    """The memory of a process."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return 1024 * int(status.partition("VmRSS:")[2].split()[0])


def processor_seconds(process: subprocess.Popen[bytes]) -> float:
    """What a process has taken of the cores."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What shifts the wall clock of a process by the seconds in a file."""
    if shutil.which("gcc") is None:
        pytest.skip("Debian package gcc is not installed")
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(CLOCK)
    command = ["gcc", "-shared", "-fPIC", "-O2", "-o", str(folder / "clock.so"), str(folder / "clock.c")]
    subprocess.run(command, check=True, timeout=HANG)
    return folder / "clock.so"


def test_the_clock_is_set_by_hours_and_by_years_and_comes_back(tmp_path: Path, library: Path) -> None:
    """After each leap rounds go on, a changed config is seen within seconds, and no memory goes into missed runs."""
    offset, log = tmp_path / "offset", tmp_path / "log"
    offset.write_text("0")
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(state=tmp_path / "state"))
    counts = Counts()
    with (
        daemon(config, log, LD_PRELOAD=str(library), RT_OFFSET_FILE=str(offset), TZ="Europe/Berlin") as process,
        httpx.Client(base_url=address(log), timeout=HANG) as http,
    ):
        wait(lambda: http.get("/-/ready").status_code == 200, "the first round")
        memory = resident_bytes(process)
        for done, seconds in enumerate(LEAPS, start=1):
            offset.write_text(str(seconds))
            counts.faults["clock set"] += 1
            wait(lambda jumps=done: number(http, "driftd_clock_jumps_total") >= jumps, "the leap is seen")
            config.write_text(CONFIG.format(state=tmp_path / "state") + f"limits: {{check_timeout: {60 + done}s}}\n")
            wait(lambda jumps=done: log.read_bytes().count(b"config_applied") >= jumps, "the config is seen")
            rounds = number(http, "driftd_round_duration_seconds_count")
            wait(lambda: number(http, "driftd_round_duration_seconds_count") >= rounds + 3, "ticks go on")  # noqa: B023
            assert http.get("/-/healthy").status_code == 200
        assert resident_bytes(process) < memory + (100 << 20)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=time_limit(10)) == 0
    print(counts.line())  # noqa: T201 - the figures are what this test is for


STORED = Path(__file__).parents[1] / "data" / "state_e02b064"  # a day of one model, and an hour that no check has seen
LEFT_AT, UNCHECKED, STORED_EVENTS, STORED_DECISIONS = 1_700_230_300.0, 472_285, 1440, 15
KEEPS_A_DAY = """\
state_dir: {folder}/state
http: {{listen: "127.0.0.1:0"}}
retention: {{events: 1d, checks: 1d}}
models:
  demand:
    task: regression
    target: y
    window: {{every: 1h, lateness: 1s}}
    retrain: {{on: [schedule], schedule: "0 3 1 1 *", refresh: false}}
    probation: {{span: 30d, min_labels: 100000}}
"""


def stored_model(folder: Path) -> tuple[Path, Places]:
    """A config that would delete all but a day and build on the first of January, over a stored day of events."""
    with tarfile.open(STORED / "state.tar.xz") as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # new in Python 3.11.4
        archive.extractall(folder)
    config, places = folder / "config.yaml", Places(folder / "state")
    config.write_text(KEEPS_A_DAY.format(folder=folder))
    with closing(sqlite3.connect(places.state_db)) as state, state:
        state.execute("delete from requests")
    return config, places


def count_events(places: Places) -> int:
    with closing(sqlite3.connect(f"file:{places.events_db('demand')}?mode=ro", uri=True)) as events:
        return int(events.execute("select count(*) from predictions").fetchone()[0])


def test_it_starts_on_a_clock_that_is_years_wrong_and_the_clock_comes_back(tmp_path: Path, library: Path) -> None:
    """Nothing is deleted, built or passed over, the cores idle, and the right clock finds the loop where it was."""
    config, places = stored_model(tmp_path)
    offset, counts, rarely = tmp_path / "offset", Counts(), partial(wait, pause=0.25)
    for years, doubted, ahead in ((-10, 0, 1), (1, 1, 0), (5, 1, 0)):
        log, true = tmp_path / f"log{years}", LEFT_AT - time.time()
        offset.write_text(str(int(true + years * YEAR)))
        counts.faults["start on a wrong clock"] += 1
        with (
            daemon(config, log, LD_PRELOAD=str(library), RT_OFFSET_FILE=str(offset)) as process,
            httpx.Client(base_url=address(log), timeout=HANG) as http,
        ):
            rarely(lambda http=http: http.get("/-/ready").status_code == 200, "the first round")
            memory = resident_bytes(process)
            offset.write_text(str(int(true + years * YEAR + 10)))  # a leap: all that waits for a moment runs at once
            rarely(lambda http=http: number(http, "driftd_upkeep_last_success_timestamp_seconds"), "upkeep")
            rarely(lambda http=http: number(http, "driftd_backup_last_success_timestamp_seconds"), "a backup")
            rounds, taken = number(http, "driftd_round_duration_seconds_count"), processor_seconds(process)
            rarely(lambda: number(http, "driftd_round_duration_seconds_count") >= rounds + 3, "rounds go on")  # noqa: B023
            assert processor_seconds(process) - taken < 3.0
            assert http.get("/-/healthy").status_code == 200
            assert number(http, "driftd_clock_doubted") == doubted
            assert (number(http, "driftd_windows_ahead") > 80_000) == ahead
            assert count_events(places) == STORED_EVENTS
            offset.write_text(str(int(true)))
            rarely(lambda http=http: number(http, "driftd_clock_jumps_total") >= 2, "the clock's return is seen")
            rarely(lambda: UNCHECKED in window_indices(places, "demand"), "the hour is checked")
            rarely(
                lambda http=http: number(http, "driftd_clock_doubted") + number(http, "driftd_windows_ahead") == 0,
                "the clock is believed",
            )
            assert http.get("/-/healthy").status_code == 200
            assert resident_bytes(process) < memory + (100 << 20)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=time_limit(10)) == 0
        assert b"Traceback" not in log.read_bytes()
    assert window_indices(places, "demand") == list(range(UNCHECKED - 23, UNCHECKED + 1))
    assert events_of(places, "demand")[STORED_DECISIONS:] == []
    print(counts.line())  # noqa: T201 - the figures are what this test is for


ROOM = """
set -e
mkdir -p "$1/state"
mount -t tmpfs -o size=4m tmpfs "$1/state"
exec "$2" "$3" "$1"
"""
FULL = """
import json, subprocess, sys, time
from pathlib import Path
import httpx
from fault_counts import address, daemon, environment, number
from limits import HANG, wait
sys.path.insert(0, str(Path(sys.argv[0]).parent))
from test_disk_and_clock import CONFIG

def status():
    command = [sys.executable, "-m", "driftd.cli.main", "status", "--json", "--config", str(config)]
    told = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    return json.loads(told.stdout)["config"]

folder = Path(sys.argv[1])
config, log, filler = folder / "config.yaml", folder / "log", folder / "state" / "filler"
text = CONFIG.format(state=folder / "state")
config.write_text(text)
with daemon(config, log) as process, httpx.Client(base_url=address(log), timeout=HANG) as http:
    wait(lambda: http.get("/-/ready").status_code == 200, "the first round")
    before = number(http, "driftd_last_step_timestamp_seconds")
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    for length in range(1, 40):  # small changes still fit into the log's last page: until one does not
        config.write_text(text + "limits: {check_timeout: %ds}\\n" % (60 + length))
        http.post("/-/reload")
        if number(http, "driftd_messages_failed_total"):
            break
    assert number(http, "driftd_messages_failed_total") >= 1, log.read_text()[-2000:]
    assert process.poll() is None, "the daemon ended"
    wait(lambda: number(http, "driftd_last_step_timestamp_seconds") > before + 1, "rounds go on")
    assert http.get("/-/healthy").status_code == 200
    assert b"full" in log.read_bytes()
    file = status()["file"]
    assert status()["in_force"] != file, "it was recorded on a full disk"
    assert b'"config_not_recorded"' in log.read_bytes()
    filler.unlink()  # from here on nobody touches the file or asks for a reload
    wait(lambda: http.get("/api/config").json()["in_force"] == file, "the config is recorded")
    assert status()["in_force"] == file
    assert log.read_bytes().count(b'"config_recorded"') == 1
    failed = number(http, "driftd_messages_failed_total")
    time.sleep(3)
    assert number(http, "driftd_messages_failed_total") == failed
    assert process.poll() is None
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_the_daemon_lives_on_a_full_disk_and_recovers(tmp_path: Path) -> None:
    """A config that cannot be recorded is told and counted; rounds go on, and with room it is taken up by itself."""
    program = tmp_path / "full_disk.py"
    program.write_text(FULL)
    shutil.copy(__file__, tmp_path / "test_disk_and_clock.py")
    run = subprocess.run(
        ["unshare", "--mount", "bash", "-c", ROOM, "bash", str(tmp_path), sys.executable, str(program)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=2 * HANG,
        check=False,
    )
    if "unshare" in run.stderr and run.returncode:
        pytest.skip(f"no private mounts here: {run.stderr}")
    assert run.returncode == 0, run.stderr
    counts = Counts()
    counts.faults["full disk"] += 1
    print(counts.line())  # noqa: T201 - the figures are what this test is for
