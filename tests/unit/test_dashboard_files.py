"""Grafana's boards as committed: as the generator makes them, valid, in order on the grid, about metrics that exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from driftd.observe.families import ALL
from driftd.observe.metric_family import SERVED

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "grafana" / "dashboards"
NAMES = ("daemon", "fleet", "model")
BOARDS = {name: json.loads((FOLDER / f"{name}.json").read_text("utf-8")) for name in NAMES}
# What Grafana's data sources add to the schema, which describes what all have in common.
OF_ANNOTATIONS = {"expr", "step", "tagKeys", "textFormat", "titleFormat"}
OF_VARIABLES = {"definition"}
NOT_ON_A_BOARD = {
    "driftd_source_hangs_total": "driftd_source_faults is shown, which counts a source that hangs",
    "driftd_source_queries_refused_total": "a refusal is a fault of the source, which is shown",
    "driftd_source_rows_read_total": "what databases cost, which most models do not have",
    "driftd_source_bytes_read_total": "the same in bytes",
    "driftd_alarm_since_timestamp_seconds": "a figure of the alert; evidence is drawn over time",
    "driftd_hand_over_confirm_by_timestamp_seconds": "a figure of the alert in the list of what needs a person",
    "driftd_hand_over_failures": "a figure of the same alert",
    "driftd_registry_alias_version": "the served version is drawn; where the alias differs, an alert says so",
    "driftd_store_growth_bytes": "the sizes of the parts are drawn; the alert on the disk names what grows",
    "driftd_model_step_failing": "the count of such rounds is drawn, and the alert on it is in the list",
    "driftd_backup_size_bytes": "when and whether matters; the size is on the status page",
    "driftd_disk_measured_timestamp_seconds": "only tells how old the figure beside it is",
    "driftd_upkeep_last_success_timestamp_seconds": "its failures are shown",
    "driftd_unseen_labels_total": "a share of them that matters is a fault of quality, which is shown",
    "driftd_detectors_failed": "the sentence of each check names the detector and says why",
    "driftd_values_ignored_total": "a note for who sends the events",
    "driftd_labels_evaluated_total": "coverage and cohorts say more",
    "driftd_rows_checked_total": "the rows of the last window say more",
    "driftd_window_end_timestamp_seconds": "the time of the last check says more",
    "driftd_notifications_sent_total": "pending and failed are what matters",
    "driftd_notification_last_success_timestamp_seconds": "pending and failed are what matters",
}


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The panels that show something."""
    return (panel for panel in board["panels"] if panel["type"] != "row")


def asked(board: dict[str, Any]) -> Iterator[str]:
    """Every PromQL text of a board."""
    for panel in panels(board):
        yield from (target["expr"] for target in panel["targets"])
    yield from (item["query"]["query"] for item in board["templating"]["list"] if item["type"] == "query")
    yield from (item["expr"] for item in board["annotations"]["list"])


def test_the_committed_boards_are_those_of_the_generator(tmp_path: Path) -> None:
    """A board that was edited by hand, or a generator that was not run, is found."""
    paths = {"PYTHONPATH": ":".join(item for item in sys.path if item)}
    command = [sys.executable, "-m", "grafana.generate", "--into", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=paths, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in FOLDER.iterdir()}
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (FOLDER / path.name).read_bytes(), f"stale: {path.name}; run `make dashboards`"


@pytest.mark.parametrize("name", NAMES)
def test_a_board_is_valid_against_the_schema_of_grafana(name: str) -> None:
    """@grafana/schema 13.2.3's type Dashboard, as JSON schema, accepts the board."""
    schema = json.loads((ROOT / "tests/data/grafana_dashboard.schema.json").read_text("utf-8"))
    board = json.loads(json.dumps(BOARDS[name]))
    for item in board["annotations"]["list"]:
        for key in OF_ANNOTATIONS & item.keys():
            del item[key]
    for item in board["templating"]["list"]:
        for key in OF_VARIABLES & item.keys():
            del item[key]
    jsonschema.Draft7Validator(schema).validate(board)


