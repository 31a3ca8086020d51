"""What driftd's decisions are worth: the error of the model that it serves, beside the same model kept by a schedule.

Each stream is replayed through the real store and the real daemon on a virtual clock, labels as late as they were, at
driftd's defaults. Beside it, in the same run, the same learner on the same rows is left alone, and rebuilt on all rows
with known labels every 28 windows, every 7 and at every window, and on those of the newest 56 windows every 7. Errors
are of every prediction, made by the version that served at its moment: mean absolute error, or the share of wrong
classes. "to best" is the ratio to the best of these, "to best of few" to the best that builds in at most a fifth of the
windows, which is what driftd may cost too.

Run: PYTHONPATH=daemon:detectors python benchmarks/decisions.py [--only NAME] [--stream FILE] [--data DIR] [--json]
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from driftd.config.load import load
from driftd.config.types import spell_duration
from driftd.demonstration.stream import flights
from driftd.events import Event
from driftd.loop.daemon import Daemon
from driftd.observe.logs import configure_logs
from driftd.paths import Places
from driftd.rehearsal.curves import Curve
from driftd.rehearsal.replay import make_first, replay, step_ends
from driftd.rehearsal.rivals import PolicyComparison, Schedule, Trained, static_curve
from driftd.rehearsal.stream import DAY, Batch, Stream
from driftd.store.state.records import StoredTransition
from driftd.trainers import TrainingContext, gradient_boosting
from driftd_detectors.values import class_name

HOUR = 3600.0
PARAMETERS = {"max_iter": 60}  # of the trainer, for every way of keeping the model
START = 1_577_836_800.0  # 2020-01-01: where a stream without times begins
WINDOWS = 150  # of a stream without times: a day each
ROWS_A_WINDOW = 100  # at least, on average, where the times say how long a window is
MOST_ROWS, MOST_ROWS_OF_MANY_CLASSES = 90_000, 30_000  # of a longer stream every k-th row is kept
MANY_CLASSES = 2
MOST_VALUES = 20  # of a whole-number target that is a class
FIRST = 0.10  # of the rows: what version 1 is trained on
AFFORDED = 1 / 5  # builds a window: what a schedule may cost to be one that driftd is held against
STEPS = 4  # of a window: how often predictions and labels are handed over
AFTER = 28  # windows after a change whose error is told
STATIC, DRIFTD = "left alone", "driftd"
SCHEDULES = {
    "every 28 windows": Schedule(28),
    "every 7 windows": Schedule(7),
    "every window": Schedule(1),
    "every 7, newest 56": Schedule(7, newest=56),
}
OPEN = ("nyc_airtime", "bike_sharing", "acs_employment_ma", "covertype", "hotel_bookings", "sea")
PLANTED = ("acs_flip",)
CONFIG = """\
state_dir: {state}
models:
  {model}:
    task: {task}
    target: {target}
    window: {{every: {window}}}
    trainer: decisions:train
    parameters: {{max_iter: {trees}, fits: {fits}}}
