"""The entry point of every job: `python -m driftd.training.job_main FOLDER`. It imports only what its task needs."""

from __future__ import annotations

import errno
import fcntl
import importlib
import json
import os
import resource
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

import msgspec

from driftd.errors import DriftdError
from driftd.formatting import json_safe_object
from driftd.training.job_output import JobOutput
from driftd.training.jobs import JOB, JobLimits, JobResult, apply_limits, read_result, write_result
from driftd.training.process_tree import keep
from driftd_detectors.errors import DetectorError

# Each task is a module with `Arguments`, what it is told, and `run(arguments) -> value`.
TASKS = {
    "snapshot": "driftd.training.tasks.snapshot",
    "check_data": "driftd.training.tasks.check_data",
    "train": "driftd.training.tasks.train",
    "order": "driftd.training.tasks.order_build",
    "await": "driftd.training.tasks.await_build",
    "receive": "driftd.training.tasks.receive",
    "model_tests": "driftd.training.tasks.model_tests",
    "inspect": "driftd.training.tasks.inspect_model",
    "adopt": "driftd.training.tasks.adopt",
    "logged": "driftd.training.tasks.logged",
    "hand_over": "driftd.training.tasks.hand_over",
    "registry": "driftd.training.tasks.registry",
    "judge": "driftd.training.tasks.judge",
    "verify": "driftd.training.tasks.verify",
    "refresh": "driftd.training.tasks.refresh",
    "shadow": "driftd.training.tasks.shadow",
    "reproduce": "driftd.training.tasks.reproduce",
    "diff": "driftd.training.tasks.diff",
    "quality": "driftd.training.tasks.quality",
    "rows": "driftd.training.tasks.rows",
    "label_draw": "driftd.training.tasks.label_draw",
    "report": "driftd.second_opinion.report",
}


def run_folder(folder: Path, *, parent: int | None = None) -> int:
    """Run the job of a folder and write its result; 0 when there is one, whatever it says.

    `parent` is the process that the job must not outlive; None: the one that the order names.
    """
    order = json.loads((folder / JOB).read_bytes())
    limits = JobLimits.from_dict(order["limits"])

    def fail(sentence: str) -> None:
        write_result(folder, JobResult(ok=False, error=sentence))

    # From here on this is the work, and the process that was started its keeper.
    keep(order["parent"] if parent is None else parent, JobOutput(folder, limits.disk_bytes, fail))
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a predecessor may still be dying
        if read_result(folder) is None:
            for sentence in apply_limits(limits):
                print(sentence, flush=True)  # noqa: T201 - standard output is the job's log
            result = _result_of(order["task"], order["arguments"])
            write_result(folder, result)
    return 0


def _result_of(task: str, arguments: Mapping[str, object]) -> JobResult:
    try:
        value = json_safe_object(run_task(task, arguments))
        return JobResult(ok=True, value=value, peak_bytes=_peak_bytes())
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the boundary: whatever a task raises becomes its result
        traceback.print_exc()
        sys.stderr.flush()
        return JobResult(ok=False, error=_sentence(error))


def _peak_bytes() -> int:
    """The memory of the largest process of the job, at its most."""
    return 1024 * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _sentence(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "the child ran out of the memory that its limits allow (MemoryError)"
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return f"a file of the job grew over the bytes that limits.disk allows ({error})"
    if isinstance(error, SystemExit):
        return f"the trainer called sys.exit({error.code!r}) instead of returning an estimator"
    return str(error) if isinstance(error, DriftdError | DetectorError) else f"{type(error).__name__}: {error}"


def run_task(name: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
    """Run a task here. Raises msgspec.ValidationError for arguments that are not the task's, and what it raises."""
    if name not in TASKS:
        raise ValueError(f"there is no task {name!r}; tasks are {', '.join(TASKS)}")
    task = importlib.import_module(TASKS[name])
    value: Mapping[str, object] = task.run(msgspec.convert(dict(arguments), task.Arguments))
    return value


if __name__ == "__main__":
    code = run_folder(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(code)  # a trainer's left-over threads must not keep a finished job alive
