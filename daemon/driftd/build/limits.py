"""What a child process may use, and applying it. Standard library only: both sides of the fork import this."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "ARROW_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
)


def _half_the_cores() -> int:
    return max(1, len(os.sched_getaffinity(0)) // 2)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one job. None means unbounded."""

    memory_bytes: int | None = 8 << 30  # address space (RLIMIT_AS) of each process of the job
    cpu_seconds: int | None = None  # of each process of the job
    wall_seconds: float = 3600.0  # of the whole job; the parent enforces it
    open_files: int | None = 1024
    threads: int | None = None  # None: half the cores, at least one
    nice: int = 10
    oom_score: int = 500  # where memory ends, a job is killed before the daemon or anything else on the host

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Limits:
        """Read what `to_dict` wrote; absent keys keep their defaults."""
        return cls(**{one.name: stored[one.name] for one in fields(cls) if one.name in stored})

    def environment(self) -> dict[str, str]:
        """The variables by which numerical libraries learn how many threads they may start."""
        threads = str(self.threads or _half_the_cores())
        return dict.fromkeys(_THREAD_VARIABLES, threads)


def apply_limits(limits: Limits) -> list[str]:
    """Bound this process and those that it will start. Returns a sentence for each limit that the system refused.

    A hardened unit (`SystemCallFilter=~@resources`) forbids some of these calls; its own cgroup bounds us then.
    """
    refused: list[str] = []
    for name, kind, value in (
        ("memory_bytes", resource.RLIMIT_AS, limits.memory_bytes),
        ("cpu_seconds", resource.RLIMIT_CPU, limits.cpu_seconds),
        ("open_files", resource.RLIMIT_NOFILE, limits.open_files),
        ("core dumps", resource.RLIMIT_CORE, 0),
    ):
        if value is None:
            continue
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (bound, bound))
        except (OSError, ValueError) as error:
            refused.append(f"the limit {name}={value} could not be set: {error}")
    try:
        os.nice(limits.nice)
    except OSError as error:
        refused.append(f"nice {limits.nice} could not be set: {error}")
    try:
        Path("/proc/self/oom_score_adj").write_text(str(limits.oom_score))
    except OSError as error:
        refused.append(f"oom_score_adj {limits.oom_score} could not be set: {error}")
    return refused
