"""Serialises named arrays and plain values: a JSON head, then the arrays as they lie in memory."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
    """Read what `pack` wrote; the arrays are read-only views. Raises DetectorError when they are something else."""
    if len(stored) < _HEAD.size or not stored.startswith(_MAGIC):
        raise DetectorError("these bytes were not written by driftd_detectors.serialization.pack")
    _, length = _HEAD.unpack_from(stored)
    with refused_as("the head of packed bytes"):
        head = json.loads(stored[_HEAD.size : _HEAD.size + length])
        values, shapes = dict(head["values"]), dict(head["arrays"])
    at = _HEAD.size + length
    arrays = {}
    for name, described in shapes.items():
        with refused_as(f"the array {name!r}"):
            kind, shape = described
            if any(type(side) is not int or side < 0 for side in shape):
                raise ValueError(f"its shape is {shape}")
            count = math.prod(shape)
            size = count * np.dtype(kind).itemsize
            if at + size > len(stored):
                raise DetectorError(f"the bytes end within the array {name!r}")
            arrays[name] = np.frombuffer(stored, dtype=kind, count=count, offset=at).reshape(shape)
            at += size
    return values, arrays


@contextmanager
def refused_as(what: str) -> Iterator[None]:
    """Bytes of strangers raise whatever they provoke; who reads them is told one thing, in DetectorError."""
    try:
        yield
    except DetectorError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise DetectorError(f"{what} cannot be read ({type(error).__name__}: {error}); make it anew") from error


def as_array(stored: bytes) -> NDArray[np.uint8]:
    """Bytes as an array, to be packed inside other bytes."""
    return np.frombuffer(stored, dtype=np.uint8)
