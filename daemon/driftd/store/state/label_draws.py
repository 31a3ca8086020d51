"""Draws of predictions to label: what was asked for, with which probability. Commands write them, beside requests."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import numpy as np

from driftd.store.descriptors import STATE_BUSY_SECONDS, open_database
from driftd_detectors.performance.requested_labels import DrawnLabels, RequestedLabels

MOST_REQUESTS = 100_000  # of one model are remembered, the newest
_COLUMNS = "prediction_id, predicted_at, probability, uncertainty, boost, row_hash"


class LabelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One prediction to label; its label stands for `1 / probability` predictions without one."""

    prediction_id: str
    predicted_at: float
    probability: float
    uncertainty: float  # spread of its loss, in units of the loss or of a probability
    boost: float  # by how much the part that it lies in has grown, from 1
    row_hash: str  # of its identity, hexadecimal: how a cohort knows it again

    @property
    def weight(self) -> float:
        """How many predictions its label stands for."""
        return 1.0 / self.probability


class LabelDraw(msgspec.Struct, frozen=True, kw_only=True):
    """A draw from the predictions of `since <= at < until` (epoch seconds) that had no label then."""

    model: str
    drawn_at: float
    since: float
    until: float
    seed: int
    predictions: int  # without a label, from which was drawn
    requests: list[LabelRequest]


def save_draw(connection: sqlite3.Connection, draw: LabelDraw) -> None:
    """Remember a draw; the oldest requests of the model go where there are too many. Call it inside a transaction.

    Raises ValueError where an earlier draw has predictions of the same span: a label would count twice.
    """
    model = draw.model
    last = connection.execute("select max(until) from label_draws where model = ?", (model,)).fetchone()[0]
    if last is not None and draw.since < last:
        raise ValueError("another draw has predictions of this span: draw from those that came after it")
    span = (model, draw.drawn_at, draw.since, draw.until, len(draw.requests), draw.seed, draw.predictions)
    insert = """insert into label_draws(model, drawn_at, since, until, number, seed, predictions)
                values (?, ?, ?, ?, ?, ?, ?)"""
    connection.execute(insert, span)
    rows = [(model, draw.drawn_at, *msgspec.structs.astuple(request)) for request in draw.requests]
    insert = f"insert or replace into label_requests(model, drawn_at, {_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - our own names
    connection.executemany(insert, rows)
    query = "select predicted_at from label_requests where model = ? order by predicted_at desc limit 1 offset ?"
    oldest = connection.execute(query, (model, MOST_REQUESTS)).fetchone()
    if oldest is not None:
        connection.execute("delete from label_requests where model = ? and predicted_at <= ?", (model, oldest[0]))


def post_label_draw(path: Path, draw: LabelDraw) -> None:
    """Remember which labels were asked for, from outside the loop. Raises ValueError where its span was drawn from."""
    connection = open_database(path, timeout=STATE_BUSY_SECONDS)
    try:
        with connection:
            connection.execute("begin immediate")
            save_draw(connection, draw)
    finally:
        connection.close()


def prune_draws(connection: sqlite3.Connection, model: str, before: float) -> None:
    """Forget draws made before a time, with their requests. The newest stays: the next one begins where it ended."""
    newest = "(select max(until) from label_draws where model = :model)"
    old = f"model = :model and drawn_at < :before and until < {newest}"
    drawn = f"select drawn_at from label_draws where {old}"  # noqa: S608 - our own names
    named = {"model": model, "before": before}
    connection.execute(f"delete from label_requests where model = :model and drawn_at in ({drawn})", named)  # noqa: S608 - our own names
    connection.execute(f"delete from label_draws where {old}", named)  # noqa: S608 - our own names


def read_draw_times(connection: sqlite3.Connection, model: str, most: int) -> list[float]:
    """When the newest draws of a model were made, newest first."""
    query = "select drawn_at from label_draws where model = ? order by until desc limit ?"
    return [float(row[0]) for row in connection.execute(query, (model, most))]


def read_draw(connection: sqlite3.Connection, model: str, drawn_at: float | None = None) -> LabelDraw | None:
    """The newest draw of a model, or the newest of those made by then, with its requests; None where there is none.

    Requests that are too many to be remembered are left out.
    """
    query = """select drawn_at, since, until, seed, predictions from label_draws
               where model = ? and drawn_at <= ? order by until desc limit 1"""
    found = connection.execute(query, (model, 1e18 if drawn_at is None else drawn_at)).fetchone()
    if found is None:
        return None
    drawn_at, since, until, seed, predictions = found
    query = f"""select {_COLUMNS} from label_requests where model = ? and predicted_at >= ? and predicted_at < ?
                order by predicted_at, prediction_id"""  # noqa: S608 - our own names
    names = [name.strip() for name in _COLUMNS.split(",")]
    rows = connection.execute(query, (model, since, until))
    return LabelDraw(
        model=model,
        drawn_at=drawn_at,
        since=since,
        until=until,
        seed=seed,
        predictions=predictions,
        requests=[LabelRequest(**dict(zip(names, tuple(row), strict=True))) for row in rows],
    )


def read_drawn(connection: sqlite3.Connection, model: str, since: float) -> list[DrawnLabels]:
    """The draws with predictions from a time on (epoch seconds), with what was drawn since then; oldest first."""
    query = """select r.prediction_id, r.probability, r.predicted_at, d.drawn_at, d.since, d.until
               from label_requests r join label_draws d on d.model = r.model and d.drawn_at = r.drawn_at
               where r.model = ? and r.predicted_at >= ?"""
    found: dict[tuple[float, float, float], dict[str, tuple[float, float]]] = {}
    for name, probability, predicted_at, *draw in connection.execute(query, (model, since)):
        found.setdefault((draw[0], draw[1], draw[2]), {})[name] = probability, predicted_at
    return [DrawnLabels(*draw, drawn) for draw, drawn in sorted(found.items(), key=lambda item: item[0])]


def read_requested(
    connection: sqlite3.Connection, model: str, span: tuple[float, float] | None
) -> RequestedLabels | None:
    """The requests for predictions of a span `start <= at < end`, or of all times; None where there are none."""
    start, end = span if span is not None else (-1e18, 1e18)
    query = """select row_hash, probability, drawn_at from label_requests
               where model = ? and predicted_at >= ? and predicted_at < ?"""
    rows = connection.execute(query, (model, start, end)).fetchall()
    if not rows:
        return None
    hashes = np.array([int(row[0], 16) for row in rows], dtype=np.uint64)
    probability, drawn_at = (np.array([row[place] for row in rows], dtype=np.float64) for place in (1, 2))
    return RequestedLabels(hashes, probability, drawn_at)
