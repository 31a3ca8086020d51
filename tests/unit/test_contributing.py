"""CONTRIBUTING.md and the hooks name only paths, commands and names that are there."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
SHELL = [
    line.split("#")[0].split()
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]
PATHS = sorted(set(re.findall(r"`([\w.-]*(?:/[\w.-]*)+)`", PAGE)))
RECIPES = ("a detector", "a source", "a config key", "a metric", "a migration", "an event")
OWN_TOOLS = {"python", "ruff", "mypy"}


def test_every_recipe_is_there_and_names_its_files() -> None:
    """Each recipe names at least three files to touch, a test among them."""
    for what in RECIPES:
        section = PAGE.split(f"## Add {what}\n")[1].split("\n## ")[0]
        files = re.findall(r"`([\w.-]+(?:/[\w.-]+)+)/?`", section)
        assert len(files) >= 3, what
        assert any(file.startswith("tests/") for file in files), what


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_there(path: str) -> None:
    """What looks like a path is a file or a folder of the project."""
    assert (ROOT / path).exists(), path


@pytest.mark.parametrize("command", SHELL, ids=" ".join)
def test_a_command_can_be_typed(command: list[str]) -> None:
    """A command is a target of the Makefile, or a locked tool of the environment on a file that is there."""
    program, *rest = command
    if program == "make":
        targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
        assert set(rest) <= targets
        return
    if program == "pre-commit":
        assert (ROOT / ".pre-commit-config.yaml").exists()
        return
    folder, tool = program.rsplit("/", 1)
    assert folder == ".venv/bin"
    assert tool in OWN_TOOLS
    for word in rest:
        assert not word.endswith(".py") or (ROOT / word).exists(), word


def test_names_in_the_recipes_are_there() -> None:
    """The classes and tables that the recipes name exist where they say."""
    for module, name in (
        ("driftd_detectors.assessment", "EvidenceKind"),
        ("driftd.sources.protocol", "Source"),
        ("driftd.events", "Event"),
        ("driftd.decisions", "MEANINGS"),
    ):
        assert f"`{name}`" in PAGE
        assert hasattr(importlib.import_module(module), name)


def test_the_hooks_are_local_and_their_tools_are_locked() -> None:
    """No hook is fetched from elsewhere; each runs a tool that the dev group of pyproject.toml has."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    tools = {re.split(r"[^\w-]", line)[0] for line in groups["dev"] if isinstance(line, str)}
    hooks = config["repos"][0]["hooks"]
    assert {hook["id"] for hook in hooks} == {"ruff", "ruff-format", "mypy"}
    for hook in hooks:
        program = hook["entry"].split()[0]
        assert program.startswith(".venv/bin/")
        assert program.removeprefix(".venv/bin/") in tools
        assert hook["language"] == "system"
