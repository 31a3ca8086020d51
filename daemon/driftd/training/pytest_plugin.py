"""The plugin of pytest that gives tests of the user their fixtures, and counts how they end."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from driftd.training.tested_model import SessionWorld, TestReport


def fixtures_of(world: SessionWorld) -> ModuleType:
    """The fixtures `model`, `champion` and `snapshot` for the whole session, as a plugin."""

    @pytest.fixture(scope="session")
    def model() -> Any:
        """The new version."""
        return world.model

    @pytest.fixture(scope="session")
    def champion() -> Any:
        """The version that serves; None where there is none that can predict."""
        return world.champion

    @pytest.fixture(scope="session")
    def snapshot() -> Any:
        """The rows of the build."""
        return world.snapshot

    plugin = ModuleType("driftd_fixtures")
    vars(plugin).update(model=model, champion=champion, snapshot=snapshot)
    return plugin


class ReportPlugin:
    """Counts how the tests of a session end."""

    def __init__(self, report: TestReport) -> None:
        self._report = report

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
