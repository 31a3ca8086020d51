"""`driftd plan`: what would be built, said for people and for machines, over a state that nobody works on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from cli_samples import NOON, STATE, Run, publish
from driftd.records import BuildSpec
from driftd.store.state.writer import StateStore


def test_a_plan_is_told_for_people(driftd: Run, store: StateStore, tmp_path: Path) -> None:
    """Every trigger with how far it is, the rows, the code and settings that changed, and the cost; nothing begins."""
    publish(tmp_path / "state", parameters={"max_iter": 30}, data={"last_at": NOON, "training_rows": 10})
    store.save_state(replace(STATE, spec=BuildSpec("old", None, "old")), NOON)
    code, out, err = driftd("plan", "demand")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("demand: no build would start now: ")
    assert "  performance: not fired: no alarm asks for a build" in lines
    off = "(not a trigger: retrain.on does not name it)"
    assert any(line.startswith(f"  new_labels: not fired {off}") for line in lines)
    assert any(line.startswith(f"  code_changed: fired {off}") for line in lines)
    assert "  by: changed since version 1: parameters.max_iter: 30 -> None" in lines
    assert "  cost: no build was made under this daemon yet" in lines
    assert store.history("demand") == []


def test_a_plan_is_told_for_machines_and_for_many(driftd: Run, store: StateStore, tmp_path: Path) -> None:
    """With --json every model, also one without a version; without a name a table of all."""
    publish(tmp_path / "state", data={"last_at": NOON, "training_rows": 10})
    store.save_state(STATE, NOON)
    code, out, _ = driftd("plan", "--json")
    assert code == 0
    demand, supply = json.loads(out)
    assert (demand["model"], demand["starts"], demand["champion"]) == ("demand", False, 1)
    assert {line["trigger"] for line in demand["triggers"]} >= {"performance", "code_changed", "parameters_changed"}
    assert supply["reason"] == "it has no version yet: `driftd init` makes the first"
    code, out, _ = driftd("plan")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["model", "demand", "supply"]
    code, _, err = driftd("plan", "nobody")
    assert code != 0
    assert "there is no model 'nobody'" in err
