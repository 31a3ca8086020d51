"""What a worker of an engine runs: these functions over one partition, where its sources are those of the daemon."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

import pyarrow as pa

import driftd_detectors
from driftd_detectors.batches.cohort_batches import cohort_batches
from driftd_detectors.batches.profile_batches import profile_batches
from driftd_detectors.errors import DetectorError

FUNCTIONS = {"profile_batches": profile_batches, "cohort_batches": cohort_batches}
PARTS = "part binary"  # the schema of what `partition_counter` gives
_PACKAGE = driftd_detectors.__name__


@lru_cache(maxsize=1)
def package_sources() -> dict[str, bytes]:
    """The sources of this package by their paths, as they are imported: from a folder or from a zip."""
    modules = [(_PACKAGE, True)]
    modules += [(found.name, found.ispkg) for found in pkgutil.walk_packages(driftd_detectors.__path__, f"{_PACKAGE}.")]
    sources = {}
    for name, is_package in modules:
        spec = importlib.util.find_spec(name)
        get_source = getattr(None if spec is None else spec.loader, "get_source", None)
        source = None if get_source is None else get_source(name)
        if source is None:
            raise DetectorError(f"the source of {name} cannot be read: install the driftd of the daemon on the workers")
        sources[name.replace(".", "/") + ("/__init__.py" if is_package else ".py")] = source.encode()
    return dict(sorted(sources.items()))


@lru_cache(maxsize=1)
def fingerprint() -> str:
    """A hash of the sources of this package."""
    whole = hashlib.sha256()
    for path, source in package_sources().items():
        whole.update(f"{path} {len(source)}\n".encode())
        whole.update(source)
    return whole.hexdigest()


def sign_job(job: str) -> str:
    """A job that only the sources of this process may do."""
    return json.dumps({**json.loads(job), "code": fingerprint()})


def check_code(job: str) -> None:
    """Raise DetectorError where a signed job is for other sources than those of this process."""
    wanted = json.loads(job).get("code")
    if wanted is not None and wanted != fingerprint():
        raise DetectorError(
            f"the worker has other sources of driftd ({fingerprint()[:12]}) than the daemon ({wanted[:12]}): "
            "remove the driftd that is installed on the workers, or install the daemon's"
        )


def partition_counter(function: str, job: str) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """What Spark's `mapInArrow` takes: the batches of a partition in, a batch of one row out, as `PARTS` says."""

    def count(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield count_partition(batches, function, job)

    return count


def count_partition(batches: Iterable[pa.RecordBatch], function: str, job: str) -> pa.RecordBatch:
    """One partition as one row of bytes. Raises DetectorError where the worker has other sources than the daemon."""
    check_code(job)
    return pa.RecordBatch.from_arrays([pa.array([FUNCTIONS[function](batches, job)], pa.binary())], ["part"])
