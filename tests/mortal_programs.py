"""A nursery of short lives: `python mortal_programs.py KIND ...` forks a child, kills it at a drawn moment, and again.

Forking one process that has everything imported makes a life cost a tenth of a second and not two. What a child
acknowledged is one line in a file, appended after the acknowledgement.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

PIECE = 25  # rows of one call


def live(places: Path, model: str, numbers: range, output: Path, begin: float, apart: float) -> None:
    """One life: go on where the file says that the last one was acknowledged."""
    from driftd.serving.client import Driftd  # noqa: PLC0415 - imported before the first fork
    from driftd.serving.requests import REPEATED  # noqa: PLC0415 - see above
    from loop_world import hour  # noqa: PLC0415

    done = output.read_text().splitlines()
    with Driftd(places, model) as application, output.open("a") as acknowledged:
        for number in numbers:
            frame, truth = hour(number)
            truth = truth - 5 * frame["a"].to_numpy()  # the meaning of a feature has turned round
            for first in range(0, len(frame), PIECE):
                ids = [f"{number}-{row}" for row in range(first, first + PIECE)]
                if ids[0] in done:
                    continue
                at = np.full(PIECE, begin + (number - numbers.start) * apart)
                answers = application.predict(frame.iloc[first : first + PIECE], ids=ids, at=at)
                assert all(answer.logged or answer.reason == REPEATED for answer in answers)  # kept before a kill
                application.feedback(ids, truth[first : first + PIECE], at=at + min(apart, 60.0))
                acknowledged.write(ids[0] + "\n")
                acknowledged.flush()


def migrate_once(path: Path, kind: str) -> None:
    """One life of a migration."""
    from driftd.store.migrations import migrate  # noqa: PLC0415

    migrate(path, kind)


def kill_after(life: Callable[[], None], delay: float) -> bool:
    """Fork a life and kill it after a delay. False when it had ended by itself."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            life()
            code = 0
        except BaseException:  # noqa: BLE001 - a fork must not go on as its parent; the parent tells of it
            traceback.print_exc()
        finally:
            os._exit(code)
    end = time.monotonic() + delay
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            if status:
                sys.exit(f"a life ended with {status}")
            return False
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def main() -> None:
    """`write STATE MODEL FIRST LAST TOLD BEGIN APART SEED KILLS` or `migrate FOLDER SEED KILLS`; prints the kills."""
    program, *words = sys.argv[1:]
    kills = 0
    if program == "write":
        import sklearn.ensemble  # noqa: F401, PLC0415 - for all lives

        import driftd.serving.client  # noqa: PLC0415
        import loop_world  # noqa: F401, PLC0415

        state, model, first, last, output, begin, apart, seed, wanted = words
        Path(output).touch()
        draw = random.Random(int(seed))
        numbers = range(int(first), int(last))

        def life() -> None:
            live(Path(state), model, numbers, Path(output), float(begin), float(apart))

        while kills < int(wanted):
            if not kill_after(life, draw.uniform(0.01, 0.2)):
                break
            kills += 1
        life()
    else:
        import sqlite_utils  # noqa: F401, PLC0415 - for all lives

        import driftd.store.migrations  # noqa: F401, PLC0415

        folder, seed, wanted = words
        draw = random.Random(int(seed))
        number = 0
        while kills < int(wanted):
            kind = "state" if number % 2 else "events"
            database = Path(folder) / str(number) / f"{kind}.db"
            for _ in range(int(wanted) // 4):  # on a busy machine no life gets far: then the next database is due
                if not kill_after(lambda: migrate_once(database, kind), draw.uniform(0.0, 0.06)):  # noqa: B023
                    break
                kills += 1
            migrate_once(database, kind)
            number += 1
    print(kills)  # noqa: T201


if __name__ == "__main__":
    main()
