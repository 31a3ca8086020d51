"""Running one module of ours in a short child process, so that what it loads is not kept."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence


class ChildError(Exception):
    """The child failed; the message is its last words."""


def run_apart(module: str, arguments: Sequence[str], seconds: float) -> str:
    """Run `python -m module arguments` with the same search path, and return what it printed.

    Raises ChildError when it fails or takes longer than `seconds`.
    """
    path = os.pathsep.join(entry for entry in sys.path if entry)
    try:
        run = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ChildError(f"{module} was stopped: it took longer than {seconds:.0f} s") from None
    if run.returncode != 0:
        told = run.stderr.strip().splitlines()[-1:] or [f"exit code {run.returncode}, no message"]
        raise ChildError(told[0])
    return run.stdout
