"""`driftd report`: the page of an alarm and of a decision as a file."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from cli_samples import DAY, NOON, ODD, Run, alarm_of, check, decide, publish
from driftd.actions import DecisionParts
from driftd.config.load import load
from driftd.events import Event
from driftd.paths import Places
from driftd.store.state.writer import StateStore
from driftd.views.decision_report import FOLLOWED
from year_of_history import write_history

SEGMENTS = [
    {"segment": "", "rows": 900, "loss": 1.0, "other_loss": 3.0, "gain": 2.0},
    *({"segment": f"region = {n}", "rows": 90, "loss": 1.0, "other_loss": 1.0 + n, "gain": float(n)} for n in range(9)),
]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_an_alarm_of_an_earlier_driftd_has_its_sentence(driftd: Run, store: StateStore, tmp_path: Path) -> None:
    """Without parts and without a line of history the page has the sentence, the times and the leaders."""
    check(store, kind="labels")
    number = alarm_of(store)
    code, out, _ = driftd("report", str(number))
    assert (code, out.strip()) == (0, f"alarm-{number}.html: the report of alarm {number} of demand")
    page = (tmp_path / f"alarm-{number}.html").read_text("utf-8")
    for words in (
        f"<h1>{ODD}.</h1>",
        "Most likely since 2024-10-01 12:00 UTC; seen in the window until 2024-10-05 00:00 UTC.",
        "[b]</td><td>segment</td>",
        "There is none: Evidently&#x27;s report of this alarm is not rendered",
        f"driftd explain --alarm {number}",
    ):
        assert words in page
    assert "href" not in page  # an address of this host is nobody else's


def test_the_parts_of_an_alarm_stand_on_its_page(driftd: Run, store: StateStore, tmp_path: Path) -> None:
    """What changed, how sure that is and what happens next are those of the decision, until another one followed."""
    number, parts = alarm_of(store), DecisionParts("It moved.", "Certain.", "Nothing to do.", "evidence 9 of 8")
    figures = {"alarm": number, "parts": {"what": parts.what, "sure": parts.sure, "next": parts.next}}
    decide(store, Event.ALARM, parts.text, **figures)
    driftd("report", str(number), "--to", "it.html")
    page = (tmp_path / "it.html").read_text("utf-8")
    assert "<h1>It moved.</h1><p>Certain.</p>" in page
    assert "<p>Nothing to do.</p>" in page
    decide(store, Event.ALARM_CLEARED, "its evidence fell", alarm=number, at=NOON + DAY)
    driftd("report", str(number), "--to", "it.html")
    page = (tmp_path / "it.html").read_text("utf-8")
    assert FOLLOWED in page
    assert "Its evidence fell" in page


def test_a_swap_has_the_segments_of_its_gate_and_its_history(driftd: Run, store: StateStore, tmp_path: Path) -> None:
    """All rows, the five segments that differ most, the versions, the alarm that led to it, and its long story cut."""
    gate = {"decision": "promote", "sentence": "better", "metric": "mae", "champion": 1, "segments": SEGMENTS}
    publish(tmp_path / "state", 2, gate=gate)
    number = alarm_of(store)
    decide(store, Event.ALARM, f"{ODD}; a build is requested", alarm=number)
    decide(store, Event.BUILD_STARTED, f"building version 2: {ODD}", version=2, alarm=number)
    for _ in range(9):
        decide(store, Event.GATE_INCONCLUSIVE, "not yet clear", version=2)
    line = decide(store, Event.PROMOTED, "version 2 serves instead of 1", version=2, **{"from": 1})
    assert driftd("report", "--decision", str(line))[0] == 0
    page = (tmp_path / f"decision-{line}.html").read_text("utf-8")
    assert "version 1 → version 2" in page
    assert re.findall(r"<tr><td>(all rows|region = \d)</td>", page) == [
        "all rows", *(f"region = {n}" for n in (8, 7, 6, 5, 4))
    ]  # fmt: skip
    assert "4 more stand on the page" in page
    assert page.count('<tr class="here">') == 1


def test_a_report_reads_a_state_and_changes_nothing(driftd: Run, store: StateStore, tmp_path: Path) -> None:
    """No file of the state is written; SQLite alone keeps its empty files beside a database that is open."""
    number = alarm_of(store)
    store.close()
    state = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in _files(tmp_path / "state")}
    assert driftd("report", str(number), "--to", str(tmp_path / "out.html"))[0] == 0
    assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in _files(tmp_path / "state")} == state


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(("-shm", "-wal")))


def test_the_links_of_a_file_are_whole_addresses(driftd: Run, store: StateStore, tmp_path: Path) -> None:
    """A file is forwarded: Evidently's page and driftd's are linked where `http.url` says that people open them."""
    number = alarm_of(store)
    config = tmp_path / "config.yaml"
    config.write_text(f"{config.read_text('utf-8')}\nhttp: {{url: 'https://tools.example.com/driftd'}}\n")
    opinion = Places(tmp_path / "state").report("demand", number)
    opinion.parent.mkdir(parents=True)
    opinion.write_text("evidently")
    store.save_report(number, str(opinion), [])
    folder = tmp_path / "mail"
    folder.mkdir()
    driftd("report", str(number), "--to", str(folder / "it.html"))
    assert re.findall(r'href="([^"]+)"', (folder / "it.html").read_text("utf-8")) == [
        f"https://tools.example.com/driftd/#/alarm/{number}",
        f"https://tools.example.com/driftd/reports/demand/{number}",
    ]
    opinion.unlink()
    driftd("report", str(number), "--to", str(folder / "it.html"))
    assert "no longer kept" in (folder / "it.html").read_text("utf-8")


def test_windows_of_rows_are_told_as_rows(driftd: Run, store: StateStore, tmp_path: Path) -> None:
    """Of a model that cuts by rows the page says which rows, and when the alarm was raised."""
    store.save_config("c0ffee", at=NOON, content=load(tmp_path / "config.yaml").model_dump(mode="json"))
    number = alarm_of(store, "supply")
    assert driftd("report", str(number))[0] == 0
    page = (tmp_path / f"alarm-{number}.html").read_text("utf-8")
    assert "seen in the rows 3,500 to 4,000, at 2024-10-04 12:00 UTC" in page


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "name an alarm or a decision"),
        (("1", "--decision", "1"), 2, "name an alarm or a decision"),
        (("77",), 4, "there is no alarm 77"),
        (("9" * 30,), 4, "there is no alarm 9"),
        (("--decision", "77"), 4, "there is no decision 77"),
    ],
)
def test_what_is_not_there_is_said(
    driftd: Run, store: StateStore, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """Neither, both, or a number that nothing has: the message says what to do, and no file is written."""
    got, _, err = driftd("report", *arguments)
    assert got == code
    assert said in err
    assert not list(Path().glob("*.html"))


def test_a_year_of_history_has_its_curve_and_what_the_change_cost(driftd: Run, tmp_path: Path) -> None:
    """The metric around the alarm with marks, and the loss of the windows since the change until that was absorbed."""
    places = Places(tmp_path / "state")
    write_history(places.state_db, models=1, windows=900, features=3)
    assert driftd("report", "1")[0] == 0
    page = (tmp_path / "alarm-1.html").read_text("utf-8")
    for words in ("Mean absolute error (lower is better)", ">change</text>", ">alarm</text>", "200 in 1 window<"):
        assert words in page
