"""How long the page's questions take on a year of hourly history for 20 models with 12 features.

Run: PYTHONPATH=daemon:detectors python benchmarks/status_page.py
Prints the seconds of each view's first answer (nothing kept) and of the answer that nothing changed; then, where there
is a Chromium, of each view from its address until it is drawn, by a browser that has kept nothing.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import httpx

from driftd.paths import Places
from page_server import seconds_until_drawn, serve_page
from year_of_history import write_history

QUESTIONS = (
    "/api/fleet",
    "/api/models/model-00",
    "/api/models/model-00?span=all",
    "/api/models/model-00/scores",
    "/api/models/model-00/scores?span=all",
    "/api/config",
    "/api/alarms/40",
)


VIEWS = (
    ("#/", ".model:nth-of-type(20) svg"),
    ("#/model/model-07", ".heat canvas"),
    ("#/model/model-07?span=all", ".heat canvas"),
)
TRIES = 5


def print_drawing_times(places: Places) -> None:
    """Print how long each view takes to be drawn: the median and the worst of some tries."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for view, last in VIEWS:
            seconds = []
            for _ in range(TRIES):
                with serve_page(places, places.root / "config.yaml") as address:
                    seconds.append(seconds_until_drawn(browser, f"{address}/{view}", last))
            seconds.sort()
            print(f"{view:42} drawn after {seconds[TRIES // 2]:.2f} s, at worst {seconds[-1]:.2f} s")
        browser.close()


def main() -> None:
    """Write the history (or use the one in the folder that is named), ask, print."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="driftd-page-"))
    places = Places(folder)
    if not places.state_db.exists():
        began = time.perf_counter()
        write_history(places.state_db, models=1, copies=19, windows=8_760, features=12)
        print(f"written in {time.perf_counter() - began:.0f} s")
    print(f"state.db: {places.state_db.stat().st_size / 1e6:.0f} MB")
    for question in QUESTIONS:
        with serve_page(places, folder / "config.yaml") as address, httpx.Client(base_url=address, timeout=60) as http:
            http.get("/")  # the connection's own start is not counted
            began = time.perf_counter()
            answer = http.get(question)
            first = time.perf_counter() - began
            began = time.perf_counter()
            again = http.get(question, headers={"if-none-match": answer.headers["etag"]})
            second = time.perf_counter() - began
        assert (answer.status_code, again.status_code) == (200, 304), answer.text[:200]
        print(f"{question:42} {first:6.3f} s  {len(answer.content) / 1000:6.0f} kB  unchanged: {second:.4f} s")
    print_drawing_times(places)


if __name__ == "__main__":
    main()
