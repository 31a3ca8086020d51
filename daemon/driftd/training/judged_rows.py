"""The rows that judge a challenger: its snapshot's hold-out, and what was labelled since."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from driftd.registry import Manifest
from driftd.training.job_context import JobContext
from driftd.training.label_weights import learn_label_delay
from driftd.training.snapshots import labelled_rows, read_snapshot
from driftd.training.training_rows import TrainingRows, rows_of
from driftd_detectors.performance.label_delay import LabelDelay


def judged_rows(order: JobContext, challenger: Manifest, until: float) -> tuple[TrainingRows, LabelDelay]:
    """Every labelled row that is later than those the challenger was trained on, with the labels known by `until`.

    With them comes how late labels come, learned from the whole snapshot.
    """
    snapshot = read_snapshot(order.places, order.model, challenger.snapshot)
    trained = int(challenger.data["training_rows"])
    held_out, since = snapshot.table.slice(trained), float(challenger.data["held_out_from"])
    ties = snapshot.table.slice(0, trained)
    ties = ties.filter(pc.greater_equal(ties["driftd_at"], since))  # trained on, at the very moment of the cut
    later = (_without(table, ties) for table in order.read_labelled(snapshot.schema, since, until))
    held_out = order.without_faulty(held_out.replace_schema_metadata(None))
    table = labelled_rows([held_out, *later], snapshot.schema)
    delay = learn_label_delay(rows_of(snapshot.table, snapshot.schema), until)
    return rows_of(table, snapshot.schema), delay


def _without(table: pa.Table, ties: pa.Table) -> pa.Table:
    if ties.num_rows == 0:
        return table
    return table.filter(pc.invert(pc.is_in(table["driftd_id"], value_set=ties["driftd_id"].combine_chunks())))
