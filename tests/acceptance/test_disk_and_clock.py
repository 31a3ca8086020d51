"""The real daemon on a disk that fills up, and under a wall clock that is set by hours: only the fault is made."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from fault_counts import Counts, address, daemon, environment, number
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


def test_the_clock_is_set_by_hours_and_by_years_and_comes_back(tmp_path: Path) -> None:
    """After each leap rounds go on, a changed config is seen within seconds, and no memory goes into missed runs."""
    if shutil.which("gcc") is None:
        pytest.skip("Debian package gcc is not installed")
    (tmp_path / "clock.c").write_text(CLOCK)
    library, offset, log = tmp_path / "clock.so", tmp_path / "offset", tmp_path / "log"
    command = ["gcc", "-shared", "-fPIC", "-O2", "-o", str(library), str(tmp_path / "clock.c")]
    subprocess.run(command, check=True, timeout=HANG)
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
