"""Packages with entry points, as pip would have installed them: their folder on the search path, with a dist-info."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "driftd_plugin_example"


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, package: Path = EXAMPLE, version: str | None = None) -> None:
    """Install a package for this process and its children; its metadata goes into a folder of the test."""
    made = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    version = version or made["version"]
    info = folder / f"{made['name'].replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {made['name']}\nVersion: {version}\n")
    groups = made["entry-points"].items()
    lines = [
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in points.items()) for group, points in groups
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.syspath_prepend(str(package))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
