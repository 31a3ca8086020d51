"""`driftd notify-test` against real receivers, and what the commands show of their secrets."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from driftd.cli.main import main
from driftd.config.load import parse
from driftd.config.schema import Config
from driftd.notify.document import document
from notify_samples import endpoint

Run = Callable[..., tuple[int, str, str]]
CONFIG = """\
state_dir: {state}
models:
  demand: {{task: regression, target: y}}
notify:
  team: {{webhook: "{url}"}}
  page: {{command: [/bin/sh, -c, "echo no pager here >&2; exit 7"]}}
"""


@pytest.fixture
def driftd(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["driftd", *arguments])
        monkeypatch.setenv("DRIFTD_CONFIG", str(tmp_path / "config.yaml"))
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


def test_a_test_says_who_took_it_and_why_others_did_not(driftd: Run, tmp_path: Path) -> None:
    """Each receiver gets one message that says it is a test; one that fails is told, and the code is 1."""
    with endpoint() as team:
        (tmp_path / "config.yaml").write_text(CONFIG.format(state=tmp_path / "state", url=team.url))
        code, out, _ = driftd("notify-test")
        assert code == 1
        assert "team: took the test message" in out
        assert "page: the program ended with exit code 7: no pager here" in out
        assert team.got[0]["driftd"]["test"] is True
        code, out, _ = driftd("notify-test", "team", "--json")
        assert (code, json.loads(out)) == (0, {"team": {"delivered": True, "error": None}})
        assert len(team.got) == 2
        code, _, complaint = driftd("notify-test", "nobody")
        assert code == 2
        assert "there are team, page" in complaint


def test_without_receivers_the_next_step_is_told(driftd: Run, tmp_path: Path) -> None:
    """A config that names nobody to tell is a mistake of the command line, with a hint."""
    config = CONFIG.format(state=tmp_path / "state", url="https://example.com/").partition("notify:")[0]
    (tmp_path / "config.yaml").write_text(config)
    code, _, complaint = driftd("notify-test")
    assert code == 2
    assert "add one under `notify`" in complaint


def test_no_command_shows_the_address_of_a_webhook(driftd: Run, tmp_path: Path) -> None:
    """check-config, in words and as JSON, says that there is a webhook and not where it is."""
    url = "https://hooks.example.com/services/T0/secret-token"
    (tmp_path / "config.yaml").write_text(CONFIG.format(state=tmp_path / "state", url=url))
    for arguments in (("check-config",), ("check-config", "--json"), ("notify-test", "--json")):
        code, out, complaint = driftd(*arguments)
        assert code in {0, 1}
        assert "secret-token" not in out + complaint
    _, out, _ = driftd("check-config")
    assert "team: a webhook is told of what needs to be known (`default`), of all models" in out


def test_a_recorded_config_is_read_back_without_its_secrets(tmp_path: Path) -> None:
    """What the state keeps of a config is a config, with the host of a webhook and nothing of its path or password."""
    text = CONFIG.format(state=tmp_path, url="https://user:password@hooks.example.com:8443/services/secret-token?key=x")
    config = parse(text.encode())
    kept = config.model_dump(mode="json")
    assert kept["notify"]["team"]["webhook"] == "https://hooks.example.com:8443/**********"
    assert Config.model_validate(kept).notify["page"] == config.notify["page"]
    assert "password" not in repr(config) + json.dumps(kept)


def test_the_page_on_notifications_is_true() -> None:
    """docs/notifications.md is what the code says of itself."""
    page = Path(__file__).resolve().parents[2] / "docs" / "notifications.md"
    assert page.read_text("utf-8") == document()
