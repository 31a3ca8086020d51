"""OpenLineage events and model cards of real versions: valid by their schemas, sent, escaped, repeatable."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from referencing import Registry as Schemas
from referencing import Resource

from driftd.actions import TrainArguments
from driftd.cli.main import main
from driftd.events import Event
from driftd.paths import Places
from driftd.records import Action, Alarm, DecisionFigures, ModelState, Phase, Transition, Trigger, Window
from driftd.store.state.writer import StateStore
from driftd.views.model_card import ModelCard
from lineage_world import MODEL, SECOND, copy_world

ROOT = Path(__file__).resolve().parents[2]
OWN_SCHEMA = json.loads((ROOT / "tests" / "data" / "openlineage_events.schema.json").read_text("utf-8"))
SPEC = os.environ.get("DRIFTD_OPENLINEAGE_SPEC")  # the folder `spec` of a clone of OpenLineage/OpenLineage

pytestmark = pytest.mark.slow
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return copy_world(tmp_path)


@pytest.fixture
def driftd(places: Places, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command in this process; its exit code, output and complaints."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", ["driftd", *arguments])
        monkeypatch.setenv("DRIFTD_CONFIG", str(places.root.parent / "config.yaml"))
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


def builds(driftd: Command, *arguments: str) -> list[dict[str, Any]]:
    code, printed, said = driftd("openlineage", MODEL, *arguments)
    assert code == 0, said
    return [json.loads(line) for line in printed.splitlines()]


def save_failed_build(places: Places) -> None:
    """A third build that a job could not finish."""
    state = ModelState(MODEL, Phase.STEADY, champion=2)
    action = Action(TrainArguments(3, "5eed" * 16, Trigger.MANUAL, "asked"))
    made = Transition(state, "a build", Event.BUILD_STARTED, (action,), DecisionFigures(version=3))
    with StateStore.open(places.state_db, durable=False) as store, store.transaction():
        store.save_transition(state, made, at=SECOND + 100, actor="driftd", config_hash="")
        (open_action,) = store.open_actions(MODEL)
        store.begin_action(open_action.id, SECOND + 101)
        store.finish_action(open_action.id, at=SECOND + 102, status="failed", result={"error": "no memory"})


def test_each_build_begins_and_ends(driftd: Command, places: Places) -> None:
    """A version that stands has START and COMPLETE, a build that failed START and FAIL with its error."""
    save_failed_build(places)
    events = builds(driftd)
    assert [event["eventType"] for event in events] == ["START", "COMPLETE", "START", "COMPLETE", "START", "FAIL"]
    assert len({event["run"]["runId"] for event in events}) == 3
    assert events[-1]["run"]["facets"]["errorMessage"]["message"] == "no memory"
    assert datetime.fromisoformat(events[-1]["eventTime"]).timestamp() == SECOND + 102
    assert events[-1]["outputs"] == []


def test_a_build_tells_what_it_was_made_from_and_what_it_made(driftd: Command, places: Places) -> None:
    """The snapshot by its content with schema and rows, the folder of the logs, and the version with its quality."""
    done = builds(driftd)[3]
    snapshot, source = done["inputs"]
    assert snapshot["name"].startswith(f"{MODEL}/snapshots/")
    assert snapshot["facets"]["version"]["datasetVersion"] == snapshot["name"].split("/")[-1]
    assert {field["name"] for field in snapshot["facets"]["schema"]["fields"]} == {"a", "b", "region", "y"}
    assert snapshot["inputFacets"]["dataQualityMetrics"]["rowCount"] > 1000
    assert (source["namespace"], source["name"]) == ("file", str(places.root.parent / "logs"))
    (output,) = done["outputs"]
    assert output["name"] == f"{MODEL}/versions/2"
    assert output["facets"]["driftd_version"]["gate"]["decision"] == "promote"
    assert done["run"]["facets"]["driftd_build"]["parameters"] == {"alpha": 2.0}


def test_the_same_build_has_the_same_run_id(driftd: Command) -> None:
    """Events may be sent again: everything in them is the same, but for another namespace."""
    first = builds(driftd)
    assert builds(driftd) == first
    other = builds(driftd, "--namespace", "prod")
    assert {event["run"]["runId"] for event in other}.isdisjoint(event["run"]["runId"] for event in first)


def test_events_are_valid(driftd: Command, places: Places) -> None:
    """Each event fits the schema of what driftd sends; a START without its run does not."""
    save_failed_build(places)
    check = jsonschema.Draft202012Validator(OWN_SCHEMA, format_checker=jsonschema.FormatChecker())
    events = builds(driftd)
    for event in events:
        check.validate(event)
    with pytest.raises(jsonschema.ValidationError):
        check.validate({**events[0], "run": {}})


@pytest.mark.soak  # the specification is cloned first
@pytest.mark.skipif(SPEC is None, reason="DRIFTD_OPENLINEAGE_SPEC names no folder with the specification")
def test_events_are_valid_by_the_specification(driftd: Command, places: Places) -> None:
    """Each event and each facet that is not driftd's own fits the schemas that OpenLineage publishes."""
    assert SPEC is not None
    save_failed_build(places)
    found = [json.loads(path.read_text("utf-8")) for path in Path(SPEC).rglob("*.json")]
    known = {each["$id"]: each for each in found if "$id" in each}
    schemas: Schemas[Any] = Schemas().with_resources(
        (name, Resource.from_contents(each)) for name, each in known.items()
    )
    events = builds(driftd)
    base = jsonschema.Draft202012Validator({"$ref": events[0]["schemaURL"]}, registry=schemas)
    for event in events:
        base.validate(event)
        for facet in facets_of(event):
            name = facet["_schemaURL"]
            if name.startswith("https://openlineage.io/"):
                assert name.split("#")[0] in known
                jsonschema.Draft202012Validator({"$ref": name}, registry=schemas).validate(facet)


