"""The history of the config: since when an override has asked for what it asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from driftd.config.schema import Config
from driftd.loop.config_history import ConfigHistory
from driftd.observe.metrics import Metrics
from driftd.store.state.writer import StateStore

PIN = {"pin": {"demand": 1}, "reason": "an incident"}
PAUSE = {"pause": ["checks"], "reason": "an incident"}


def config(digest: str, override: dict[str, Any]) -> Config:
    model = {"task": "regression", "target": "y"}
    return Config.model_validate({"models": {"demand": model}, "override": override}).with_hash(digest)


@pytest.fixture
def history(tmp_path: Path) -> ConfigHistory:
    return ConfigHistory(StateStore.open(tmp_path / "state.db"), Metrics())


def test_an_override_began_with_the_first_config_that_has_had_it_since(history: ConfigHistory) -> None:
    """An edit of something else and a restart begin nothing anew; what was lifted and set again begins again."""
    history.record_applied(config("a", PIN), 10.0)
    history.record_applied(config("b", {}), 20.0)
    history.record_applied(config("c", PIN), 30.0)
    history.record_applied(config("d", {**PIN, **PAUSE}), 40.0)
    assert history.asked_since == {"pin": 30.0, "pause_checks": 40.0}
    restarted = ConfigHistory(history.store, Metrics())
    restarted.record_applied(config("d", {**PIN, **PAUSE}), 90.0)
    assert restarted.asked_since == {"pin": 30.0, "pause_checks": 40.0}


def test_a_refused_config_between_ends_no_override(history: ConfigHistory) -> None:
    """The config before it stayed in force, and with it what it asked for."""
    history.record_applied(config("a", PIN), 10.0)
    history.record_refused("b", "a bad file", 20.0)
    history.record_applied(config("c", PIN), 30.0)
    assert history.asked_since == {"pin": 10.0}


def test_without_an_override_nothing_is_asked_for(history: ConfigHistory) -> None:
    """A config without an override has no beginning of one."""
    history.record_applied(config("a", PIN), 10.0)
    history.record_applied(config("b", {}), 20.0)
    assert history.asked_since == {}
