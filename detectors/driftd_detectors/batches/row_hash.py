"""A hash of identities that every engine gives alike: whoever draws by it draws the same rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftd_detectors.batches.rows import Rows
from driftd_detectors.cohort import Hashes, mix

_WORD = 8  # bytes


def hash_texts(texts: pa.Array, seed: int = 0) -> Hashes:
    """A number of 64 bits for each text; a text that is missing counts as empty.

    The UTF-8 bytes are taken in words of eight, the last one filled with zeros; each is mixed in by
    `driftd_detectors.cohort.mix`, then the length.
    """
    array = texts.fill_null("").cast(pa.large_string())
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    raw = np.frombuffer(data, dtype=np.uint8) if data is not None else np.empty(0, dtype=np.uint8)
    lengths = np.diff(ends)
    hashes = np.full(len(array), mix(np.array([seed], dtype=np.uint64))[0], dtype=np.uint64)
    for word in range(-(-int(lengths.max(initial=0)) // _WORD)):
        open_ = np.flatnonzero(lengths > word * _WORD)
        hashes[open_] = mix(hashes[open_] ^ _words(raw, ends[:-1][open_] + word * _WORD, lengths[open_] - word * _WORD))
    return mix(hashes ^ lengths.astype(np.uint64))


def hash_rows(rows: Rows, seed: int = 0) -> Hashes:
    """A number of 64 bits for each row: the hash of its identity; a row without one is told by what was predicted.

    All rows without an identity would else be drawn together or not at all.
    """
    hashes = hash_texts(rows.ids, seed)
    if rows.ids.null_count:
        nameless = np.flatnonzero(rows.ids.is_null().to_numpy(zero_copy_only=False))
        outcomes = rows.outcomes
        predicted = np.maximum(outcomes.prediction, -2.0) if outcomes.classes else outcomes.prediction
        for values in (outcomes.at, outcomes.score, predicted):  # the codes of texts that are no class depend on others
            plain = np.where(np.isnan(values), np.nan, values)[nameless] + 0.0  # one NaN, one zero
            hashes[nameless] = mix(hashes[nameless] ^ plain.view(np.uint64))
    return hashes


def _words(raw: NDArray[np.uint8], starts: NDArray[np.int64], left: NDArray[np.int64]) -> Hashes:
    """The next word of each text, little-endian; bytes beyond its end are zero."""
    words = np.zeros(len(starts), dtype=np.uint64)
    for place in range(_WORD):
        there = left > place
        values = raw[np.where(there, starts + place, 0)].astype(np.uint64)
        words |= np.where(there, values, np.uint64(0)) << np.uint64(8 * place)
    return words
