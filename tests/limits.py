"""How long the tests wait: one limit that only a hang reaches, and what a claim of speed means on a busy machine.

And a process that has no descriptor left.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HANG = 240.0  # seconds; every wait for a condition ends here at the latest


def wait(condition: Callable[[], object], what: str, seconds: float = HANG, pause: float = 0.01) -> float:
    """Wait until a condition holds; fails with `what` did not happen. Returns the seconds that it took.

    What costs something to find out is asked less often, at least twice a second.
    """
    began = asked = time.monotonic()
    while not condition():
        now = time.monotonic()
        assert now < began + seconds, f"it did not happen within {seconds:.0f} s: {what}"
        time.sleep(max(pause, min(5 * (now - asked), 0.5)))
        asked = time.monotonic()
    return time.monotonic() - began


def time_limit(seconds: float) -> float:
    """How long what takes at most so many seconds on an idle machine may take now: the same, where it is idle."""
    return seconds * max(1.0, _waiting_for_cores() - 1.0, _wall_per_cpu() - 1.0)  # the tests alone want each core twice


def _waiting_for_cores() -> float:
    """How many processes wanted each core in the last minute."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def _wall_per_cpu(seconds: float = 0.02) -> float:
    """How much longer than its own time on a core this process just took."""
    wall, cpu = time.perf_counter(), time.process_time()
    while time.process_time() - cpu < seconds:
        pass
    return (time.perf_counter() - wall) / (time.process_time() - cpu)


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open no further file."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.open(os.devnull, os.O_RDONLY)]
    most = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir()) + 1
    while (number := os.dup(held[0])) < most:  # closes the gaps among the numbers in use
        held.append(number)
    os.close(number)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in held:
            os.close(descriptor)
