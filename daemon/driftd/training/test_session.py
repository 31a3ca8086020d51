"""The process in which tests of the user run: `python -m driftd.training.test_session ORDER`.

It writes a report at the very end. A process that ends without one has not passed, whatever its exit code says.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from driftd.formatting import visible
from driftd.fsutil import write_durably
from driftd.training.tested_model import SessionOrder, SessionWorld
from driftd.training.user_functions import import_name

FIXTURES = ("model", "champion", "snapshot")
MOST_FAILURES, LONGEST_FAILURE = 20, 500


class TestReport(msgspec.Struct, kw_only=True):
    """How many tests ended how; `failures` names the first of them with what each says."""

    __test__ = False  # for pytest, which takes the name for a test's

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[str] = msgspec.field(default_factory=list)
    fault: str = ""  # why no test could run, in one sentence

    @property
    def has_passed(self) -> bool:
        """Whether some test ran, and none failed or could not run."""
        return not self.fault and not self.failed and self.passed > 0

    def fail(self, name: str, said: str) -> None:
        """Count a test that failed."""
        self.failed += 1
        if len(self.failures) < MOST_FAILURES:
            self.failures.append(f"{name}: {visible(said)[:LONGEST_FAILURE]}")


def run_session(order: SessionOrder) -> TestReport:
    """Run the functions and the tests of pytest, and tell what came of them."""
    report, world = TestReport(), SessionWorld(order)
    for reference in order.functions:
        _call(reference, world, report)
    if order.tests is not None:
        _run_pytest(order.tests, world, report)
    return report


def _call(reference: str, world: SessionWorld, report: TestReport) -> None:
    try:
        function = import_name(reference)
        said = function(**_fixtures_of(reference, function, world))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is anybody's code: whatever it raises fails the test
        traceback.print_exc()
        report.fail(reference, f"{type(error).__name__}: {error}")
        return
    if said is None or bool(said):
        report.passed += 1
        print(f"{reference} passed", flush=True)  # noqa: T201 - the log
    else:
        report.fail(reference, f"it returned {said!r}")


def _fixtures_of(reference: str, function: Callable[..., Any], world: SessionWorld) -> dict[str, object]:
    names = list(inspect.signature(function).parameters)
    unknown = [name for name in names if name not in FIXTURES]
    if unknown:
        raise TypeError(f"{reference} has a parameter {unknown[0]!r}; a test has {', '.join(FIXTURES)} or some of them")
    return {name: getattr(world, name) for name in names}


def _run_pytest(tests: str, world: SessionWorld, report: TestReport) -> None:
    try:
        import pytest  # noqa: PLC0415 - only where its tests are configured
    except ImportError as error:
        report.fault = f"stages.test.tests needs pytest, which is not installed: pip install 'driftd[tests]' ({error})"
        return
    if not Path(tests).exists():
        report.fault = f"there are no tests at {tests} (from {Path.cwd()})"
        return
    from driftd.training.pytest_plugin import ReportPlugin, fixtures_of  # noqa: PLC0415 - it needs pytest

    code = pytest.main([tests, "-p", "no:cacheprovider", "-rfE"], plugins=[fixtures_of(world), ReportPlugin(report)])
    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        report.fault = f"pytest collected no test from {tests}"
    elif code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) and not report.failed:
        report.fault = f"pytest ended with {pytest.ExitCode(code).name.lower().replace('_', ' ')}"


def main(path: Path) -> None:
    """Run the session of an order, and write its report."""
    order = msgspec.json.decode(path.read_bytes(), type=SessionOrder)
    report = run_session(order)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    write_durably(Path(order.report), msgspec.json.encode(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
