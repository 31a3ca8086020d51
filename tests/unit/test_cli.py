"""The commands on real state: what they print, in words and as JSON, and with which code they end."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from driftd.cli import terminal
from driftd.cli.main import COMMANDS, cli, main
from driftd.cli.terminal import default_config
from driftd.config.load import digest_of, load
from driftd.config.redact import redacted_dict
from driftd.config.schema import Http, OverrideConfig
from driftd.errors import ExitCode
from driftd.events import Event
from driftd.observe.http import HttpThread
from driftd.paths import Places
from driftd.records import (
    Action,
    Alarm,
    Build,
    BuildStep,
    DecisionFigures,
    ModelState,
    Phase,
    Probation,
    ReportArguments,
    SwapArguments,
    SwapPurpose,
    Transition,
    Trigger,
    Window,
)
from driftd.registry import Manifest, Registry, Trainer
from driftd.registry.manifest import write_manifest
from driftd.store.state.writer import StateStore
from driftd.views.config import OverrideInForce
from driftd.web import secrets
from driftd_detectors.assessment import Assessment, EvidenceKind, KindAssessment, Verdict
from driftd_detectors.schema import Feature, Kind, Schema, Task
from limits import HANG

CONFIG = """\
state_dir: {state}
models:
  demand: {{task: regression, target: y, window: {{every: 1d}}}}
  supply: {{task: regression, target: y, window: {{rows: 500}}}}
"""
DAY = 86_400.0
NOON = 20_000 * DAY + DAY / 2  # 2024-10-04 12:00 UTC
ODD = "x[/bold] moved"  # what rich would take for markup
STATE = ModelState("demand", Phase.STEADY, champion=1)
BUILD = Build(2, Trigger.PERFORMANCE, "mae rose", BuildStep.JUDGE, NOON)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(state=tmp_path / "state"))
    return path


@pytest.fixture
def driftd(config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process, on the config; its exit code, output and complaints."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["driftd", *arguments])
        monkeypatch.setenv("DRIFTD_CONFIG", str(config))
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its tables; made once, since making one starts a child process."""
    path = tmp_path_factory.mktemp("empty") / "state.db"
    StateStore.open(path).close()
    return path


@pytest.fixture
def store(tmp_path: Path, empty: Path) -> Iterator[StateStore]:
    path = Places(tmp_path / "state").state_db
    path.parent.mkdir()
    shutil.copy(empty, path)
    with StateStore.open(path) as opened:
        yield opened


def decide(store: StateStore, event: str, reason: str, *actions: Action, at: float = NOON, **figures: object) -> int:
    with store.transaction():
        line = store.save_transition(
            STATE,
            Transition(STATE, reason, Event(event), actions, DecisionFigures.from_dict(figures)),
            at=at,
            actor="driftd",
            config_hash="c0ffee",
        )
    assert line is not None
    return line


def alarm_of(store: StateStore, model: str = "demand", sentence: str = ODD) -> int:
    alarm = Alarm("performance", "mae", 1684.0, 913.0, sentence, NOON - 3 * DAY)
    window = Window(20_000, 20_000 * DAY, 20_001 * DAY) if model == "demand" else Window(7, 3500, 4000, "rows")
    return store.save_alarm(model, alarm, window, at=NOON, version=1, leaders=[("mae", 0.8), ("[b]", 0.2)])


def check(store: StateStore, verdict: Verdict = Verdict.SUSPECTED, kind: str = "window") -> None:
    found = KindAssessment(EvidenceKind.DATA, verdict, 90.0, 900.0, f"{ODD}: evidence 90 against 900", (("x", 1.0),))
    assessment = Assessment(verdict, "looked at the window", 223, (found,))
    window = Window(20_000, 20_000 * DAY, 20_001 * DAY)
    store.save_check("demand", kind, window, assessment, at=NOON, version=1)


def publish(state_dir: Path, version: int = 1, **changes: object) -> None:
    registry = Registry(Places(state_dir))
    folder = registry.stage("demand")
    (folder / "model.skops").write_bytes(b"artefact")
    schema = Schema(Task.REGRESSION, "y", (Feature("x", Kind.NUMBER),))
    trainer = Trainer("own.trainers:fit", "f")
    manifest = Manifest("demand", version, NOON, schema, "5eed" * 16, trainer, 7, "manual", "asked", "model.skops")
    write_manifest(folder, replace(manifest, **changes))
    registry.publish("demand", version, folder)
    registry.point("demand", version)


