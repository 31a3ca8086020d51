"""The commands of driftd as processes of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx


def environment() -> dict[str, str]:
    """The environment of a user's process that imports what this one does."""
    clean = {key: value for key, value in os.environ.items() if key != "DRIFTD_CONFIG"}
    return {**clean, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def driftd(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "driftd.cli.main", *arguments],
        check=False,
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=200,
    )


@contextmanager
def serving(path: Path) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    """A real server on a free port."""
    roots = os.pathsep.join(one for one in sys.path if one)
    process = subprocess.Popen(
        [sys.executable, "-m", "driftd.cli.main", "serve", "--config", str(path)],
        env={**os.environ, "PYTHONPATH": roots},
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(rb"127\.0\.0\.1:(\d+)", line):
                with httpx.Client(base_url=f"http://127.0.0.1:{found[1].decode()}", timeout=20) as client:
                    yield client, process
                break
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
