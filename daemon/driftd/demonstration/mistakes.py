"""Where driftd was wrong in a demonstration, in hindsight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from driftd.events import Event
from driftd.paths import Places
from driftd.registry import Registry
from driftd.registry.features import feature_frame
from driftd.rehearsal.curves import Curve
from driftd.rehearsal.losses import row_errors
from driftd.rehearsal.stream import Stream
from driftd.store.state.records import StoredTransition


def find_mistakes(
    places: Places, stream: Stream, served: Curve, static: Curve, history: Iterable[StoredTransition]
) -> list[str]:
    """Where driftd was wrong, in hindsight: a sentence each, the costliest first; `history` is oldest first.

    A swap was wrong where the version before would have done better until the next swap, and a refusal where the
    refused version would have done better. Months are those in which the first model was better.
    """
    lines = list(history)
    swaps = [line for line in lines if line.event in {Event.PROMOTED, Event.ROLLED_BACK, Event.PINNED}]
    found = [*_wrong_decisions(places, stream, lines, swaps), *_worse_months(served, static)]
    return [sentence for _, sentence in sorted(found, reverse=True)]


def _wrong_decisions(
    places: Places, stream: Stream, lines: Sequence[StoredTransition], swaps: Sequence[StoredTransition]
) -> Iterable[tuple[float, str]]:
    refused = {Event.CHALLENGER_REJECTED, Event.CHALLENGER_INCONCLUSIVE}
    end = float(stream.frame["at"].iloc[-1]) + 1
    serving = stream.first_version
    for line in lines:
        number = line.decision_figures.version
        if number is None or (line not in swaps and line.event not in refused):
            continue
        until = next((swap.at for swap in swaps if swap.at > line.at), end)
        rows = stream.rest[stream.rest["at"].between(line.at, until, inclusive="left")]
        chosen, other = (number, serving) if line in swaps else (serving, number)
        serving = chosen
        losses = [_loss(places, stream, version, rows) for version in (chosen, other)]
        if losses[0] is None or losses[1] is None or losses[0] <= losses[1]:
            continue
        days = f"{_day(line.at)} to {_day(until)}"
        done = f"version {chosen} was put in place of {other}" if line in swaps else f"version {other} was refused"
        means = f"version {chosen} erred by {losses[0]:.4g}, {other} would have by {losses[1]:.4g}"
        yield (losses[0] - losses[1]) * len(rows), f"{done}: from {days} {means}"


def _loss(places: Places, stream: Stream, version: int, rows: pd.DataFrame) -> float | None:
    """The mean error of a version on some rows; None without rows, or where the version is not kept."""
    registry = Registry(places)
    if len(rows) == 0 or version not in registry.versions(stream.model):
        return None
    loaded = registry.load(stream.model, version)
    predicted = loaded.estimator.predict(feature_frame(rows, loaded.schema))
    return float(row_errors(predicted, rows[stream.target]).mean())


def _worse_months(served: Curve, static: Curve) -> Iterable[tuple[float, str]]:
    months = (served.at * 1e6).astype("datetime64[us]").astype("datetime64[M]")
    for month in np.unique(months):
        inside = months == month
        ours, theirs = float(served.error[inside].mean()), float(static.error[inside].mean())
        if ours > theirs:
            sentence = f"in {month} the served model erred by {ours:.4g}, the first one would have by {theirs:.4g}"
            yield (ours - theirs) * int(inside.sum()), sentence


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%d %b %Y}"