def facets_of(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for holder in (event["run"], event["job"], *event["inputs"], *event["outputs"]):
        yield from holder.get("facets", {}).values()
        yield from holder.get("inputFacets", {}).values()


@contextmanager
def backend(answers: int) -> Iterator[tuple[str, list[tuple[str | None, dict[str, Any]]]]]:
    """A server that takes so many events and then is full; what it got, with the authorization."""
    got: list[tuple[str | None, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if len(got) < answers:
                got.append((self.headers.get("Authorization"), body))
                self.send_response(201)
            else:
                self.send_response(507)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api/v1/lineage", got
    finally:
        server.shutdown()
        server.server_close()


def test_events_are_sent_with_the_token_of_a_file(driftd: Command, tmp_path: Path) -> None:
    """Each event is one POST; the token stands in the header and nowhere in what is printed."""
    (tmp_path / "token").write_text("s3cret\n")
    with backend(99) as (url, got):
        code, printed, said = driftd("openlineage", MODEL, "--url", url, "--token-file", str(tmp_path / "token"))
    assert code == 0, said
    assert [authorization for authorization, _ in got] == ["Bearer s3cret"] * 4
    assert "s3cret" not in printed + said
    assert "4 events sent" in printed


def test_a_backend_that_is_full_is_told(driftd: Command) -> None:
    """The command fails, and says how many events were sent and that sending them again does no harm."""
    with backend(3) as (url, _):
        code, _, said = driftd("openlineage", MODEL, "--url", url)
    assert code == 1
    assert "3 events were sent, then" in said
    assert "507" in said


def test_a_card_as_json(driftd: Command, tmp_path: Path) -> None:
    """It reads back as what it is, fits its published schema, and tells quality by segment with intervals."""
    code, _, said = driftd("model-card", MODEL, "2", "--to", str(tmp_path / "card.json"))
    assert code == 0, said
    content = (tmp_path / "card.json").read_bytes()
    card = msgspec.json.decode(content, type=ModelCard, strict=True)
    schema = json.loads((ROOT / "docs" / "model-card.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator(schema).validate(json.loads(content))
    segments = {each.segment: each for each in card.quantitative_analyses.segments}
    south = segments["region = south"]
    assert south.lower is not None
    assert south.loss is not None
    assert south.lower < south.loss
    assert card.factors == ["region"]
    assert [line.actor for line in card.operations.approvals] == ["ann"]
    assert any("region = south" in caveat for caveat in card.caveats_and_recommendations)


def test_a_card_tells_what_people_say_of_the_model(driftd: Command, places: Places, tmp_path: Path) -> None:
    """The words of the config stand in it, and the drift of its time in service."""
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text() + '    card: {intended_use: "Staffing of the depots.", owners: [ops]}\n')
    with StateStore.open(places.state_db, durable=False) as store:
        alarm = Alarm("data", "a", 20.0, 10.0, "a moved", None)
        store.save_alarm(MODEL, alarm, Window(1, SECOND, SECOND + 1), at=SECOND, version=2, leaders=[])
    found = json.loads(driftd("model-card", MODEL)[1])
    assert found["intended_use"]["intended_use"] == "Staffing of the depots."
    assert [alarm["sentence"] for alarm in found["operations"]["alarms"]] == ["a moved"]
    assert any("An alarm stands since" in caveat for caveat in found["caveats_and_recommendations"])


class Tags(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.headings: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.tags and self.tags[-1] == "h2":
            self.headings.append(data)


def test_a_card_as_html_escapes_everything(driftd: Command, tmp_path: Path) -> None:
    """What people and data say is text: no script, no image, no link and no handler comes of it."""
    config = tmp_path / "config.yaml"
    evil = '<script>alert(1)</script><img src=x onerror=alert(2)>\\" onload=\\"x'
    config.write_text(config.read_text() + f'    card: {{description: "{evil}", caveats: ["{evil}"]}}\n')
    code, _, said = driftd("model-card", MODEL, "2", "--to", str(tmp_path / "card.html"))
    assert code == 0, said
    page = Tags()
    page.feed((tmp_path / "card.html").read_text("utf-8"))
    assert not {"script", "img", "a", "link", "iframe"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in {"src", "href"}]
    assert "<script>alert(1)</script>" in page.text
    assert {"Intended use", "Training data", "Quantitative analyses"} <= set(page.headings)


def test_a_card_of_another_ending_is_refused(driftd: Command, tmp_path: Path) -> None:
    """The command says which endings there are."""
    code, _, said = driftd("model-card", MODEL, "2", "--to", str(tmp_path / "card.pdf"))
    assert code == 2
    assert ".html" in said
