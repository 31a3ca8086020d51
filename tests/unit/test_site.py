"""The site of the documentation has every page in its kind, and can be searched."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(os.environ.get("DRIFTD_DOCS", ROOT / ".venv-docs"))  # `make test` installs it
KINDS = ["Home", "Tutorial", "How-to", "Reference", "Explanation"]
LARGEST = 200_000  # bytes of a picture


class Reader(yaml.SafeLoader):
    """YAML whose tags for Python are only names."""


Reader.add_multi_constructor("tag:yaml.org,2002:python/", lambda _loader, suffix, _node: suffix)
SETTINGS = yaml.load((ROOT / "mkdocs.yml").read_text(), Reader)


def pages(part: object) -> Iterator[str]:
    """The files that a part of the navigation names."""
    if isinstance(part, str):
        yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from pages(inner)


def test_every_page_has_its_kind() -> None:
    """The navigation has the four kinds, and each page of docs/ once; decisions are added when the site is built."""
    assert [next(iter(part)) for part in SETTINGS["nav"]] == KINDS
    named = list(pages(SETTINGS["nav"]))
    files = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(named) == sorted(str(path) for path in files if path.parts[0] != "decisions")


def test_pictures_are_small_and_used() -> None:
    """Each picture is shown by a page, and none is a burden for a clone."""
    texts = "".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    pictures = sorted((ROOT / "docs" / "images").iterdir())
    assert pictures
    for path in pictures:
        assert path.stat().st_size < LARGEST, path
        assert f"images/{path.name}" in texts, path


@pytest.mark.slow
def test_the_site_is_built_and_can_be_searched(tmp_path: Path) -> None:
    """It is built without a warning, so links and anchors are there; the search knows each page; nothing is fetched."""
    if not (SITE / "bin" / "mkdocs").exists():
        pytest.skip(f"{SITE} has no mkdocs (make {SITE.name}/.ready)")
    command = [str(SITE / "bin" / "mkdocs"), "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    index = json.loads((tmp_path / "site" / "search" / "search_index.json").read_text())
    found = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert found >= {f"{path.stem}.html" for path in (ROOT / "docs").glob("*.md")}
    assert found >= {f"decisions/{path.stem}.html" for path in (ROOT / "docs" / "decisions").glob("*.md")}
    assert any("e-value" in entry["text"] for entry in index["docs"])
    for path in (tmp_path / "site").rglob("*.html"):
        assert not re.search(r'<(?:script|link|img)[^>]+(?:src|href)="https?://', path.read_text()), path