# --- the command line itself ---------------------------------------------------------------------------------------


def test_the_help_names_every_command_and_every_exit_code(driftd: Run) -> None:
    """`driftd --help` lists all commands, each with a sentence, and what each exit code means."""
    code, out, _ = driftd("--help")
    assert code == 0
    for name, (_, sentence) in COMMANDS.items():
        assert f"  {name} " in out
        assert sentence in out
    for exit_code in ExitCode:
        assert f"{exit_code:d}  {exit_code.meaning}" in out


def test_the_help_loads_only_click() -> None:
    """Asking for help costs no import of pydantic, rich, NumPy or anything heavier."""
    probe = "import sys, driftd.cli.main as m\ntry: m.cli(['--help'])\nexcept SystemExit: pass\n"
    probe += "print('loaded', *{'pydantic', 'rich', 'numpy', 'pandas', 'yaml', 'sqlite3'} & set(sys.modules))"
    roots = os.pathsep.join(item for item in sys.path if item)
    run = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": roots},
    )
    assert run.stdout.splitlines()[-1] == "loaded"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is_for(name: str) -> None:
    """No option of any command is without its help."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    silent = [item.name for item in command.params if isinstance(item, click.Option) and not item.help]
    assert not silent


def test_the_config_is_looked_for_where_it_usually_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$DRIFTD_CONFIG goes before ./config.yaml, which goes before /etc/driftd/config.yaml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DRIFTD_CONFIG", raising=False)
    assert default_config() == Path("/etc/driftd/config.yaml")
    (tmp_path / "config.yaml").touch()
    assert default_config() == Path("config.yaml")
    monkeypatch.setenv("DRIFTD_CONFIG", "/srv/own.yaml")
    assert default_config() == Path("/srv/own.yaml")


# --- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected", "output"),
    [
        (("nosuch",), 2, "No such command"),
        (("history", "demnd"), 4, "there is no model 'demnd' in the config; there are demand, supply"),
        (("versions",), 2, "which model? Name one of demand, supply"),
        (("explain", "seven"), 2, "neither `last` nor an id"),
        (("explain", "last", "-m", "demnd"), 4, "there is no model 'demnd'"),
        (("approve", "demand"), 2, "Missing argument 'VERSION'"),
        (("history", "-n", "0"), 2, "-n"),
    ],
)
def test_a_mistake_is_one_sentence_and_its_exit_code(
    driftd: Run, store: StateStore, arguments: tuple[str, ...], expected: int, output: str
) -> None:
    """What a user gets wrong is told in a sentence, without a traceback."""
    code, _, err = driftd(*arguments)
    assert code == expected
    assert output in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["status", "history", "versions", "check-config", "run", "retrain"])
def test_a_bad_config_is_reported_as_it_is(driftd: Run, config: Path, command: str) -> None:
    """Every command that reads the config ends with 2 and the whole report of what is wrong with it."""
    config.write_text("models:\n  demand: {task: regression, target: y, windw: 1}\nhtp: 1\n")
    code, _, err = driftd(command)
    assert code == 2
    assert err.splitlines()[0].startswith(
        f"{config}:2: models.demand.windw: there is no such key; did you mean 'window'?"
    )
    assert err.splitlines()[1].startswith(f"{config}:3: htp: ")


@pytest.mark.parametrize("arguments", [("history",), ("explain", "last"), ("retrain", "demand")])
def test_without_state_there_is_nothing_to_tell(driftd: Run, arguments: tuple[str, ...]) -> None:
    """Before the daemon's first start the commands that need its state say so and end with 4."""
    code, _, err = driftd(*arguments)
    assert code == 4
    assert "driftd run" in err


def test_a_broken_database_is_told(driftd: Run, tmp_path: Path) -> None:
    """A state database that is none ends with 1 and a sentence."""
    state_db = Places(tmp_path / "state").state_db
    state_db.parent.mkdir()
    state_db.write_bytes(b"no database at all" * 100)
    code, _, err = driftd("history")
    assert code == 1
    assert "cannot be read as a database" in err


@pytest.mark.parametrize("arguments", [("explain", "99"), ("explain", "9" * 30), ("explain", "--alarm", "5")])
def test_what_is_not_there_ends_with_4(driftd: Run, store: StateStore, arguments: tuple[str, ...]) -> None:
    """A decision or an alarm that there is not is told, whatever its number."""
    code, _, err = driftd(*arguments)
    assert code == 4
    assert "there is no" in err


