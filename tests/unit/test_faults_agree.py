"""Each fault of docs/faults.md, fed to metrics and state: page, status, doctor and alert rules agree on it."""

from __future__ import annotations

import io
import math
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import httpx
import pytest
import yaml
from rich.console import Console

from driftd.cli.terminal import print_status
from driftd.config.load import load
from driftd.doctor.checks import CHECKS
from driftd.doctor.installation import FindingLevel, examine_all
from driftd.doctor.scrape import ask_daemon
from driftd.events import Event
from driftd.observe import model_families
from driftd.observe.alert_rule import section_of
from driftd.observe.alerts import ALERTS
from driftd.observe.decision_counts import DecisionCounts, DecisionEvent
from driftd.observe.metrics import Metrics
from driftd.observe.model_metrics import CheckContext, ModelMetrics
from driftd.paths import Places
from driftd.records import DecisionFigures, ModelState, MovedAlias, Phase, RegistryState, Trigger, Window
from driftd.store.state.writer import StateStore
from driftd.views.conditions import pressings
from driftd.views.status import fleet_status
from driftd_detectors.assessment import Assessment, EvidenceKind, KindAssessment, Verdict
from page_server import serve_page

ROOT = Path(__file__).parents[2]
HOUR, DAY, GIB = 3600.0, 86_400.0, 1 << 30
MODEL = "demand"
CONFIG = """\
state_dir: {state}
http: {{listen: "{listen}"}}
models:
  demand: {{task: regression, target: y, window: {{every: 1h}}}}
"""
EVALUATED, STEPS = 75, 15  # minutes: longer than any rule waits; and in how many steps
OTHERS = {"DriftdDown", "DriftdEventsNotKept", "DriftdServerBehind"}  # another process tells them, or nobody is left to
DOCTOR = ("progress", "conditions")
CALM = KindAssessment(EvidenceKind.DATA, Verdict.OK, 2.0, 900.0, "as ever")


@cache
def now() -> float:
    """The time of the first case: it may come long after the collection, and the page has a clock of its own."""
    return time.time()


