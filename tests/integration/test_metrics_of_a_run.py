"""What the metrics show of a real run: every family, the same after a restart, whatever the main loop waits for."""

from __future__ import annotations

import ast
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families

from driftd.config.schema import Http
from driftd.loop.daemon import Daemon
from driftd.observe import families, model_families
from driftd.observe.decision_counts import DecisionCounts
from driftd.observe.http import HttpThread, Wiring, application
from driftd.observe.metrics import Metrics
from driftd.observe.model_metrics import CheckContext
from driftd.records import Verdict, Window
from driftd_detectors.assessment import Assessment, EvidenceKind, KindAssessment, Score
from limits import HANG, time_limit
from loop_world import CONFIG, HOUR, MODEL, World

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
OVERRIDE = "override: {{reason: the upstream is moved, expires: 2099-01-01T00:00:00Z, pause: [promotion]}}\n"
Samples = dict[tuple[str, ...], float]
ELSEWHERE = {
    families.INFO,  # these are set by `driftd run` around the loop: see test_daemon_process
    families.STARTED,
    families.MESSAGES,
    families.DISK_FREE,
    families.DISK_SIZE,
    families.MEASURED,
    families.STORE_SIZE,
    families.DISK_FULL_AT,
    families.GROWTH,
    families.UPKEEP_AT,
    families.BACKED_UP_AT,
    families.BACKUP_SIZE,
    *(item for item in families.ALL if item.owner == "receiver"),  # see test_notifications
    families.OVERRIDE_SINCE,  # this run has no override; see test_config_history
    model_families.ROLLED_BACK_AT,  # and no rollback; see test_metrics
    model_families.HAND_OVER_UNTIL,  # only of models that are served elsewhere; see test_external
    model_families.TAKEN_BACK_AT,
    model_families.REGISTRY_FAILURES,  # only of models whose versions are registered; see test_mlflow_registry
    model_families.REGISTRY_ALIAS,
    model_families.ALIAS_MOVED,
    model_families.ESTIMATE_HELD,  # needs ten windows with labels; see test_metrics
}
SINCE_START = {item.name for item in families.ALL if item.type in {"counter", "histogram"} and not item.lasting}
OF_THIS_MOMENT = {"driftd_last_step_timestamp_seconds", "driftd_config_last_reload_success_timestamp_seconds"}


def samples(daemon: Daemon) -> Samples:
    """Every sample of the daemon by its name and its labels in the order of their names."""
    text = daemon.assembly.metrics.expose()[0].decode()
    return {
        (item.name, *(value for _, value in sorted(item.labels.items()))): item.value
        for family in text_string_to_metric_families(text)
        for item in family.samples
        if item.name.startswith("driftd_")
    }


def lasting(found: Samples) -> Samples:
    """Those that do not begin anew with the process, and are not about the very moment."""
    gone = (
        SINCE_START | OF_THIS_MOMENT | {f"{name}{end}" for name in SINCE_START for end in ("_bucket", "_count", "_sum")}
    )
    return {key: value for key, value in found.items() if key[0] not in gone}


def worse(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """The world changes: what was right is six too low."""
    return frame, truth + 6


def broken(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """The pipeline loses a feature."""
    return frame.assign(b=np.nan), truth


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, dict[str, Samples]]]:
    """A drift from its first window to the hour after the swap, with the samples at each turn."""
    config = CONFIG + OVERRIDE
    world = World.begin(tmp_path_factory.mktemp("run"), config=config)
    seen = {}
    world.live(2)
    seen["calm"] = samples(world.daemon)
    world.live(1, broken)
    seen["broken"] = samples(world.daemon)
    world.live(1)
    world.live(20, worse, until=lambda world: world.phase == "awaiting_approval")
    seen["waiting"] = samples(world.daemon)
    path = world.folder / "config.yaml"
    path.write_text(CONFIG.format(state=world.places.root))
    assert world.daemon.reload(world.clock.now()) is None
    world.live(2, worse, until=lambda world: world.phase == "probation")
    seen["swapped"] = samples(world.daemon)
    world.live(1, worse)
    seen["after"] = samples(world.daemon)
    yield world, seen
    world.close()


