"""What `driftd explain` prints, and what the commands that ask the daemon for something answer."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from cli_samples import NOON, ODD, Run, alarm_of, check, decide, publish
from driftd.events import Event
from driftd.paths import Places
from driftd.records import (
    Action,
    ReportArguments,
    SwapArguments,
    SwapPurpose,
    Window,
)
from driftd.store.state.writer import StateStore
from driftd_detectors.assessment import Assessment, Verdict
from limits import HANG


def test_an_alarm_is_explained_with_what_was_seen_against_which_threshold(driftd: Run, store: StateStore) -> None:
    """The explanation holds the evidence, the threshold, the window with its rows, the leaders and the report."""
    check(store, kind="labels")
    number = alarm_of(store)
    store.save_report(number, "/srv/report.html", [{"sentence": "ks says drifted"}])
    report = Action(ReportArguments(number, ODD))
    line = decide(
        store, Event.ALARM, f"{ODD}; a build is wanted", report, alarm=number, evidence=1684.0, threshold=913.0
    )
    code, out, _ = driftd("explain", "last")
    assert code == 0
    for output in (
        f"{line}  2024-10-04 12:00 UTC  demand  alarm",
        f"{ODD}; a build is wanted.",
        "evidence 1,684 reached the threshold 913",
        "in the window from 2024-10-04 00:00 to 2024-10-05 00:00 UTC, 223 rows",
        "80% of the rise: mae",
        "20% of the rise: [b]",
        "began at 2024-10-01 12:00 UTC",
        "second opinion: ks says drifted",
        "report: /srv/report.html",
        "then: report, intended",
    ):
        assert output in out
    of_alarm = driftd("explain", str(number), "--alarm")[1]
    assert of_alarm.startswith(f"{line}  2024-10-04 12:00 UTC  demand  alarm")  # the whole decision, with its figures
    assert f"alarm {number}: performance of demand/1" in of_alarm


def test_windows_of_rows_are_told_as_rows(driftd: Run, store: StateStore) -> None:
    """The window of a model that cuts by rows is told in rows, not in times."""
    alarm_of(store, "supply")
    assert "in the window of rows 3,500 to 4,000 in order of arrival" in driftd("explain", "--alarm", "last")[1]


SAMPLE = {"kept": 500, "seed": 2, "weighted": True, "strata": {"late": [718, 209], "not": [1000, 291]}}
BUILT = {"rows": 1718, "chosen": "since_change", "tried": {"all": 12.5}, "sample": SAMPLE}


def test_a_decision_is_explained_with_its_whole_story(driftd: Run, store: StateStore, tmp_path: Path) -> None:
    """From the alarm by way of the build and its gate to the swap and the rollback: one story, with the place in it."""
    gate = {"decision": "promote", "sentence": "gain 2 on 500 later rows"}
    publish(tmp_path / "state", 2, gate=gate, data=BUILT)
    decide(store, Event.CONFIRMED, "an older story", version=1)
    decide(store, Event.ALARM, f"{ODD}; a build is wanted", alarm=alarm_of(store))
    decide(store, Event.BUILD_STARTED, f"building version 2 because of performance: {ODD}", version=2)
    swap = Action(SwapArguments(2, SwapPurpose.PROMOTE, 1))
    promoted = decide(store, Event.PROMOTED, "version 2 serves instead of 1", swap, version=2, change_at=NOON, gain=2.0)
    decide(store, Event.ROLLED_BACK, "version 1 serves again instead of 2", version=1, **{"from": 2})
    _, out, _ = driftd("explain", str(promoted))
    story = out[out.index("how it came about") :]
    order = [story.index(word) for word in ("alarm", "build started", "promoted", "rolled back")]
    assert order == sorted(order)
    assert "an older story" not in story
    assert f">    {promoted}" in story
    for output in (
        "gate: promote: gain 2 on 500 later rows",
        "trained on 1,718 rows, the choice 'since change' (losses of what was tried: all 12.5)",
        "a sample of 500 (seed 2, newer rows more often as the recipe weighs them): late 209 of 718, not 291 of 1,000",
        "change at: 2024-10-04 12:00 UTC",
        "gain: 2",
        "then: swap, intended",
    ):
        assert output in out
    assert driftd("explain", "2")[1].count(Event.PROMOTED) == 1  # the alarm's own story goes on to the swap
    output = json.loads(driftd("explain", str(promoted), "--json")[1])
    assert output["decision"]["figures"]["gain"] == 2
    assert [item["event"] for item in output["story"]] == ["alarm", "build_started", "promoted", "rolled_back"]


def test_a_build_is_told_with_the_alarm_that_caused_it(driftd: Run, store: StateStore) -> None:
    """Of two alarms that say the same, the story has the one whose id the build carries."""
    first, second = alarm_of(store), alarm_of(store)
    item, two = (decide(store, Event.ALARM, f"{ODD}; x", alarm=number) for number in (first, second))
    start = decide(store, Event.BUILD_STARTED, f"building version 2: {ODD}", version=2, alarm=first)
    story = json.loads(driftd("explain", str(start), "--json")[1])["story"]
    assert [line["id"] for line in story] == [item, start]
    assert [line["id"] for line in json.loads(driftd("explain", str(item), "--json")[1])["story"]] == [item, start]
    assert json.loads(driftd("explain", str(two), "--json")[1])["story"] == []


@pytest.mark.parametrize(
    ("arguments", "kind", "asked"),
    [
        (("retrain", "demand", "--why", "schema fix"), "retrain", {"text": "schema fix", "snapshot": None}),
        (("approve", "demand", "2"), "approve", {"version": 2, "text": ""}),
        (("reject", "demand", "2"), "reject", {"version": 2, "text": ""}),
        (("rollback", "demand", "--to", "1"), "rollback", {"version": 1, "text": ""}),
        (
            ("pause", "demand", "--what", "checks", "--until", "2999-01-01T00:00:00Z", "--why", "INC-1"),
            "pause",
            {"what": ["checks"], "until": 32_472_144_000.0, "text": "INC-1"},
        ),
        (
            ("silence", "demand", "price", "--until", "2999-01-01T00:00:00Z", "--why", "campaign"),
            "silence",
            {"feature": "price", "until": 32_472_144_000.0, "text": "campaign"},
        ),
        (("resume", "demand"), "resume", {"what": [], "feature": None, "alarm": None, "text": ""}),
    ],
)
def test_what_is_asked_waits_in_the_store_for_the_daemon(
    driftd: Run, store: StateStore, arguments: tuple[str, ...], kind: str, asked: dict[str, object]
) -> None:
    """Without a daemon a request is kept with who asked, and the command says so and ends with 3."""
    code, out, _ = driftd(*arguments, "--wait", "0")
    (request,) = store.waiting_requests()
    assert code == 3
    assert f"asked (request {request.id}); no daemon has answered" in out
    assert (request.model, request.kind, request.arguments) == ("demand", kind, asked)
    assert "@" in request.who


def test_checks_over_their_age_go_by_the_daemon(driftd: Run, store: StateStore) -> None:
    """`driftd prune` counts them and asks the daemon; a dry run asks nothing; either word gives the reason."""
    for index, at in enumerate((1e9, time.time())):
        assessment = Assessment(Verdict.OK, "calm", 9)
        store.save_check("demand", "window", Window(index, index, index + 1.0), assessment, at=at, version=1)
    code, out, _ = driftd("prune", "demand", "--dry-run")
    assert (code, store.waiting_requests()) == (0, [])
    assert "demand: 1 of 2 checks are older than 800d (retention.checks)" in out
    for word in ("--why", "--reason"):
        code, out, _ = driftd("prune", "demand", "--only", "checks", word, "INC-9", "--wait", "0")
        assert code == 3
        assert "no daemon has answered" in out
    assert [(item.kind, item.arguments) for item in store.waiting_requests()] == [
        ("prune-checks", {"text": "INC-9"})
    ] * 2


def test_an_acknowledgement_has_a_reason_and_an_end(driftd: Run, store: StateStore) -> None:
    """`driftd acknowledge` takes a time or a span, a week by default, and refuses what is neither."""
    reason = ("--reason", "campaign", "--wait", "0")
    assert driftd("acknowledge", "demand", "17", "--until", "2999-01-01T00:00:00Z", *reason)[0] == 3
    assert driftd("acknowledge", "demand", *reason)[0] == 3
    known, week = store.waiting_requests()
    assert known.arguments == {"alarm": 17, "until": 32_472_144_000.0, "text": "campaign"}
    assert week.arguments["alarm"] is None
    assert week.arguments["until"] == pytest.approx(time.time() + 7 * 86_400, abs=600)
    assert "no span (7d, 12h) and no time" in driftd("acknowledge", "demand", "--until", "soon", *reason)[2]
    for command in (("acknowledge", "demand", "17"), ("pause", "demand"), ("silence", "demand", "price")):
        assert "Missing option '--why'" in driftd(*command)[2]


@pytest.mark.parametrize(("is_refused", "expected"), [(False, 0), (True, 5)])
def test_the_answer_of_the_daemon_is_printed(
    driftd: Run, store: StateStore, tmp_path: Path, is_refused: bool, expected: int
) -> None:
    """The outcome is printed as soon as it is there; a refusal ends with 5."""

    def answer() -> None:
        with StateStore.open(Places(tmp_path / "state").state_db) as daemon:
            deadline = time.monotonic() + HANG
            while not (waiting := daemon.waiting_requests()) and time.monotonic() < deadline:
                time.sleep(0.005)
            daemon.answer_request(waiting[0].id, at=NOON, outcome="because", is_refused=is_refused)

    thread = threading.Thread(target=answer)
    thread.start()
    code, out, _ = driftd("retrain", "demand", "--wait", "20", "--json")
    thread.join()
    assert code == expected
    output = json.loads(out)
    assert output["outcome"] == "because"
    assert output["refused"] is is_refused
