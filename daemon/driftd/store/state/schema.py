"""The history of `state.db`'s schema: append-only steps; a step that has landed is never edited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlite_utils import Migrations

if TYPE_CHECKING:
    from sqlite_utils import Database

STATE_MIGRATIONS = Migrations("driftd.state")


@STATE_MIGRATIONS()
def m001_the_loop(db: Database) -> None:
    """Models and what was decided, intended, seen and asked."""
    for statement in _LOOP_TABLES:
        db.execute(statement)


@STATE_MIGRATIONS()
def m002_configs(db: Database) -> None:
    """Every config that was read: what was in force when something was decided, and what was refused and why."""
    db.execute(
        """create table configs(
            id integer primary key, at real not null, hash text not null, error text, content text) strict"""
    )
    db.execute("create index configs_by_hash on configs(hash)")


@STATE_MIGRATIONS()
def m003_receivers(db: Database) -> None:
    """How far each receiver of notifications has been told."""
    db.execute("create table receivers(receiver text primary key, told_until integer not null) strict, without rowid")


@STATE_MIGRATIONS()
def m004_restores(db: Database) -> None:
    """Which backups this database was restored from, and what the daemon has still to reconcile."""
    db.execute(
        """create table restores(
            id integer primary key, at real not null, who text not null, backup text not null, made_at real not null,
            model text not null, reconciled_at real) strict"""
    )


@STATE_MIGRATIONS()
def m005_alarms_as_levels(db: Database) -> None:
    """When the evidence of an alarm fell, and which windows had a fault of the pipeline, by the times of their rows."""
    db.execute("alter table alarms add column cleared_at real")
    db.execute(
        """create table faulty_windows(
            model text not null, window_index integer not null, at real not null, start_at real not null,
            end_at real not null, primary key(model, window_index)) strict, without rowid"""
    )
    db.execute(  # windows of rows begin with a position, and the times of their rows are not known
        """insert into faulty_windows select model, window_index, at, window_start, window_end from checks
           where kind = 'window' and json_extract(evidence, '$.quality.verdict') = 'drift' and window_start > 1e8"""
    )


_LOOP_TABLES = (
    """create table models(
        model text primary key, phase text not null, state text not null, updated_at real not null) strict""",
    """create table transitions(
        id integer primary key, at real not null, model text not null, event text not null,
        phase_from text not null, phase_to text not null, reason text not null, figures text not null,
        actor text not null, config_hash text not null) strict""",
    "create index transitions_by_model on transitions(model, id)",
    """create table actions(
        id integer primary key, transition_id integer, model text not null, kind text not null,
        arguments text not null, status text not null, intended_at real not null,
        started_at real, finished_at real, result text) strict""",
    "create index actions_open on actions(model, id) where status in ('intended', 'started')",
    """create table checks(
        id integer primary key, at real not null, model text not null, kind text not null,
        window_index integer not null, window_start real not null, window_end real not null,
        rows integer not null, verdict text not null, reason text not null, version integer,
        figures text not null, evidence text not null, unique(model, kind, window_index)) strict""",
    """create table alarms(
        id integer primary key, at real not null, model text not null, kind text not null, subject text not null,
        version integer, window_index integer not null, window_start real not null, window_end real not null,
        evidence real not null, threshold real not null, sentence text not null, leaders text not null,
        change_start real, absorbed_at real, report text, second_opinion text) strict""",
    "create index alarms_by_model on alarms(model, id)",
    """create table profiles(
        model text not null, window_index integer not null, window_start real not null, version integer,
        rows integer not null, profile blob not null, primary key(model, window_index)) strict""",
    """create table scores(
        model text not null, window_index integer not null, window_start real not null, kind text not null,
        subject text not null, component text not null, value real, evidence real not null,
        primary key(model, window_index, kind, subject, component)) strict, without rowid""",
    """create table monitors(
        model text primary key, version integer not null, settings text not null, monitor blob not null) strict""",
    """create table cursors(
        model text not null, kind text not null, next_index integer not null, primary key(model, kind)) strict""",
    """create table requests(
        id integer primary key, at real not null, who text not null, model text not null, kind text not null,
        arguments text not null, handled_at real, outcome text) strict""",
    "create index requests_waiting on requests(id) where handled_at is null",
)
