"""The pictures of the documentation, made from the real page: `make screenshots`.

`python docs/screenshots.py FOLDER` serves the page of the demonstration that ran in FOLDER, as `driftd demo --page`
does, and has Chromium draw it in both of its colour schemes into docs/images/.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

from driftd.demonstration.page import page_of
from driftd.demonstration.stream import MODEL

CHROMIUM = "/usr/bin/chromium"
IMAGES = Path(__file__).parent / "images"
SIZE = {"width": 1200, "height": 900}
VIEWS = {"fleet": "#/", "model": f"#/model/{MODEL}?span=all"}
SCHEMES = ("light", "dark")
COLOURS = 128  # of a picture: a page has few, and the file is a fifth
LARGEST = 200_000  # bytes of a file
FLAT = 5.0  # levels of grey that an empty picture does not vary by


def draw(folder: Path, images: Path = IMAGES) -> list[Path]:
    """Draw every view in both schemes. Raises ValueError where a picture is empty or its file too large."""
    images.mkdir(exist_ok=True)
    made = []
    with page_of(folder) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name, place in VIEWS.items():
            for scheme in SCHEMES:
                page = browser.new_page(viewport=SIZE, color_scheme=scheme)
                page.goto(address + place)
                page.wait_for_load_state("networkidle")
                page.wait_for_timeout(500)  # charts are drawn in the frame after the last answer
                made.append(_save(page.screenshot(), images / f"{name}-{scheme}.png"))
                page.close()
        browser.close()
    return made


def _save(picture: bytes, path: Path) -> Path:
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    if float(np.asarray(image).std()) < FLAT:
        raise ValueError(f"{path.name} would be empty")
    image.quantize(COLOURS).save(path, optimize=True)
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes; a picture has at most {LARGEST:,}")
    return path


if __name__ == "__main__":
    for path in draw(Path(sys.argv[1])):
        sys.stdout.write(f"{path} {path.stat().st_size:,} bytes\n")
