"""What `driftd status`, `history` and `versions` print of real state, in words and as JSON."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from cli_samples import BUILD, NOON, ODD, STATE, Run, check, decide, publish
from driftd.config.load import digest_of, load
from driftd.config.schema import Http, OverrideConfig
from driftd.events import Event
from driftd.observe.http import HttpThread
from driftd.paths import Places
from driftd.records import (
    Phase,
    Probation,
)
from driftd.store.state.writer import StateStore
from driftd.views.config import OverrideInForce


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
            "demand: its source has 2 faults: files, tables, columns or rows cannot be read: `driftd doctor`"
            in driftd("status")[1]
        )
        assert "demand: rows set aside: 7 without a readable time" in driftd("status")[1]
    finally:
        answering.stop()
    code, out, _ = driftd("status")
    assert code == 0
    assert "cannot be read" not in out
