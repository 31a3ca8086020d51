"""Plug-ins of installed packages: how they are found, what is said of one that fails, and the kit that tests them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pytest

from driftd.config.load import load
from driftd.config.named_plugins import plugin_faults
from driftd.config.plugin_schema import PluginSourceConfig
from driftd.config.redact import redacted_dict
from driftd.config.schema import Receiver
from driftd.entry_points import PluginError, find_plugin, installed_plugins, load_plugin
from driftd.notify.channels import DeliveryError
from driftd.notify.delivery import deliver
from driftd.notify.message import message_of_test
from driftd.sources.engines.plugin_engine import PluginEngine
from driftd.sources.engines.protocol import EngineError, Query
from driftd.testing import (
    RowExtent,
    RowQuery,
    VersionFiles,
    check_deployer,
    check_receiver,
    check_registry,
    check_source,
)
from installed_plugins import install

START = 1_700_000_000.0
BAD = """\
[project]
name = "bad-plugins"
version = "2.5"

[project.entry-points."driftd.sources"]
broken = "bad_plugins:Broken"
absent = "bad_plugins:nothing_here"

[project.entry-points."driftd.receivers"]
angry = "bad_plugins:angry"
slow = "bad_plugins:slow"
maildir = "bad_plugins:angry"
"""
CODE = """\
import time


class Broken:
    def __init__(self, options):
        self.rows_of = options

    def extent(self):
        raise ConnectionError("the queue is away")

    def rows(self, query):
        import pyarrow as pa
        yield pa.table({"prediction_id": ["a"], "prediction": [1.0]})

    def close(self):
        pass


def angry(message, options):
    print("a line of its own")
    raise RuntimeError("no such team")


def slow(message, options):
    time.sleep(60)
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example package, and one whose plug-ins fail."""
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "pyproject.toml").write_text(BAD)
    (bad / "bad_plugins.py").write_text(CODE)
    install(tmp_path / "good site", monkeypatch)
    install(tmp_path / "bad site", monkeypatch, bad)
    return tmp_path


def test_plugins_are_listed_with_their_packages(packages: Path) -> None:
    """What is installed is told without importing it; a name that is not there, or there twice, is a sentence."""
    listed = [str(plugin) for plugin in installed_plugins()]
    assert "the source sqlite_tables of driftd-plugin-example 0.1.0" in listed
    assert "the receiver angry of bad-plugins 2.5" in listed
    assert find_plugin("deployer", "copy").target == "driftd_plugin_example.deployers:copy_artefact"
    with pytest.raises(
        PluginError, match=r"no installed package brings a source 'sqlite'.*driftd\.sources.*sqlite_tables"
    ):
        find_plugin("source", "sqlite")
    with pytest.raises(
        PluginError, match=r"bad-plugins 2\.5 and driftd-plugin-example 0\.1\.0 bring a receiver 'maildir'"
    ):
        find_plugin("receiver", "maildir")
    with pytest.raises(PluginError, match=r"the source absent of bad-plugins 2\.5 cannot be imported: AttributeError"):
        load_plugin("source", "absent")


def test_a_source_that_fails_is_told_with_its_package(packages: Path) -> None:
    """What it raises, and rows without what is owed, are an EngineError that names package and version."""
    engine = PluginEngine(PluginSourceConfig(kind="plugin", plugin="broken"))
    with pytest.raises(
        EngineError, match=r"the source broken of bad-plugins 2\.5 raised ConnectionError: the queue is a"
    ):
        engine.look(None)
    with pytest.raises(
        EngineError, match=r"the source broken of bad-plugins 2\.5: it gave rows without the column 'at'"
    ):
        engine.count(Query((), 0.0, 1.0))
    with pytest.raises(EngineError, match="no installed package brings a source 'gone'"):
        PluginEngine(PluginSourceConfig(kind="plugin", plugin="gone")).look(None)


def test_a_receiver_that_fails_or_hangs_is_told_with_its_package(packages: Path) -> None:
    """It runs in a process of its own, whose last words are the reason; one that hangs is ended in time."""
    message = message_of_test("team", START)
    with pytest.raises(
        DeliveryError, match=r"exit code 1: the receiver angry of bad-plugins 2\.5 raised RuntimeError: no "
    ):
        asyncio.run(deliver(Receiver(plugin="angry", timeout=30), message))
    began = time.monotonic()
    with pytest.raises(DeliveryError, match="it took longer than 1 s"):
        asyncio.run(deliver(Receiver(plugin="slow", timeout=1), message))
    assert time.monotonic() - began < 30
    with pytest.raises(DeliveryError, match="no installed package brings a receiver 'gone'"):
        asyncio.run(deliver(Receiver(plugin="gone", timeout=30), message))


def test_a_config_names_plugins_and_hides_their_secrets(packages: Path) -> None:
    """Faults are told by the key; options are shown without the values of keys that name a secret."""
    path = packages / "config.yaml"
    path.write_text(
        """\
