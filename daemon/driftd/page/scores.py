"""Features x time: the mean score of every stream in groups of windows, for a heat map."""

from __future__ import annotations

import math
from typing import Any

from driftd.page.model import window_range
from driftd.page.series import Grouping, rounded
from driftd.page.settings import config_in_force
from driftd.store.state_series import ScoreMean, SeriesReader

MOST_COLUMNS = 96
MOST_AVERAGED = 24  # windows of a column; their mean is known well enough for a colour
IN_STANDARD_DEVIATIONS = ("location", "spread")  # all other components are in sds of chance
NOTABLE = {True: 0.5, False: 6.0}  # where the colour is full: so many standard deviations of the reference, or sigmas
SHOWN_KINDS = ("data", "prediction")


def score_view(reader: SeriesReader, model: str, span: str | None) -> dict[str, Any] | None:
    """The heat map of a span, the features that moved most in its last tenth first; None for an unknown model."""
    if reader.model(model) is None:
        return None
    config = config_in_force(reader)
    first, last, _ = window_range(reader, model, config, span)
    grouping = Grouping.of(first, max(first, last), MOST_COLUMNS)
    stride = math.ceil(grouping.size / MOST_AVERAGED)
    rows = _rows(reader.score_means(model, first, last, grouping.size, stride), grouping.groups)
    starts = _starts(reader, model, grouping, by_time=not config.by_rows(model))
    return {"at": starts, "merged": grouping.size, "stride": stride, "subjects": sorted(rows, key=_moved, reverse=True)}


def _starts(reader: SeriesReader, model: str, grouping: Grouping, *, by_time: bool) -> list[float | None]:
    starts: list[float | None] = [None] * grouping.groups
    for window, start, at in reader.window_times(model, grouping.first):
        place = (window - grouping.first) // grouping.size
        if starts[place] is None:
            starts[place] = start if by_time else at
    return starts


def _rows(means: list[ScoreMean], groups: int) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in means:
        if one.kind not in SHOWN_KINDS:
            continue
        row = found.setdefault((one.kind, one.subject), {"kind": one.kind, "subject": one.subject, "components": {}})
        values = row["components"].setdefault(one.component, [float("nan")] * groups)
        if one.value is not None:
            values[one.group] = one.value
    for row in found.values():
        row["heat"] = _heat(row["components"], groups)
        row["components"] = {name: rounded(values) for name, values in row["components"].items()}
    return list(found.values())


def _heat(components: dict[str, list[float]], groups: int) -> list[float | None]:
    """By group, in 0 .. 1: the component that moved most, each measured by what is notable for it."""
    heat: list[float | None] = []
    for group in range(groups):
        shares = [
            abs(values[group]) / NOTABLE[name in IN_STANDARD_DEVIATIONS]
            for name, values in components.items()
            if values[group] == values[group]
        ]
        heat.append(round(min(1.0, max(shares)), 3) if shares else None)
    return heat


def _moved(row: dict[str, Any]) -> float:
    recent = [one for one in row["heat"][-max(1, len(row["heat"]) // 10) :] if one is not None]
    return sum(recent) / len(recent) if recent else 0.0
