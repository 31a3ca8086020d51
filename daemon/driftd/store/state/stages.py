"""The stages of builds in `state.db`: one row each time that a stage ended."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from driftd.events import Stage, StageResult
from driftd.formatting import encodable
from driftd.records import ActionKind

STAGE_OF = {
    ActionKind.SNAPSHOT: Stage.TAKE_DATA,
    ActionKind.CHECK_DATA: Stage.CHECK_DATA,
    ActionKind.TRAIN: Stage.TRAIN,
    ActionKind.REFRESH: Stage.REFRESH,
    ActionKind.TEST: Stage.TEST,
    ActionKind.JUDGE: Stage.JUDGE,
    ActionKind.SWAP: Stage.DEPLOY,
}
KEPT = 1_000  # rows of one model; a build has about eight
_LONGEST = 4_000  # characters of a sentence
_LONGEST_DETAILS = 64_000


@dataclass(frozen=True, slots=True)
class StageRun:
    """One stage of one build, as it ended. Times are epoch seconds; `version` is the number of the build."""

    model: str
    version: int
    stage: Stage
    started_at: float
    ended_at: float
    result: StageResult
    sentence: str
    attempt: int = 1  # counts how often the build came to this stage
    log: str | None = None  # the file of its job, below state_dir, as long as that is kept
    details: Mapping[str, Any] = field(default_factory=dict)  # expectations, failures, the end of the output
    id: int = 0


def log_of(model: str, action: int, kind: ActionKind) -> str:
    """The log of the job of an action, below state_dir."""
    return f"jobs/{model}-{action}-{kind}/log.txt"


def count_stages(connection: sqlite3.Connection, model: str, version: int, stage: Stage) -> int:
    """How often a build came to a stage so far."""
    query = "select count(*) from stages where model = ? and version = ? and stage = ?"
    return int(connection.execute(query, (model, version, stage)).fetchone()[0])


def save_stage(connection: sqlite3.Connection, run: StageRun) -> None:
    """Keep how a stage ended, and let the oldest of the model go where there are too many."""
    attempt = count_stages(connection, run.model, run.version, run.stage) + 1
    details = json.dumps(dict(run.details), default=str)
    if len(details) > _LONGEST_DETAILS:
        details = json.dumps({"left_out": f"{len(details):,} characters are too many to be kept: the log has them"})
    connection.execute(
        """insert into stages(model, version, stage, attempt, started_at, ended_at, result, sentence, log, details)
           values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            run.model,
            run.version,
            run.stage,
            attempt,
            run.started_at,
            run.ended_at,
            run.result,
            encodable(run.sentence)[:_LONGEST],
            run.log,
            encodable(details),
        ),
    )
    connection.execute(
        """delete from stages where model = ? and id <=
           (select id from stages where model = ? order by id desc limit 1 offset ?)""",
        (run.model, run.model, KEPT),
    )


def stages_of(connection: sqlite3.Connection, model: str, version: int) -> list[StageRun]:
    """How the stages of a build ended, in that order."""
    query = "select * from stages where model = ? and version = ? order by id"
    return [_from_row(row) for row in connection.execute(query, (model, version))]


def _from_row(row: sqlite3.Row) -> StageRun:
    values = dict(row)
    values |= {"stage": Stage(row["stage"]), "result": StageResult(row["result"])}
    return StageRun(**{**values, "details": json.loads(row["details"])})
