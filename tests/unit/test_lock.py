"""The lock files hold what pyproject.toml asks for, with hashes, and nothing of the machine that made them."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
FILES = ("runtime", "dev", "build", "lock", "servers", "spark", "spark-server")
PYTHONS = ("3.11", "3.12", "3.13")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
ADDRESS = re.compile(r"://|--(?!hash=sha256:)[a-z]|@ |(?<![\w.])/\w|^-", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """One line of a lock file: a version, where it is installed, and the hashes of its files."""

    requirement: Requirement
    hashes: frozenset[str]

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        (pinned,) = self.requirement.specifier
        assert pinned.operator == "==", self.requirement
        return pinned.version

    def is_installed_on(self, python: str) -> bool:
        marker = self.requirement.marker
        return marker is None or marker.evaluate(_environment(python))


def _environment(python: str) -> dict[str, str]:
    return {
        "python_version": python,
        "python_full_version": f"{python}.5",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }


def statements(file: str) -> list[str]:
    """The requirements of a lock file as pip reads them: no comments, and continued lines joined."""
    text = (ROOT / "requirements" / f"{file}.txt").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return [line for line in "\n".join(lines).replace("\\\n", "").splitlines() if line.strip()]


@cache
def entries(file: str) -> tuple[Entry, ...]:
    return tuple(
        Entry(Requirement(HASH.sub("", line).strip()), frozenset(HASH.findall(line))) for line in statements(file)
    )


@cache
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def group(name: str) -> list[str]:
    """The requirements of a dependency group and of the groups that it includes."""
    items = project()["dependency-groups"][name]
    return [
        element for item in items for element in ([item] if isinstance(item, str) else group(item["include-group"]))
    ]


def direct(file: str) -> list[Requirement]:
    """What pyproject.toml asks for directly, for one lock file."""
    dependencies, build = project()["project"]["dependencies"], project()["build-system"]["requires"]
    asked = {
        "runtime": dependencies,
        "dev": [*dependencies, *group("dev")],
        "build": [*build, *group("build")],
        "lock": group("lock"),
        "servers": group("servers"),
        "spark": group("spark"),
        "spark-server": group("spark-server"),
    }
    return [Requirement(text) for text in asked[file]]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("file", FILES)
def test_every_direct_requirement_is_locked_in_its_range(file: str, python: str) -> None:
    """For each Python there is exactly one version of each, and pyproject.toml allows it."""
    locked: dict[str, list[str]] = {}
    for entry in entries(file):
        if entry.is_installed_on(python):
            locked.setdefault(entry.name, []).append(entry.version)
    for requirement in direct(file):
        versions = locked.get(canonicalize_name(requirement.name), [])
        assert len(versions) == 1, f"{requirement}: requirements/{file}.txt has {versions}; run `make lock KEEP=1`"
        assert requirement.specifier.contains(versions[0], prereleases=True), f"{requirement}: {versions[0]} is locked"
    assert {name: versions for name, versions in locked.items() if len(versions) > 1} == {}


@pytest.mark.parametrize("file", FILES)
def test_every_entry_has_hashes(file: str) -> None:
    """There is no entry whose files pip would install unchecked."""
    assert [entry.name for entry in entries(file) if not entry.hashes] == []
    assert entries(file)


@pytest.mark.parametrize("file", FILES)
def test_no_lock_file_says_where_it_was_made(file: str) -> None:
    """It names no index, no address and no path: pip's own settings say where packages come from."""
    assert ADDRESS.findall("\n".join(statements(file))) == []


@pytest.mark.parametrize(
    "line", ["--index" + "-url https://a.corp", "-e .", "a @ file:///srv/a.whl", "/srv/a.whl", "--find-links wheels"]
)
def test_the_pattern_of_addresses_finds_each_kind(line: str) -> None:
    """The pattern recognises what a lock file must not hold."""
    assert ADDRESS.search(line)


@pytest.mark.parametrize("file", ["runtime", "build"])
def test_the_lock_files_agree(file: str) -> None:
    """What is installed as a service or to build driftd is what the tests run with."""
    developed = {(str(entry.requirement), entry.hashes) for entry in entries("dev")}
    assert {str(e.requirement) for e in entries(file) if (str(e.requirement), e.hashes) not in developed} == set()


def test_the_services_get_nothing_that_only_developers_need() -> None:
    """The runtime lock holds none of the tools of the dev group."""
    tools = {canonicalize_name(requirement.name) for requirement in direct("dev")}
    needed = {canonicalize_name(requirement.name) for requirement in direct("runtime")}
    needed.add("pip")  # sqlite-utils asks for it
    assert {entry.name for entry in entries("runtime")} & (tools - needed) == set()