# --- looking -------------------------------------------------------------------------------------------------------


def test_status_says_first_what_waits_for_a_person(driftd: Run, store: StateStore) -> None:
    """A challenger that waits for approval stands above everything else, with the commands to type."""
    store.save_state(replace(STATE, phase=Phase.AWAITING_APPROVAL, build=BUILD), NOON)
    check(store)
    code, out, _ = driftd("status")
    assert code == 0
    assert out.splitlines()[0] == (
        "demand: version 2 won its gate: `driftd approve demand 2` or `driftd reject demand 2`"
    )
    row = next(line for line in out.splitlines() if line.startswith("demand  "))
    assert row.split() == ["demand", "awaiting_approval", "1", "suspected", "2024-10-04", "12:00", "data:", "66%"]
    assert f"{ODD}: evidence 90 against 900" in out


def test_status_tells_what_is_blocked_what_waits_and_what_is_on_probation(driftd: Run, store: StateStore) -> None:
    """The state's own sentences are shown: the broken pipeline, the waiting build, the probation."""
    state = replace(
        STATE,
        phase=Phase.PROBATION,
        blocked="price is missing in 97 % of the rows",
        waits="20 of 300 labelled rows",
        probation=Probation(1, NOON, 12, "12 labels so far"),
        pinned=1,
    )
    store.save_state(state, NOON)
    _, out, _ = driftd("status")
    assert "builds are blocked: price is missing in 97 % of the rows" in out.splitlines()[0]
    for sentence in (
        "waits: 20 of 300 labelled rows",
        "12 labels so far",
        "version 1 is pinned",
        "no window was checked",
    ):
        assert sentence in out


def test_status_shows_the_override_while_it_is_in_force(driftd: Run, store: StateStore, config: Path) -> None:
    """An override is shown with its reason until it expires."""
    good = config.read_text()
    override = "override: {{reason: INC-1, pause: [retraining], expires: {year}-01-01T00:00:00Z}}\n"
    config.write_text(good + override.format(year=2999))
    assert "override in force: pause ['retraining'] until 2999-01-01T00:00:00Z: INC-1" in driftd("status")[1]
    config.write_text(good + override.format(year=2020))
    assert "override in force" not in driftd("status")[1]


def test_what_is_shown_of_an_override_knows_each_of_its_keys() -> None:
    """No key of the override is left out of what `driftd status` says of it."""
    assert set(OverrideInForce.__struct_fields__) == set(OverrideConfig.model_fields)


def test_status_proves_which_config_is_in_force(driftd: Run, store: StateStore, config: Path) -> None:
    """A taken, an unread and a refused file are told apart, and of a bad file the one in force goes on to be shown."""
    applied = load(config)
    store.save_config(applied.hash, at=NOON, content=applied.model_dump(mode="json"))
    assert f"config {applied.hash} is in force since 2024-10-04 12:00 UTC\n" in driftd("status")[1]
    config.write_text(config.read_text() + "# a thought\n")
    assert f"(now {digest_of(config)}) has not been taken up; config {applied.hash} is in force" in driftd("status")[1]
    config.write_text(config.read_text() + "nonsense: 1\n")
    store.save_config(digest_of(config) or "", at=NOON + 60, error="config.yaml:6: nonsense: there is no such key")
    code, out, complaint = driftd("status")
    assert code == 0
    assert "was REFUSED at 2024-10-04 12:01 UTC" in out
    assert "nonsense: there is no such key" in out
    assert f"going by the config that is in force ({applied.hash})" in complaint


def test_status_says_that_a_pin_was_refused(driftd: Run, store: StateStore) -> None:
    """A refused pin is what a person must look at, and is not shown as if it held."""
    store.save_state(replace(STATE, pinned=2, pin_refused="version 2 cannot be served: its hash differs"), NOON)
    out = driftd("status")[1]
    assert "demand: the pin was refused: version 2 cannot be served: its hash differs" in out
    assert "version 2 is pinned" not in out


def test_status_before_the_first_start_tells_the_next_step(driftd: Run, tmp_path: Path) -> None:
    """Right after `driftd init` the version is shown, and that the daemon is to be started."""
    publish(tmp_path / "state")
    code, out, _ = driftd("status")
    assert code == 0
    assert "demand: version 1 serves, but no daemon has watched it yet: start `driftd run`" in out
    assert "supply: it has no version yet: `driftd init` makes the first" in out


