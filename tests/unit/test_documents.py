"""The documents say what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from driftd.cli.document import document
from driftd.cli.main import COMMANDS, cli

ROOT = Path(__file__).parents[2]


def test_every_command_is_documented() -> None:
    """docs/cli.md is what `python -m driftd.cli.document` prints."""
    assert (ROOT / "docs/cli.md").read_text() == document()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example(name: str) -> None:
    """The help of each command has an example that begins with its own name."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert "Example:" in (command.help or "")
    assert f"driftd {name}" in (command.help or "")


def test_the_readme_names_only_commands_that_exist() -> None:
    """Every `driftd x` in a code block of the README is a command, every `make x` a target, every link a file."""
    readme = (ROOT / "README.md").read_text()
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", readme, re.DOTALL))
    assert set(re.findall(r"^driftd ([a-z-]+)", blocks, re.MULTILINE)) <= set(COMMANDS)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z]+)", blocks, re.MULTILINE)) <= targets
    for link in re.findall(r"\]\(([^)#]+)\)", readme):
        assert link.startswith("http") or (ROOT / link).exists(), link


def test_every_test_states_its_behaviour_in_one_sentence() -> None:
    """Each test function has a docstring that ends its one sentence with a full stop."""
    silent = []
    for path in (ROOT / "tests").rglob("test_*.py"):
        for name, text in re.findall(
            r"^(?:async )?def (test_\w+)\(.*?\).*?:\n    (.*)$", path.read_text(), re.MULTILINE
        ):
            if not text.startswith('"""'):
                silent.append(f"{path.name}: {name}")
    assert silent == []
