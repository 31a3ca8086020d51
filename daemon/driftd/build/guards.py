"""What a challenger must not break even where it is better on the whole: segments, latency, size."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from driftd.build.dataset import Rows
from driftd.registry.loaded import LoadedVersion
from driftd_detectors.columns import Numbers
from driftd_detectors.gate import judge
from driftd_detectors.schema import Kind

SEGMENT_ROWS = 200
_LARGEST = 10  # categories of a column that are segments
_BINS = 5
_TIMED_ROWS = 1000
_SLOWER, _SLOW_SECONDS = 10.0, 0.5  # refused above both: ten times the champion, half a second for 1,000 rows
_LARGER, _LARGE_BYTES = 20.0, 512 << 20


@dataclass(frozen=True, slots=True)
class Guard:
    """One bound, whether it holds, and why in one sentence."""

    name: str
    holds: bool
    sentence: str

    def to_dict(self) -> dict[str, object]:
        """The JSON form."""
        return {"name": self.name, "holds": self.holds, "sentence": self.sentence}


def segment_guards(
    rows: Rows, weight: Numbers, lost: Sequence[Numbers], columns: Sequence[str], confidence: float
) -> list[Guard]:
    """No segment of at least 200 rows significantly worse; the error probability is shared among the segments."""
    segments = [one for column in columns if column in rows.schema.names for one in _segments(rows, column)]
    guards = []
    for name, inside in segments:
        share = 1 - (1 - confidence) / len(segments)
        judged = judge(lost[0][inside], lost[1][inside], rows.at[inside], weight=weight[inside], confidence=share)
        guards.append(Guard(f"segment {name}", judged.decision != "reject", f"segment {name}: {judged.sentence}"))
    return guards


def cost_guards(challenger: LoadedVersion, champion: LoadedVersion, rows: Rows, sizes: tuple[int, int]) -> list[Guard]:
    """Latency and size within bounds of the champion's; `sizes` are the bytes of the two artefacts."""
    some = rows.take(slice(-_TIMED_ROWS, None))
    new, old = (_seconds(version, some) for version in (challenger, champion))
    told = f"{1000 * new:.0f} ms for {len(some)} rows, the champion {1000 * old:.0f} ms"
    size = f"{sizes[0] / 1e6:.1f} MB, the champion {sizes[1] / 1e6:.1f} MB"
    return [
        Guard("latency", new <= max(_SLOWER * old, _SLOW_SECONDS), f"the challenger takes {told}"),
        Guard("size", sizes[0] <= max(_LARGER * sizes[1], _LARGE_BYTES), f"the challenger's artefact has {size}"),
    ]


def artefact_bytes(folder: Path, version: LoadedVersion) -> int:
    """How large a version's artefact is on disk."""
    return (folder / version.manifest.artefact).stat().st_size


def _seconds(version: LoadedVersion, rows: Rows) -> float:
    frame = rows.under(version.schema).frame
    times = []
    for _ in range(3):
        began = time.perf_counter()
        version.predict(frame)
        times.append(time.perf_counter() - began)
    return min(times)


def _segments(rows: Rows, column: str) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    values = rows.frame[column]
    if rows.schema.kind_of(column) in {Kind.CATEGORY, Kind.BOOLEAN}:
        counts = values.value_counts()
        for value in counts.index[:_LARGEST]:
            if counts[value] >= SEGMENT_ROWS:
                yield f"{column}={value}", (values == value).to_numpy()
        return
    codes, edges = pd.qcut(values, _BINS, labels=False, retbins=True, duplicates="drop")
    for code in range(len(edges) - 1):
        inside = (codes == code).to_numpy()
        if inside.sum() >= SEGMENT_ROWS:
            yield f"{column} {edges[code]:.4g} to {edges[code + 1]:.4g}", inside
