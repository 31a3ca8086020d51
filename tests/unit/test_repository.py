"""What may stand in the files of the repository, whoever wrote them and wherever."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# A home, a work tree or a package mirror of whoever happened to write the line, and private registries.
# Spelled in pieces, so that this file does not find itself.
OF_ONE_MACHINE = re.compile(
    "|".join(
        [
            r"(?<![\w.])/(?:ro" + r"ot|ho" + r"me/[a-z][\w-]*|Us" + r"ers/[A-Za-z][\w-]*)/",
            r"(?<![\w.])/wo" + r"rk/(?:main|shared)",
            r"(?<![\w.])/opt/py" + r"pi",
            r"https?://[^\s\"']*(?:artifactory|nexus|/simple/|:3141)",
            r"--(?:extra-)?index-url",
        ]
    )
)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)#\s]+)(?:#[^)\s]*)?\)")


def tracked() -> list[Path]:
    """The files that git tracks, as they stand in the work tree."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("this is no git work tree, so there are no tracked files to look at")
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def texts() -> dict[Path, str]:
    """The tracked files that are text."""
    found = {}
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content[:8192]:
            found[path] = content.decode("utf-8")
    return found


def test_no_file_knows_the_machine_of_its_author() -> None:
    """No tracked text names a home directory, a private work tree or a package registry of one machine."""
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match.group()}"
        for path, text in texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if (match := OF_ONE_MACHINE.search(line))
    ]
    assert not found, found


@pytest.mark.parametrize(
    "line",
    [
        "cd /ro" + "ot/driftd",
        "path = '/ho" + "me/anna/driftd/x'",
        "see /wo" + "rk/main/docs",
        "pip install --index" + "-url https://mirror.corp/simp" + "le/ driftd",
    ],
)
def test_the_pattern_finds_what_it_is_for(line: str) -> None:
    """The pattern recognises each kind of line that must not be committed."""
    assert OF_ONE_MACHINE.search(line)


def test_every_link_between_documents_leads_somewhere() -> None:
    """Each relative link of a tracked Markdown file names a file or folder that exists."""
    documents = {path: text for path, text in texts().items() if path.suffix == ".md"}
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path, text in documents.items()
        for target in LINK.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        if not re.match(r"[a-z]+:", target) and not (path.parent / target).exists()
    ]
    assert not broken, broken


def test_no_tracked_file_is_a_by_product() -> None:
    """Nothing that a run produces is tracked: caches, databases, logs, built packages."""
    suffixes = {".pyc", ".db", ".sqlite", ".log", ".whl", ".part"}
    assert not [path.name for path in tracked() if path.suffix in suffixes or "__pycache__" in path.parts]


def test_only_the_shipped_data_is_large() -> None:
    """No tracked file is over a megabyte."""
    assert not {path.name: path.stat().st_size for path in tracked() if path.stat().st_size > 1_000_000}
