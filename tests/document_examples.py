"""The blocks of a page of docs/, run in their order as a reader would."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from driftd_processes import driftd, environment

DOCS = Path(__file__).parents[1] / "docs"


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and its text."""

    language: str
    text: str


def blocks(page: str) -> Iterator[Block]:
    """The blocks of a page, in their order."""
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE):
        yield Block(language, text)


def run_block(block: Block, folder: Path) -> None:
    """Write a program where its first line names the file, run it if it is no module of functions, run commands."""
    if block.language == "python":
        name = re.match(r"# (\w+\.py)\n", block.text)
        assert name is not None, "a program of a page begins with a comment that is its file's name"
        (folder / name[1]).write_text(block.text)
        does_something = any(isinstance(step, ast.Expr | ast.With) for step in ast.parse(block.text).body)
        if does_something and "DRIFTD_" not in block.text:
            done = subprocess.run(
                [sys.executable, name[1]], cwd=folder, env=environment(), capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
    if block.language == "sh":
        for line in block.text.splitlines():
            words = shlex.split(line, comments=True)
            assert words[0] == "driftd", line
            done = driftd(folder, *words[1:])
            assert done.returncode == 0, f"{line}\n{done.stderr}"


def ask(block: Block, http: httpx.Client) -> httpx.Response:
    """Send a block that begins with a method and a path, the body below."""
    first, _, body = block.text.partition("\n")
    method, path = first.split()
    headers = {"content-type": "application/json"} if body else {}
    return http.request(method, path, content=body or None, headers=headers)


def shape(value: Any) -> Any:
    """Keys and types: what an answer on a page must have in common with the real one."""
    if isinstance(value, dict):
        return {key: shape(part) for key, part in value.items()}
    if isinstance(value, list):
        return [shape(part) for part in value]
    return type(value).__name__


def same_shape(block: Block, answer: httpx.Response) -> None:
    """The block is an answer such as the real one."""
    assert shape(json.loads(block.text)) == shape(answer.json()), answer.text
