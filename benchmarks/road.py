"""How many of driftd's own files run while the rows of one window travel from their source to a transition.

Run: PYTHONPATH=daemon:detectors python benchmarks/road.py [store] [files]

A small world lives until a window raises an alarm. The step of the model in which that happens is traced from its begin
until the transition is written: the window is read, summarised, checked and decided on. A file of either package counts
when one of its functions runs meanwhile, in any thread of the daemon. Imports do not count, nor does what follows on
the transition. The limit is that of the architecture: whoever follows one prediction through the code opens no more
files than that.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import numpy as np
import pandas as pd

import driftd
import driftd_detectors
from driftd.loop import supervision
from driftd.serving.client import Driftd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from loop_world import CONFIG, HOUR, LABEL_DELAY, MODEL, Change, World, hour, keep_rows

LONGEST_ROAD = {"store": 61, "files": 73}  # of our files
BEGIN, END = "ModelRunner.step", "StateStore.save_transition"
ROOTS = tuple(f"{Path(str(package.__file__)).parent}/" for package in (driftd, driftd_detectors))
FILES = CONFIG.replace("    target: y\n", "    target: y\n    source: {{kind: files, path: {state}/../logs}}\n")

Road = dict[str, set[str]]  # a file, below the folder of its package: the functions that ran


@dataclass
class Tracer:
    """Records which functions of both packages run between the begin of a model's step and its first transition."""

    road: Road = field(default_factory=dict)
    is_open: bool = False

    def record(self, frame: FrameType, event: str, _: object) -> None:
        """What Python calls for each call and return, in the thread of the loop and in the one that reads."""
        code = frame.f_code
        if not code.co_filename.startswith(ROOTS) or code.co_name == "<module>":
            return
        if event == "call" and code.co_qualname == BEGIN:
            self.road, self.is_open = {}, True
        if self.is_open and event == "call":
            root = next(root for root in ROOTS if code.co_filename.startswith(root))
            file = str(Path(code.co_filename).relative_to(Path(root).parent))
            self.road.setdefault(file, set()).add(code.co_qualname)
        if event == "return" and code.co_qualname == END:
            self.is_open = False

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Record what this thread does, beside the threads that it began after `threading.setprofile`."""
        sys.setprofile(self.record)
        try:
            yield
        finally:
            sys.setprofile(None)


def shift_mean(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """A feature lies elsewhere."""
    return frame.assign(b=frame["b"] + 2), truth


def road_of(source: str, folder: Path) -> Road:
    """The road from a source to the transition of an alarm. Raises RuntimeError when no alarm comes."""
    tracer = Tracer()
    threading.setprofile(tracer.record)  # for the thread that reads
    supervision._threads = supervision._Threads()  # which began before, where others have read in this process
    world = World.begin(folder, config=FILES if source == "files" else CONFIG)
    (folder / "logs").mkdir()
    try:
        with Driftd(world.places.root, MODEL) as application:
            for number in range(24):
                change = shift_mean if number else keep_rows
                if source == "files":
                    write_hour(world, folder / "logs", change)
                else:
                    world.feed(application, change)
                with tracer.watch():
                    world.daemon.round(world.clock.now())
                if "alarm" in world.events:
                    return tracer.road
                world.daemon.catch_up(world.clock.now())
    finally:
        threading.setprofile(None)
        world.close()
    raise RuntimeError(f"no alarm within a day of the source {source}: {world.events}")


def write_hour(world: World, folder: Path, change: Change) -> None:
    """What the application of such a world writes itself: one file of JSON lines an hour."""
    frame, truth = change(*hour(world.hours))
    at = world.start + world.hours * HOUR + np.arange(len(frame)) * HOUR / len(frame)
    rows = frame.assign(
        prediction=3 * frame["a"] + np.where(frame["c"] == "red", 2.0, 0.0),
        prediction_id=[f"{world.hours}-{row}" for row in range(len(frame))],
        at=at,
        label=truth,
        label_at=at + LABEL_DELAY,
        version=1,
    )
    rows.to_json(folder / f"{world.hours}.jsonl", orient="records", lines=True)
    world.pass_hour()


def main() -> None:
    """Print the road of each source, or of those that are named; exit with 1 where it is too long."""
    too_long = False
    for source in sys.argv[1:] or LONGEST_ROAD:
        with tempfile.TemporaryDirectory() as folder:
            road = road_of(source, Path(folder))
        print(f"{source}: {len(road)} files, at most {LONGEST_ROAD[source]}")
        for file, functions in sorted(road.items()):
            print(f"  {file}  ({len(functions)} functions)")
        too_long |= len(road) > LONGEST_ROAD[source]
    sys.exit(too_long)


if __name__ == "__main__":
    main()
