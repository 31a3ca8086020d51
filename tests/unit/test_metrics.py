"""What the daemon shows to Prometheus."""

from __future__ import annotations

import math
import shutil
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics_families
from prometheus_client.parser import text_string_to_metric_families

from driftd.events import Event
from driftd.observe import families, model_families
from driftd.observe.decision_counts import DecisionCounts, DecisionEvent
from driftd.observe.document import document
from driftd.observe.exposition import MetricStore
from driftd.observe.metric_family import SERVED
from driftd.observe.metrics import Metrics
from driftd.observe.model_families import FEATURES_SHOWN
from driftd.observe.model_metrics import CheckContext, ModelMetrics
from driftd.records import DecisionFigures, ModelState, MovedAlias, Phase, RegistryState, Verdict, Window
from driftd.serving.metrics import ServingMetrics
from driftd_detectors.assessment import Assessment, EvidenceKind, Fault, KindAssessment, Score

ROOT = Path(__file__).parents[2]
HOUR = Window(7, 25_200.0, 28_800.0)
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def expose(metrics: Metrics, accept: str = "") -> str:
    return metrics.expose(accept)[0].decode()


def under_watch(metrics: Metrics, name: str = "demand", tally: DecisionCounts | None = None) -> ModelMetrics:
    model = metrics.model(name)
    thresholds = dict.fromkeys(EvidenceKind, 1000.0)
    model.begin(tally or DecisionCounts(), window_seconds=3600.0, thresholds=thresholds)
    return model


def score(subject: str, value: float, component: str = "location") -> Score:
    return Score(EvidenceKind.DATA, subject, component, value, 0.1)


def eye(*scores: Score, metric: str = "accuracy") -> CheckContext:
    return CheckContext({(item.subject, item.component): 0.03 for item in scores}, metric, "brier", 600.0)


def assessment(*scores: Score, verdict: Verdict = Verdict.DRIFT) -> Assessment:
    kinds = (KindAssessment(EvidenceKind.DATA, verdict, 12.0, 900.0, "it moved"),)
    fault = Fault("x", "missing", "x is missing", 0.9, alarm=True)
    return Assessment(verdict, "it moved", 100, kinds, scores, (fault,))


def check(model: ModelMetrics, *scores: Score, now: float = 7.0) -> None:
    model.check("window", assessment(*scores), HOUR, eye(*scores), seconds=0.1, now=now)


def happened(event: str, at: float = 1.0, **figures: object) -> DecisionEvent:
    return DecisionEvent(event, at, DecisionFigures.from_dict(figures), "steady", "steady")


def test_every_metric_is_documented() -> None:
    """docs/metrics.md lists exactly the families that the daemon exposes."""
    assert (ROOT / "docs/metrics.md").read_text() == document()


def test_names_follow_prometheus() -> None:
    """Every name has the prefix, every counter ends in _total, every time in _seconds, and none is there twice."""
    for family in (*families.ALL, *SERVED):
        assert family.name.startswith("driftd_")
        assert (family.type == "counter") == family.name.endswith("_total")
        assert (family.type == "histogram") == bool(family.buckets)
        assert "timestamp" not in family.name or family.name.endswith("_timestamp_seconds")
        assert family.help.endswith(".")
    assert len({family.name for family in (*families.ALL, *SERVED)}) == len(families.ALL) + len(SERVED)


def test_the_server_shows_the_families_that_are_documented() -> None:
    """What `driftd serve` counts is what docs/metrics.md says of it."""
    shown = {item.name: item.documentation for item in ServingMetrics(["demand"]).registry.collect()}
    ours = {name: output for name, output in shown.items() if name.startswith("driftd_")}
    assert ours == {family.name.removesuffix("_total"): family.help for family in SERVED}


