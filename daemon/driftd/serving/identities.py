"""Names of predictions that come without one."""

from __future__ import annotations

import os
import time
import uuid


def new_ids(count: int) -> list[str]:
    """UUIDs of version 7 (RFC 9562): they begin with the time, so that the store's index grows at its end.

    Random ones would be written all over the index, and each commit would write as many pages as it has events.
    """
    begins = (time.time_ns() // 1_000_000) << 80 | 0x7 << 76 | 0b10 << 62
    drawn = os.urandom(10 * count)
    return [str(uuid.UUID(int=begins | _random_bits(drawn[at : at + 10]))) for at in range(0, 10 * count, 10)]


def _random_bits(drawn: bytes) -> int:
    """Twelve random bits before the variant and 62 behind it."""
    bits = int.from_bytes(drawn)
    return (bits >> 68) << 64 | bits & (1 << 62) - 1
