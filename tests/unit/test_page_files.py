"""The page's files: whole in the wheel, from our own origin alone, and never turning data into markup."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from driftd.observe.alerts import ALERTS
from driftd.views.runbook_document import page

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "daemon" / "driftd" / "page" / "static"
OURS = sorted(path for path in STATIC.glob("*.js"))
UPLOT = {
    "uPlot.esm.js": "5dd9b3281aa64b461b42d9945f6adb2649d346502b12281a9ae0d46599a80eba",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}


@pytest.mark.parametrize("name", UPLOT)
def test_the_charting_library_is_what_its_note_says(name: str) -> None:
    """UPlot's files are those of the noted release, unchanged, with its licence beside them."""
    assert hashlib.sha256((STATIC / "uplot" / name).read_bytes()).hexdigest() == UPLOT[name]
    assert "1.6.32" in (STATIC / "uplot" / "README.md").read_text()


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_no_script_turns_text_into_markup_or_code(path: Path) -> None:
    """What could read data as HTML or as code is not used anywhere."""
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|DOMParser"
    assert not re.findall(forbidden, path.read_text("utf-8"))


@pytest.mark.parametrize("path", [*OURS, STATIC / "app.css", STATIC / "index.html"], ids=lambda path: path.name)
def test_nothing_is_fetched_from_elsewhere(path: Path) -> None:
    """No address of another host stands in the page; the namespace of SVG is a name."""
    text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.findall(r"https?://|//cdn|@import|url\(", text)


def test_the_document_has_no_inline_script_or_style() -> None:
    """The strict policy would refuse them."""
    for name in ("index.html", "runbook.html"):
        text = (STATIC / name).read_text("utf-8")
        assert not re.findall(r"<style|<[^>]*(?:\sstyle=|\son\w+=|javascript:)", text)
        assert all("src=" in script for script in re.findall(r"<script[^>]*>", text))


def test_the_runbook_that_is_served_is_the_one_of_the_docs() -> None:
    """Every alert's section can be linked to, and every link within leads to a section."""
    text = (STATIC / "runbook.html").read_text("utf-8")
    assert text == page((ROOT / "docs" / "runbook.md").read_text("utf-8"))
    sections = set(re.findall(r'<h[1-6] id="([^"]+)"', text))
    assert {alert.section for alert in ALERTS} <= sections
    linked = set(re.findall(r'<a href="#([^"]+)"', text))
    assert linked
    assert linked <= sections
    assert not re.findall(r'href="(?!#|page/|\./|runbook")', text)


def test_every_file_is_in_the_wheel(tmp_path: Path) -> None:
    """Whoever installs the package gets the page with it."""
    build = "import sys; from hatchling.builders.wheel import WheelBuilder as Wheel; "
    build += "list(Wheel(sys.argv[1]).build(directory=sys.argv[2]))"
    pytest.importorskip("hatchling")
    subprocess.run([sys.executable, "-c", build, str(ROOT), str(tmp_path)], check=True, cwd=tmp_path)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    files = {f"driftd/page/static/{path.relative_to(STATIC)}" for path in STATIC.rglob("*") if path.is_file()}
    assert len(files) >= 12
    assert files <= names
