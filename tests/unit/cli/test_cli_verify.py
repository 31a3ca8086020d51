"""`driftd verify`: history, versions and snapshots that were changed afterwards are found, each by its name."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from cli_samples import NOON, Run, decide, publish
from driftd.paths import Places
from driftd.registry import Registry
from driftd.registry.manifest import content_of
from driftd.store.state.writer import StateStore

ROWS = b"rows"
DIGEST = hashlib.sha256(ROWS).hexdigest()


@pytest.fixture
def places(store: StateStore, tmp_path: Path) -> Places:
    """Three decisions, one version that the daemon has seen, and its snapshot."""
    places = Places(tmp_path / "state")
    publish(places.root, snapshot=DIGEST)
    folder = places.snapshot("demand", DIGEST)
    folder.mkdir(parents=True)
    (folder / "data.parquet").write_bytes(ROWS)
    for number, event in enumerate(["adopted", "alarm", "build_started"]):
        decide(store, event, f"reason {number}", at=NOON + number)
    store.chain_version("demand", 1, content_of(Registry(places).manifest("demand", 1)), NOON)
    return places


def sql(places: Places, statement: str) -> None:
    """Change the database by hand."""
    with sqlite3.connect(places.state_db) as connection:
        connection.execute(statement)


def edit_manifest(places: Places) -> None:
    path = places.version("demand", 1) / "manifest.json"
    path.write_text(path.read_text().replace('"own.trainers:fit"', '"other.trainers:fit"'))


def edit_artefact(places: Places) -> None:
    (places.version("demand", 1) / "model.skops").write_bytes(b"another")


def edit_snapshot(places: Places) -> None:
    (places.snapshot("demand", DIGEST) / "data.parquet").write_bytes(b"other rows")


def test_what_nobody_touched_is_what_it_was(places: Places, driftd: Run) -> None:
    """The report counts what was looked at, and gives the head of the chain."""
    code, printed, _ = driftd("verify", "--json")
    found = json.loads(printed)
    assert (code, found["faults"]) == (0, [])
    assert (found["decisions"], found["versions"], found["snapshots"]) == (3, 1, 1)
    assert len(found["head"]) == 64


COPIED = "at, model, event, phase_from, phase_to, reason, figures, actor, config_hash"
STATEMENTS = {
    "update transitions set reason = 'nothing' where id = 2": "decision 2 of demand was changed",
    "delete from transitions where id = 2": "decision 2 of demand is gone",
    f"insert into transitions select 9, {COPIED} from transitions where id = 1": "decision 9 stands",
    "update chain set content = 'x' where id = 2": "entry 2 (decision 2 of demand)",
    "delete from chain where id = 2": "the entries 2 to 2 are gone",
}
SWAP = "update transitions set reason = case id when 2 then 'reason 2' else 'reason 1' end where id in (2, 3)"
STATEMENTS[SWAP] = "decision 3 of demand was changed"
STATEMENTS["update chain set id = 9 - id where id in (2, 3)"] = "the entries 2 to 3 are gone"
STATEMENTS["update chain set model = 'supply' where id = 4"] = "entry 4 (version 1 of supply)"
STATEMENTS["update transitions set actor = 'ann' where id = 1"] = "decision 1 of demand was changed"
FILES = {
    "manifest": (edit_manifest, "version 1 of demand: its manifest was changed"),
    "artefact": (edit_artefact, "model.skops does not match its manifest"),
    "snapshot": (edit_snapshot, f"snapshot {DIGEST[:12]} of demand"),
}


@pytest.mark.parametrize("statement", STATEMENTS)
def test_each_change_of_the_history_is_found(places: Places, driftd: Run, statement: str) -> None:
    """The command fails, and says which decision or entry is not what it was."""
    sql(places, statement)
    code, printed, _ = driftd("verify", "--json")
    assert code == 1
    assert any(STATEMENTS[statement] in fault for fault in json.loads(printed)["faults"]), printed


@pytest.mark.parametrize("name", FILES)
def test_each_change_of_a_file_is_found(places: Places, driftd: Run, name: str) -> None:
    """The command fails, and says which version or snapshot is not what it was."""
    edit, said = FILES[name]
    edit(places)
    code, printed, _ = driftd("verify", "--json")
    assert code == 1
    assert any(said in fault for fault in json.loads(printed)["faults"]), printed


def delete_version(places: Places) -> None:
    shutil.rmtree(places.version("demand", 1))


def test_a_version_that_is_gone_is_found(places: Places, driftd: Run) -> None:
    """A folder that somebody removed is told; one that retention took is not, unless its manifest was changed."""
    kept = places.version("demand", 1) / "manifest.json"
    retired = places.retired_manifest("demand", 1)
    retired.parent.mkdir()
    content = kept.read_text()
    delete_version(places)
    code, printed, _ = driftd("verify", "--json")
    assert code == 1
    assert any("version 1 of demand is gone" in fault for fault in json.loads(printed)["faults"])
    retired.write_text(content)
    assert driftd("verify")[0] == 0
    retired.write_text(content.replace('"own.trainers:fit"', '"other.trainers:fit"'))
    assert any("retention left" in fault for fault in json.loads(driftd("verify", "--json")[1])["faults"])


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("insert into receivers values ('pager', 3)", "the receiver pager was told of decision 3"),
        (
            "insert into actions(transition_id, model, kind, arguments, status, intended_at) "
            "values (3, 'demand', 'train', '{}', 'done', 1)",
            "an action follows from decision 3",
        ),
    ],
)
def test_a_history_that_was_cut_off_is_found(places: Places, driftd: Run, table: str, said: str) -> None:
    """The newest decision is gone with its entry: the chain alone is whole, but others knew of it."""
    sql(places, table)
    sql(places, "delete from chain where id >= 3")
    sql(places, "delete from transitions where id = 3")
    code, printed, _ = driftd("verify", "--json")
    assert code == 1
    assert any(said in fault for fault in json.loads(printed)["faults"]), printed


def test_a_chain_that_was_made_anew_lacks_the_anchor(places: Places, driftd: Run) -> None:
    """A head that was written down before must still be in the chain."""
    head = json.loads(driftd("verify", "--json")[1])["head"]
    assert driftd("verify", "--anchor", head)[0] == 0
    code, printed, _ = driftd("verify", "--anchor", "0" * 64)
    assert code == 1
    assert "made anew" in printed


def test_a_version_may_learn_its_verdict(places: Places, driftd: Run) -> None:
    """The status of a version and what the gate said are no change of its lineage."""
    Registry(places).amend("demand", 1, status="promote", gate={"decision": "promote"})
    assert driftd("verify")[0] == 0