@dataclass
class Stand:
    """A daemon's metrics, state and obstacles, as they are on a calm day before a fault is fed."""

    store: StateStore
    metrics: Metrics
    state: ModelState = field(default_factory=lambda: ModelState(MODEL, champion=1))
    obstacles: dict[str, str] = field(default_factory=dict)
    serve: str = ""  # series of `driftd serve`
    checks: int = 0

    @property
    def model(self) -> ModelMetrics:
        return self.metrics.model(MODEL)

    def calm(self) -> None:
        """As the loop shows it of a model that is checked, labelled and left alone."""
        self.metrics.record_start(version="1", python="3", now=now() - DAY, messages=lambda: 0)
        self.metrics.record_round(now() - 1, 0.01)
        self.metrics.record_config("c0ffee", now() - DAY)
        self.metrics.room(50 * GIB, 100 * GIB, now())
        self.metrics.record_backup(now() - HOUR, 1000)
        tally = DecisionCounts()
        tally.take(
            DecisionEvent(Event.ADOPTED, now() - 90 * DAY, DecisionFigures(version=1), Phase.STEADY, Phase.STEADY)
        )
        self.model.begin(tally, window_seconds=HOUR, thresholds=dict.fromkeys(EvidenceKind, 900.0))
        self.model.set_version_damaged(damaged=False)
        self.feed_rows()
        self.model.waits(windows=0, cohorts=1, not_evaluated=0)
        self.check(Assessment(Verdict.OK, "No alarm.", 200, (CALM,)))
        self.decided(self.state)

    def feed_rows(self, *, faults: int = 0, predicted: float | None = None) -> None:
        self.model.source(
            predictions=900,
            late=0,
            faults=faults,
            newest_prediction=now() - 60 if predicted is None else predicted,
            newest_feedback=now() - HOUR,
            counts={},
        )

    def check(self, assessment: Assessment) -> None:
        """A check of the next window, the second of them the last whole one, is made and recorded."""
        self.checks += 1
        end = (now() // HOUR - 2 + self.checks) * HOUR
        window = Window(int(end // HOUR) - 1, end - HOUR, end)
        self.store.save_check(MODEL, "window", window, assessment, at=now() - 60, version=1)
        self.model.check("window", assessment, window, CheckContext({}, None, None, HOUR), seconds=0.1, now=now() - 60)

    def decided(self, state: ModelState, *events: Event) -> None:
        """The state that policy came to, with what it called that."""
        self.state = state
        self.store.save_state(state, now())
        for event in events:
            figures = DecisionFigures(version=2, trigger=Trigger.MANUAL)
            self.model.count_decision(DecisionEvent(event, now() - 60, figures, Phase.RETRAINING, state.phase))
        self.model.state(state, 1)


def nothing(_: Stand) -> None:
    """What is over by itself leaves nothing that stands."""


def little_room(stand: Stand) -> None:
    stand.metrics.count_failed_message("tick")
    stand.metrics.room(GIB // 4, 100 * GIB, now())


def not_kept(stand: Stand) -> None:
    stand.serve = 'driftd_serve_not_kept_total{model="demand",route="predictions",status="503"} 90'


def both(stand: Stand) -> None:
    little_room(stand)
    not_kept(stand)


def rounds_fail(stand: Stand) -> None:
    for _ in range(3 * EVALUATED):
        stand.model.count_failed_step()


def events_damaged(stand: Stand) -> None:
    stand.obstacles[MODEL] = "its event store is damaged: database disk image is malformed"
    stand.model.mark_unwatched()
    stand.model.mark_events_damaged()


def build_failed(stand: Stand) -> None:
    stand.decided(replace(stand.state, failures=1), Event.BUILD_STARTED, Event.BUILD_FAILED)


def pipeline_broken(stand: Stand) -> None:
    blocked = "the pipeline is broken: column a is unreadable"
    stand.decided(replace(stand.state, blocked=blocked), Event.QUALITY_FAULT)


def source_away(stand: Stand) -> None:
    stand.feed_rows(faults=1)


def evidence_unreadable(stand: Stand) -> None:
    stand.obstacles[MODEL] = "its stored evidence cannot be read: `driftd reset-evidence demand --why ...`"
    stand.model.mark_unwatched()
    stand.decided(stand.state)


def version_damaged(stand: Stand) -> None:
    stand.model.set_version_damaged(damaged=True)


def predictions_stop(stand: Stand) -> None:
    stand.feed_rows(predicted=now() - 6 * HOUR)


def labels_stop(stand: Stand) -> None:
    stand.metrics.board.set(model_families.NEWEST_FEEDBACK, now() - 20 * HOUR, MODEL)
    stand.model.waits(windows=0, cohorts=9, not_evaluated=0)


def labels_late(stand: Stand) -> None:
    stand.model.waits(windows=0, cohorts=9, not_evaluated=8)


def stands_still(stand: Stand) -> None:
    stand.metrics.record_round(now() - 2 * HOUR, 0.01)


def server_behind(stand: Stand) -> None:
    stand.serve = 'driftd_serve_version{model="demand"} 0\ndriftd_serve_linked_version{model="demand"} 1'


def backups_fail(stand: Stand) -> None:
    stand.metrics.record_backup(now() - 3 * DAY, 1000)
    for _ in range(3 * EVALUATED):
        stand.metrics.count_failed_backup()


def clock_doubted(stand: Stand) -> None:
    stand.model.doubts(ahead=0, clock=True, now=now())


def windows_ahead(stand: Stand) -> None:
    stand.model.doubts(ahead=12, clock=False, now=now())


def deletion_held(stand: Stand) -> None:
    stand.model.hold_deletion("events", held=True)


def registry_away(stand: Stand) -> None:
    away = RegistryState("http://ml demand@champion", alias=1, failures=3, error="MLflow fails: connection refused")
    stand.decided(replace(stand.state, registry=away), Event.REGISTRY_FAILED)


def alias_moved(stand: Stand) -> None:
    moved = RegistryState("http://ml demand@champion", alias=1, moved=MovedAlias("9", None, now() - 60))
    stand.decided(replace(stand.state, registry=moved), Event.ALIAS_MOVED)


def fills_up(stand: Stand) -> None:
    stand.metrics.forecast(now() + 2 * DAY, {"events": GIB})


# By how a row begins: what feeds it, the alerts that it names, and words that page, status and doctor share.
Case = tuple[Callable[[Stand], None], set[str], str]
CASES: dict[str, Case] = {
    "`kill -9` over ingestion": (nothing, set(), ""),
    "power cut": (nothing, set(), ""),
    "`kill -9` of writers": (nothing, set(), ""),
    "full disk under the event store": (both, {"DriftdDiskAlmostFull", "DriftdEventsNotKept"}, "GiB are free"),
    "full disk under the daemon": (little_room, {"DriftdDiskAlmostFull"}, "GiB are free"),
    "a state folder that turns read-only": (rounds_fail, {"DriftdModelStepFails"}, "last round failed as a whole"),
    "a config that changes": (little_room, {"DriftdDiskAlmostFull"}, "GiB are free"),
    "`EIO` and `ENOSPC`": (not_kept, {"DriftdEventsNotKept"}, ""),
    "the same under the daemon's `state.db`": (rounds_fail, {"DriftdModelStepFails"}, "last round failed as a whole"),
    "a corrupted database": (
        events_damaged,
        {"DriftdDamagedDatabase", "DriftdModelNotWatched", "DriftdCheckFails", "DriftdDown"},
        "event store is damaged",
    ),
    "a trainer that raises": (build_failed, {"DriftdRetrainFailed"}, "builds? failed"),
    "a trainer that forks": (nothing, set(), ""),
    "SIGHUP before": (nothing, set(), ""),
    "the wall clock is set by hours": (lambda stand: stand.metrics.count_clock_jump(), set(), ""),
    "local time leaps": (nothing, set(), ""),
    "the clock goes back": (nothing, set(), ""),
    "a source that hangs": (source_away, {"DriftdSourceFaults"}, "source has 1 fault"),
    "a source whose rows come out of order": (nothing, set(), ""),
    "a source that goes empty": (pipeline_broken, {"DriftdDataQualityBroken"}, "column a is unreadable"),
    "an object store that is away": (source_away, {"DriftdSourceFaults"}, "source has 1 fault"),
    "an object store that hangs": (source_away, {"DriftdSourceFaults"}, "source has 1 fault"),
    "objects that arrive late": (nothing, set(), ""),
    "a source whose folder is away": (source_away, {"DriftdSourceFaults"}, "source has 1 fault"),
    "a database that is away": (source_away, {"DriftdSourceFaults"}, "source has 1 fault"),
    "a table of Delta or Iceberg whose version": (source_away, {"DriftdSourceFaults"}, "source has 1 fault"),
    "a table of Delta or Iceberg whose files": (source_away, {"DriftdSourceFaults"}, "source has 1 fault"),
    "a query of a database": (source_away, {"DriftdSourceFaults"}, "source has 1 fault"),
    "counts of a job elsewhere": (source_away, {"DriftdSourceFaults"}, "source has 1 fault"),
    "stored evidence": (evidence_unreadable, {"DriftdModelNotWatched"}, "stored evidence cannot be read"),
    "files of the version": (
        version_damaged,
        {"DriftdDamagedVersion"},
        "files of version 1, which serves, are damaged",
    ),
    "an application that stops": (predictions_stop, {"DriftdPredictionFeedSilent"}, "no prediction came since"),
    "labels that stop": (labels_stop, {"DriftdLabelFeedSilent"}, "no label came since"),
    "labels that come after": (labels_late, {"DriftdLabelsNotEvaluated"}, "last 8 windows were not evaluated"),
    "a main loop": (stands_still, {"DriftdHangs"}, "main loop has not been round"),
    "a folder of backups": (backups_fail, {"DriftdBackupFails"}, "No backup was made since"),
    "an artefact that is damaged": (server_behind, {"DriftdServerBehind"}, ""),
    "control characters": (nothing, set(), ""),
    "the wall clock is 10 years": (clock_doubted, {"DriftdClockDoubted"}, "months ahead of the newest prediction"),
    "windows that a clock": (windows_ahead, {"DriftdWindowsAhead"}, "windows that cannot have been yet"),
    "backups of a clock": (nothing, set(), ""),
    "a trainer that prints": (build_failed, {"DriftdRetrainFailed"}, "builds? failed"),
    "jobs killed": (nothing, set(), ""),
    "labels of ids": (nothing, set(), ""),
    "a snapshot that is gone": (nothing, set(), ""),
    "a request over HTTP": (nothing, set(), ""),
    "a page of another site": (nothing, set(), ""),
    "more than `retention.share`": (deletion_held, {"DriftdDeletionHeld"}, "events over their age are kept"),
    "a registry of models": (registry_away, {"DriftdRegistryFails"}, "connection refused"),
    "an alias that somebody moves": (alias_moved, {"DriftdAliasMoved"}, "moved the alias in the registry"),
    "`kill -9` while a version is registered": (nothing, set(), ""),
    "a disk that will be full": (fills_up, {"DriftdDiskFillsUp"}, "The disk of state_dir is full at"),
}


def rows() -> list[tuple[str, set[str]]]:
    """The faults of the page, and the alerts that each names."""
    found = []
    for line in (ROOT / "docs" / "faults.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and cells[0] != "fault":
            found.append((cells[0], set(re.findall(r"Driftd\w+", cells[2]))))
    return found


def case_of(fault: str) -> Case:
    """The case of a row, by its beginning; a row that has none, or two, is a mistake in this file."""
    found = [case for begins, case in CASES.items() if fault.startswith(begins)]
    assert len(found) == 1, f"docs/faults.md has a row without its case in CASES (or with two): {fault}"
    return found[0]


@dataclass(frozen=True)
class Observed:
    """What each of them told of one fault."""

    page: str
    page_alerts: set[str]
    status: str
    doctor: list[str]  # what is not ok
    series: str  # the text of the metrics, with those of `driftd serve`


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Observed]:
    """Every row, fed and observed."""
    folder = tmp_path_factory.mktemp("faults")
    StateStore.open(folder / "empty.db").close()
    return {fault: _observe(folder / str(number), fault) for number, (fault, _) in enumerate(rows())}


def _observe(folder: Path, fault: str) -> Observed:
    places = Places(folder / "state")
    places.root.mkdir(parents=True)
    shutil.copy(folder.parent / "empty.db", places.state_db)
    path = folder / "config.yaml"
    with StateStore.open(places.state_db) as store:
        stand = Stand(store, Metrics())
        stand.calm()
        case_of(fault)[0](stand)
        with serve_page(places, path, stand.obstacles, metrics=stand.metrics) as address:
            path.write_text(CONFIG.format(state=places.root, listen=address.removeprefix("http://")))
            store.save_config(load(path).hash, at=now(), content=load(path).model_dump(mode="json"))
            return _ask_all(path, places, address, stand.serve)


def _ask_all(path: Path, places: Places, address: str, serve: str) -> Observed:
    fleet = httpx.get(f"{address}/api/fleet").json()
    (model,) = fleet["models"]
    attention, conditions = model["attention"], [*fleet["host"], *model["pressing"]]
    sections = {section_of(alert.name): alert.name for alert in ALERTS}
    page = [attention["sentence"], attention["detail"], *attention["also"], *(item["sentence"] for item in conditions)]
    alerts = {item["alert"] for item in conditions}
    if attention["level"] == "act":
        alerts.add(sections[attention["runbook"]])
    config, said, out = load(path), ask_daemon(load(path).http), io.StringIO()
    assert said.metrics is not None
    print_status(fleet_status(config, places, path, None, said.metrics, said.obstacles), Console(file=out, width=400))
    findings = examine_all(path, now(), {name: CHECKS[name] for name in DOCTOR})
    bad = [f"{item.level} {item.said}" for item in findings if item.level is not FindingLevel.OK]
    assert pressings(said.metrics, [MODEL], now()).host == () or fleet["host"]
    return Observed("\n".join(page), alerts, out.getvalue(), bad, f"{httpx.get(f'{address}/metrics').text}\n{serve}\n")


def series_of(text: str) -> Iterator[dict[str, str]]:
    """A scrape as the input of promtool, whose clock begins at 0: moments are moved, counters have grown evenly."""
    asked = set(re.findall(r"driftd_\w+", " ".join(alert.expr for alert in ALERTS)))
    yield {"series": 'up{job="driftd",instance="d"}', "values": f"1x{STEPS}"}
    for name, labels, value in re.findall(r"^(driftd_\w+)(?:\{(.*)\})? (\S+)$", text, re.MULTILINE):
        number = float(value)
        if name not in asked or math.isnan(number):
            continue
        own = labels.replace('job="', 'exported_job="')  # as Prometheus renames it
        job = ",".join(filter(None, (own, 'job="driftd",instance="d"')))
        grows = number / STEPS if name.endswith("_total") else 0.0
        begins = 0.0 if grows else number
        if name.endswith("_timestamp_seconds"):
            begins = number - now() + EVALUATED * 60
        yield {"series": f"{name}{{{job}}}", "values": f"{begins:.3f}+{grows:.6f}x{STEPS}"}


@pytest.fixture(scope="module")
def fired(observed: dict[str, Observed], tmp_path_factory: pytest.TempPathFactory) -> str:
    """What promtool says of all rows at once: nothing where each fires exactly the alerts that its row names."""
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool, of the Debian package prometheus")
    tests = []
    for fault, named in rows():
        samples = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(named - {"DriftdDown"})]
        firing = 'count by (alertname) (ALERTS{alertstate="firing"})'
        expected = {"expr": firing, "eval_time": f"{EVALUATED}m", "exp_samples": samples}
        series = [*series_of(observed[fault].series)]
        tests.append({"name": fault, "interval": "5m", "input_series": series, "promql_expr_test": [expected]})
    path = tmp_path_factory.mktemp("rules") / "faults.yml"
    rules = str(ROOT / "grafana" / "prometheus" / "driftd.rules.yml")
    path.write_text(yaml.safe_dump({"rule_files": [rules], "evaluation_interval": "5m", "tests": tests}, width=10_000))
    done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_every_row_has_its_case_and_names_its_alerts() -> None:
    """A fault of the page without a case here fails, and so does a case whose row is gone or names other alerts."""
    for fault, named in rows():
        assert named == case_of(fault)[1], fault
    assert len(rows()) == len(CASES)


def test_the_rules_fire_on_each_fault_as_its_row_says(fired: str) -> None:
    """Prometheus' own tool evaluates every shipped rule on the metrics of every fault."""
    assert fired == ""


@pytest.mark.parametrize("fault", [fault for fault, _ in rows()], ids=lambda fault: re.sub(r"\W+", "-", fault)[:40])
def test_page_status_and_doctor_agree_with_the_alerts(observed: dict[str, Observed], fault: str) -> None:
    """What an alert fires on is told by all three in the same words; what it does not fire on leaves all three calm."""
    found, (_, named, words) = observed[fault], case_of(fault)
    expected = named - OTHERS
    assert bool(words) == bool(expected)
    assert found.page_alerts <= expected
    assert bool(found.page_alerts) == bool(expected)
    if not words:
        assert found.doctor == []
        assert "No alarm." in found.page
        return
    for output in (found.page, found.status, "\n".join(found.doctor)):
        assert re.search(words, output, re.IGNORECASE), output
