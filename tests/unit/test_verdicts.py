"""The one order of verdicts, and the one verdict on a model that every view of it shows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from driftd.loop.supervision import status_line
from driftd.records import ModelState, Window
from driftd.store.state.writer import StateStore
from driftd.views.status import latest_verdicts, model_status
from driftd_detectors.assessment import (
    CALM_TO_LOUD,
    Assessment,
    EvidenceKind,
    KindAssessment,
    LatestVerdicts,
    Verdict,
    loudest,
    loudness,
)

STATE = ModelState("demand", champion=2)
OK, SUSPECTED, DRIFT = Verdict.OK, Verdict.SUSPECTED, Verdict.DRIFT
INCONCLUSIVE, ERROR = Verdict.INCONCLUSIVE, Verdict.ERROR


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StateStore]:
    path: Path = tmp_path_factory.mktemp("state") / "state.db"
    with StateStore.open(path) as opened:
        yield opened


def assessment(verdict: Verdict, kind: EvidenceKind) -> Assessment:
    """A check with this verdict; one that could not look, or had too little data, evaluates no kind."""
    kinds = () if verdict in (INCONCLUSIVE, ERROR) else (KindAssessment(kind, verdict, 2.0, 100.0, "as it is"),)
    return Assessment(verdict, "as it is", 100, kinds)


def checked(
    store: StateStore, windows: tuple[Verdict, ...], labels: tuple[Verdict, ...], version: int = 2
) -> LatestVerdicts:
    """Record some checks, oldest first, as the daemon does; gives what the daemon itself then remembers."""
    latest = LatestVerdicts()
    with store.transaction():
        store._db.execute("delete from checks")
        for index, verdict in enumerate(windows):
            found = assessment(verdict, EvidenceKind.DATA)
            latest = latest.after_window(found)
            store.save_check("demand", "window", window_of(index), found, at=1.0, version=version)
        for index, verdict in enumerate(labels):
            found = assessment(verdict, EvidenceKind.PERFORMANCE)
            latest = latest.after_labels(found)
            store.save_check("demand", "labels", window_of(index), found, at=1.0, version=version)
    return latest


def window_of(index: int) -> Window:
    return Window(index, float(index), index + 1.0)


def test_the_order_holds_every_verdict_once() -> None:
    """Every verdict has its rank, and drift is the loudest."""
    assert sorted(CALM_TO_LOUD) == sorted(Verdict)
    assert loudest(Verdict) is DRIFT
    assert loudest([]) is None
    assert loudness(OK) < loudness(INCONCLUSIVE) < loudness(SUSPECTED) < loudness(ERROR) < loudness(DRIFT)


@pytest.mark.parametrize(
    ("windows", "labels", "verdict"),
    [
        ((), (), None),
        ((OK,), (), OK),
        ((), (OK,), OK),
        ((), (INCONCLUSIVE,), INCONCLUSIVE),
        ((OK,), (INCONCLUSIVE,), OK),  # labels that are still coming
        ((INCONCLUSIVE,), (OK,), INCONCLUSIVE),  # was "ok" for `systemctl status`
        ((OK, INCONCLUSIVE), (OK,), INCONCLUSIVE),
        ((SUSPECTED, INCONCLUSIVE), (OK,), SUSPECTED),  # the evidence stands
        ((OK,), (DRIFT, INCONCLUSIVE), DRIFT),
        ((OK,), (ERROR,), ERROR),  # was "ok" for `driftd status`
        ((OK, ERROR), (OK,), ERROR),
        ((SUSPECTED, ERROR), (), ERROR),
        ((DRIFT, ERROR), (), DRIFT),
        ((DRIFT, OK), (OK,), OK),
    ],
)
def test_the_verdict_on_a_model(
    store: StateStore, windows: tuple[Verdict, ...], labels: tuple[Verdict, ...], verdict: Verdict | None
) -> None:
    """What is loud comes first, of any kind of evidence; else what the last window said."""
    checked(store, windows, labels)
    assert latest_verdicts(store, STATE).overall is verdict


def test_every_view_shows_the_same_verdict(store: StateStore) -> None:
    """What the daemon remembers, for `systemctl status`, is what `driftd status` reads in the store."""
    histories: list[tuple[Verdict, ...]] = [(), *product(Verdict, repeat=1), *product(Verdict, repeat=2)]
    for windows, labels in product(histories, [(), (OK,), (ERROR,), (DRIFT, INCONCLUSIVE)]):
        remembered = checked(store, windows, labels)
        worst = model_status(store, STATE).worst
        line = status_line([(STATE, remembered)], {}, None)
        assert line == f"demand v2 steady {worst.replace('-', 'not checked yet')}", (windows, labels)
        assert latest_verdicts(store, STATE) == remembered, (windows, labels)


def test_the_verdicts_of_before_the_swap_are_over(store: StateStore) -> None:
    """What was said of the version before is no verdict on the one that serves, nor what was once said of that one."""
    checked(store, (DRIFT,), (), version=1)
    late = Window(5, 5.0, 6.0)
    store.save_check("demand", "window", late, assessment(INCONCLUSIVE, EvidenceKind.DATA), at=1.0, version=2)
    assert latest_verdicts(store, ModelState("demand", champion=3)) == LatestVerdicts()
    assert latest_verdicts(store, ModelState("demand", champion=1)) == LatestVerdicts()  # gone back to