@pytest.mark.parametrize("of", ["daemon", "server"])
def test_promtool_finds_nothing_to_say(of: str) -> None:
    """`promtool check metrics` is silent on what a daemon with models exposes, and a server."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool, of the Debian package prometheus")
    text = expose(busy()) if of == "daemon" else generate_latest(ServingMetrics(["demand"]).registry).decode()
    done = subprocess.run([promtool, "check", "metrics"], input=text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def busy() -> Metrics:
    """The metrics of a daemon in which much has happened."""
    metrics = Metrics()
    metrics.record_start(version="1.0", python="3.11", now=1.0, messages=lambda: 3)
    metrics.record_config("abc", 2.0)
    metrics.override({"pin"}, 99.0, {"pin": 1.0})
    metrics.record_round(3.0, 0.2)
    metrics.room(10, 20, 4.0)
    metrics.sizes({"state": 5})
    for name in ("demand", "price"):
        model = under_watch(metrics, name)
        model.state(ModelState(name, Phase.PROBATION, champion=2, pinned=1), served=2)
        check(model, score("a", -0.5), score('b "\\\n', 0.2))
        model.record_action("train", 3.0, ok=False)
        model.count_decision(happened(Event.BUILD_STARTED, version=2, trigger="performance"))
    return metrics


def test_both_formats_say_the_same() -> None:
    """The text is what Prometheus' own parsers read, in the old format and in OpenMetrics, with the same samples."""
    metrics = busy()
    old = {
        (item.name, tuple(sorted(item.labels.items()))): item.value
        for family in text_string_to_metric_families(expose(metrics))
        for item in family.samples
        if item.name.startswith("driftd_")
    }
    new = {
        (item.name, tuple(sorted(item.labels.items()))): item.value
        for family in open_metrics_families(expose(metrics, OPEN_METRICS))
        for item in family.samples
        if item.name.startswith("driftd_")
    }
    assert old == new
    assert old["driftd_score", (("component", "location"), ("feature", 'b "\\\n'), ("model", "price"))] == 0.2
    assert old["driftd_messages_waiting", ()] == 3


def test_the_format_follows_the_accept_header() -> None:
    """OpenMetrics is given to who asks for it, the old text format to everybody else."""
    metrics = Metrics()
    assert metrics.expose(OPEN_METRICS)[1].startswith("application/openmetrics-text")
    assert metrics.expose("")[1].startswith("text/plain")
    assert expose(metrics, OPEN_METRICS).endswith("# EOF\n")


def test_histograms_are_those_of_the_client_library() -> None:
    """Durations fall into the buckets as Prometheus' library has them, at their bounds too."""
    family, registry = families.ROUND_TIME, CollectorRegistry()
    board, other = MetricStore([family]), Histogram(family.name, family.help, buckets=family.buckets, registry=registry)
    for seconds in (0.0, 0.01, 0.02, 1.0, 1e9):
        board.observe(family, seconds)
        other.observe(seconds)
    expected = [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]
    ours = board.text(openmetrics=False).decode().splitlines()
    assert [(line.split()[0], float(line.split()[1])) for line in ours if line[0] != "#"] == [
        (line.split()[0], float(line.split()[1])) for line in expected if line[0] != "#"
    ]


def test_a_new_model_shows_its_label_sets_at_zero() -> None:
    """A rule on a counter works from the first scrape, before anything has happened."""
    metrics = Metrics()
    under_watch(metrics)
    text = expose(metrics)
    for series in (
        'driftd_checks_total{model="demand",kind="window",verdict="drift"} 0.0',
        'driftd_alarms_total{model="demand",kind="performance"} 0.0',
        'driftd_rollbacks_total{model="demand",trigger="probation",outcome="done"} 0.0',
        'driftd_verdict{model="demand",kind="data",verdict="drift"} 0.0',
        'driftd_evidence_threshold{model="demand",kind="data"} 1000.0',
    ):
        assert series in text


def test_the_series_of_a_removed_model_disappear() -> None:
    """Nothing of a removed model is exposed any more, its neighbours stay, and work that ends late brings none back."""
    metrics = busy()
    metrics.remove_model("demand")
    metrics.upkeep("demand", 9.0, ok=True)
    assert 'model="demand"' not in expose(metrics)
    assert 'driftd_phase{model="price",phase="probation"} 1.0' in expose(metrics)


def test_a_check_shows_evidence_threshold_and_scores_but_never_nan() -> None:
    """Score and threshold are separate gauges, sizes have no sign; what could not be computed is absent, not NaN."""
    metrics = Metrics()
    check(under_watch(metrics), score("a", -0.5), score("b", math.nan), score("c", -1.0, "rest"))
    text = expose(metrics)
    assert 'driftd_evidence{model="demand",kind="data"} 12.0' in text
    assert 'driftd_evidence_threshold{model="demand",kind="data"} 900.0' in text
    assert 'driftd_score{model="demand",feature="a",component="location"} 0.5' in text
    assert 'driftd_score_threshold{model="demand",feature="a",component="location"} 0.03' in text
    assert 'driftd_score{model="demand",feature="c",component="rest"} 0.0' in text
    assert 'driftd_quality_faults{model="demand",fault="missing"} 1.0' in text
    assert 'driftd_quality_fault_ratio{model="demand",feature="x",fault="missing"} 0.9' in text
    assert "NaN" not in text


