"""What the loop asks of the helper process: the losses of rows, and the scores of windows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from driftd.config.model_schema import ModelConfig
from driftd.paths import Places
from driftd.plugins.process import Answer, Arrays, HelperError, HelperProcess, LossRequest, ScoreRequest
from driftd.records import Window
from driftd.sources.open import config_for_children
from driftd.stattests import COLUMN_METRICS, EVIDENTLY
from driftd_detectors.columns import Outcomes
from driftd_detectors.evidence.detector_drift import Calibration
from driftd_detectors.monitor import Monitor
from driftd_detectors.schema import Schema

METRIC_SECONDS = 60.0  # for the losses of one window
CALIBRATION_TIMES = 10  # of the time for one window: for up to 60 windows of the reference


def with_own_loss(helper: HelperProcess, metric: str, outcomes: Outcomes) -> Outcomes:
    """The outcomes with the losses of their rows under the user's function. Raises HelperError."""
    if not outcomes.labelled.any():
        return outcomes
    arrays = {name: getattr(outcomes, name) for name in ("label", "prediction", "score", "label_at")}
    request = LossRequest(use=metric, classes=outcomes.classes, unseen=outcomes.unseen)
    _, found = helper.ask(request, arrays, METRIC_SECONDS)
    return replace(outcomes, own_loss=found["losses"])


@dataclass(frozen=True, slots=True)
class WantedScore:
    """One score that the config asks for: a stream of data drift."""

    name: str  # as people read it
    key: str  # everything that it is made with
    request: ScoreRequest  # without a window
    two_sided: bool
    seconds: float

    @classmethod
    def all_of(cls, model: str, config: ModelConfig, places: Places, version: int, schema: Schema) -> list[WantedScore]:
        """Those of a model, in the order of the config: one for each column of what Evidently scores by column."""
        given = config_for_children(config)
        found = []
        for detector in config.detect.detectors:
            columns: list[tuple[str, ...]] = [detector.columns]
            if detector.use.startswith(EVIDENTLY):
                columns = [(name,) for name in detector.columns or schema.names]
            for names in columns:
                request = ScoreRequest(
                    use=detector.use,
                    columns=names,
                    parameters=detector.parameters,
                    model=model,
                    model_config=given,
                    state_dir=str(places.root),
                    version=version,
                    window=None,
                )
                name = f"{detector.use} of {', '.join(names)}" if names else detector.use
                key = json.dumps([detector.use, names, detector.parameters], sort_keys=True)
                two_sided = detector.use.removeprefix(EVIDENTLY) in COLUMN_METRICS
                found.append(cls(name, key, request, two_sided, detector.timeout))
        return found


@dataclass(frozen=True, slots=True)
class DetectorScores:
    """What the detectors said of a window: the monitor that knows them, their scores, and why others have none."""

    monitor: Monitor
    scores: Mapping[str, float]
    errors: Mapping[str, str]


def score_window(
    helper: HelperProcess, wanted: Sequence[WantedScore], monitor: Monitor, window: Window
) -> DetectorScores:
    """Ask every detector for its score of a window; first, where that is not known yet, of the reference's windows.

    What fails, hangs or ends the helper costs that detector its score of this window, and nothing else.
    """
    errors: dict[str, str] = {}
    monitor = _with_calibration(helper, wanted, monitor, errors)
    scores: dict[str, float] = {}
    known = () if monitor.detectors is None else monitor.detectors.names
    for detector in wanted:
        if detector.name in known:
            found = _ask(helper, detector, window, errors)
            if found is not None and found[0].score is not None:
                scores[detector.name] = found[0].score
    return DetectorScores(monitor, scores, errors)


def _with_calibration(
    helper: HelperProcess, wanted: Sequence[WantedScore], monitor: Monitor, errors: dict[str, str]
) -> Monitor:
    """The monitor with the wanted detectors, as far as they can be calibrated; those that stay keep their evidence."""
    keys, of_config = () if monitor.detectors is None else monitor.detectors.keys, {score.key for score in wanted}
    gone, missing = set(keys) - of_config, [score for score in wanted if score.key not in keys]
    kept = monitor.drop_detectors(gone) if gone else monitor
    found = [calibration for score in missing if (calibration := _calibrate(helper, score, errors)) is not None]
    return kept.calibrate_detectors(found) if found else kept


def _calibrate(helper: HelperProcess, wanted: WantedScore, errors: dict[str, str]) -> Calibration | None:
    found = _ask(helper, wanted, None, errors)
    if found is None:
        return None
    starts, scores = found[1]["starts"], found[1]["scores"]
    if not len(starts):
        errors[wanted.name] = "the reference has no window of enough rows to calibrate it on"
        return None
    return Calibration(wanted.name, wanted.key, wanted.two_sided, starts, scores)


def _ask(
    helper: HelperProcess, wanted: WantedScore, window: Window | None, errors: dict[str, str]
) -> tuple[Answer, Arrays] | None:
    seconds = wanted.seconds if window is not None else CALIBRATION_TIMES * wanted.seconds
    try:
        helper.start()
        return helper.ask(msgspec.structs.replace(wanted.request, window=window), {}, seconds)
    except (HelperError, OSError) as error:
        errors[wanted.name] = str(error)
        return None