def test_status_for_machines(driftd: Run, store: StateStore) -> None:
    """`--json` holds each model's phase, version, evidence with its threshold, and what is not watched."""
    store.save_state(STATE, NOON)
    check(store)
    output = json.loads(driftd("status", "--json")[1])
    (model,) = output["models"]
    assert (model["model"], model["phase"], model["version"], model["needs"]) == ("demand", "steady", 1, None)
    assert model["evidence"]["data"]["evidence"] == 90
    assert model["evidence"]["data"]["threshold"] == 900
    assert output["not_watched"] == [{"model": "supply", "version": None, "obstacle": None}]


def test_history_is_told_newest_first(driftd: Run, store: StateStore) -> None:
    """The lines of history stand newest first, as they were written, and as many as were asked for."""
    decide(store, Event.ALARM, ODD)
    decide(store, Event.BUILD_STARTED, "building version 2")
    out = driftd("history")[1].splitlines()
    assert out[1].split()[0] == "2"
    assert "build started" in out[1]
    assert ODD in out[2]
    assert len(driftd("history", "-n", "1")[1].splitlines()) == 2
    assert [item["event"] for item in json.loads(driftd("history", "--json")[1])] == ["build_started", "alarm"]
    assert "nothing was decided yet" in driftd("history", "supply")[1]


def test_versions_tell_their_lineage(driftd: Run, tmp_path: Path) -> None:
    """Each version is told with its trigger, its parent, what it was made from and why; the served one is marked."""
    publish(tmp_path / "state", 1)
    publish(
        tmp_path / "state", 2, parent=1, trigger="performance", reason=ODD, metrics={"loss": 0.25}, data={"rows": 900}
    )
    _, out, _ = driftd("versions", "demand")
    second = out.splitlines()[2].split()
    assert second[:2] == ["2", "*"]
    assert {"performance", "1", "5eed5eed", "900", "0.25"} <= set(second)
    assert f"2: {ODD}" in out
    assert [item["serves"] for item in json.loads(driftd("versions", "demand", "--json")[1])] == [False, True]


def test_status_tells_of_a_version_that_serves_and_is_damaged(driftd: Run, store: StateStore, tmp_path: Path) -> None:
    """A damaged version, a link to nothing and one to another version than the champion need a person."""
    publish(tmp_path / "state")
    store.save_state(STATE, NOON)
    assert json.loads(driftd("status", "--json")[1])["models"][0]["needs"] is None
    artefact = Places(tmp_path / "state").version("demand", 1) / "model.skops"
    artefact.write_bytes(b"other")
    assert "demand: version 1, which serves, is damaged: " in driftd("status")[1].splitlines()[0]
    artefact.write_bytes(b"artefact")
    assert json.loads(driftd("status", "--json")[1])["models"][0]["served_fault"] is None
    publish(tmp_path / "state", 2)
    assert "demand: version 2 serves, not 1: a swap is under way" in driftd("status")[1].splitlines()[0]
    shutil.rmtree(Places(tmp_path / "state").version("demand", 2))
    first = driftd("status")[1].splitlines()[0]
    assert "current names versions/2, which is not there: `driftd doctor` says what to do" in first


def test_status_tells_what_the_daemon_says_of_a_source(driftd: Run, store: StateStore, config: Path) -> None:
    """The faults of a source are in no database: a daemon that answers is asked, one that does not costs nothing."""
    store.save_state(STATE, NOON)

    async def metrics(_: Request) -> Response:
        lines = (
            'driftd_source_faults{model="demand"} 2.0',
            'driftd_source_faults{model="supply"} 0.0',
            'driftd_events_set_aside_total{model="demand",reason="no_time"} 7.0',
        )
        return PlainTextResponse("\n".join(lines) + "\n")

    answering = HttpThread(Starlette(routes=[Route("/metrics", metrics)]), Http(listen="127.0.0.1:0"))
    config.write_text(f'{config.read_text()}http: {{listen: "{answering.address}"}}\n')
    answering.start()
    try:
        assert (
            "demand: its source has 2 faults: files, columns or rows cannot be read: `driftd doctor`"
            in driftd("status")[1]
        )
        assert "demand: rows set aside: 7 without a readable time" in driftd("status")[1]
    finally:
        answering.stop()
    code, out, _ = driftd("status")
    assert code == 0
    assert "cannot be read" not in out


