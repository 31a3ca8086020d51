"""A registry: a folder with a numbered folder for each version, and a file that names the one that serves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from driftd.testing import VersionFiles


class FolderRegistry:
    """Options: `folder`. What is written is renamed into its place, so that nobody reads half of it."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._folder = Path(str(options["folder"]))

    def register(self, version: VersionFiles) -> str:
        """A copy of the version's folder, under the next number; what an earlier try left is done again."""
        known = next((number for number in self._numbers() if self.identity(number) == version.identity), None)
        if known is not None:
            return known
        number = str(max((int(name) for name in self._numbers()), default=0) + 1)
        staged = self._folder / f".{version.identity}"
        shutil.rmtree(staged, ignore_errors=True)
        shutil.copytree(version.artefact.parent, staged)
        (staged / "identity.json").write_text(json.dumps({"identity": version.identity, "model": version.model}))
        staged.rename(self._folder / number)
        return number

    def identity(self, number: str) -> str | None:
        """As the folder of the number says."""
        path = self._folder / number / "identity.json"
        return str(json.loads(path.read_text())["identity"]) if path.is_file() else None

    def alias(self) -> str | None:
        """As the file `serving` says."""
        path = self._folder / "serving"
        return path.read_text().strip() if path.is_file() else None

    def move(self, number: str) -> None:
        """Replace the file `serving` in one step."""
        staged = self._folder / ".serving"
        staged.write_text(f"{number}\n")
        staged.replace(self._folder / "serving")

    def _numbers(self) -> list[str]:
        return [path.name for path in self._folder.iterdir() if path.name.isdecimal()]
