"""What all tests share: a skip is a failure where real components must run, and `soak` runs only when asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator

import pytest
import structlog
from hypothesis import HealthCheck, settings

from driftd.training.fork_server import PRELOADED, SHARED
from fault_counts import COUNTED

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")  # how long an example takes says more of the machine than of the code
# Spark's client takes a program without a file, as a worker of xdist is, for its own documentation tests, and ends it.
if not hasattr(sys.modules["__main__"], "__file__"):
    sys.modules["__main__"].__file__ = __file__
MAY_BE_ABSENT = ("stream", "git work tree")  # data beside the project, and a checkout without git


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With DRIFTD_NO_SKIPS set, a skipped real-component test fails."""
    report = yield
    if report.skipped and os.environ.get("DRIFTD_NO_SKIPS") and not hasattr(report, "wasxfail"):
        reason = str(call.excinfo.value) if call.excinfo else "skipped"
        if not any(words in reason for words in MAY_BE_ABSENT):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} was skipped where it must run: {reason}"
    return report


@pytest.fixture(scope="session", autouse=True)
def _shared_over_tests(tmp_path_factory: pytest.TempPathFactory) -> Generator[None, None, None]:
    """First versions are trained once in a run of tests, and jobs of this process are forked from one server."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    os.environ["DRIFTD_FIRST_VERSIONS"] = str(shared / "first-versions")
    SHARED.idle, SHARED.preloaded = 900.0, (*PRELOADED, "second_opinion_libraries")
    yield
    SHARED.close()


@pytest.fixture(autouse=True)
def _logs_as_ever() -> Generator[None, None, None]:
    """A command that runs in the process of the tests sets the logs up: not for the next test."""
    yield
    structlog.reset_defaults()


# Modules that take a worker minutes, mostly by waiting: a worker that begins one last works alone.
LONGEST_FIRST = (
    "test_systemd",
    "test_mlflow_registry",
    "test_spark_source",
    "test_object_store",
    "test_state_faults",
    "test_engine_loop",
    "test_rehearsal",
    "test_pages_for_users",
    "test_pages_of_systems",
    "test_outside_daemon",
    "test_whole_pipeline",
    "test_model_tests",
    "test_page_tasks",
    "test_kill_campaign",
    "test_stages",
    "test_demo_page",
    "test_outside_builds",
    "test_foreign_state",
    "test_page",
    "test_refresh",
    "test_slow_clients",
    "test_alerts",
    "test_existing_models",
    "test_soak",
    "test_code_changes",
    "test_loop_crashes",
    "test_dashboards",
    "test_policy_graph",
    "test_performance_worlds",
    "test_sql_source",
    "test_store_loop",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long repetitions run only where they are asked for: `-m soak`. The longest modules begin first."""
    items.sort(key=lambda item: LONGEST_FIRST.index(item.path.stem) if item.path.stem in LONGEST_FIRST else 99)
    if "soak" in config.option.markexpr:
        return
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("soak")])
    items[:] = [item for item in items if not item.get_closest_marker("soak")]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what the fault tests counted, whether or not their output is shown."""
    for report in terminalreporter.getreports("passed"):
        for line in report.capstdout.splitlines():
            if line.startswith(COUNTED):
                terminalreporter.write_line(line)
