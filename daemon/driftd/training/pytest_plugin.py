"""The plugin of pytest that gives tests of the user their fixtures, and counts how they end."""

from __future__ import annotations

from typing import Any

import pytest

from driftd.training.test_session import TestReport
from driftd.training.tested_model import SessionWorld


class FixturePlugin:
    """The fixtures `model`, `champion` and `snapshot` for the whole session, and the report of it."""

    def __init__(self, world: SessionWorld, report: TestReport) -> None:
        self._world = world
        self._report = report

    @pytest.fixture(scope="session")
    def model(self) -> Any:
        """The new version."""
        return self._world.model

    @pytest.fixture(scope="session")
    def champion(self) -> Any:
        """The version that serves; None where there is none that can predict."""
        return self._world.champion

    @pytest.fixture(scope="session")
    def snapshot(self) -> Any:
        """The rows of the build."""
        return self._world.snapshot

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test by its call, and by what fails before and after it."""
        if report.failed:
            self._report.fail(report.nodeid, _message_of(report))
        elif report.skipped:
            self._report.skipped += 1
        elif report.when == "call":
            self._report.passed += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Count what could not be collected, such as a file that cannot be imported."""
        if report.failed:
            self._report.fail(report.nodeid, _message_of(report))


def _message_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The message of what was raised, without the lines of code around it."""
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash is not None else report.longrepr)
