"""One daemon a state directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from driftd.store.ownership import StateInUseError, hold_lock, holder

HOLD = """
import sys, time
from pathlib import Path
from driftd.store.ownership import hold_lock
with hold_lock(Path(sys.argv[1]), "driftd run"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_one_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    """While one holds the lock another is refused, with the process and the way out named."""
    path = tmp_path / "driftd.lock"
    with hold_lock(path, "driftd run"):
        found = holder(path)
        assert found is not None
        assert (found.pid, found.task) == (os.getpid(), "driftd run")
        with (
            pytest.raises(StateInUseError, match=rf"in use by driftd run \(process {os.getpid()}\).*Stop the other"),
            hold_lock(path, "driftd restore", patience=0.0),
        ):
            pass
    assert holder(path) is None
    with hold_lock(path, "driftd run", patience=0.0):
        pass


def test_a_killed_holder_leaves_nothing_behind(tmp_path: Path) -> None:
    """The lock of a process that was killed is free at once, though its file stays."""
    path = tmp_path / "driftd.lock"
    roots = os.pathsep.join(item for item in sys.path if item)
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], env={**os.environ, "PYTHONPATH": roots}, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    assert holder(path) is not None
    child.kill()
    child.wait()
    child.stdout.close()
    assert path.exists()
    with hold_lock(path, "driftd run", patience=0.0):
        pass