# --- explaining ----------------------------------------------------------------------------------------------------


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
        f"seen: {ODD}",
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
    assert driftd("explain", str(number), "--alarm")[1].startswith(f"alarm {number}: performance of demand/1")


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


# --- asking --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "kind", "asked"),
    [
        (("retrain", "demand", "--why", "schema fix"), "retrain", {"text": "schema fix"}),
        (("approve", "demand", "2"), "approve", {"version": 2, "text": ""}),
        (("reject", "demand", "2"), "reject", {"version": 2, "text": ""}),
        (("rollback", "demand", "--to", "1"), "rollback", {"version": 1, "text": ""}),
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
    assert "Missing option '--reason'" in driftd("acknowledge", "demand", "17")[2]


@pytest.mark.parametrize(("event", "expected"), [("build_wanted", 0), ("request_refused", 5)])
def test_the_answer_of_the_daemon_is_printed(
    driftd: Run, store: StateStore, tmp_path: Path, event: str, expected: int
) -> None:
    """The outcome is printed as soon as it is there; a refusal ends with 5."""

    def answer() -> None:
        with StateStore.open(Places(tmp_path / "state").state_db) as daemon:
            deadline = time.monotonic() + HANG
            while not (waiting := daemon.waiting_requests()) and time.monotonic() < deadline:
                time.sleep(0.005)
            with daemon.transaction():
                decided = Transition(STATE, "because", event)
                daemon.save_transition(STATE, decided, at=NOON, actor="ada", config_hash="")
                daemon.answer_request(waiting[0].id, at=NOON, outcome="because")

    thread = threading.Thread(target=answer)
    thread.start()
    code, out, _ = driftd("retrain", "demand", "--wait", "20", "--json")
    thread.join()
    assert code == expected
    output = json.loads(out)
    assert output["outcome"] == "because"
    assert output["refused"] is (expected == 5)


# --- check-config --------------------------------------------------------------------------------------------------


def test_check_config_warns_of_secrets_that_are_not_there(
    driftd: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token or certificate that is not there (yet, or for this user) is a warning; a credential cannot be checked."""
    monkeypatch.setattr(secrets, "SYSTEM_CREDENTIALS", tmp_path / "no-folder")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    text = config.read_text()
    config.write_text(f"{text}http: {{token_file: {tmp_path}/token}}\nserve: {{token_file: token}}\n")
    address = tmp_path / "address"
    address.write_text("not an address: hunter2")
    with config.open("a") as more:
        more.write(f"notify: {{team: {{webhook_file: {address}}}}}\n")
    code, out, _ = driftd("check-config")
    assert code == 0
    assert f"warning: notify.team.webhook_file: webhook_file {address}: " in out
    assert "hunter2" not in out
    assert "its receiver is told nothing without it" in out
    address.write_text("https://chat.example/hook")
    assert f"warning: http.token_file: token_file {tmp_path}/token cannot be read: No such file" in out
    assert "driftd run does not start without it" in out
    assert "warning: serve.token_file: token is a credential that systemd gives to the unit" in out
    assert len(json.loads(driftd("check-config", "--json")[1])["warnings"]) == 2
    for path in (tmp_path / "token", tmp_path / "no-folder" / "token"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("x" * 32)
        path.chmod(0o600)
    assert json.loads(driftd("check-config", "--json")[1])["warnings"] == []


def test_check_config_says_what_the_config_means(driftd: Run, config: Path) -> None:
    """Windows, the budget of false alarms, builds and the override are told in words, with the hash."""
    config.write_text(config.read_text() + "override: {reason: INC-1, pin: {demand: 3}}\n")
    code, out, _ = driftd("check-config")
    assert code == 0
    for output in (
        "is good (hash ",
        "looks at every 1d of predictions",
        "false alarms: about one false alarm in 12 months",
        "365 clean windows from one to the next",
        "looks at every 500 predictions",
        "at most 4 builds in 1d, none within 6h after one ended",
        "demand serves exactly version 3 (INC-1)",
    ):
        assert output in out
    output = json.loads(driftd("check-config", "--json")[1])
    assert output["hash"] in out
    assert output["config"]["models"]["demand"]["window"]["every"] == DAY


def test_check_config_says_when_the_budget_of_false_alarms_cannot_be_kept(driftd: Run, config: Path) -> None:
    """Windows of a week keep one false alarm a year; twelve are more than their number allows, and that is said."""
    text = config.read_text().replace("every: 1d", "every: 7d")
    config.write_text(text)
    weekly = driftd("check-config")[1]
    assert "52 clean windows from one to the next" in weekly
    assert "cannot keep" not in weekly
    config.write_text(text.replace("every: 7d", "every: 7d}, detect: {false_alarms_per_year: 12", 1))
    output = driftd("check-config")[1]
    assert "false_alarms_per_year: 12 would be one in 4.3 windows, which evidence cannot keep" in output
    assert "held to one in 20 (2.6 a year)" in output


def test_check_config_for_a_reload_refuses_what_takes_a_restart(driftd: Run, config: Path, store: StateStore) -> None:
    """Beside a running daemon, another address or another state folder is an error; anything else is not."""
    applied = load(config)
    with store.transaction():
        store.save_config(applied.hash, at=NOON, content=redacted_dict(applied))
    text = config.read_text()
    config.write_text(text + "limits: {timeout: 2h}\n")
    assert driftd("check-config", "--reload")[0] == 0
    config.write_text(text + "http: {listen: 127.0.0.1:9999}\n")
    assert driftd("check-config")[0] == 0
    code, _, output = driftd("check-config", "--reload")
    assert code == 2
    assert "http.listen is not what the daemon runs with; state_dir and http change only with a restart" in output
    config.write_text(text.replace("/state", "/elsewhere"))
    code, _, output = driftd("check-config", "--reload")
    assert code == 2
    assert "no daemon keeps its state in" in output


def test_an_acknowledgement_in_the_config_is_told(driftd: Run, config: Path, store: StateStore) -> None:
    """check-config and status say which alarm is acknowledged until when, and that it lapsed."""
    del store
    own = "override: {{models: {{demand: {{acknowledge: [17], reason: INC-7, expires: {year}-01-01T00:00:00Z}}}}}}\n"
    good = config.read_text()
    config.write_text(good + own.format(year=2999))
    output = driftd("check-config")[1]
    assert "nothing is done about alarm 17 of demand until 2999-01-01T00:00:00+00:00 (INC-7)" in " ".join(
        output.split()
    )
    assert "alarm 17 of demand acknowledged until 2999-01-01T00:00:00Z: INC-7" in driftd("status")[1]
    config.write_text(good + own.format(year=2020))
    assert "the acknowledgement of alarm 17 of demand lapsed" in " ".join(driftd("check-config")[1].split())
    assert "the acknowledgements of demand lapsed: remove them from the config" in driftd("status")[1]


def test_a_lapsed_override_is_told(driftd: Run, config: Path, store: StateStore) -> None:
    """check-config and status say that an override, or a silence, has no effect any more."""
    store.save_cursor("demand", "window", 1)
    text = config.read_text()
    config.write_text(text + "override: {reason: INC-1, expires: 2020-01-01T00:00:00Z, pause: [checks]}\n")
    said = "lapsed at 2020-01-01T00:00:00+00:00 and has no effect: remove it"
    assert said in driftd("check-config")[1]
    assert said in driftd("status")[1]
    config.write_text(text + "override: {reason: INC-1, silence: {demand: {y2: 2020-01-01T00:00:00Z}}}\n")
    assert "y2 of demand raises alarms again: its silence lapsed" in driftd("check-config")[1]
    assert "the silence of y2 of demand lapsed: remove it" in driftd("status")[1]


def test_commands_read_a_stored_config_that_this_driftd_cannot(driftd: Run, config: Path, store: StateStore) -> None:
    """A config kept by another driftd, in a way that is no config here, ends no command."""
    with store.transaction():
        store.save_config("0ddba11", at=NOON, content={"models": {"demand": {"features": {"auth": "..."}}}})
    assert driftd("status")[0] == 0
    config.write_text(config.read_text() + "nonsense: 1\n")
    assert driftd("history")[0] == 2
    assert "nonsense" in driftd("history")[2]


# --- what is shown does nothing ------------------------------------------------------------------------------------

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
    allowed = {"terminal.py": 3, "main.py": 1, "document.py": 1, "watch.py": 1}
    found = {path.name: len(printers.findall(path.read_text())) for path in folder.glob("*.py")}
    assert {name: count for name, count in found.items() if count} == allowed