def test_the_series_of_a_feature_that_vanishes_disappear() -> None:
    """After another schema, or when a window has no score of a feature, its series are gone."""
    metrics = Metrics()
    model = under_watch(metrics)
    check(model, score("a", 0.5), score("b", 0.5))
    check(model, score("a", 0.6))
    text = expose(metrics)
    assert 'feature="b"' not in text
    assert 'driftd_score{model="demand",feature="a",component="location"} 0.6' in text
    model.fresh()
    assert "driftd_score{" not in expose(metrics)


def test_feature_series_are_capped_and_the_cap_is_visible() -> None:
    """A model with too many features shows the first ones and what all do together, and says how many it hides."""
    metrics = Metrics()
    scores = [score(f"f{number}", 0.1) for number in range(FEATURES_SHOWN + 30)]
    check(under_watch(metrics), *scores, score("joint", 0.1, "largest"))
    assert expose(metrics).count("driftd_score{") == FEATURES_SHOWN + 1
    assert 'driftd_score{model="demand",feature="joint",component="largest"}' in expose(metrics)
    assert 'driftd_features_hidden{model="demand"} 30.0' in expose(metrics)


def test_an_error_is_no_successful_check_and_leaves_no_old_verdict() -> None:
    """While checks fail, the time of the last check stands still, and the verdict is `error` and not the old `ok`."""
    metrics = Metrics()
    model = under_watch(metrics)
    check(model, score("a", 0.5))
    model.check("window", Assessment(Verdict.ERROR, "no", 0), HOUR, eye(), seconds=0.1, now=9.0)
    text = expose(metrics)
    assert 'driftd_last_check_timestamp_seconds{model="demand",kind="window"} 7.0' in text
    assert 'driftd_verdict{model="demand",kind="data",verdict="drift"} 0.0' in text
    assert 'driftd_verdict{model="demand",kind="data",verdict="error"} 1.0' in text
    assert 'driftd_evidence{model="demand",kind="data"} 12.0' in text
    assert 'driftd_score{model="demand",feature="a",component="location"} 0.5' in text


def test_performance_is_shown_in_units_of_the_metric_and_as_a_loss() -> None:
    """A metric that is better when higher keeps its direction, its band in order; the loss is better when lower."""
    metrics = Metrics()
    kind = KindAssessment(EvidenceKind.PERFORMANCE, Verdict.OK, 0.1, 900.0, "fine")
    figures = {"loss": 0.2, "low": 0.15, "high": 0.25, "baseline": 0.1, "tolerated": 0.12, "coverage": 0.9}
    cohort = Assessment(Verdict.OK, "fine", 100, (kind,), figures=figures)
    under_watch(metrics).check("labels", cohort, HOUR, eye(), seconds=0.1, now=9.0)
    shown = {
        item.name: item.value
        for family in text_string_to_metric_families(expose(metrics))
        for item in family.samples
        if item.name.startswith("driftd_performance")
    }
    assert shown == pytest.approx(
        {
            "driftd_performance": 0.8,
            "driftd_performance_lower": 0.75,
            "driftd_performance_upper": 0.85,
            "driftd_performance_baseline": 0.9,
            "driftd_performance_tolerated": 0.88,
            "driftd_performance_loss": 0.2,
            "driftd_performance_loss_tolerated": 0.12,
        }
    )


def test_the_estimate_without_labels_is_shown_with_its_band_and_its_trust() -> None:
    """A window's estimate has its own series, which a window that says nothing of it takes away."""
    metrics = Metrics()
    model = under_watch(metrics)
    model.baseline("brier", 0.1, 0.12, estimated=True)
    figures = {"estimated_loss": 0.2, "estimated": 0.2, "estimated_low": 0.1, "estimated_high": 0.3}
    window = replace(assessment(), figures={**figures, "estimate_off": 0.0, "estimate_coverage": 0.9})
    model.check("window", window, HOUR, eye(), seconds=0.1, now=9.0)
    text = expose(metrics)
    assert 'driftd_performance_estimated{model="demand",metric="brier"} 0.2' in text
    assert 'driftd_performance_estimated_upper{model="demand",metric="brier"} 0.3' in text
    assert 'driftd_performance_estimated_tolerated{model="demand",metric="brier"} 0.12' in text
    assert 'driftd_performance_estimate_held_ratio{model="demand"} 0.9' in text
    check(model)
    assert "driftd_performance_estimated{" not in expose(metrics)
    assert 'driftd_performance_estimated_baseline{model="demand",metric="brier"} 0.1' in expose(metrics)


