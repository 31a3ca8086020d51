"""The result of a job as it stands on disk. Standard library only."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

JOB = "job.json"
LOG = "log.txt"
RESULT = "result.json"
_TAIL_BYTES = 4000


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a job ended: its value, or one plain sentence and the end of its log."""

    ok: bool
    value: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    tail: str = ""


def read_result(folder: Path) -> JobResult | None:
    """The result of a finished job; None while there is none."""
    try:
        stored = json.loads((folder / RESULT).read_bytes())
    except FileNotFoundError:
        return None
    return JobResult(stored["ok"], stored.get("value", {}), stored.get("error", ""), stored.get("tail", ""))


def write_result(folder: Path, result: JobResult) -> None:
    """Write a result in one step: from here on the job is finished for ever."""
    stored = (
        {"ok": True, "value": dict(result.value)}
        if result.ok
        else {"ok": False, "error": result.error, "tail": result.tail}
    )
    temporary = folder / f".{RESULT}-{os.getpid()}"
    with temporary.open("w") as file:
        json.dump(stored, file, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / RESULT)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def log_tail(folder: Path) -> str:
    """The end of a job's log, whole lines, at most about 4 kB."""
    path = folder / LOG
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        text = file.read().decode(errors="replace")
    return text.split("\n", 1)[-1] if size > _TAIL_BYTES and "\n" in text else text
