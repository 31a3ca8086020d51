"""Sealing and pruning one event store, in a short child process: Arrow's 40 MB are not for the daemon at rest."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from driftd.store.apart import run_apart
from driftd.store.events_retention import Limits, Pruned, prune
from driftd.store.events_sealing import Sealed, seal

HOT_SECONDS = 3600.0  # features stay in the database for so long: most checks read the newest window only
_LONGEST_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What was done."""

    sealed: tuple[Sealed, ...]
    pruned: Pruned


def upkeep(path: Path, segments: Path, now: float, limits: Limits, *, hot_seconds: float = HOT_SECONDS) -> Upkeep:
    """Seal what is cold, then delete what is over the limits, in this process.

    Raises OSError or sqlite3.OperationalError when the disk does not take it; the next run goes on from there.
    """
    sealed = seal(path, segments, now, hot_seconds=hot_seconds)
    return Upkeep(tuple(sealed), prune(path, segments, now, limits))


def upkeep_apart(path: Path, segments: Path, now: float, limits: Limits) -> Upkeep:
    """The same in a child process, which this call waits for. Raises `ChildError` with the child's last words."""
    if not path.exists():
        return Upkeep((), Pruned())
    order = msgspec.json.encode({"path": str(path), "segments": str(segments), "now": now, "limits": asdict(limits)})
    told = run_apart("driftd.store.upkeep", [order.decode()], _LONGEST_SECONDS)
    return msgspec.json.decode(told, type=Upkeep)


class _Order(msgspec.Struct):
    path: str
    segments: str
    now: float
    limits: Limits


def main() -> None:
    """Do what the JSON on the command line orders, and print what was done."""
    order = msgspec.json.decode(sys.argv[1], type=_Order)
    done = upkeep(Path(order.path), Path(order.segments), order.now, order.limits)
    sys.stdout.write(msgspec.json.encode(done).decode())


if __name__ == "__main__":
    main()
