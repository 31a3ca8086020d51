"""The schemas of `state.db` and `events.db`: append-only steps; a step that has landed is never edited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlite_utils import Migrations

from driftd.store.chain import append_decisions
from driftd.store.public_views import VIEWS

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


@STATE_MIGRATIONS()
def m006_indexes_of_history(db: Database) -> None:
    """What is asked of years of history finds its rows by an index."""
    db.execute("create index actions_by_model on actions(model, id)")
    db.execute("create index actions_by_transition on actions(transition_id)")
    db.execute("create index configs_applied on configs(id) where error is null")


@STATE_MIGRATIONS()
def m007_scores_in_codes(db: Database) -> None:
    """Scores by the number of their stream. Those of before stay where they are, and move over in small pieces."""
    for statement in _CODED_SCORES:
        db.execute(statement)


_CODED_SCORES = (
    "create table score_models(id integer primary key, model text not null unique) strict",
    """create table score_streams(
        id integer primary key, kind text not null, subject text not null, component text not null,
        unique(kind, subject, component)) strict""",
    """create table score_codes(
        model integer not null, window_index integer not null, stream integer not null, value real,
        evidence real not null, primary key(model, window_index, stream)) strict, without rowid""",
    # For people who ask by SQL: every score with its names, wherever it lies.
    """create view named_scores as
        select score_models.model, window_index, kind, subject, component, value, evidence from score_codes
        join score_models on score_models.id = score_codes.model
        join score_streams on score_streams.id = score_codes.stream
        union all
        select model, window_index, kind, subject, component, value, evidence from scores""",
)


@STATE_MIGRATIONS()
def m008_chain_of_lineage(db: Database) -> None:
    """Decisions and versions bound to all before them by a hash; the decisions of before are taken in as they are."""
    db.execute(
        """create table chain(
            id integer primary key, at real not null, kind text not null, model text not null,
            subject integer not null, content text not null, hash text not null) strict"""
    )
    db.execute("create index chain_by_subject on chain(model, kind, subject)")
    db.execute("create index chain_by_hash on chain(hash)")
    append_decisions(db.conn)


@STATE_MIGRATIONS()
def m009_keys_of_requests(db: Database) -> None:
    """By which its sender knows a request that is sent again, and whether the answer was that it cannot be done."""
    db.execute("alter table requests add column key text")
    db.execute("alter table requests add column refused integer")
    db.execute("create unique index requests_by_key on requests(key)")


@STATE_MIGRATIONS()
def m010_stages_of_builds(db: Database) -> None:
    """How each stage of each build ended: result, time, sentence and log."""
    db.execute(
        """create table stages(
            id integer primary key, model text not null, version integer not null, stage text not null,
            attempt integer not null, started_at real not null, ended_at real not null, result text not null,
            sentence text not null, log text, details text not null) strict"""
    )
    db.execute("create index stages_by_version on stages(model, version, id)")
    db.execute("create index stages_by_model on stages(model, id)")


@STATE_MIGRATIONS()
def m011_public_views(db: Database) -> None:
    """What others may ask by stable names: views, the versions as rows, and which labels were asked for."""
    for statement in _PUBLIC_TABLES:
        db.execute(statement)
    for name, query in VIEWS.items():
        db.create_view(name, query)


_PUBLIC_TABLES = (
    """create table versions(
        model text not null, version integer not null, created_at real not null, parent integer, trigger text not null,
        reason text not null, trainer text not null, fingerprint text not null, snapshot text not null,
        artefact text not null, seed integer not null, rows integer, decision text, metric text, loss real, gain real,
        gain_lower real, gain_upper real, content text not null, primary key(model, version)) strict, without rowid""",
    "create index versions_by_time on versions(created_at)",
    # A draw asks for labels of predictions of a span; no prediction is in the spans of two draws of its model.
    """create table label_draws(
        id integer primary key, model text not null, drawn_at real not null, since real not null, until real not null,
        number integer not null, seed integer not null, predictions integer not null) strict""",
    "create index label_draws_by_model on label_draws(model, until)",
    """create table label_requests(
        model text not null, predicted_at real not null, prediction_id text not null, probability real not null,
        drawn_at real not null, uncertainty real not null, boost real not null, row_hash text not null,
        primary key(model, predicted_at, prediction_id)) strict, without rowid""",
    "create index label_requests_by_time on label_requests(drawn_at)",
    "create index alarms_by_time on alarms(at)",
    "create index checks_by_time on checks(at)",
    "create index transitions_by_time on transitions(at)",
    "create index requests_by_time on requests(at)",
    "create index requests_by_model on requests(model, id)",
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


EVENTS_MIGRATIONS = Migrations("driftd.events")


@EVENTS_MIGRATIONS()
def m001_predictions_and_feedback(db: Database) -> None:
    """Narrow rows for what is looked up and joined, columnar blocks for the features, segments for what is sealed."""
    for statement in _TABLES:
        db.execute(statement)


_TABLES = (
    # The order of arrival is `seq`; it has no gaps, because an insert that is ignored or rolled back takes no number.
    """create table predictions(
        seq integer primary key autoincrement, prediction_id text not null unique, at real not null,
        received_at real not null, version integer, prediction any not null, score real,
        block integer not null, position integer not null, first_label_at real) strict""",
    "create index predictions_by_time on predictions(at, first_label_at)",
    # Every label ever sent; the newest `at` wins, then the newest arrival. A repeated one is the same row.
    """create table feedback(
        prediction_id text not null, at real not null, label any not null, received_at real not null,
        primary key(prediction_id, at, label)) strict, without rowid""",
    # The names and kinds of the features that a block's columns are, in order.
    "create table shapes(id integer primary key, features text not null unique) strict",
    """create table blocks(
        id integer primary key autoincrement, shape integer not null, rows integer not null,
        received_at real not null, data blob not null) strict""",
    # A sealed file holds every row of the blocks from `first_block` to `last_block`.
    """create table segments(
        id integer primary key autoincrement, file text not null unique, first_block integer not null unique,
        last_block integer not null unique, first_seq integer not null, last_seq integer not null,
        first_at real not null, last_at real not null, rows integer not null,
        bytes integer not null, sealed_at real not null) strict""",
    """create table quarantine(
        id integer primary key autoincrement, received_at real not null, prediction_id text, field text not null,
        reason text not null, event text not null) strict""",
    # Counted by minute of arrival, so that a window can tell how many of its values could not be read.
    """create table refusals(
        minute integer not null, field text not null, events integer not null,
        primary key(minute, field)) strict, without rowid""",
    "create table counters(name text primary key, value real not null) strict, without rowid",
)
