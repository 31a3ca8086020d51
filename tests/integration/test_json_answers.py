"""What every command prints with `--json` is as its schema says."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pandas as pd
import pytest

from driftd.cli.json_document import answer_types, document, schemas
from driftd.cli.main import COMMANDS
from driftd_processes import driftd
from loop_world import MODEL, World

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RUNS = {  # by the name in docs/json-schemas.json: what is run in the folder of a world
    "check-config": ["check-config"],
    "status": ["status"],
    "history": ["history"],
    "explain": ["explain", "last"],
    "versions": ["versions"],
    "versions --tree": ["versions", "--tree"],
    "at": ["at", "now"],
    "diff": ["diff", "1", "2"],
    "prediction": ["prediction", "61-0"],
    "verify": ["verify"],
    "retrain": ["retrain", "--wait", "0"],
    "retry": ["retry", MODEL, "--wait", "0"],
    "approve": ["approve", MODEL, "2", "--wait", "0"],
    "reject": ["reject", MODEL, "2", "--wait", "0"],
    "confirm": ["confirm", MODEL, "2", "--wait", "0"],
    "rollback": ["rollback", "--wait", "0"],
    "acknowledge": ["acknowledge", MODEL, "1", "--why", "known", "--wait", "0"],
    "pause": ["pause", MODEL, "--why", "INC-7", "--wait", "0"],
    "silence": ["silence", MODEL, "a", "--why", "INC-7", "--wait", "0"],
    "resume": ["resume", MODEL, "--why", "over", "--wait", "0"],
    "reset-evidence": ["reset-evidence", MODEL, "--why", "INC-7", "--wait", "0"],
    "reset-cursor": ["reset-cursor", "--wait", "0"],
    "prune": ["prune", "--dry-run"],
    "doctor": ["doctor"],
    "backup": ["backup"],
    "backup --to": ["backup", "--to", "copies"],
    "restore --list": ["restore", "--list"],
    "restore": ["restore"],
    "restore --from": ["restore", "--from", "copies", "--config", "other.yaml"],
    "backfill": ["backfill", MODEL, "past.csv"],
    "backtest": ["backtest"],
    "reproduce": ["reproduce", MODEL, "1"],
    "notify-test": ["notify-test"],
}
ELSEWHERE = {"status --watch": "it never ends: what it prints is the type that is documented"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state with two versions, alarms and decisions, and no daemon."""
    world = World.begin(tmp_path_factory.mktemp("json"), hours=60)
    world.live(4)
    moved = lambda frame, truth: (frame.assign(a=frame["a"] + 1.0), truth + 3 * frame["b"].to_numpy())  # noqa: E731
    world.live(30, moved, until=lambda item: "promoted" in item.events)
    assert "promoted" in world.events
    world.close()
    config = world.folder / "config.yaml"
    text = config.read_text() + "notify:\n  own: {command: ['true']}\n"
    config.write_text(text)
    (world.folder / "other.yaml").write_text(text.replace(str(world.places.root), str(world.folder / "other")))
    next_hour = world.clock.now() + 3600.0  # not today: `backtest` checks every window up to the newest event
    past = pd.DataFrame({"prediction_id": ["p1"], "at": [next_hour], "prediction": [1.0], "a": [0.1]})
    past.to_csv(world.folder / "past.csv", index=False)
    return world.folder


@pytest.mark.parametrize("name", RUNS)
def test_a_command_prints_what_its_schema_says(folder: Path, name: str) -> None:
    """The JSON of a real state is valid, and none of its fields is one that the schema has not."""
    done = driftd(folder, *RUNS[name], "--json")
    answer = json.loads(done.stdout)
    schema = json.loads((ROOT / "docs" / "json-schemas.json").read_text())[f"driftd {name}"]
    jsonschema.validate(answer, closed(schema))


def closed(schema: object) -> object:
    """The schema with every record closed: a field that it has not is a fault."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: closed(item) for key, item in schema.items()}
    if "properties" in changed:
        changed.setdefault("additionalProperties", False)
    return changed


def test_every_answer_is_documented_and_run() -> None:
    """The pages are what the generator prints, and each schema has a command here."""
    assert (ROOT / "docs" / "json.md").read_text() == document()
    assert json.loads((ROOT / "docs" / "json-schemas.json").read_text()) == schemas()
    assert set(answer_types()) == set(RUNS) | set(ELSEWHERE)
    assert {name.split()[0] for name in answer_types()} <= set(COMMANDS)
