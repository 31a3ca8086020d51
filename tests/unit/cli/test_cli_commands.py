"""The command line itself: its help, its config, and mistakes, each one sentence and an exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cli_samples import Run
from driftd.cli.main import COMMANDS, cli
from driftd.cli.terminal import default_config
from driftd.errors import ExitCode
from driftd.paths import Places
from driftd.store.state.writer import StateStore


def test_the_help_names_every_command_and_every_exit_code(driftd: Run) -> None:
    """`driftd --help` lists all commands, each with a sentence, and what each exit code means."""
    code, out, _ = driftd("--help")
    assert code == 0
    for name, (_, sentence) in COMMANDS.items():
        assert f"  {name} " in out
        assert sentence in out
    for exit_code in ExitCode:
        assert f"{exit_code:d}  {exit_code.meaning}" in out


def test_the_help_loads_only_click() -> None:
    """Asking for help costs no import of pydantic, rich, NumPy or anything heavier."""
    probe = "import sys, driftd.cli.main as m\ntry: m.cli(['--help'])\nexcept SystemExit: pass\n"
    probe += "print('loaded', *{'pydantic', 'rich', 'numpy', 'pandas', 'yaml', 'sqlite3'} & set(sys.modules))"
    roots = os.pathsep.join(item for item in sys.path if item)
    run = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": roots},
    )
    assert run.stdout.splitlines()[-1] == "loaded"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is_for(name: str) -> None:
    """No option of any command is without its help."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    silent = [item.name for item in command.params if isinstance(item, click.Option) and not item.help]
    assert not silent


def test_the_config_is_looked_for_where_it_usually_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$DRIFTD_CONFIG goes before ./config.yaml, which goes before /etc/driftd/config.yaml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DRIFTD_CONFIG", raising=False)
    assert default_config() == Path("/etc/driftd/config.yaml")
    (tmp_path / "config.yaml").touch()
    assert default_config() == Path("config.yaml")
    monkeypatch.setenv("DRIFTD_CONFIG", "/srv/own.yaml")
    assert default_config() == Path("/srv/own.yaml")


@pytest.mark.parametrize(
    ("arguments", "expected", "output"),
    [
        (("nosuch",), 2, "No such command"),
        (("history", "demnd"), 4, "there is no model 'demnd' in the config; there are demand, supply"),
        (("versions",), 2, "which model? Name one of demand, supply"),
        (("explain", "seven"), 2, "neither `last` nor an id"),
        (("explain", "last", "-m", "demnd"), 4, "there is no model 'demnd'"),
        (("approve", "demand"), 2, "Missing argument 'VERSION'"),
        (("history", "-n", "0"), 2, "-n"),
    ],
)
def test_a_mistake_is_one_sentence_and_its_exit_code(
    driftd: Run, store: StateStore, arguments: tuple[str, ...], expected: int, output: str
) -> None:
    """What a user gets wrong is told in a sentence, without a traceback."""
    code, _, err = driftd(*arguments)
    assert code == expected
    assert output in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["status", "history", "versions", "check-config", "run", "retrain"])
def test_a_bad_config_is_reported_as_it_is(driftd: Run, config: Path, command: str) -> None:
    """Every command that reads the config ends with 2 and the whole report of what is wrong with it."""
    config.write_text("models:\n  demand: {task: regression, target: y, windw: 1}\nhtp: 1\n")
    code, _, err = driftd(command)
    assert code == 2
    assert err.splitlines()[0].startswith(
        f"{config}:2: models.demand.windw: there is no such key; did you mean 'window'?"
    )
    assert err.splitlines()[1].startswith(f"{config}:3: htp: ")


@pytest.mark.parametrize("arguments", [("history",), ("explain", "last"), ("retrain", "demand")])
def test_without_state_there_is_nothing_to_tell(driftd: Run, arguments: tuple[str, ...]) -> None:
    """Before the daemon's first start the commands that need its state say so and end with 4."""
    code, _, err = driftd(*arguments)
    assert code == 4
    assert "driftd run" in err


def test_a_broken_database_is_told(driftd: Run, tmp_path: Path) -> None:
    """A state database that is none ends with 1 and a sentence."""
    state_db = Places(tmp_path / "state").state_db
    state_db.parent.mkdir()
    state_db.write_bytes(b"no database at all" * 100)
    code, _, err = driftd("history")
    assert code == 1
    assert "cannot be read as a database" in err


@pytest.mark.parametrize("arguments", [("explain", "99"), ("explain", "9" * 30), ("explain", "--alarm", "5")])
def test_what_is_not_there_ends_with_4(driftd: Run, store: StateStore, arguments: tuple[str, ...]) -> None:
    """A decision or an alarm that there is not is told, whatever its number."""
    code, _, err = driftd(*arguments)
    assert code == 4
    assert "there is no" in err
