"""The event store against kill -9, a full disk and a busy neighbour. Real processes, real file systems."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from driftd.store.events.retention import RetentionLimits, prune
from driftd.store.events.sealing import seal
from event_samples import START, open_store, stored_rows
from limits import HANG

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent

WRITER = """
import sys, time
from pathlib import Path
from driftd.store.events.writer import EventsNotKeptError
from driftd.store.events.group_commit import GroupCommit
from driftd.store.events.validation import read_events
from event_samples import SCHEMA, START, label, open_store, prediction

store = open_store(Path(sys.argv[1]))
group = GroupCommit(store)
number = int(sys.argv[2])
stop = number + int(sys.argv[3])
waiting = []
while number < stop:
    events = [prediction(n) for n in range(number, number + 7)] + [label(number)]
    waiting.append((number, group.submit(read_events(events, SCHEMA, START + 1e7)[0])))
    number += 7
    if len(waiting) == 5 or number >= stop:
        for first, future in waiting:
            try:
                future.result()
                print(first, flush=True)
            except EventsNotKeptError as error:
                print("refused", error, flush=True)
        waiting = []
    time.sleep(0.0005)
"""
SEALER = """
import sys
from pathlib import Path
from driftd.store.events.sealing import seal
from event_samples import START
while True:
    seal(Path(sys.argv[1]) / "events.db", Path(sys.argv[1]) / "segments", START + 2e7, hot_seconds=0, segment_rows=70)
    print("sealed", flush=True)
"""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    path = os.pathsep.join([entry for entry in sys.path if entry] + [str(HERE.parent)])
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )


def killed_after_lines(process: subprocess.Popen[str], lines: int) -> list[str]:
    """Let it print so many lines, kill it without warning, and return all that it printed."""
    assert process.stdout is not None
    output = []
    for line in process.stdout:
        output.append(line.strip())
        if len(output) == lines:
            os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return output


@pytest.mark.parametrize("lives", [8, pytest.param(40, marks=pytest.mark.soak)])
def test_killed_writers_lose_nothing_acknowledged(tmp_path: Path, lives: int) -> None:
    """Writers are killed in the middle of their batches: every acknowledged event is there, and whole."""
    chance = random.Random(1)
    acknowledged: set[int] = set()
    open_store(tmp_path).close()
    for life in range(lives):
        writer = start(WRITER, tmp_path, life * 100_000, 90_000)
        acknowledged |= {int(line) for line in killed_after_lines(writer, chance.randrange(3, 60))}
    rows = {row[0]: row for row in stored_rows(tmp_path)}
    assert len(acknowledged) > 100
    for first in acknowledged:
        for number in range(first, first + 7):
            assert rows[f"p{number}"][1:] == (number + 0.5, f"town {number % 5}", str(1 - number % 2), START - number)
    assert len(rows) % 7 == 0  # a batch is there whole or not at all


@pytest.mark.parametrize("lives", [6, pytest.param(24, marks=pytest.mark.soak)])
def test_killed_sealers_beside_a_writer(tmp_path: Path, lives: int) -> None:
    """While sealers are killed at random beside a writer, each row is read exactly once, all the time."""
    chance = random.Random(2)
    open_store(tmp_path).close()
    writer = start(WRITER, tmp_path, 0, 4000)
    for _ in range(lives):
        sealer = start(SEALER, tmp_path)
        time.sleep(0.35 + chance.random() * 0.25)
        before = stored_rows(tmp_path)
        assert [row[1] for row in before] == [int(row[0][1:]) + 0.5 for row in before]
        assert len({row[0] for row in before}) == len(before)
        sealer.send_signal(signal.SIGKILL)
        sealer.communicate()
    assert "refused" not in writer.communicate(timeout=HANG)[0]
    seal(tmp_path / "events.db", tmp_path / "segments", START + 2e7, hot_seconds=0, segment_rows=70)
    rows = stored_rows(tmp_path)
    assert [row[0] for row in rows] == [f"p{number}" for number in range(4004)]
    assert list((tmp_path / "segments").glob("*.parquet"))


def test_retention_beside_writers(tmp_path: Path) -> None:
    """Two writers and retention share one file: nothing is refused, nothing young is lost."""
    open_store(tmp_path).close()
    writers = [start(WRITER, tmp_path, first, 2100) for first in (0, 100_000)]
    while any(writer.poll() is None for writer in writers):
        prune(
            tmp_path / "events.db", tmp_path / "segments", START + 1000 + 50_000, RetentionLimits(keep_seconds=50_000.0)
        )
    assert all("refused" not in writer.communicate()[0] for writer in writers)
    prune(tmp_path / "events.db", tmp_path / "segments", START + 1000 + 50_000, RetentionLimits(keep_seconds=50_000.0))
    kept = sorted(int(row[0][1:]) for row in stored_rows(tmp_path))
    assert kept == [*range(1000, 2100), *range(100_000, 102_100)]


DISK = """
set -e
mount -t tmpfs -o size=4m tmpfs "$1"
head -c 3500000 /dev/zero > "$1/filler"
"$2" -c "$3" "$1"
"""
FULL = """
import sys
from pathlib import Path
from driftd.store.events.writer import EventsNotKeptError
from driftd.store.events.group_commit import GroupCommit
from driftd.store.events.validation import read_events
from event_samples import SCHEMA, START, open_store, prediction, stored_rows

folder = Path(sys.argv[1])
group = GroupCommit(open_store(folder))
acknowledged, refused = [], 0
for number in range(20_000):
    if refused == 3:
        (folder / "filler").unlink(missing_ok=True)  # room returns
    try:
        group.submit(read_events([prediction(number)], SCHEMA, START + 100_000)[0]).result()
        acknowledged.append(f"p{number}")
    except EventsNotKeptError as error:
        assert "full" in str(error), error
        refused += 1
    if refused >= 3 and len(acknowledged) > 30 and acknowledged[-1] == f"p{number}":
        break
else:
    sys.exit("it never filled up")
assert refused >= 3, refused
assert [row[0] for row in stored_rows(folder)] == acknowledged
print(len(acknowledged), refused)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk(tmp_path: Path) -> None:
    """On a full disk nothing is acknowledged; when room returns the same process goes on by itself."""
    path = os.pathsep.join([entry for entry in sys.path if entry] + [str(HERE.parent)])
    run = subprocess.run(
        ["unshare", "--mount", "bash", "-c", DISK, "bash", str(tmp_path), sys.executable, FULL],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=2 * HANG,
        check=False,
    )
    if "unshare" in run.stderr and run.returncode:
        pytest.skip(f"no private mounts here: {run.stderr}")
    assert run.returncode == 0, run.stderr