def test_the_asked_version_is_the_pin_and_the_served_one_is_what_the_link_names() -> None:
    """A rule can tell that something else serves than what was asked for."""
    metrics = Metrics()
    model = under_watch(metrics)
    model.state(ModelState("demand", champion=3), served=3)
    assert 'driftd_asked_version{model="demand"} 3.0' in expose(metrics)
    model.state(ModelState("demand", champion=3, pinned=1), served=3)
    assert 'driftd_asked_version{model="demand"} 1.0' in expose(metrics)
    assert 'driftd_served_version{model="demand"} 3.0' in expose(metrics)


def test_a_registry_has_series_where_one_is_configured() -> None:
    """Failures, the version that the alias names, and whether somebody moved it; nothing without a registry."""
    metrics = Metrics()
    model = under_watch(metrics)
    model.state(ModelState("demand", champion=3), served=3)
    assert "driftd_registry_" not in "".join(line for line in expose(metrics).splitlines() if not line.startswith("#"))
    known = RegistryState("http://ml demand@champion", alias=3, failures=2, moved=MovedAlias("9", None, 5.0))
    model.state(ModelState("demand", champion=3, registry=known), served=3)
    for name, value in (("failures", 2.0), ("alias_version", 3.0), ("alias_moved", 1.0)):
        assert f'driftd_registry_{name}{{model="demand"}} {value}' in expose(metrics)
    model.state(ModelState("demand", champion=3, registry=replace(known, alias=None, moved=None)), served=3)
    for name, value in (("alias_version", 0.0), ("alias_moved", 0.0)):
        assert f'driftd_registry_{name}{{model="demand"}} {value}' in expose(metrics)


def test_the_override_tells_what_it_asks_since_when_and_when_it_ends() -> None:
    """Each kind of override has a series; when it began and ends is absent where there is none."""
    metrics = Metrics()
    metrics.override({"pin"}, 99.0, {"pin": 7.0})
    assert 'driftd_override_since_timestamp_seconds{kind="pin"} 7.0' in expose(metrics)
    assert 'driftd_override_active{kind="pin"} 1.0' in expose(metrics)
    assert "driftd_override_expires_timestamp_seconds 99.0" in expose(metrics)
    metrics.override(set(), None, {})
    assert 'driftd_override_since_timestamp_seconds{kind="pin"}' not in expose(metrics)
    assert 'driftd_override_active{kind="pin"} 0.0' in expose(metrics)
    assert "driftd_override_expires_timestamp_seconds 99.0" not in expose(metrics)


def test_upkeep_has_a_last_success() -> None:
    """Sealing and pruning show when they last succeeded; a failure leaves that time and is counted."""
    metrics = Metrics()
    under_watch(metrics)
    metrics.upkeep("demand", 5.0, ok=True)
    metrics.upkeep("demand", 6.0, ok=False)
    assert 'driftd_upkeep_last_success_timestamp_seconds{model="demand"} 5.0' in expose(metrics)
    assert 'driftd_upkeep_failures_total{model="demand"} 1.0' in expose(metrics)


def test_a_backup_and_damage_can_be_alerted_on() -> None:
    """The newest backup has its time, failures are counted from 0, and a damaged store is told by its model."""
    metrics = Metrics()
    assert "driftd_backup_failures_total 0.0" in expose(metrics)
    metrics.record_backup(7.0, 1000)
    metrics.count_failed_backup()
    metrics.model("demand").mark_events_damaged()
    text = expose(metrics)
    assert "driftd_backup_last_success_timestamp_seconds 7.0" in text
    assert "driftd_backup_size_bytes 1000.0" in text
    assert "driftd_backup_failures_total 1.0" in text
    assert 'driftd_events_damaged{model="demand"} 1.0' in text


def story(*lines: DecisionEvent) -> DecisionCounts:
    tally = DecisionCounts()
    for line in lines:
        tally.take(line)
    return tally