"""


def train(data: pd.DataFrame, context: TrainingContext) -> Any:
    """Train as driftd does by default, and leave a line in the file `parameters.fits` for each fit."""
    given = dict(context.parameters)
    fits, began = Path(str(given.pop("fits"))), time.process_time()
    estimator = gradient_boosting(data, replace(context, parameters=given))
    with fits.open("a") as log:
        log.write(f"{len(data)} {time.process_time() - began:.3f}\n")
    return estimator


@dataclass(frozen=True)
class Case:
    """A stream, what is said of it, and when its concept was changed (epoch seconds), where that is known."""

    stream: Stream
    said: str
    changes: tuple[float, ...] = ()


def stream_of(name: str, raw: pd.DataFrame, *, window: float | None, first: float, rows: int | None) -> Case:
    """A frame in the form of shared/data/CATALOG.md as a stream."""
    if "target" not in raw:
        raise SystemExit(f"{name} has no column `target`; its columns are: {', '.join(raw.columns)}")
    target, task = task_of(raw["target"])
    many = task == "classification" and target.nunique() > MANY_CLASSES
    most = rows or (MOST_ROWS_OF_MANY_CLASSES if many else MOST_ROWS)
    step = math.ceil(len(raw) / most)
    raw, target = raw.iloc[::step].reset_index(drop=True), target.iloc[::step].reset_index(drop=True)
    if "ts" in raw:
        at = seconds(raw["ts"])
        window = window or window_of(at)
    else:
        window = window or DAY
        at = START + np.arange(len(raw), dtype=np.float64) * (window / math.ceil(len(raw) / WINDOWS))
    label_at = np.maximum(seconds(raw["label_ts"]), at + 60) if "label_ts" in raw else at + HOUR
    features = tuple(c for c in map(str, raw) if c not in {"ts", "label_ts", "target"} and not c.startswith("meta_"))
    frame = raw[list(features)].assign(target=target, at=at, label_at=label_at)
    frame["prediction_id"] = [f"{name}-{number}" for number in range(len(frame))]
    frame = frame[frame["target"].notna()].sort_values("at", kind="stable").reset_index(drop=True)
    until = math.ceil(frame["at"].iloc[int(first * len(frame))] / window) * window
    stream = Stream(name, task, "target", features, frame, until, window).without_late_labels()
    thinned = "" if step == 1 else f" (one of {step})"
    return Case(stream, f"{len(frame):,} rows{thinned}")


def task_of(target: pd.Series) -> tuple[pd.Series, Literal["classification", "regression"]]:
    """The target as float64 or class text, and the task."""
    if target.dtype.kind == "f" and not (target.dropna() % 1 == 0).all():
        return target.astype(np.float64), "regression"
    if target.dtype.kind in "fiu" and target.nunique() > MOST_VALUES:
        return target.astype(np.float64), "regression"
    return target.map(class_name, na_action="ignore").astype(object), "classification"


def seconds(column: pd.Series) -> NDArray[np.float64]:
    """Epoch seconds of times; numbers are that already."""
    if column.dtype.kind in "fiu":
        return column.to_numpy(dtype=np.float64)
    return (
        pd.to_datetime(column, utc=True).dt.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64) / 1e6
    )


def window_of(at: NDArray[np.float64]) -> float:
    """The shortest of an hour and whole days that has rows enough."""
    needed = ROWS_A_WINDOW * (at[-1] - at[0]) / len(at)
    return HOUR if needed <= HOUR else DAY * math.ceil(needed / DAY)


def sea() -> pd.DataFrame:
    """SEA concepts (Street and Kim, 2001): x1 + x2 <= theta, 10 % noise, theta changes at each quarter of the rows."""
    rng, rows = np.random.default_rng(2001), 60_000
    x = rng.uniform(0, 10, (rows, 3))
    theta = np.repeat([8.0, 9.0, 7.0, 9.5], rows // 4)
    label = (x[:, 0] + x[:, 1] <= theta) ^ (rng.random(rows) < 0.10)
    return pd.DataFrame(x, columns=["x1", "x2", "x3"]).assign(target=label.astype(int))


def case_of(name: str, folder: Path, options: Mapping[str, Any]) -> Case:
    """A case by its name; files are looked for in `folder`."""
    if name == "nyc_airtime":
        stream = replace(flights(), model=name)
        return Case(stream, f"{len(stream.frame):,} rows, the demonstration's")
    if name == "sea":
        case = stream_of(name, sea(), **options)
        at = case.stream.frame["at"].to_numpy()
        return replace(case, changes=tuple(at[len(at) * part // 4] for part in (1, 2, 3)))
    path = folder / f"{'acs_employment_ma' if name == 'acs_flip' else name}.parquet"
    if not path.is_file():
        raise SystemExit(f"{path} is not there: name the folder with the streams by --data, or leave it out by --only")
    case = stream_of(name, pd.read_parquet(path), **options)
    if name != "acs_flip":
        return case
    frame = case.stream.frame.copy()
    change = (
        case.stream.until + (frame["at"].iloc[-1] - case.stream.until) // 2 // case.stream.window * case.stream.window
    )
    turned = (frame["at"] >= change) & (frame["agep"] > frame["agep"].median())
    frame.loc[turned, "target"] = frame.loc[turned, "target"].map({"0": "1", "1": "0"})
    return Case(replace(case.stream, frame=frame), f"{case.said}, the label of the older half turned round", (change,))


def case_of_file(name: str, path: Path, options: Mapping[str, Any]) -> Case:
    """Any Parquet file of the same form."""
    return stream_of(name, pd.read_parquet(path), **options)


def run(case: Case, folder: Path) -> dict[str, Any]:
    """Replay a stream through driftd and the schedules; the figures."""
    stream, fits = case.stream, folder / "fits"
    places, config_path = Places(folder / "state"), folder / "config.yaml"
    config_path.write_text(
        CONFIG.format(
            state=places.root,
            model=stream.model,
            task=stream.task,
            target=stream.target,
            window=spell_duration(stream.window),
            trees=PARAMETERS["max_iter"],
            fits=fits,
        )
    )
    config, began = load(config_path), time.monotonic()
    make_first(stream, places, config, lambda _step: None)
    comparison = PolicyComparison(
        folder / "comparison", stream, places, SCHEDULES, Trained(parameters=dict(PARAMETERS))
    )
    try:
        windows = math.ceil((stream.frame["at"].iloc[-1] + 1 - stream.until) / stream.window)
        lived = replay(stream, config_path, config, places, progress(stream, windows), ends=step_ends(stream, STEPS))
        curve, history = lived.curve, lived.history
        while (schedules := comparison.result()) is None:
            time.sleep(0.2)
    finally:
        comparison.kill()
    static = static_curve(places, stream)
    trained = len(fits.read_text().splitlines())
    curves = {STATIC: static, **{found.name: found for found in schedules}, DRIFTD: curve}
    assert all(len(found.error) == len(stream.rest) for found in curves.values())
    counts = {name: (found.builds, found.builds) for name, found in curves.items()} | {DRIFTD: (curve.builds, trained)}
    simple = [found for name, found in curves.items() if name != DRIFTD]
    best = min(found.mean for found in simple)
    affordable = min(found.mean for found in simple if found.builds <= max(1, AFFORDED * windows))
    return {
        "stream": stream.model,
        "said": case.said,
        "measure": "mean absolute error" if stream.task == "regression" else "share of wrong classes",
        "windows": windows,
        "window_seconds": stream.window,
        "replayed": len(stream.rest),
        "seconds": time.monotonic() - began,
        "policies": {
            name: {
                "error": found.mean,
                "to_static": found.mean / static.mean,
                "to_best": found.mean / best,
                "to_affordable": found.mean / affordable,
                "builds": counts[name][0],
                "fits": counts[name][1],
            }
            for name, found in curves.items()
        },
        "swaps": sum(line.event == Event.PROMOTED for line in history),
        "rollbacks": sum(line.event == Event.ROLLED_BACK for line in history),
        "changes": [
            after(change, until, stream, curves, history)
            for change, until in itertools.pairwise([*case.changes, math.inf])
        ],
    }


def progress(stream: Stream, windows: int) -> Callable[[Daemon, Batch], None]:
    """A function that says on stderr how far the replay is."""

    def on_batch(_daemon: Daemon, batch: Batch) -> None:
        done = int((batch.now - stream.until) / stream.window)
        if sys.stderr.isatty():
            print(f"\r{stream.model}: window {done} of {windows} ", end="", file=sys.stderr, flush=True)

    return on_batch


def after(
    change: float, end: float, stream: Stream, curves: Mapping[str, Curve], history: Sequence[StoredTransition]
) -> dict[str, Any]:
    """How soon driftd acted on a change, in windows (None: not before the next), and the errors in those after it."""

    def delay(event: Event) -> float | None:
        found = next((line.at for line in history if line.event == event and change < line.at < end), None)
        return None if found is None else (found - change) / stream.window

    until = change + AFTER * stream.window
    errors = {
        name: float(found.error[(found.at >= change) & (found.at < until)].mean()) for name, found in curves.items()
    }
    return {"at_window": (change - stream.until) / stream.window, "alarm": delay(Event.ALARM),
            "swap": delay(Event.PROMOTED), "errors": errors}  # fmt: skip


def print_stream(found: Mapping[str, Any]) -> None:
    """The table of one stream."""
    window = spell_duration(found["window_seconds"])
    print(f"\n{found['stream']}: {found['measure']}; {found['said']}; {found['replayed']:,} predictions in "
          f"{found['windows']} windows of {window}; {found['swaps']} swaps, {found['rollbacks']} rollbacks; "
          f"{found['seconds']:.0f} s")  # fmt: skip
    print(f"  {'kept by':18s} {'error':>8s} {'to static':>10s} {'to best':>8s} {'to best of few':>15s} {'builds':>7s} "
          f"{'fits':>5s}")  # fmt: skip
    for name, row in found["policies"].items():
        print(f"  {name:18s} {row['error']:8.4g} {row['to_static']:10.3f} {row['to_best']:8.3f} "
              f"{row['to_affordable']:15.3f} {row['builds']:7d} {row['fits']:5d}")  # fmt: skip
    for change in found["changes"]:
        delays = ", ".join(
            f"{name} {'not before the next change' if change[name] is None else f'after {change[name]:.1f} windows'}"
            for name in ("alarm", "swap")
        )
        errors = ", ".join(f"{name} {error:.4g}" for name, error in change["errors"].items())
        print(f"  change at window {change['at_window']:.0f}: {delays}; error of {AFTER} windows: {errors}")


def print_summary(all_found: Sequence[Mapping[str, Any]]) -> None:
    """Every stream on a line, and the geometric means over the open ones."""
    names = [STATIC, *SCHEDULES, DRIFTD]
    print(f"\n{'error to static':20s} " + " ".join(f"{name:>18s}" for name in names) + f" {'builds/window':>14s}")
    for found in all_found:
        ratios = [found["policies"][name]["to_static"] for name in names]
        share = found["policies"][DRIFTD]["builds"] / found["windows"]
        print(f"{found['stream']:20s} " + " ".join(f"{ratio:18.3f}" for ratio in ratios) + f" {share:14.2f}")
    counted = [found for found in all_found if found["stream"] not in PLANTED]
    if len(counted) > 1:
        means = [np.exp(np.mean([np.log(found["policies"][name]["to_static"]) for found in counted])) for name in names]
        print(f"{'geometric mean':20s} " + " ".join(f"{mean:18.3f}" for mean in means))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    known = (*OPEN, *PLANTED)
    parser.add_argument("--only", action="append", choices=known, help="a stream by name; again for another")
    parser.add_argument("--stream", type=Path, action="append", default=[], help="any Parquet file of the same form")
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default, help=f"the folder with the streams ({default})")
    parser.add_argument("--window", type=float, help="seconds of a window, instead of what the rows' times suggest")
    parser.add_argument("--first", type=float, default=FIRST, help=f"share of the rows for version 1 ({FIRST})")
    parser.add_argument("--rows", type=int, help="keep at most about so many rows")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead")
    given = parser.parse_args()
    configure_logs(level="error")
    options = {"window": given.window, "first": given.first, "rows": given.rows}
    files = [(path.stem, path) for path in given.stream]
    names = given.only or ([] if files else known)
    cases: list[Callable[[], Case]] = [partial(case_of, name, given.data, options) for name in names]
    cases += [partial(case_of_file, name, path, options) for name, path in files]
    found = []
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="driftd-decisions-") as folder:
            found.append(run(case(), Path(folder)))
        if not given.json:
            print_stream(found[-1])
    if given.json:
        print(json.dumps(found, indent=1))
    else:
        print_summary(found)


if __name__ == "__main__":
    main()
