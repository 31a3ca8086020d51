"""The event store alone: how fast events are validated and durably kept, and how long a request waits meanwhile.

Run: PYTHONPATH=daemon:detectors python benchmarks/event_store.py

Batches of 100 events x 50 mixed features go from JSON through validation and a synced commit each, and through group
commit. Then six clients send single events, each waiting for its own synced commit: beside nothing, beside the sealing
of what is cold, and beside retention, both in another process as in the daemon.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import msgspec

from driftd.store.events.group_commit import GroupCommit
from driftd.store.events.validation import read_events
from driftd.store.events.writer import EventStore
from driftd_detectors.schema import Feature, Kind, Schema, Task

FEATURES = (
    *(Feature(f"n{number}", Kind.NUMBER) for number in range(30)),
    *(Feature(f"c{number}", Kind.CATEGORY) for number in range(15)),
    *(Feature(f"b{number}", Kind.BOOLEAN) for number in range(5)),
)
SCHEMA = Schema(Task.CLASSIFICATION, "y", FEATURES, ("0", "1"))
START, HOUR = 1_700_000_000.0, 3600.0
BATCH, BATCHES, CLIENTS, SECONDS = 100, 1000, 6, 6.0
UPKEEP = """
import sys
from driftd.store.events.retention import RetentionLimits, Path, upkeep
path, now, keep = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
done = upkeep(path, path.parent / "segments", now, RetentionLimits(keep))
print(f"    meanwhile {sum(one.rows for one in done.sealed)} rows were sealed, {done.pruned.rows} deleted")
"""


def event(chance: random.Random, number: int) -> dict[str, object]:
    features: dict[str, object] = {}
    for feature in FEATURES:
        if chance.random() < 0.02:
            features[feature.name] = None
        elif feature.kind is Kind.NUMBER:
            features[feature.name] = chance.random()
        else:
            text = f"v{chance.randrange(20)}"
            features[feature.name] = text if feature.kind is Kind.CATEGORY else chance.random() < 0.5
    identity = f"{chance.getrandbits(128):032x}"
    plain = {"prediction_id": identity, "at": START + number, "version": 3, "prediction": "1", "score": 0.5}
    return plain | {"features": features}


def in_batches(raws: list[bytes], folder: Path, *, grouped: bool) -> EventStore:
    store = EventStore.open(folder / "events.db", SCHEMA, segments=folder / "segments")
    group = GroupCommit(store)
    started, processor = time.perf_counter(), time.process_time()
    futures = []
    for raw in raws:
        batch, _ = read_events(msgspec.json.decode(raw), SCHEMA, START + HOUR)
        if grouped:
            futures.append(group.submit(batch))
        else:
            store.append(batch)
    for future in futures:
        future.result()
    events = len(raws) * BATCH
    rate, per_core = events / (time.perf_counter() - started), events / (time.process_time() - processor)
    how = "group commit      " if grouped else "a commit per batch"
    print(f"batches of {BATCH}, {how}: {rate:8,.0f} events/s; {per_core:8,.0f} events per second of processor")
    group.close()
    return store


def single(store: EventStore, beside: str) -> None:
    group = GroupCommit(store)
    waits: list[float] = []
    stop = time.perf_counter() + SECONDS

    def client(seed: int) -> None:
        chance = random.Random(f"{beside}{seed}")
        while time.perf_counter() < stop:
            sample = event(chance, 0)
            begun = time.perf_counter()
            batch, _ = read_events([sample], SCHEMA, START + 10 * HOUR)
            group.submit(batch).result()
            waits.append(time.perf_counter() - begun)
            time.sleep(0.004)

    clients = [threading.Thread(target=client, args=(seed,)) for seed in range(CLIENTS)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    group.close()
    waits.sort()
    p50, p99 = (1000 * waits[int(len(waits) * share)] for share in (0.5, 0.99))
    print(f"single, beside {beside:9}: {len(waits) / SECONDS:6,.0f} requests/s; p50 {p50:5.1f} ms, p99 {p99:5.1f} ms")


def main() -> None:
    chance = random.Random(1)
    raws = [msgspec.json.encode([event(chance, b * BATCH + n) for n in range(BATCH)]) for b in range(BATCHES)]
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as two:
        in_batches(raws[:300], Path(first), grouped=False).close()
        store = in_batches(raws, Path(two), grouped=True)
        single(store, "nothing")
        path, now, for_ever = str(Path(two) / "events.db"), START + 160_000.0, 1e9
        for beside, keep in (("sealing", for_ever), ("retention", 100_000.0)):  # the latter takes 60,000 rows
            child = subprocess.Popen([sys.executable, "-c", UPKEEP, path, str(now), str(keep)])
            single(store, beside)
            child.wait()
        store.close()


if __name__ == "__main__":
    main()
