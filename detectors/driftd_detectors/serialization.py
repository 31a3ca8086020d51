"""Serialises named arrays and plain values: a JSON head, then the arrays as they lie in memory."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.errors import DetectorError

_HEAD = struct.Struct("<4sI")
_MAGIC = b"drf1"

JsonValue: TypeAlias = "bool | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
JsonObject: TypeAlias = dict[str, JsonValue]


def pack(values: Mapping[str, JsonValue], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Put JSON-ready `values` and `arrays` (or bytes as uint8 arrays) into one byte string."""
    laid = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    shapes = {name: [array.dtype.str, list(array.shape)] for name, array in laid.items()}
    head = json.dumps({"values": values, "arrays": shapes}, separators=(",", ":")).encode()
    return b"".join([_HEAD.pack(_MAGIC, len(head)), head, *(array.tobytes() for array in laid.values())])


def unpack(stored: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read what `pack` wrote; the arrays are read-only views. Raises ValueError when the bytes are something else."""
    if len(stored) < _HEAD.size or not stored.startswith(_MAGIC):
        raise DetectorError("these bytes were not written by driftd_detectors.serialization.pack")
    _, length = _HEAD.unpack_from(stored)
    head = json.loads(stored[_HEAD.size : _HEAD.size + length])
    at = _HEAD.size + length
    arrays = {}
    for name, (kind, shape) in head["arrays"].items():
        count = int(np.prod(shape, dtype=np.int64))
        size = count * np.dtype(kind).itemsize
        if at + size > len(stored):
            raise DetectorError(f"the bytes end within the array {name!r}")
        arrays[name] = np.frombuffer(stored, dtype=kind, count=count, offset=at).reshape(shape)
        at += size
    return head["values"], arrays


def as_array(stored: bytes) -> NDArray[np.uint8]:
    """Bytes as an array, to be packed inside other bytes."""
    return np.frombuffer(stored, dtype=np.uint8)