def test_a_drift_can_be_followed_in_the_metrics(run: tuple[World, dict[str, Samples]]) -> None:
    """Evidence crosses its threshold, build and gate are counted, and after the swap nothing is held against it."""
    calm, waiting, swapped, after = (run[1][turn] for turn in ("calm", "waiting", "swapped", "after"))
    threshold = calm["driftd_evidence_threshold", "performance", MODEL]
    assert calm["driftd_verdict", "performance", MODEL, "ok"] == 1
    assert calm["driftd_evidence", "performance", MODEL] < threshold
    assert calm["driftd_performance_loss", "mae", MODEL] < calm["driftd_performance_loss_tolerated", "mae", MODEL]
    assert waiting["driftd_evidence", "performance", MODEL] >= threshold
    assert waiting["driftd_verdict", "performance", MODEL, "drift"] == 1
    assert waiting["driftd_performance_lower", "mae", MODEL] > waiting["driftd_performance_tolerated", "mae", MODEL]
    assert waiting["driftd_phase", MODEL, "awaiting_approval"] == waiting["driftd_approval_waiting", MODEL] == 1
    assert waiting["driftd_override_active", "pause_promotion"] == 1
    assert waiting["driftd_gate_gain_lower", MODEL] > 0
    assert swapped["driftd_override_active", "pause_promotion"] == 0
    assert swapped["driftd_served_version", MODEL] == swapped["driftd_asked_version", MODEL] > 1
    assert swapped["driftd_swaps_total", MODEL, "promote"] == 1
    assert swapped["driftd_builds_ended_total", MODEL, "promoted", "performance"] == 1
    assert swapped["driftd_evidence", "performance", MODEL] == 0
    assert sum(value for key, value in swapped.items() if key[:2] == ("driftd_verdict", "performance")) == 0
    assert after["driftd_verdict", "performance", MODEL, "ok"] == after["driftd_learning", MODEL] == 1
    assert after["driftd_predictions_total", MODEL] == after["driftd_rows_checked_total", MODEL]
    assert after["driftd_label_delay_seconds", MODEL] == pytest.approx(600)
    assert (
        after["driftd_newest_feedback_timestamp_seconds", MODEL]
        > calm["driftd_newest_feedback_timestamp_seconds", MODEL]
    )


def test_a_broken_feature_can_be_named(run: tuple[World, dict[str, Samples]]) -> None:
    """The metrics say which feature is broken, how, in how many rows, and that builds wait; then that all is well."""
    broken, waiting = run[1]["broken"], run[1]["waiting"]
    assert broken["driftd_quality_fault_ratio", "missing", "b", MODEL] == 1
    assert broken["driftd_quality_faults", "missing", MODEL] == broken["driftd_builds_blocked", MODEL] == 1
    assert ("driftd_score", "location", "b", MODEL) not in broken
    assert waiting["driftd_quality_faults", "missing", MODEL] == waiting["driftd_builds_blocked", MODEL] == 0
    assert ("driftd_score", "location", "b", MODEL) in waiting


def test_a_restart_leaves_no_hole_in_the_graphs(run: tuple[World, dict[str, Samples]]) -> None:
    """A new daemon shows verdicts, evidence, scores, phase, times and lasting counters as the old one left them."""
    world, seen = run
    world.daemon.close()
    world.reopen()
    world.daemon.watch(world.clock.now())
    at_once = {key for key in lasting(samples(world.daemon)) if key[0] != "driftd_config_info"}
    world.daemon.round(world.clock.now())
    before, now = lasting(seen["after"]), lasting(samples(world.daemon))
    assert {key for key in before if before[key] != now.get(key)} == set()
    for name in (
        "verdict",
        "evidence",
        "phase",
        "last_check_timestamp_seconds",
        "last_swap_timestamp_seconds",
        "score",
    ):
        assert any(key[0] == f"driftd_{name}" for key in at_once), f"driftd_{name} is not there before the first round"


def test_every_family_is_shown(run: tuple[World, dict[str, Samples]]) -> None:
    """No family is defined that a run never sets."""
    shown = {key[0] for turn in run[1].values() for key in turn}
    shown |= {name.removesuffix("_count") for name in shown}
    assert {item.name for item in families.ALL if item not in ELSEWHERE and item.name not in shown} == set()