@pytest.mark.parametrize("name", NAMES)
def test_panels_fill_the_grid_without_overlap(name: str) -> None:
    """No two panels share a cell of the 24 columns, none reaches over the edge, and no line has a gap."""
    taken: dict[tuple[int, int], str] = {}
    for panel in BOARDS[name]["panels"]:
        place = panel["gridPos"]
        across, down, width, height = (place.get(key, 0) for key in "xywh")
        for cell in ((x, y) for x in range(across, across + width) for y in range(down, down + height)):
            assert cell[0] < 24, f"{panel['title']} reaches over the edge"
            assert cell not in taken, f"{panel['title']} lies over {taken.get(cell)}"
            taken[cell] = panel["title"]
    lines = {y for _, y in taken}
    assert lines == set(range(max(lines) + 1))
    assert len(taken) == 24 * len(lines)


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_explains_itself(name: str) -> None:
    """Each panel has a title, a sentence, a unit and words for no data; numbers of panels are unique."""
    numbers = [panel["id"] for panel in BOARDS[name]["panels"]]
    assert len(set(numbers)) == len(numbers)
    for panel in panels(BOARDS[name]):
        assert panel["title"], panel["id"]
        assert len(panel["description"]) > 20, panel["title"]
        assert panel["description"].endswith((".", "`")), panel["title"]
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["noValue"], panel["title"]
        assert panel["type"] not in {"stat", "timeseries"} or defaults["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


@pytest.mark.parametrize("name", NAMES)
def test_overrides_meet_a_series(name: str) -> None:
    """A style that no series or column can have is a slip of the pen."""
    for panel in panels(BOARDS[name]):
        shown = {target.get("legendFormat", "") for target in panel["targets"]}
        for change in panel.get("transformations", []):
            shown |= set(change["options"].get("renameByName", {}).values())
        states = ("failed", "rollback", "adopted", "error")  # values of the label that the legend shows
        for override in panel["fieldConfig"]["overrides"]:
            pattern = re.compile(override["matcher"]["options"].strip("/"))
            met = any(pattern.match(item) for item in (*shown, *states))
            assert met, f"{panel['title']}: {pattern.pattern} in {shown}"


def test_boards_name_only_metrics_that_exist_and_show_those_that_matter() -> None:
    """Every metric in a query is one of docs/metrics.md; those on no board are listed here with the reason."""
    known = {item.name for item in (*ALL, *SERVED)}
    known |= {f"{item.name}_bucket" for item in (*ALL, *SERVED) if item.type == "histogram"}
    text = "\n".join(query for board in BOARDS.values() for query in asked(board))
    named = set(re.findall(r"\bdriftd_\w+", text))
    assert named - known == set()
    shown = {name.removesuffix("_bucket") for name in named}
    assert {item.name for item in (*ALL, *SERVED)} - shown == set(NOT_ON_A_BOARD)


def test_links_lead_to_boards_that_are_there() -> None:
    """Every link within Grafana names the uid of one of the boards, and uids are unique."""
    uids = {board["uid"] for board in BOARDS.values()}
    assert len(uids) == len(BOARDS)
    text = "".join((FOLDER / f"{name}.json").read_text("utf-8") for name in NAMES)
    linked = set(re.findall(r'"/d/([\w-]+)', text))
    assert linked == uids


def test_every_panel_of_a_model_leads_to_what_driftd_says_of_it() -> None:
    """Each panel links to the alarms and decisions of its model on the status page."""
    addresses = {link["url"] for panel in panels(BOARDS["model"]) for link in panel["links"]}
    assert addresses == {"${status_page}/#/model/${model:percentencode}"}
    assert all(panel["links"] for panel in panels(BOARDS["model"]))


def test_boards_say_the_words_of_the_field() -> None:
    """No title, description or text for no data has a word that the glossary had to explain."""
    odd = re.compile(r"\b(wanted|absorbed|barred|anew|wish)\b|harm(?!: estimated performance)", re.IGNORECASE)
    for panel in (panel for board in BOARDS.values() for panel in panels(board)):
        said = " ".join((panel["title"], panel["description"], panel["fieldConfig"]["defaults"]["noValue"]))
        assert not odd.search(said), said


def test_provisioning_fits_the_boards_and_the_alerts() -> None:
    """The folder and the data source are those that the alert rules name."""
    folder = ROOT / "grafana" / "provisioning"
    source = yaml.safe_load((folder / "datasources/driftd.yaml").read_text("utf-8"))["datasources"][0]
    provider = yaml.safe_load((folder / "dashboards/driftd.yaml").read_text("utf-8"))["providers"][0]
    alerts = yaml.safe_load((folder / "alerting/driftd.yaml").read_text("utf-8"))["groups"][0]
    assert {data["datasourceUid"] for rule in alerts["rules"] for data in rule["data"]} == {source["uid"], "__expr__"}
    assert provider["folder"] == alerts["folder"]
    assert provider["options"]["path"] in (ROOT / "grafana/README.md").read_text("utf-8")
