"""Every score and every fault by name: what the conformance tests run over."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from driftd_detectors.columns import Numbers
from driftd_detectors.scores.comparison import Comparison
from driftd_detectors.scores.components import chi_square_rest, correlation_scores, global_score, location_spread
from driftd_detectors.scores.jensen_shannon import jensen_shannon
from driftd_detectors.scores.psi import psi

SCORES: dict[str, tuple[Callable[..., object], Callable[[Comparison], Numbers]]] = {
    "location": (location_spread, lambda comparison: location_spread(comparison)[0]),
    "spread": (location_spread, lambda comparison: location_spread(comparison)[1]),
    "rest": (chi_square_rest, chi_square_rest),
    "global": (global_score, lambda comparison: np.array([global_score(*location_spread(comparison))])),
    "correlation": (correlation_scores, lambda comparison: np.array(correlation_scores(comparison))),
    "psi": (psi, psi),
    "jensen_shannon": (jensen_shannon, jensen_shannon),
}
"""Name -> the function whose docstring describes it, and how it is applied to a comparison."""
