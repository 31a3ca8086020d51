"""The helper process: `python -m driftd.plugins.worker PARENT LIMITS`. It answers requests until its pipe is closed.

A request and an answer are a length (8 bytes, big-endian) and what `driftd_detectors.serialization.pack` made.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import traceback
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftd.errors import DriftdError
from driftd.plugins.process import Answer, Arrays, LoadRequest, LossRequest, ScoreRequest
from driftd.records import Window
from driftd.stattests import EVIDENTLY
from driftd.training.job_output import JobOutput
from driftd.training.jobs import JobLimits, apply_limits
from driftd.training.process_tree import keep
from driftd.training.user_functions import call_loss, import_function
from driftd_detectors.columns import Outcomes
from driftd_detectors.errors import DetectorError
from driftd_detectors.serialization import pack, unpack

if TYPE_CHECKING:
    import pandas as pd

    from driftd.plugins.detectors import DetectorSpec
    from driftd_detectors.schema import Schema

LENGTH = struct.Struct(">Q")
MOST_WINDOWS = 60  # of the reference, the newest, that a detector is calibrated on
FEWEST_ROWS = 10  # of a window that is scored


def main(parent: int, limits: JobLimits, folder: Path) -> None:
    """Answer requests. What the user's code prints goes to standard error: standard output is the answers'."""
    keep(parent, JobOutput(folder, limits.disk_bytes, print), streams=(2,))
    with os.fdopen(os.dup(1), "wb") as answers, os.fdopen(os.dup(0), "rb") as requests:
        os.dup2(2, 1)
        for sentence in apply_limits(limits):
            print(sentence, flush=True)  # noqa: T201 - the log
        for request in read_messages(requests):
            answer, arrays = _answer(request)
            message = pack(msgspec.to_builtins(answer), arrays)
            answers.write(LENGTH.pack(len(message)) + message)
            answers.flush()


def read_messages(stream: BinaryIO) -> Iterator[bytes]:
    """The messages of a stream up to its end."""
    while len(head := stream.read(LENGTH.size)) == LENGTH.size:
        yield stream.read(LENGTH.unpack(head)[0])


def _answer(request: bytes) -> tuple[Answer, Arrays]:
    try:
        values, arrays = unpack(request)
        match msgspec.convert(values, LoadRequest | LossRequest | ScoreRequest):
            case LoadRequest(use=use):
                _load(use)
                return Answer(), {}
            case LossRequest() as asked:
                return Answer(), {"losses": _losses(asked, arrays)}
            case asked:
                return _scores(asked)
    except (DriftdError, DetectorError) as error:
        return Answer(error=str(error)), {}
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the boundary: whatever the user's code raises is told
        traceback.print_exc()
        sys.stderr.flush()
        return Answer(error=f"{type(error).__name__}: {error}"), {}


def _load(use: str) -> None:
    if not use.startswith(EVIDENTLY):
        import_function(use)
        return
    from driftd.plugins import detectors  # noqa: F401, PLC0415 - pandas, for those who ask for scores
    from driftd.second_opinion.adapter import load_evidently  # noqa: PLC0415 - seconds, and only if asked

    load_evidently()


def _losses(request: LossRequest, arrays: Arrays) -> NDArray[np.float64]:
    label, prediction, score, label_at = (arrays[name] for name in ("label", "prediction", "score", "label_at"))
    version = np.zeros(len(label), dtype=np.int64)
    outcomes = Outcomes(label_at, prediction, score, label, label_at, version, request.classes, request.unseen)
    return call_loss(request.use, outcomes)


def _scores(request: ScoreRequest) -> tuple[Answer, Arrays]:
    """The score of a window's sample, or those of the reference's windows, each against the rest of it."""
    from driftd.plugins.detectors import DetectorSpec, score  # noqa: PLC0415 - not for those who ask for losses

    spec = DetectorSpec(request.use, request.columns, request.parameters)
    key = msgspec.json.encode([request.model, request.model_config, request.state_dir, request.version])
    reference = _reference(key)
    if request.window is None:
        starts, scores = reference.calibrate(spec)
        return Answer(), {"starts": starts, "scores": scores}
    current = _sample(key, request.window)
    if len(current) < FEWEST_ROWS:
        return Answer(error=f"the window has {len(current)} rows; {FEWEST_ROWS} are needed"), {}
    return Answer(score=score(spec, current, reference.sample(), reference.schema)), {}


class _Reference:
    """The rows of a version's reference, oldest first, with the start of each one's window."""

    def __init__(self, rows: pd.DataFrame, starts: NDArray[np.float64], schema: Schema) -> None:
        self._rows, self._starts, self.schema = rows, starts, schema

    def sample(self, without: float | None = None) -> pd.DataFrame:
        """Evenly spread rows, of one window none."""
        rows = self._rows if without is None else self._rows[self._starts != without]
        return _thin(rows)

    def calibrate(self, spec: DetectorSpec) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        from driftd.plugins.detectors import score  # noqa: PLC0415 - see above

        starts, counts = np.unique(self._starts, return_counts=True)
        starts = starts[counts >= FEWEST_ROWS][-MOST_WINDOWS:]
        scores = [
            score(spec, _thin(self._rows[self._starts == start]), self.sample(start), self.schema) for start in starts
        ]
        return starts, np.array(scores, dtype=np.float64)


def _thin(rows: pd.DataFrame) -> pd.DataFrame:
    from driftd.plugins.detectors import SAMPLE_ROWS  # noqa: PLC0415 - see above

    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), SAMPLE_ROWS)).astype(np.intp))
    return rows.iloc[places].reset_index(drop=True)


@lru_cache(maxsize=4)
def _reference(key: bytes) -> _Reference:
    from driftd.second_opinion.report import held_out_rows  # noqa: PLC0415 - pandas

    context, version = _context(key)
    loaded = context.load(version)
    path = context.places.snapshot(context.model, loaded.manifest.snapshot) / "data.parquet"
    rows = held_out_rows(path, loaded.manifest.data.get("held_out_rows"))
    return _Reference(rows, context.window_starts(rows["driftd_at"].to_numpy()), loaded.schema)


@lru_cache(maxsize=1)
def _sample(key: bytes, window: Window) -> pd.DataFrame:
    from driftd.plugins.detectors import SAMPLE_ROWS  # noqa: PLC0415 - see above
    from driftd.sources import open_source  # noqa: PLC0415 - Arrow

    context, version = _context(key)
    source = open_source(context.model, context.config, context.load(version).schema, context.places)
    try:
        rows: pd.DataFrame = source.sample(window, SAMPLE_ROWS, window.index).to_pandas()
        return rows
    finally:
        source.close()


@lru_cache(maxsize=4)
def _context(key: bytes):  # type: ignore[no-untyped-def]  # JobContext, whose import is for those who ask for scores
    from driftd.config.model_schema import ModelConfig  # noqa: PLC0415 - see above
    from driftd.paths import Places  # noqa: PLC0415 - see above
    from driftd.training.job_context import JobContext  # noqa: PLC0415 - pandas

    model, config, state_dir, version = msgspec.json.decode(key)
    return JobContext(model, ModelConfig.model_validate(config), Places(Path(state_dir))), version


if __name__ == "__main__":
    main(int(sys.argv[1]), JobLimits.from_dict(json.loads(sys.argv[2])), Path(sys.argv[3]))
    sys.stdout.flush()
    os._exit(0)  # threads of the user's code must not keep a closed helper alive
