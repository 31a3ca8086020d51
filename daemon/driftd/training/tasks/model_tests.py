"""The `model_tests` task: the user's tests of a version, in a process of their own that may hang, end or print at will.

What the tests do to their process is no failure of the job: the version has not passed.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

import msgspec

from driftd.formatting import describe_exit, format_duration
from driftd.training.job_context import JobContext
from driftd.training.jobs import kill_family
from driftd.training.tasks import TaskArguments
from driftd.training.tested_model import SessionOrder, TestReport

TAIL_BYTES = 8_000  # of what the tests printed, kept with the result
_PIECE = 1 << 16
_LAST_WORDS_SECONDS = 2.0  # for what is in the pipe once the process has ended


class Arguments(TaskArguments, frozen=True, kw_only=True):
    """The version that is to serve, for the build `version`, and the champion."""

    version: int
    candidate: int
    champion: int | None = None


def run(arguments: Arguments) -> dict[str, object]:
    """Run the tests that the config names. Raises ManifestError where the version is gone or damaged."""
    order = JobContext.of(arguments)
    wanted = order.config.stages.test
    made = order.registry.manifest(order.model, arguments.version)
    with tempfile.TemporaryDirectory(prefix="driftd-tests-", dir=os.environ.get("DRIFTD_SCRATCH")) as folder:
        report = Path(folder) / "report.json"
        session = SessionOrder(
            model=order.model,
            state_dir=str(order.places.root.absolute()),
            candidate=arguments.candidate,
            champion=arguments.champion,
            snapshot=made.snapshot,
            allow_joblib=order.config.allow_joblib,
            tests=wanted.tests,
            functions=wanted.functions,
            report=str(report),
        )
        (Path(folder) / "order.json").write_bytes(msgspec.json.encode(session))
        ended, output = _run_bounded(Path(folder) / "order.json", wanted.timeout)
        found = msgspec.json.decode(report.read_bytes(), type=TestReport) if report.is_file() else None
    sentence = ended or describe_report(found)
    passed = not ended and found is not None and found.has_passed
    print(sentence, flush=True)  # noqa: T201 - the log
    failures = [] if found is None else found.failures
    return {"passed": passed, "sentence": sentence, "failures": failures, "output": output}


def describe_report(report: TestReport | None) -> str:
    """What came of the tests, in one sentence."""
    if report is None:
        return "their process ended before the tests were over"
    if report.fault:
        return report.fault
    total = report.passed + report.failed + report.skipped
    skipped = f", {report.skipped} skipped" if report.skipped else ""
    if report.failed:
        more = f"; and {report.failed - 1} more" if report.failed > 1 else ""
        return f"{report.failed} of {total} tests failed{skipped}: {report.failures[0]}{more}"
    if not report.passed:
        return f"no test ran: all {total} were skipped" if total else "there was no test"
    return f"{report.passed} of {total} tests passed{skipped}"


def _run_bounded(order: Path, seconds: float) -> tuple[str, str]:
    """Run a session; returns why it did not come to its end ("" where it did), and the end of what it printed."""
    leash = [sys.executable, "-m", "driftd.training.process_tree", str(os.getpid())]
    command = [*leash, sys.executable, "-m", "driftd.training.user_tests", str(order)]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    assert process.stdout is not None  # it is a pipe
    tail = _follow(process, process.stdout, time.monotonic() + seconds)
    is_late = process.poll() is None
    kill_family(process.pid)
    code = process.wait()
    process.stdout.close()
    text = tail.decode(errors="replace")
    if is_late:
        return f"the tests were ended after {format_duration(seconds)} (stages.test.timeout)", text
    report = order.with_name("report.json")
    return (
        "" if report.is_file() else f"the tests ended their process before they were over: {describe_exit(code)}"
    ), text


def _follow(process: subprocess.Popen[bytes], pipe: IO[bytes], until: float) -> bytes:
    """Pass on what a process prints to the log, which is bounded, until it ends or its time is over.

    Whoever it leaves behind with its output is not waited for. Returns the last of it.
    """
    tail = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while time.monotonic() < until:
            if process.poll() is not None:
                until = min(until, time.monotonic() + _LAST_WORDS_SECONDS)
            if not selector.select(timeout=0.2):
                if process.poll() is not None:
                    break
                continue
            piece = os.read(pipe.fileno(), _PIECE)
            if not piece:
                break
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            tail = (tail + piece)[-TAIL_BYTES:]
    if process.poll() is None and time.monotonic() < until:  # it closed its output and works on
        with contextlib.suppress(subprocess.TimeoutExpired):  # `_run_bounded` sees that it is late
            process.wait(until - time.monotonic())
    return tail
