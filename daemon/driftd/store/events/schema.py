"""The history of `events.db`'s schema: append-only steps; a step that has landed is never edited.

`prediction` and `label` are text for classification and numbers for regression: one file holds one model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlite_utils import Migrations

if TYPE_CHECKING:
    from sqlite_utils import Database

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
