"""What a version was made with: the versions of the libraries that decide about its bytes."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

_LIBRARIES = ("driftd", "numpy", "scipy", "pandas", "scikit-learn", "skops", "joblib", "pyarrow")


def libraries(trainer: str | tuple[str, ...]) -> dict[str, str]:
    """Name and version of Python, the numerical libraries, the trainer's own distribution, and the thread count.

    (Sums over several threads may differ in their last bit, so the number of threads belongs to the recipe.)
    """
    names = [*_LIBRARIES]
    if isinstance(trainer, str):
        names.append(trainer.partition(":")[0].partition(".")[0])
    found = {"python": platform.python_version(), "threads": os.environ.get("OMP_NUM_THREADS", "")}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a source tree: the fingerprint and the commit say which
            continue
    return found
