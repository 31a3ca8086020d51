"""What the evidence costs: time a window and bytes a stream, at 500 features.

Run: PYTHONPATH=detectors python benchmarks/evidence_cost.py
"""

from __future__ import annotations

import time

import numpy as np

from driftd_detectors.evidence.evidence import Evidence, StreamWeights
from driftd_detectors.evidence.history import room

FEATURES, DAY, HOUR = 500, 86_400.0, 3_600.0


def main() -> None:
    streams = 3 * FEATURES
    two_sided = np.arange(streams) < 2 * FEATURES
    lanes = StreamWeights.of(np.ones(streams), two_sided)
    rng = np.random.default_rng(1)
    print(f"{FEATURES} features, {streams} streams, history of {room(streams)} windows")
    for name, windows, seconds in (("rows", 28, None), ("daily", 28, DAY), ("hourly", 336, HOUR)):
        values = rng.normal(0, 0.05, (windows, streams))
        sds = np.full((windows, streams), 0.05)
        starts = np.arange(windows, dtype=np.float64) * (seconds or 1.0)
        evidence = Evidence.begin(lanes, 1000.0, starts, values, sds, seconds)
        times = []
        for number in range(60):
            row = rng.normal(0, 0.05, streams)
            began = time.perf_counter()
            evidence = evidence.update(row, sds[0], np.full(streams, 0.03), (windows + number) * (seconds or 1.0))
            times.append(time.perf_counter() - began)
        _, arrays = evidence.pack()
        history = sum(arrays[part].nbytes for part in ("values", "sampling_sd", "starts", "learned"))
        shared = arrays["covariance"].nbytes + arrays["freedom"].nbytes
        own = sum(array.nbytes for array in arrays.values()) - history - shared
        print(
            f"{name:8s} {1000 * np.median(times):6.2f} ms a window (to reach 5)   {own / streams:6.1f} bytes a stream "
            f"(to reach 120) + {shared:,} shared + history {history / streams:,.0f} a stream"
        )


if __name__ == "__main__":
    main()
