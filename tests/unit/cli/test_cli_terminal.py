"""No text of data or people acts on a terminal."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cli_samples import DAY, NOON, ODD, STATE, Run, alarm_of, decide, publish
from driftd.cli import terminal
from driftd.events import Event
from driftd.records import (
    Action,
    Alarm,
    DecisionFigures,
    ReportArguments,
    Transition,
    Window,
)
from driftd.store.state.writer import StateStore
from driftd_detectors.assessment import Assessment, EvidenceKind, KindAssessment, Verdict

EVIL = "\x1b[2J\x1b]0;owned\x07\x9b31m\r\nFORGED line\u202e\u2066\x00\x85\udcff"
ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]")


@pytest.fixture
def hostile(config: Path, store: StateStore, tmp_path: Path) -> Path:
    """A state in which every text that data or people bring holds what acts on a terminal."""
    text = EVIL.replace("\udcff", "")  # no database keeps half a character
    number = alarm_of(store, sentence=f"column {text} moved")
    store.save_report(number, "/reports/3.html", [{"sentence": f"opinion {text}"}])
    leaders = [(f"c=category {text}", 0.7)]
    other = replace(ALARM, subject=text, sentence=f"{text} rose")
    store.save_alarm("supply", other, Window(7, 3500, 4000, "rows"), at=NOON, version=1, leaders=leaders)
    action = Action(ReportArguments(number, f"see {text}"))
    decide(store, "alarm", f"column {text} moved", action, alarm=number, subject=text)
    with store.transaction():
        blocked = replace(STATE, model=text, blocked=f"column {text} is missing")
        store.save_transition(
            STATE,
            Transition(replace(blocked, model="demand"), f"why {text}", Event.QUALITY_FAULT, (), DecisionFigures()),
            at=NOON,
            actor=text,
            config_hash=text,
        )
        transition = Transition(blocked, f"other {text}", Event.QUALITY_FAULT, (), DecisionFigures())
        store.save_transition(replace(STATE, model=text), transition, at=NOON, actor=text, config_hash=text)
    kinds = (EvidenceKind.DATA, EvidenceKind.QUALITY)
    found = tuple(KindAssessment(kind, Verdict.DRIFT, 990.0, 900.0, f"{text} moved", ((text, 1.0),)) for kind in kinds)
    window = Window(20_000, 20_000 * DAY, 20_001 * DAY)
    assessment = Assessment(Verdict.DRIFT, f"looked at {text}", 223, found)
    store.save_check("demand", "window", window, assessment, at=NOON, version=1)
    gate = {"decision": text, "sentence": f"gate {text}"}
    data = {"rows": 1000, "chosen": text, "tried": {text: 0.1}}
    state = tmp_path / "state"
    publish(state, trigger=text, reason=f"asked {text}", gate=gate, data=data, status=text)
    config.write_text(config.read_text() + 'override: {reason: "a\\u202e\\e[2Jb", pause: [checks]}\n')
    return state


ALARM = Alarm("performance", "mae", 1684.0, 913.0, ODD, NOON - 3 * DAY)
COMMANDS_SHOWN = (
    ("status",),
    ("status", "--json"),
    ("status", "--model", "demand"),
    ("history",),
    ("history", "--json"),
    ("history", "demand"),
    ("explain",),
    ("explain", "1"),
    ("explain", "2"),
    ("explain", "2", "--json"),
    ("explain", "3"),
    ("explain", "--alarm", "1"),
    ("explain", "--alarm", "2"),
    ("versions", "demand"),
    ("versions", "demand", "--json"),
    ("check-config",),
    ("check-config", "--json"),
    ("retrain", "demand", "--why", EVIL, "--wait", "0"),
    ("rollback", "demand", "--to", "1", "--why", EVIL, "--wait", "0"),
    ("backup", "--list"),
    ("versions", EVIL),
    ("explain", EVIL),
    ("status", "--model", EVIL),
    ("nonsense" + EVIL,),
    ("backfill", "demand", "hostile.jsonl"),
    ("backfill", "demand", "hostile.jsonl", "--column", f"at={EVIL}"),
    ("init", "hostile.jsonl", "--target", "none", "--output", "other.yaml"),
    ("init", "hostile.jsonl", "--target", "y", "--time", "none", "--output", "other.yaml"),
)


@pytest.mark.parametrize("command", COMMANDS_SHOWN, ids=lambda words: " ".join(words[:2]).split("\x1b")[0])
def test_no_command_hands_data_to_the_terminal(
    command: tuple[str, ...], driftd: Run, hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands in the state, in files or in words: no output has a control character, or a forged line."""
    monkeypatch.chdir(hostile.parent)
    row = {"prediction_id": EVIL[:-1], "at": NOON, "prediction": 1.0, EVIL[:-1]: "x", "x": EVIL[:-1], "y": 1.0}
    Path("hostile.jsonl").write_text("".join(json.dumps({**row, "n": n}) + "\n" for n in range(3)))
    _, printed, complained = driftd(*command)
    for text in (printed, complained):
        assert not ACTS.search(text.replace("\n", "")), repr(text)
        assert not any(line.lstrip().startswith("FORGED") for line in text.splitlines()), text


def test_a_config_cannot_write_to_the_terminal(driftd: Run, config: Path) -> None:
    """What a complaint quotes of a config is spelled where it would act."""
    config.write_text(config.read_text() + 'http: {"li\\e[2J\\u202esten": 1}\n')
    code, _, complained = driftd("check-config")
    assert code == 2
    assert r"li\x1b[2J\u202esten" in complained
    assert not ACTS.search(complained.replace("\n", ""))


def test_commands_print_at_one_border() -> None:
    """No command prints by itself: only `cli.terminal`, which makes every text visible, and the entry's last words."""
    folder = Path(terminal.__file__).parent
    printers = re.compile(r"\bclick\.s?echo\(|\bConsole\((?!\))|(?<![\w.])print\(|sys\.std(out|err)\.write\(")
    allowed = {
        "terminal.py": 3,
        "main.py": 1,
        "document.py": 1,
        "json_document.py": 2,
        "watch.py": 1,
        "completion.py": 1,
    }
    found = {path.name: len(printers.findall(path.read_text())) for path in folder.glob("*.py")}
    assert {name: count for name, count in found.items() if count} == allowed
