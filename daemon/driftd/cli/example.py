"""The shipped rows of `driftd init --example`: four months of flights, moved to end within the last ten days."""

from __future__ import annotations

from pathlib import Path

import click
import pandas as pd

from driftd.demonstration.stream import FEATURES, FIRST_PART, TARGET, load, split
from driftd.paths import Places
from driftd.rehearsal.stream import DAY, start_of
from driftd.serving.client import Driftd

FILE_NAME = "flights.csv"
AT, KNOWN, ID = "departed_at", "reported_at", "flight"
OPTIONS = {"target": TARGET, "time_column": AT, "label_time": KNOWN, "id_column": ID}
SPAN = 2 * FIRST_PART  # of all: the first half is the file, the second is predicted and labelled
WEEK = 7 * DAY  # a flight keeps its day of the week


def example_rows(now: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of the file, and those that come later; the last label is known before `now` (epoch seconds)."""
    frame, _ = split(load(), SPAN)
    moved = (now - float(frame["label_at"].max())) // WEEK * WEEK
    frame = frame.assign(at=frame["at"] + moved, label_at=frame["label_at"] + moved)
    return split(frame[frame["label_at"] > start_of(frame)], FIRST_PART)


def example_options(*, is_wanted: bool, file: str | None, is_refused: bool, now: float) -> dict[str, str]:
    """What the shipped file, where it is asked for, puts in the place of options of `driftd init`.

    The file is written unless the command is refused anyway. Raises click.UsageError without any file, and
    click.ClickException where one of its name is there.
    """
    if is_wanted:
        if file is not None:
            raise click.UsageError("--example brings a file: name none")
        return {**OPTIONS, "file": FILE_NAME if is_refused else str(write_example(Path(), now))}
    if file is None:
        raise click.UsageError(
            "name a file of labelled rows and its --target, or --example for rows that driftd brings"
        )
    return {}


def write_example(folder: Path, now: float) -> Path:
    """Write the file into a folder. Raises click.ClickException where one of that name is there."""
    path = folder / FILE_NAME
    if path.exists():
        raise click.ClickException(f"{path} is there already: remove it, or give it to `driftd init` as your own")
    rows, _ = example_rows(now)
    times = {AT: _spell(rows["at"]), KNOWN: _spell(rows["label_at"])}
    named = rows.rename(columns={"prediction_id": ID}).assign(**times)
    named[[ID, AT, KNOWN, *FEATURES, TARGET]].to_csv(path, index=False)
    return path


def hand_in_later_rows(places: Places, model: str, now: float) -> int:
    """Have version 1 predict the rows after those of the file, and hand in their labels; gives how many there are."""
    _, rows = example_rows(now)
    with Driftd(places.root, model) as application:
        application.predict(rows[list(FEATURES)], ids=rows["prediction_id"], at=rows["at"])
        known = rows.sort_values("label_at", kind="stable")
        application.feedback(known["prediction_id"], known[TARGET], at=known["label_at"])
    return len(rows)


def _spell(times: pd.Series) -> pd.Series:
    return pd.to_datetime(times.round(), unit="s").dt.strftime("%Y-%m-%dT%H:%M:%SZ")