models:
  demand:
    task: regression
    target: y
    source: {kind: plugin, plugin: sqlite_tables, options: {path: events.db, api_token: t0ps3cret}}
    detect: {performance: {metric: {plugin: late_costs}}, detectors: [{use: missing_share}]}
    registry: {plugin: {plugin: folder}}
notify:
  mail: {plugin: mails, options: {folder: mail}}
"""
    )
    config = load(path)
    faults = list(plugin_faults(config))
    assert [fault.partition(":")[0] for fault in faults] == ["models.demand.detect.performance.metric", "notify.mail"]
    assert "installed: late_cost" in faults[0]
    assert config.models["demand"].detect.performance.metric_name == "plugin:late_costs"
    assert "t0ps3cret" not in str(redacted_dict(config))


@dataclass
class Rows:
    """A source over rows in memory, which a test breaks."""

    fault: str = ""

    def extent(self) -> RowExtent:
        return RowExtent(START, START + (40 if self.fault == "extent" else 39), START + 90)

    def rows(self, query: RowQuery) -> Iterator[pa.Table]:
        numbers = [n for n in range(40) if query.start <= START + n < query.end + (self.fault == "end")]
        numbers += numbers[:1] if self.fault == "twice" else []
        known = [n < 30 and self._is_known(n, query.known_by) for n in numbers]
        if query.known_by is not None and self.fault == "only":
            numbers, known = [n for n, there in zip(numbers, known, strict=True) if there], [True] * sum(known)
        labelled = [n if there else None for n, there in zip(numbers, known, strict=True)]
        label_at = pa.array([None if n is None else START + n + 50 for n in labelled], pa.float64())
        columns = {
            "prediction_id": pa.array([f"p{n}" for n in numbers], pa.string()),
            "at": pa.array([START + n for n in numbers], pa.float64()),
            "prediction": pa.array(numbers, pa.float64()),
            "label": pa.array(labelled, pa.float64()),
            "label_at": label_at,
        }
        yield pa.table(columns)

    def _is_known(self, number: int, known_by: float | None) -> bool:
        return self.fault == "late" or known_by is None or START + number + 50 <= known_by

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("extent", "the extent is not that of the rows"),
        ("end", "which is not in"),
        ("twice", "p0 came twice"),
        ("late", "which was not known by"),
        ("only", "asking for labels changes which rows come"),
    ],
)
def test_the_kit_tells_what_a_source_breaks(fault: str, why: str) -> None:
    """A whole source passes; each broken promise is one sentence."""
    check_source(Rows)
    with pytest.raises(AssertionError, match=why):
        check_source(lambda: Rows(fault))


class Forgetful:
    """A registry that makes a version anew each time."""

    numbers: ClassVar[list[str]] = []

    def register(self, version: VersionFiles) -> str:
        self.numbers.append(version.identity)
        return str(len(self.numbers))

    def identity(self, number: str) -> str | None:
        return self.numbers[int(number) - 1] if int(number) <= len(self.numbers) else None

    def alias(self) -> str | None:
        return None

    def move(self, number: str) -> None:
        pass


def test_the_kit_tells_what_others_break(tmp_path: Path) -> None:
    """A receiver that answers, a deployer that changes its order, a registry that registers twice."""

    def answers(message: Mapping[str, object], options: Mapping[str, object]) -> None:
        return "ok"  # type: ignore[return-value]  # which is the fault

    def changes(order: Mapping[str, object], options: Mapping[str, object]) -> None:
        order.pop("reason")  # type: ignore[attr-defined]  # which is the fault

    with pytest.raises(AssertionError, match="returns nothing and raises"):
        check_receiver(answers, {})
    with pytest.raises(AssertionError, match="changed the order"):
        check_deployer(changes, {}, tmp_path)
    with pytest.raises(AssertionError, match="registered again gets another number"):
        check_registry(Forgetful, tmp_path)
