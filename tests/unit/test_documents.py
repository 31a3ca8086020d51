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


PAGES = [
    path
    for path in sorted(ROOT.glob("**/*.md"))
    if not {".venv", ".venv-lock", ".venv-newest", ".venv-servers", ".venv-docs", "demo-state", "site"}
    & set(path.parts)
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_only_what_exists(page: Path) -> None:
    """In a page, `driftd x` is a command, `make x` a target, and a link leads to a file and a heading."""
    text = page.read_text()
    shell = "\n".join(re.findall(r"```(?:sh|console)\n(.*?)```", text, re.DOTALL))
    assert set(re.findall(r"^(?:sudo )?driftd ([a-z][a-z-]+)", shell, re.MULTILINE)) <= set(COMMANDS)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z]+)", shell, re.MULTILINE)) <= targets
    assert set(re.findall(r"`make ([a-z]+)`", text)) <= targets
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, anchor = link.partition("#")
        if file.startswith("http"):
            continue
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", item.lower()).strip().replace(" ", "-") for item in headings}


def test_every_benchmark_is_listed_and_says_how_it_is_run() -> None:
    """A script in benchmarks/ has a row in their README and its command in its docstring."""
    listed = (ROOT / "benchmarks" / "README.md").read_text()
    for script in (ROOT / "benchmarks").glob("*.py"):
        command = f"python benchmarks/{script.name}"
        assert command in listed
        assert command in script.read_text().split('"""')[1], script.name


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
