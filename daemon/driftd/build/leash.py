"""Dying with the parent: `python -m driftd.build.leash COMMAND...` runs a command that is killed when its parent ends.

PR_SET_PDEATHSIG survives exec, so this little program puts any other on the leash. (The signal comes when the
*thread* that started the process ends, so jobs are started from a thread that lives as long as its process.)
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(parent: int, by: int = signal.SIGKILL) -> None:
    """Ask the kernel to signal this process when its parent ends; end at once when `parent` has ended already.

    Raises OSError when the kernel refuses.
    """
    _prctl(_PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:  # it ended before we asked, so no signal would ever come
        os._exit(0)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, so that none is out of reach.

    Raises OSError when the kernel refuses.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - the command is the trainer that the operator configured
