"""A server to be measured, in a process of its own that never outlives the benchmark."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

from driftd.training.process_tree import die_with_parent

LIMIT = 60.0  # seconds that a server may take to end


@contextlib.contextmanager
def server(*command: str) -> Iterator[int]:
    """Run `python COMMAND` until the block ends; the port of the loopback that it says on its standard error.

    Raises RuntimeError when it ends without having said one.
    """
    parent = os.getpid()
    process = subprocess.Popen(
        [sys.executable, *command],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        preexec_fn=lambda: die_with_parent(parent, signal.SIGTERM),  # noqa: PLW1509 - no thread runs yet
    )
    assert process.stderr is not None
    try:
        said = (re.search(rb"127\.0\.0\.1:(\d+)", line) for line in process.stderr)
        port = next((int(found[1]) for found in said if found), None)
        if port is None:
            raise RuntimeError(f"{' '.join(command)} ended with {process.wait()} before it served")
        yield port
    finally:
        process.terminate()
        process.wait(timeout=LIMIT)
