"""A fork server that has loaded its libraries, for tests of jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from driftd.training.fork_server import PRELOADED, ForkServer
from driftd.training.jobs import Job, JobLimits, JobResult, start_job
from limits import wait


def finish(job: Job) -> JobResult:
    """The result of a job, when it has ended."""
    found: list[JobResult] = []

    def is_over() -> bool:
        result = job.poll()
        found.extend([result] if result is not None else [])
        return bool(found)

    wait(is_over, "the job ends")
    return found[0]


@contextmanager
def warm_server(
    folder: Path, limits: JobLimits | None = None, idle: float = 60.0, preloaded: tuple[str, ...] = PRELOADED
) -> Iterator[ForkServer]:
    """A server that two jobs in quick succession began."""
    server = ForkServer(idle)
    server.preloaded = preloaded
    try:
        for name in ("first", "second"):
            assert server.pid is None
            finish(start_job(folder / name, "dance", {}, limits, server))
        assert server.pid is not None
        wait(lambda: server.is_ready, "the server has loaded its libraries")
        yield server
    finally:
        server.close()
