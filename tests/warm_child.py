"""What a child of the warm process does instead of a job: it becomes the program that it was asked for."""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
from pathlib import Path

from driftd.training import job_main
from driftd.training.process_tree import die_with_parent


def run_folder(_folder: Path, parent: int) -> int:
    """Run the program that a variable names, as `python PROGRAM` or `python -m MODULE` would; returns its exit code."""
    order = json.loads(os.environ.pop("DRIFTD_TEST_PROGRAM"))
    die_with_parent(parent)
    os.chdir(order["folder"])
    errors = os.open(order["errors"], os.O_WRONLY | os.O_APPEND)
    os.dup2(errors, 2)
    os.close(errors)
    first, *more = order["command"]
    try:
        if first == "-m":
            sys.argv = more
            runpy.run_module(more[0], run_name="__main__", alter_sys=True)
        else:
            sys.argv = [first, *more]
            sys.path[0] = str(Path(first).absolute().parent)
            runpy.run_path(first, run_name="__main__")
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)  # noqa: T201 - as the interpreter does
        return 1
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        return 1
    return 0


job_main.run_folder = run_folder
