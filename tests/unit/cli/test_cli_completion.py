"""The shell completes commands, options and models; the script goes where the shell looks for it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from cli_samples import Run
from driftd.cli.arguments import ModelName
from driftd.cli.completion import BEGIN, SHELLS, script_of
from driftd.cli.main import COMMANDS, cli

PATHS = {
    "bash": ".local/share/bash-completion/completions/driftd",
    "zsh": ".local/share/driftd/completion.zsh",
    "fish": ".config/fish/completions/driftd.fish",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own."""
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR", "BASH_COMPLETION_USER_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def completed(*words: str) -> list[str]:
    """What the shell offers for the last word."""
    found = ShellComplete(cli, {}, "driftd", "_DRIFTD_COMPLETE").get_completions(list(words[:-1]), words[-1])
    return [item.value for item in found]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_installed_once(driftd: Run, home: Path, shell: str) -> None:
    """It is written below the home, a second time changes nothing, and what it says undoes it."""
    code, out, _ = driftd("completion", shell, "--install")
    script = home / PATHS[shell]
    assert code == 0
    assert script.read_text() == script_of(shell)
    assert f"written: {script}" in out
    assert f"to undo it, remove {script}" in out
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    code, out, _ = driftd("completion", shell, "--install")
    assert (code, "nothing is changed" in out) == (0, True)
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


def test_zsh_keeps_what_its_file_held(driftd: Run, home: Path) -> None:
    """The lines that name the script come after those of the user, who finds them between two marks."""
    (home / ".zshrc").write_text("alias ll='ls -l'")
    driftd("completion", "zsh", "--install")
    text = (home / ".zshrc").read_text()
    assert text.startswith("alias ll='ls -l'\n" + BEGIN)
    assert text.count(BEGIN) == 1


def test_the_shell_of_the_user_is_meant(driftd: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$SHELL says which script, and an unknown one is asked about."""
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert driftd("completion")[1] == script_of("fish")
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    code, _, complained = driftd("completion")
    assert (code, "name one of bash, zsh, fish" in complained) == (2, True)


def test_commands_and_options_are_completed() -> None:
    """Commands without being loaded, and options of a command."""
    assert set(completed("res")) == {"restore", "resume", "reset-evidence", "reset-cursor"}
    assert set(completed("")) >= set(COMMANDS)
    assert "--limit" in completed("history", "--l")


def test_models_are_completed(config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those of the config that is meant; none, and no complaint, where it cannot be read."""
    monkeypatch.setenv("DRIFTD_CONFIG", str(config))
    assert completed("history", "") == ["demand", "supply"]
    assert completed("status", "--model", "su") == ["supply"]
    monkeypatch.delenv("DRIFTD_CONFIG")
    assert completed("history", "--config", str(config), "d") == ["demand"]
    config.write_text("models: [")
    assert completed("history", "--config", str(config), "") == []
    assert completed("history", "--config", str(tmp_path / "none.yaml"), "") == []


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "init"])
def test_every_argument_for_a_model_completes_models(name: str) -> None:
    """A parameter called `model` is of the type that completes names; of `init` it is a file."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    for parameter in command.params:
        if parameter.name == "model":
            assert isinstance(parameter.type, ModelName)


CHECKS = {"bash": "-n", "zsh": "-n", "fish": "--no-execute"}


@pytest.mark.parametrize("shell", [shell for shell in CHECKS if shutil.which(shell)])
def test_a_script_is_one_that_its_shell_reads(home: Path, shell: str) -> None:
    """Each script is syntax of its shell, of those that are installed."""
    command = [shell, CHECKS[shell]]
    done = subprocess.run(command, input=script_of(shell), text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_bash_completes_with_the_script(home: Path, config: Path, tmp_path: Path) -> None:
    """A real bash that has read the script offers the models of the config."""
    bash = shutil.which("bash")
    assert bash is not None
    script = tmp_path / "script"
    script.write_text(script_of("bash"))
    (tmp_path / "driftd").write_text(f'#!/bin/sh\nexec {sys.executable} -m driftd.cli.main "$@"\n')
    (tmp_path / "driftd").chmod(0o755)
    words = f"source {script}; COMP_WORDS=(driftd history d); COMP_CWORD=2; COMPREPLY=(); " + (
        "compopt() { :; }; _driftd_completion driftd; echo ${COMPREPLY[@]}"
    )
    from driftd_processes import environment  # noqa: PLC0415 - only here

    variables = environment() | {"DRIFTD_CONFIG": str(config)}
    variables["PATH"] = f"{tmp_path}:{variables['PATH']}"
    done = subprocess.run([bash, "-c", words], env=variables, text=True, capture_output=True, check=False)
    assert done.stdout.split() == ["demand"], done.stderr
