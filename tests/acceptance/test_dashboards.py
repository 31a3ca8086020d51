"""Every query of Grafana's boards, asked of a real Prometheus that scraped a real run: none fails, none is empty."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

import loop_world
from driftd.config.load import load
from driftd.observe.http import HttpThread, Wiring, application
from driftd.store.state.request_queue import post_request
from limits import HANG
from loop_world import CONFIG, HOUR, MODEL, World

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BOARDS = {path.stem: json.loads(path.read_text("utf-8")) for path in (ROOT / "grafana/dashboards").glob("*.json")}
OVERRIDE = "override: {reason: the upstream is moved, expires: 2099-01-01T00:00:00Z, pause: [promotion]}\n"
PROMETHEUS = """\
global: {{scrape_interval: 1s}}
scrape_configs:
  - {{job_name: driftd, static_configs: [{{targets: ["{daemon}"]}}]}}
  - {{job_name: driftd-serve, static_configs: [{{targets: ["{server}"]}}]}}
"""
ROW = {"a": 0.5, "b": -1.0, "c": "red"}
MAY_BE_EMPTY = {  # a part of the query -> why this run has nothing to show for it
    "driftd_notifications_": "the config names no receiver",
    "driftd_backup_last_success": "backups are switched on by the config",
}


@dataclass(frozen=True)
class Asked:
    """One query as a board has it: where it stands and its text."""

    where: str
    text: str


def queries() -> Iterator[Asked]:
    """What panels and annotations ask."""
    for name, board in BOARDS.items():
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                yield Asked(f"{name}: {panel['title']} {target['refId']}", target["expr"])
        for item in board["annotations"]["list"]:
            yield Asked(f"{name}: annotation {item['name']}", item["expr"])


def variables() -> Iterator[Asked]:
    """What the variables of the boards ask."""
    for name, board in BOARDS.items():
        for item in board["templating"]["list"]:
            if item["type"] == "query":
                yield Asked(f"{name}: variable {item['name']}", item["query"]["query"])


def interpolated(text: str, chosen: dict[str, str], seconds: int) -> str:
    """As Grafana puts variables into a query for Prometheus."""
    own = {"__rate_interval": "5s", "__interval": "2s", "__range": f"{seconds}s"}
    for name, value in (own | chosen).items():
        text = re.sub(rf"\$(?:{name}\b|{{{name}}})", lambda _, value=value: value, text)
    assert "$" not in text, f"not a variable of Grafana or of the board: {text}"
    return text


def worse(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """The world changes: what was right is six too low, and a feature moves."""
    return frame.assign(a=frame["a"] + 1), truth + 6


def broken(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """The pipeline loses a feature."""
    return frame.assign(b=np.nan), truth


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return f"127.0.0.1:{bound.getsockname()[1]}"


def eventually(holds: Callable[[], bool], otherwise: str, seconds: float = HANG) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.2)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=HANG).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def started(command: list[str], ready: str, folder: Path) -> Iterator[None]:
    """A process that answers at `ready`, ended at the end."""
    roots = os.pathsep.join(item for item in sys.path if item)
    log = folder / f"{len(list(folder.glob('*.log')))}.log"
    with log.open("wb") as output:
        environment = {**os.environ, "PYTHONPATH": roots}
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder, env=environment)
    try:
        eventually(lambda: answers(ready), f"{command} is not ready; see {log}")
        yield
    finally:
        process.terminate()
        process.wait(timeout=HANG)


def scrapes(prometheus: str, daemon: str) -> float:
    """How often the daemon was scraped by now."""
    asked = {"query": f'sum_over_time(up{{instance="{daemon}"}}[1h])'}
    result = httpx.get(f"http://{prometheus}/api/v1/query", params=asked, timeout=HANG).json()["data"]["result"]
    return float(result[0]["value"][1]) if result else 0.0


def let_scrape(prometheus: str, daemon: str) -> None:
    """Wait for a scrape that begins from now on: the one under way may have begun before."""
    before = scrapes(prometheus, daemon)
    eventually(lambda: scrapes(prometheus, daemon) >= before + 2, "the daemon is not scraped")


def story(world: World, prometheus: str) -> None:
    """Calm, a broken feature, a drift, a build, its gate, the swap, probation and a way back, scraped all along."""
    daemon = world.daemon
    unused = Wiring(daemon.assembly.metrics, daemon.is_ready, lambda: None, dict, lambda _model, _alarm: Path("/none"))
    http = HttpThread(application(unused), load(world.folder / "config.yaml").http)
    http.start()
    try:
        let_scrape(prometheus, http.address)  # counters must be seen at 0
        calm = loop_world.keep_rows
        # ten calm hours before the change: the estimate is held against ten windows before its share is shown
        for hours, change in ((1, calm), (1, broken), (10, calm), *([(1, worse)] * 10)):
            world.live(hours, change)
            let_scrape(prometheus, http.address)
        back = {"version": 1, "text": "to see it on the boards"}
        post_request(
            world.places.state_db, at=world.clock.now(), who="ada", model=MODEL, kind="rollback", arguments=back
        )
        world.live(1, worse)
        let_scrape(prometheus, http.address)
    finally:
        http.stop()
    assert "promoted" in world.events, f"the story did not come to a swap: {world.events}"


def served(address: str) -> None:
    """Requests to `driftd serve`: predictions, a label, a duplicate and refusals."""
    with httpx.Client(base_url=f"http://{address}/v1/models/{MODEL}", timeout=HANG) as http:
        made = http.post("/predict", json={"features": ROW}).json()
        printed = {"prediction_id": made["prediction_id"], "label": 3.5}
        elsewhere = {"prediction_id": "mine", "features": ROW, "prediction": 1.5}
        for path, sent in (("/feedback", printed), ("/predictions", elsewhere), ("/predictions", elsewhere)):
            http.post(path, json=sent)
        http.post("/predictions", json={"prediction_id": "bad", "features": ROW, "prediction": "much"})


@dataclass(frozen=True)
class Scraped:
    """A Prometheus that has seen the run."""

    http: httpx.Client
    since: float
    until: float

    def get(self, path: str, **parameters: Any) -> Any:
        """The data of an answer of its API."""
        found = self.http.get(f"/api/v1/{path}", params=parameters)
        assert found.status_code == 200, found.text
        return found.json()["data"]

    def series(self, text: str) -> list[dict[str, Any]]:
        """The series of a query over the whole run that have a number in them."""
        found = self.get("query_range", query=text, start=self.since, end=self.until, step=1)["result"]
        return [item for item in found if any(not math.isnan(float(value)) for _, value in item["values"])]


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """A run on a virtual clock, then the real daemon and the real server on what it left, all of it scraped."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("needs prometheus, of the Debian package prometheus")
    folder = tmp_path_factory.mktemp("dashboards")
    prometheus, daemon, server = free_address(), free_address(), free_address()
    started_at = time.time()
    with ExitStack() as stack:
        start = (time.time() // HOUR - 144) * HOUR  # so that the story ends about now
        text = CONFIG.replace("127.0.0.1:0", daemon) + f'serve: {{{{listen: "{server}"}}}}\n'
        world = World.begin(folder, config=text, start=start)
        (folder / "prometheus.yml").write_text(PROMETHEUS.format(daemon=daemon, server=server))
        command = [binary, "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb"]
        command.append(f"--web.listen-address={prometheus}")
        stack.enter_context(started(command, f"http://{prometheus}/-/ready", folder))
        story(world, prometheus)
        world.close()
        path = folder / "config.yaml"
        path.write_text(path.read_text() + OVERRIDE)
        driftd = [sys.executable, "-m", "driftd.cli.main"]
        run, serve = ([*driftd, verb, "--config", str(path)] for verb in ("run", "serve"))
        stack.enter_context(started(run, f"http://{daemon}/-/ready", folder))
        stack.enter_context(started(serve, f"http://{server}/metrics", folder))
        http = stack.enter_context(httpx.Client(base_url=f"http://{prometheus}", timeout=HANG))
        found = Scraped(http, started_at, 0)
        eventually(
            lambda: bool(found.get("query", query="driftd_serve_version")["result"]), "the server is not scraped"
        )
        time.sleep(2)
        served(server)
        eventually(lambda: bool(found.get("query", query="driftd_store_size_bytes")["result"]), "no store size")
        time.sleep(4)
        yield Scraped(http, started_at, time.time())


def choices(scraped: Scraped) -> Iterator[dict[str, str]]:
    """What a person can choose: all, and one of each, with its dots escaped."""
    yield {"model": MODEL, "instance": ".*"}
    instance = scraped.get("query", query="driftd_last_step_timestamp_seconds")["result"][0]["metric"]["instance"]
    yield {"model": MODEL, "instance": f"({instance})".replace(".", r"\\.")}


def test_no_query_of_a_board_fails_or_is_empty(scraped: Scraped) -> None:
    """Panels and annotations show something of this run, for all daemons and for a chosen one, or are on the list."""
    empty: dict[str, str] = {}
    for chosen in choices(scraped):
        for asked in queries():
            text = interpolated(asked.text, chosen, int(scraped.until - scraped.since))
            scraped.get("query", query=text, time=scraped.until)
            if not scraped.series(text):
                empty[asked.where] = text
    surprising = {where: text for where, text in empty.items() if not any(item in text for item in MAY_BE_EMPTY)}
    assert surprising == {}


def test_the_list_of_empty_queries_is_true(scraped: Scraped) -> None:
    """What is listed as empty is asked by a board, and is still empty in this run."""
    for part in MAY_BE_EMPTY:
        asked = [item for item in queries() if part in item.text]
        assert asked, f"no board asks for {part} any more"
        shown = [interpolated(item.text, next(choices(scraped)), 300) for item in asked]
        assert not all(scraped.series(text) for text in shown), f"{part} is not empty any more"


def test_every_variable_finds_its_values(scraped: Scraped) -> None:
    """The lists to choose from have the model and the daemon in them."""
    for asked in variables():
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", asked.text)
        assert found, asked
        metric = interpolated(found[1], {"model": MODEL, "instance": ".*"}, 300)
        values = scraped.get(f"label/{found[2]}/values", **{"match[]": metric})
        assert values if found[2] == "instance" else values == [MODEL], asked


def test_legends_name_labels_that_the_series_have(scraped: Scraped) -> None:
    """No legend has a hole where a label was meant, and no two lines of a panel have the same name."""
    chosen = next(choices(scraped))
    for name, board in BOARDS.items():
        for panel in board["panels"]:
            if panel["type"] not in {"timeseries", "state-timeline", "heatmap"}:
                continue
            shown: list[str] = []
            for target in panel["targets"]:
                text = interpolated(target["expr"], chosen, 300)
                wanted = re.findall(r"{{(\w+)}}", target["legendFormat"])
                for item in scraped.series(text):
                    assert set(wanted) <= item["metric"].keys(), f"{name}: {panel['title']}: {item['metric']}"
                    shown.append(
                        re.sub(r"{{(\w+)}}", lambda at, item=item: item["metric"][at[1]], target["legendFormat"])
                    )
            assert len(set(shown)) == len(shown), f"{name}: {panel['title']} has two lines of a name: {shown}"


def test_what_needs_a_person_is_told_while_it_does(scraped: Scraped) -> None:
    """The list named the broken pipeline and the drift with severity and runbook section while they were there."""
    board = BOARDS["fleet"]
    text = next(panel for panel in board["panels"] if panel["title"] == "What needs a person first")["targets"][0][
        "expr"
    ]
    seen = {
        (item["metric"]["needs"], item["metric"]["severity"], item["metric"]["runbook"])
        for item in scraped.series(text)
    }
    assert ("Data quality broken", "critical", "data-quality-broken") in seen
    assert ("Performance below tolerance", "critical", "performance-below-tolerance") in seen