def test_builds_are_counted_by_trigger_and_outcome() -> None:
    """Each build that started ends in exactly one outcome, under its own trigger."""
    started = {"version": 2, "trigger": "performance"}
    judged = {"version": 2, "decision": "promote", "gain": 0.3, "lower": 0.1, "upper": 0.5}
    tally = story(
        happened(Event.BUILD_STARTED, **started),
        happened(Event.SWAP_STARTED, **judged),
        happened(Event.PROMOTED, at=5.0, version=2, **{"from": 1}),
        happened(Event.BUILD_STARTED, version=3, trigger="schedule"),
        happened(Event.BUILD_STARTED, version=4, trigger="manual"),
        happened(Event.CHALLENGER_REJECTED, version=4, decision="reject"),
        happened(Event.BUILD_STARTED, version=5, trigger="manual"),
        happened(Event.CHALLENGER_REJECTED, version=5),
        happened(Event.BUILD_STARTED, version=6, trigger="manual"),
        happened(Event.BUILD_FAILED, at=9.0, version=6),
    )
    ended = {labels: count for (family, labels), count in tally.counts.items() if family is model_families.BUILDS_ENDED}
    assert {labels: count for labels, count in ended.items() if count} == {
        ("performance", "promoted"): 1,
        ("schedule", "superseded"): 1,
        ("manual", "rejected"): 1,
        ("manual", "turned_down"): 1,
        ("manual", "failed"): 1,
    }
    assert (tally.last_outcome, tally.last_build_at, tally.swapped_at) == ("failed", 9.0, 5.0)
    assert tally.gain == (0.3, 0.1, 0.5)
    assert tally.counts[model_families.GATE, ("promote",)] == tally.counts[model_families.GATE, ("reject",)] == 1


def test_refusals_of_the_gate_are_counted_until_a_build_gets_through() -> None:
    """A person's no and a failure are no refusals of the gate; a promotion ends the row."""
    build = happened(Event.BUILD_STARTED, version=2, trigger="performance")
    refused = happened(Event.CHALLENGER_REJECTED, version=2, decision="reject")
    never = happened(Event.CHALLENGER_INCONCLUSIVE, version=2)
    assert story(build, refused, build, never).refusals == 2
    assert story(build, refused, build, happened(Event.BUILD_FAILED, version=2)).refusals == 1
    assert story(build, refused, build, happened(Event.PROMOTED, version=2, **{"from": 1})).refusals == 0


def test_rollbacks_and_swaps_are_told_apart() -> None:
    """A rollback is counted by who asked for it and how it ended; a pin of what serves already is no swap."""
    tally = story(
        happened(Event.ROLLBACK_STARTED, version=2, previous=1),
        happened(Event.ROLLED_BACK, version=1, **{"from": 2}),
        happened(Event.ROLLBACK_STARTED, version=3, who="ada"),
        happened(Event.ROLLBACK_REFUSED),
        happened(Event.PINNED, version=1, **{"from": 1}),
        happened(Event.PINNED, version=4, **{"from": 1}),
    )
    counted = {(family.name, *labels): count for (family, labels), count in tally.counts.items() if count}
    assert counted["driftd_rollbacks_total", "probation", "done"] == 1
    assert counted["driftd_rollbacks_total", "person", "refused"] == 1
    assert set(tally.rolled_back_at) == {"done", "refused"}
    assert counted["driftd_swaps_total", "rollback"] == counted["driftd_swaps_total", "pin"] == 1


def test_every_event_has_its_series_from_the_start() -> None:
    """driftd_transitions_total begins at zero for every event that can be decided."""
    counted = {labels for family, labels in DecisionCounts().counts if family is model_families.TRANSITIONS}
    assert counted == {(str(event),) for event in Event}


def test_what_is_written_together_appears_together() -> None:
    """A counter that is taken up from the store is never seen at 0 first, which would look like a jump."""
    metrics, seen = Metrics(), []
    tally = story(happened(Event.ALARM, kind="data"), happened(Event.ALARM, kind="data"))
    scrape = threading.Thread(target=lambda: seen.append(expose(metrics)))
    with metrics.board.together():
        scrape.start()
        under_watch(metrics)
        scrape.join(0.1)
        under_watch(metrics, tally=tally)
    scrape.join(10)
    assert 'driftd_alarms_total{model="demand",kind="data"} 2.0' in seen[0]


def test_what_a_database_handed_out_adds_up_over_its_connections() -> None:
    """Rows, bytes and refusals go on when the process of the connection begins anew, and never go back."""
    metrics = Metrics()
    watched = metrics.model("m")
    for rows, refused in ((100, 0), (150, 1), (20, 0)):
        counts = {"rows_read": rows, "bytes_read": 8 * rows, "queries_refused": refused}
        watched.source(predictions=0, late=0, faults=0, newest_prediction=None, newest_feedback=None, counts=counts)
    text = expose(metrics)
    assert 'driftd_source_rows_read_total{model="m"} 170' in text
    assert 'driftd_source_bytes_read_total{model="m"} 1360' in text
    assert 'driftd_source_queries_refused_total{model="m"} 1' in text
