"""What a version will be compared with: the reference learned from the rows that it was judged on."""

from __future__ import annotations

import numpy as np

from driftd.build.comparing import outcomes_of, row_losses
from driftd.build.dataset import Rows
from driftd.build.order import Order
from driftd.registry.loaded import LoadedVersion, Predictions, predict_with
from driftd_detectors.frames import columns_of
from driftd_detectors.reference import Reference, learn_reference

_SAMPLE = 2000
_CELLS = 400_000  # permuted rows x features, at most
_FEWEST = 200


def reference_of(
    order: Order, version: LoadedVersion, rows: Rows, found: Predictions, metric: str, mature_until: float
) -> Reference:
    """Learn the reference of a version from rows under its own schema and its predictions of them.

    Rows later than `mature_until`, of which only some have their label yet, are left out where enough others are.
    """
    mature = rows.at <= mature_until
    if mature.sum() >= _FEWEST:
        rows, found = rows.take(mature), found.take(mature)
    own = rows.under(version.schema)
    outcomes = outcomes_of(found, own, version.schema.classes, version.version)
    return learn_reference(
        columns_of(own.frame, version.schema),
        outcomes,
        version.schema,
        starts=order.window_starts(rows.at),
        importance=importance_of(version, own, metric),
        loss=metric,
    )


def importance_of(version: LoadedVersion, rows: Rows, metric: str) -> dict[str, float]:
    """Permutation importance (Breiman 2001) on an even sample: how much the loss grows when a feature is shuffled.

    Non-negative, with sum 1; all alike where no feature matters.
    """
    names = version.schema.names
    count = min(len(rows), _SAMPLE, max(_FEWEST, _CELLS // len(names)))
    some = rows.take(np.unique(np.linspace(0, len(rows) - 1, count).astype(np.intp)))
    order = np.random.default_rng(version.manifest.seed).permutation(len(some))

    def loss(frame: object) -> float:
        found = predict_with(version.estimator, version.schema, frame)  # type: ignore[arg-type]  # a DataFrame
        return float(np.nanmean(row_losses(outcomes_of(found, some, version.schema.classes, 0), some, metric)))

    base = loss(some.frame)
    growth = {}
    for name in names:
        shuffled = some.frame.copy(deep=False)
        shuffled[name] = some.frame[name].to_numpy()[order]
        growth[name] = max(0.0, loss(shuffled) - base)
    total = sum(growth.values())
    return {name: one / total if total > 0 else 1 / len(names) for name, one in growth.items()}
