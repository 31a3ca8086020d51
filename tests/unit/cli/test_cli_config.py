"""What `driftd check-config` says, and what commands tell of a config."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli_samples import DAY, NOON, Run
from driftd.config.load import load
from driftd.config.redact import redacted_dict
from driftd.events import Event
from driftd.records import ModelState, Order, OrderKind, Transition
from driftd.store.state.writer import StateStore
from driftd.web import secrets


def test_check_config_warns_of_secrets_that_are_not_there(
    driftd: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token or certificate that is not there (yet, or for this user) is a warning; a credential cannot be checked."""
    monkeypatch.setattr(secrets, "SYSTEM_CREDENTIALS", tmp_path / "no-folder")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    text = config.read_text()
    config.write_text(f"{text}http: {{token_file: {tmp_path}/token}}\nserve: {{token_file: token}}\n")
    address = tmp_path / "address"
    address.write_text("not an address: hunter2")
    with config.open("a") as more:
        more.write(f"notify: {{team: {{webhook_file: {address}}}}}\n")
    code, out, _ = driftd("check-config")
    assert code == 0
    assert f"warning: notify.team.webhook_file: webhook_file {address}: " in out
    assert "hunter2" not in out
    assert "its receiver is told nothing without it" in out
    address.write_text("https://chat.example/hook")
    assert f"warning: http.token_file: token_file {tmp_path}/token cannot be read: No such file" in out
    assert "driftd run does not start without it" in out
    assert "warning: serve.token_file: token is a credential that systemd gives to the unit" in out
    assert len(json.loads(driftd("check-config", "--json")[1])["warnings"]) == 2
    for path in (tmp_path / "token", tmp_path / "no-folder" / "token"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("x" * 32)
        path.chmod(0o600)
    assert json.loads(driftd("check-config", "--json")[1])["warnings"] == []


def test_check_config_says_what_the_config_means(driftd: Run, config: Path) -> None:
    """Windows, the budget of false alarms, builds and the override are told in words, with the hash."""
    config.write_text(config.read_text() + "override: {reason: INC-1, pin: {demand: 3}}\n")
    code, out, _ = driftd("check-config")
    assert code == 0
    for output in (
        "is good (hash ",
        "looks at every 1d of predictions",
        "false alarms: about one false alarm in 12 months",
        "365 clean windows from one to the next",
        "looks at every 500 predictions",
        "at most 4 builds in 1d, none within 6h after one ended",
        "demand serves exactly version 3 (INC-1)",
    ):
        assert output in out
    output = json.loads(driftd("check-config", "--json")[1])
    assert output["hash"] in out
    assert output["config"]["models"]["demand"]["window"]["every"] == DAY


def test_check_config_says_when_the_budget_of_false_alarms_cannot_be_kept(driftd: Run, config: Path) -> None:
    """Windows of a week keep one false alarm a year; twelve are more than their number allows, and that is said."""
    text = config.read_text().replace("every: 1d", "every: 7d")
    config.write_text(text)
    weekly = driftd("check-config")[1]
    assert "52 clean windows from one to the next" in weekly
    assert "cannot keep" not in weekly
    config.write_text(text.replace("every: 7d", "every: 7d}, detect: {false_alarms_per_year: 12", 1))
    output = driftd("check-config")[1]
    assert "false_alarms_per_year: 12 would be one in 4.3 windows, which evidence cannot keep" in output
    assert "held to one in 20 (2.6 a year)" in output


def test_check_config_for_a_reload_refuses_what_takes_a_restart(driftd: Run, config: Path, store: StateStore) -> None:
    """Beside a running daemon, another address or another state folder is an error; anything else is not."""
    applied = load(config)
    with store.transaction():
        store.save_config(applied.hash, at=NOON, content=redacted_dict(applied))
    text = config.read_text()
    config.write_text(text + "limits: {timeout: 2h}\n")
    assert driftd("check-config", "--reload")[0] == 0
    config.write_text(text + "http: {listen: 127.0.0.1:9999}\n")
    assert driftd("check-config")[0] == 0
    code, _, output = driftd("check-config", "--reload")
    assert code == 2
    assert "http.listen is not what the daemon runs with; state_dir and http change only with a restart" in output
    config.write_text(text.replace("/state", "/elsewhere"))
    code, _, output = driftd("check-config", "--reload")
    assert code == 2
    assert "no daemon keeps its state in" in output


def test_an_acknowledgement_in_the_config_is_told(driftd: Run, config: Path, store: StateStore) -> None:
    """check-config and status say which alarm is acknowledged until when, and that it lapsed."""
    del store
    own = "override: {{models: {{demand: {{acknowledge: [17], reason: INC-7, expires: {year}-01-01T00:00:00Z}}}}}}\n"
    good = config.read_text()
    config.write_text(good + own.format(year=2999))
    output = driftd("check-config")[1]
    assert "nothing is done about alarm 17 of demand until 2999-01-01T00:00:00+00:00 (INC-7)" in " ".join(
        output.split()
    )
    assert "demand: alarm 17 acknowledged until 2999-01-01T00:00:00Z: INC-7" in driftd("status")[1]
    config.write_text(good + own.format(year=2020))
    assert "what it asks of demand lapsed" in " ".join(driftd("check-config")[1].split())
    assert "what override.models asks of demand lapsed: remove it from the config" in driftd("status")[1]


def test_a_lapsed_override_is_told(driftd: Run, config: Path, store: StateStore) -> None:
    """check-config and status say that an override, or a silence, has no effect any more."""
    store.save_cursor("demand", "window", 1)
    text = config.read_text()
    config.write_text(text + "override: {reason: INC-1, expires: 2020-01-01T00:00:00Z, pause: [checks]}\n")
    said = "lapsed at 2020-01-01T00:00:00+00:00 and has no effect: remove it"
    assert said in driftd("check-config")[1]
    assert said in driftd("status")[1]
    config.write_text(text + "override: {reason: INC-1, silence: {demand: {y2: 2020-01-01T00:00:00Z}}}\n")
    assert "y2 of demand raises alarms again: its silence lapsed" in driftd("check-config")[1]
    assert "the silence of y2 of demand lapsed: remove it" in driftd("status")[1]


def test_commands_read_a_stored_config_that_this_driftd_cannot(driftd: Run, config: Path, store: StateStore) -> None:
    """A config kept by another driftd, in a way that is no config here, ends no command."""
    with store.transaction():
        store.save_config("0ddba11", at=NOON, content={"models": {"demand": {"features": {"auth": "..."}}}})
    assert driftd("status")[0] == 0
    config.write_text(config.read_text() + "nonsense: 1\n")
    assert driftd("history")[0] == 2
    assert "nonsense" in driftd("history")[2]


def test_what_is_held_of_one_model_is_told(driftd: Run, config: Path, store: StateStore) -> None:
    """check-config and status say what `override.models` pauses and silences, and status what people ordered."""
    asked = "pause: [checks], silence: [price], reason: INC-7, expires: 2999-01-01T00:00:00Z"
    own = f"override: {{models: {{demand: {{{asked}}}}}}}"
    config.write_text(config.read_text() + own + "\n")
    text = " ".join(driftd("check-config")[1].split())
    assert "pauses checks of demand; price of demand raises no alarm until 2999-01-01T00:00:00+00:00 (INC-7)" in text
    assert "demand: pause checks, silence price until 2999-01-01T00:00:00Z: INC-7" in driftd("status")[1]
    order = Order(OrderKind.PAUSE, "retraining", "ada by API from 10.0.0.7", "freeze", 32_472_144_000.0)
    given = Transition(ModelState("demand", champion=1, orders=(order,)), "ada orders", Event.ORDER_GIVEN)
    with store.transaction():
        store.save_transition(ModelState("demand", champion=1), given, at=1.0, actor="ada", config_hash="")
    output = " ".join(driftd("status")[1].split())
    assert "retraining paused until 2999-01-01 00:00 UTC by ada by API from 10.0.0.7: freeze" in output
