"""The span of event times."""

from __future__ import annotations

import numpy as np

from driftd_detectors.columns import Numbers


def span_of(times: Numbers) -> tuple[float | None, float | None]:
    """The least and the greatest time, None when there is none."""
    known = times[np.isfinite(times)]
    return (float(known.min()), float(known.max())) if len(known) else (None, None)
