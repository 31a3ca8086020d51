"""Writing `state.db`: one thread of the daemon does, and nobody else (but `post_request`)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from driftd.records import Alarm, ModelState, Transition, Window
from driftd.store.chain import append_entry, content_of_decision, newest_content
from driftd.store.descriptors import STATE_BUSY_SECONDS, open_database
from driftd.store.migrations import ensure_current
from driftd.store.state.label_draws import prune_draws
from driftd.store.state.reader import StateReader
from driftd.store.state.records import StoredVersion
from driftd.store.state.score_codes import ScoreCodes
from driftd.store.state.stages import StageRun, save_stage
from driftd_detectors.assessment import Assessment, KindAssessment

PRUNED_AT_ONCE = 200  # windows of one model
MOVED_AT_ONCE = 10_000  # scores
LAST = 2**62  # beyond every index of a window
_WHOLE = "begin immediate", "commit", ("rollback",)
_INNER = "savepoint inner_part", "release inner_part", ("rollback to inner_part", "release inner_part")
_OLDEST_CHECKS = """
    select kind, first from (
        select 'window' as kind, min(window_index) as first from checks where model = :model and kind = 'window'
        union all
        select 'labels', min(window_index) from checks where model = :model and kind = 'labels')
    where first is not null"""


class StateStore(StateReader):
    """The daemon's truth. Group what belongs together in `with store.transaction():`; alone, a write commits itself."""

    @classmethod
    def open(cls, path: Path, *, durable: bool = True) -> StateStore:
        """Open the database, making or migrating it first; without `durable` where it is thrown away afterwards."""
        path.parent.mkdir(parents=True, exist_ok=True)
        ensure_current(path, "state")
        connection = open_database(path, timeout=STATE_BUSY_SECONDS, isolation_level=None)
        connection.execute("pragma journal_mode = wal")
        connection.execute(f"pragma synchronous = {'full' if durable else 'off'}")
        return cls(connection)

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._scores = ScoreCodes(connection)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside land together or not at all; inside another transaction, when that one lands."""
        begin, end, undo = _INNER if self._db.in_transaction else _WHOLE
        self._db.execute(begin)
        try:
            yield
            self._db.execute(end)
        except BaseException:
            self._scores.forget_codes()
            if self._db.in_transaction:  # a disk that fails has rolled back already
                for statement in undo:
                    self._db.execute(statement)
            raise

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return bool(self._db.in_transaction)

    def save_state(self, state: ModelState, at: float) -> None:
        """Remember a model's state."""
        self._db.execute(
            """insert into models(model, phase, state, updated_at) values (?, ?, ?, ?)
               on conflict(model) do update set
                 phase = excluded.phase, state = excluded.state, updated_at = excluded.updated_at""",
            (state.model, state.phase, msgspec.json.encode(state).decode(), at),
        )

    def save_transition(
        self, before: ModelState, transition: Transition, *, at: float, actor: str, config_hash: str
    ) -> int | None:
        """Record a decision: the new state, its line of history if it has an event, and its intended actions.

        Returns the id of the line of history, None when there is none. Call it inside a transaction.
        """
        state = transition.state
        self.save_state(state, at)
        line = None
        if transition.event is not None:
            decision: dict[str, Any] = {
                "at": float(at),
                "model": state.model,
                "event": str(transition.event),
                "phase_from": str(before.phase),
                "phase_to": str(state.phase),
                "reason": transition.reason,
                "figures": _json(transition.figures.to_dict()),
                "actor": actor,
                "config_hash": config_hash,
            }
            line = self._insert("transitions", **decision)
            content = content_of_decision({"id": line, **decision})
            append_entry(self._db, "decision", state.model, line, content, at)
        for action in transition.actions:
            self._insert(
                "actions",
                transition_id=line,
                model=state.model,
                kind=action.kind,
                arguments=_json(msgspec.to_builtins(action.arguments)),
                status="intended",
                intended_at=at,
            )
        return line

    def save_stage(self, run: StageRun) -> None:
        """Keep how a stage of a build ended."""
        save_stage(self._db, run)

    def chain_version(self, model: str, version: int, content: str, at: float) -> None:
        """Bind what the lineage of a version is into the chain, unless its newest entry says the same."""
        if newest_content(self._db, model, version) != content:
            append_entry(self._db, "version", model, version, content, at)

    def save_version(self, version: StoredVersion, at: float) -> None:
        """Know a version, and bind what its lineage is into the chain."""
        self._db.execute("delete from versions where model = ? and version = ?", (version.model, version.version))
        self._insert("versions", **asdict(version))
        self.chain_version(version.model, version.version, version.content, at)

    def save_check(
        self, model: str, kind: str, window: Window, assessment: Assessment, *, at: float, version: int | None
    ) -> None:
        """Record what a check of one window said, and move the cursor past it."""
        self._insert(
            "checks",
            at=at,
            model=model,
            kind=kind,
            window_index=window.index,
            window_start=window.start,
            window_end=window.end,
            rows=assessment.rows,
            verdict=assessment.verdict,
            reason=assessment.sentence,
            version=version,
            figures=_json({**assessment.figures, "learning": assessment.learning, **_faults(assessment)}),
            evidence=_json({str(kind.kind): _evidence(kind) for kind in assessment.kinds}),
        )
        self.save_cursor(model, kind, window.index + 1)
        self._scores.save(model, window.index, assessment.scores)

    def save_config(
        self, digest: str, *, at: float, content: Mapping[str, object] | None = None, error: str | None = None
    ) -> None:
        """Record a config that was read, unless it is the last one again with the same outcome."""
        last = self._db.execute("select hash, error from configs order by id desc limit 1").fetchone()
        if last is None or (last["hash"], last["error"]) != (digest, error):
            text = None if content is None else _json(content)
            self._insert("configs", at=at, hash=digest, error=error, content=text)

    def save_cursor(self, model: str, kind: str, next_index: int) -> None:
        """Remember which window or cohort comes next."""
        self._db.execute(
            "insert or replace into cursors(model, kind, next_index) values (?, ?, ?)", (model, kind, next_index)
        )

    def save_alarm(
        self,
        model: str,
        alarm: Alarm,
        window: Window,
        *,
        at: float,
        version: int | None,
        leaders: Sequence[tuple[str, float]],
    ) -> int:
        """Record an alarm; returns its id."""
        return self._insert(
            "alarms",
            at=at,
            model=model,
            kind=alarm.kind,
            subject=alarm.subject,
            version=version,
            window_index=window.index,
            window_start=window.start,
            window_end=window.end,
            evidence=alarm.evidence,
            threshold=alarm.threshold,
            sentence=alarm.sentence,
            leaders=_json([list(leader) for leader in leaders]),
            change_start=alarm.change_start,
        )

    def absorb_alarms(self, model: str, kind: str, at: float) -> None:
        """Mark the standing alarms of a kind as absorbed into what is normal now."""
        self._db.execute(
            "update alarms set absorbed_at = ? where model = ? and kind = ? and absorbed_at is null", (at, model, kind)
        )

    def clear_alarms(self, model: str, kind: str, at: float) -> None:
        """Mark the standing alarms of a kind as cleared: their evidence fell."""
        query = """update alarms set cleared_at = ?
                   where model = ? and kind = ? and absorbed_at is null and cleared_at is null"""
        self._db.execute(query, (at, model, kind))

    def save_faulty_window(self, model: str, window_index: int, span: tuple[float, float], at: float) -> None:
        """Remember that the pipeline was broken in a window, whose rows have the times `start <= at < end`."""
        self._db.execute(
            "insert or replace into faulty_windows(model, window_index, at, start_at, end_at) values (?, ?, ?, ?, ?)",
            (model, window_index, at, *span),
        )

    def save_report(self, alarm: int, path: str | None, second_opinion: list[dict[str, object]]) -> None:
        """Link an alarm to its report."""
        self._db.execute(
            "update alarms set report = ?, second_opinion = ? where id = ?", (path, _json(second_opinion), alarm)
        )

    def save_profile(self, model: str, window: Window, *, version: int | None, rows: int, profile: bytes) -> None:
        """Keep a window's Profile: history is stored Profiles."""
        self._db.execute(
            """insert or replace into profiles(model, window_index, window_start, version, rows, profile)
               values (?, ?, ?, ?, ?, ?)""",
            (model, window.index, window.start, version, rows, profile),
        )

    def save_monitor(self, model: str, version: int, settings: dict[str, object], monitor: bytes) -> None:
        """Keep the evidence of a model."""
        self._db.execute(
            "insert or replace into monitors(model, version, settings, monitor) values (?, ?, ?, ?)",
            (model, version, _json(settings), monitor),
        )

    def begin_action(self, action: int, at: float) -> None:
        """Mark an action as started."""
        self._db.execute("update actions set status = 'started', started_at = ? where id = ?", (at, action))

    def finish_action(self, action: int, *, at: float, status: str, result: Mapping[str, object]) -> None:
        """Mark an action as done, failed or dropped, with what came of it."""
        self._db.execute(
            "update actions set status = ?, finished_at = ?, result = ? where id = ?",
            (status, at, _json(result), action),
        )

    def drop_actions(self, model: str, kinds: Collection[str], *, at: float) -> None:
        """Give up the open actions of some kinds."""
        query = """update actions set status = 'dropped', finished_at = ? where model = ?
                   and status in ('intended', 'started') and kind in (select value from json_each(?))"""
        self._db.execute(query, (at, model, _json(list(kinds))))

    def finish_restore(self, model: str, at: float) -> None:
        """The restored state of a model was compared with the disk."""
        self._db.execute("update restores set reconciled_at = ? where model = ? and reconciled_at is null", (at, model))

    def answer_request(self, request: int, *, at: float, outcome: str, is_refused: bool = False) -> None:
        """Answer what somebody asked."""
        self._db.execute(
            "update requests set handled_at = ?, outcome = ?, refused = ? where id = ?",
            (at, outcome, int(is_refused), request),
        )

    def keep_receivers(self, receivers: Collection[str]) -> None:
        """Know exactly these receivers: a new one is told of what comes, one that is gone is forgotten."""
        for name in receivers:
            self._db.execute(
                """insert or ignore into receivers(receiver, told_until)
                   select ?, coalesce(max(id), 0) from transitions""",
                (name,),
            )
        kept = _json(list(receivers))
        self._db.execute("delete from receivers where receiver not in (select value from json_each(?))", (kept,))

    def save_told(self, receiver: str, until: int) -> None:
        """Remember that a receiver was told of every decision up to this one; it never goes back."""
        self._db.execute("update receivers set told_until = max(told_until, ?) where receiver = ?", (until, receiver))

    def prune(self, model: str, *, before: float) -> None:
        """Forget a model's checks made before a time, with their scores and Profiles. Transitions and alarms stay.

        Each piece is a transaction of its own, unless one is open: so that others may read and write in between.
        """
        for kind, first in self._db.execute(_OLDEST_CHECKS, {"model": model}).fetchall():
            last = self._last_before(model, kind, before)
            for until in [] if last is None else [*range(first + PRUNED_AT_ONCE, last, PRUNED_AT_ONCE), last]:
                with nullcontext() if self._db.in_transaction else self.transaction():
                    self._forget_until(model, kind, until)
        self._db.execute("delete from faulty_windows where model = ? and end_at < ?", (model, before))
        self._db.execute("delete from requests where model = ? and handled_at < ?", (model, before))
        with nullcontext() if self._db.in_transaction else self.transaction():
            prune_draws(self._db, model, before)
        self._db.execute(  # looks at a registry: many a day, of which no line of the history tells
            "delete from actions where model = ? and kind = 'registry' and transition_id is null and finished_at < ?",
            (model, before),
        )

    def move_scores(self, model: str, most: int) -> int:
        """Move about so many scores that an earlier driftd wrote to where those of today lie; returns how many.

        Each piece is a transaction of its own.
        """
        moved = 0
        while moved < most:
            with self.transaction():
                found = self._scores.move(model, min(MOVED_AT_ONCE, most - moved))
            if not found:
                break
            moved += found
        return moved

    def forget_checks_after(self, model: str, now: float) -> tuple[int | None, bool]:
        """Forget the checks of a model that were made after `now`, by a clock that was ahead.

        Returns the index of the first window that is to be checked again, None where there is none, and whether any of
        what is forgotten had evidence.
        """
        row = self._db.execute(
            """select min(case when kind = 'window' then window_index end), max(evidence <> '{}')
               from checks where model = ? and at > ?""",
            (model, now),
        ).fetchone()
        first = None if row[0] is None else int(row[0])
        self._db.execute("delete from checks where model = ? and at > ?", (model, now))
        if first is not None:
            self._scores.delete(model, first, LAST)
            for table in ("profiles", "checks", "faulty_windows"):  # also labels of windows that come again
                self._db.execute(f"delete from {table} where model = ? and window_index >= ?", (model, first))  # noqa: S608 - our own table names
        return first, bool(row[1])

    def _last_before(self, model: str, kind: str, before: float) -> int | None:
        """The window before the first whose check is kept; only what is too old is read for it."""
        kept = """select window_index from checks where model = ? and kind = ? and at >= ?
                  order by window_index limit 1"""
        row = self._db.execute(kept, (model, kind, before)).fetchone()
        if row is not None:
            return int(row["window_index"]) - 1
        newest = "select max(window_index) as last from checks where model = ? and kind = ?"
        last = self._db.execute(newest, (model, kind)).fetchone()["last"]
        return None if last is None else int(last)

    def _forget_until(self, model: str, kind: str, last: int) -> None:
        if kind == "window":
            self._scores.delete(model, -LAST, last)
            self._db.execute("delete from profiles where model = ? and window_index <= ?", (model, last))
        self._db.execute("delete from checks where model = ? and kind = ? and window_index <= ?", (model, kind, last))

    def _insert(self, table: str, **values: object) -> int:
        names, marks = ", ".join(values), ", ".join("?" for _ in values)
        cursor = self._db.execute(f"insert into {table}({names}) values ({marks})", tuple(values.values()))  # noqa: S608 - our own names
        return int(cursor.lastrowid or 0)


def _evidence(kind: KindAssessment) -> dict[str, object]:
    names = ("evidence", "threshold", "verdict", "sentence", *(("figures",) if kind.figures else ()))
    return {name: getattr(kind, name) for name in names}


def _faults(assessment: Assessment) -> dict[str, object]:
    seen = [{"subject": fault.subject, "fault": fault.fault, "share": fault.share} for fault in assessment.faults]
    return {"faults": seen} if seen else {}


def _json(value: object) -> str:
    return json.dumps(value, default=str)
