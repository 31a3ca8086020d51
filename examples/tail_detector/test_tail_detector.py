"""The detector keeps driftd's rules for detectors."""

from __future__ import annotations

import numpy as np
import pandas as pd
from tail_detector import tail_share

from driftd.plugins.conformance import check_detector


def test_it_conforms() -> None:
    """Finite, repeatable, harmless to its rows, and larger for heavier tails."""
    rng = np.random.default_rng(1)
    rows = pd.DataFrame({"price": rng.normal(20, 5, 2000), "region": rng.choice(["north", "south"], 2000)})
    heavy = rows.assign(price=20 + 5 * rng.standard_t(2, 2000))
    check_detector(tail_share, rows, moved=heavy)