def test_every_family_is_set_somewhere() -> None:
    """Every name that `families` gives to a family is used by the code that shows things."""
    folder = ROOT / "daemon/driftd/observe"
    names = {
        node.targets[0].id
        for name in ("families.py", "model_families.py")
        for node in ast.parse((folder / name).read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if ast.unparse(node.value).startswith(("_gauge(", "_counter(", "_histogram("))
    }
    used = {
        node.attr
        for path in (*folder.glob("*metrics.py"), folder / "decision_counts.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in {"families", "model_families"}
    }
    tables = {  # `READS` and the like, by which the code goes
        node.id
        for name in ("families.py", "model_families.py")
        for node in ast.walk(ast.parse((folder / name).read_text()))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    assert names - used - tables - {"_catalogue"} == set()


class Stuck:
    """A source whose disk does not answer until it is told to."""

    def __init__(self, source: Any) -> None:
        self.source, self.asked, self.goes_on = source, threading.Event(), threading.Event()

    def refresh(self, now: float) -> Any:
        """Hang, then answer."""
        self.asked.set()
        self.goes_on.wait(HANG)
        return self.source.refresh(now)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)


def test_a_scrape_is_answered_while_the_main_loop_is_blocked(run: tuple[World, Mapping[str, Samples]]) -> None:
    """A check that hangs on its source holds no scrape up."""
    daemon = run[0].daemon
    scheduler = daemon.models[MODEL].scheduler
    stuck = Stuck(scheduler.source)
    scheduler.source = stuck
    unused = Wiring(daemon.assembly.metrics, daemon.is_ready, lambda: None, dict, lambda _model, _alarm: Path("/none"))
    http = HttpThread(application(unused), Http(listen="127.0.0.1:0"))
    http.start()
    loop = threading.Thread(target=scrapes, args=(http.address, stuck, took := []))
    loop.start()
    daemon.round(run[0].clock.now() + HOUR)
    loop.join()
    http.stop()
    scheduler.source = stuck.source
    assert len(took) == 5
    assert max(took) < time_limit(1.0)


def scrapes(address: str, stuck: Stuck, took: list[float]) -> None:
    """Scrape five times while the source hangs, then let it go on."""
    try:
        assert stuck.asked.wait(HANG)
        with httpx.Client() as client:
            for _ in range(5):
                started = time.perf_counter()
                client.get(f"http://{address}/metrics", timeout=HANG).raise_for_status()
                took.append(time.perf_counter() - started)
    finally:
        stuck.goes_on.set()


def test_a_model_that_leaves_the_config_leaves_the_metrics(run: tuple[World, Mapping[str, Samples]]) -> None:
    """After a reload nothing is shown of a model that is gone; one that cannot be watched yet is told as such."""
    world = run[0]
    (world.folder / "config.yaml").write_text(CONFIG.format(state=world.places.root).replace("demand:", "price:"))
    assert world.daemon.reload(world.clock.now()) is None
    world.daemon.round(world.clock.now())
    found = samples(world.daemon)
    assert not [key for key in found if MODEL in key[1:]]
    assert found["driftd_model_watched", "price"] == 0
    assert found["driftd_model_step_errors_total", "price"] > 0


def test_a_scrape_of_a_large_fleet_is_quick() -> None:
    """A hundred models of a hundred features cost a fifth of a second at most, right after all were checked too."""
    metrics = Metrics()
    check_all(metrics, 0)
    assert quickest(metrics) < 0.2
    check_all(metrics, 1)
    started = time.thread_time()
    text, _ = metrics.expose()
    assert text.count(b"driftd_score{") == 100 * 100 * len(COMPONENTS)
    assert time.thread_time() - started < 0.2


COMPONENTS = ("location", "spread", "rest")


def check_all(metrics: Metrics, number: int) -> None:
    """A check of every model of the fleet."""
    named = [(f"feature_{at}", component) for at in range(100) for component in COMPONENTS]
    scores = tuple(Score(EvidenceKind.DATA, *item, 0.01 * (at + number), 0.1) for at, item in enumerate(named))
    kinds = tuple(KindAssessment(kind, Verdict.OK, 1.0 + number, 900.0, "") for kind in EvidenceKind)
    seen, eye = (
        Assessment(Verdict.OK, "", 500, kinds, scores),
        CheckContext(dict.fromkeys(named, 0.03), "mae", None, 600.0),
    )
    for at in range(100):
        model = metrics.model(f"model_{at}")
        if number == 0:
            model.begin(DecisionCounts(), window_seconds=HOUR, thresholds=dict.fromkeys(EvidenceKind, 900.0))
        model.check("window", seen, Window(number, 0.0, HOUR), eye, seconds=0.1, now=HOUR)


def quickest(metrics: Metrics) -> float:
    """The shortest of three answers, in seconds of the processor: the machine does other things too."""
    took = []
    for _ in range(3):
        started = time.thread_time()
        metrics.expose()
        took.append(time.thread_time() - started)
    return min(took)
