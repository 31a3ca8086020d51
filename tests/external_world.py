"""A world for tests of models that are served elsewhere: a system with a model of its own, and the daemon beside it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from driftd.clock import VirtualClock
from driftd.config.load import load
from driftd.paths import Places
from driftd.registry.features import feature_frame
from driftd.registry.loaded import load_version
from driftd.serving.client import Driftd
from driftd.store.state.request_queue import post_request
from driftd.training.bootstrap import FileColumns, make_logged_version
from loop_world import HOUR, LABEL_DELAY, MODEL, START, Change, World, hour, keep_rows

OWN_VERSION = 7  # what the system calls its model
DEPLOY = """\
import json, os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
message = json.load(sys.stdin)
assert os.environ["DRIFTD_ACTION"] == message["action"] and os.environ["DRIFTD_MODEL"] == message["model"]
with (folder / "calls.jsonl").open("a") as calls:
    calls.write(json.dumps(message) + "\\n")
orders = (folder / "orders.txt").read_text().split() if (folder / "orders.txt").exists() else []
if "hang" in orders:
    time.sleep(600)
sys.exit("the cluster is away" if "fail" in orders else 0)
"""
CONFIG = """\
state_dir: {state}
http: {{listen: 127.0.0.1:0}}
models:
  demand:
    task: regression
    target: y
    serving: external
    trainer: {trainer}
    {deploy}
    window: {{every: 1h, lateness: 1s}}
    parameters: {{max_iter: 30}}
    retrain: {{on: [performance], cooldown: 1h}}
    promote: {{block: 1h}}
    probation: {{span: 2h, min_labels: 300}}
"""
COLUMNS = FileColumns(id="id", time="at", label_time="label_at", prediction="prediction", version="version")


def own_model(frame: pd.DataFrame) -> np.ndarray:
    """What the system's own model predicts; driftd never sees it."""
    return 3 * frame["a"].to_numpy() + np.where(frame["c"] == "red", 2.0, 0.0)


def logged_hours(hours: int, start: float = START, *, labelled: bool = True) -> pd.DataFrame:
    """What the system logged in so many hours."""
    parts = []
    for number in range(hours):
        frame, truth = hour(number)
        at = start + number * HOUR + np.arange(len(frame)) * HOUR / len(frame)
        said = {"id": [f"{number}-{row}" for row in range(len(frame))], "at": at, "prediction": own_model(frame)}
        label = {"y": truth, "label_at": at + LABEL_DELAY} if labelled else {}
        parts.append(frame.assign(**said, version=OWN_VERSION, **label))
    return pd.concat(parts)


@dataclass
class ExternalWorld(World):
    """A model that another system serves. It does what the deploy command is told, where `follows` says so."""

    follows: bool = True
    names_versions: bool = True
    served: dict[str, Any] = field(default_factory=dict)  # what was told last, of those that are followed

    @classmethod
    def prepare(
        cls,
        folder: Path,
        *,
        hours: int = 72,
        trainer: str = "driftd.trainers:gradient_boosting",
        confirm_within: str = "6h",
        has_command: bool = True,
        config: str | None = None,
    ) -> ExternalWorld:
        """Make version 1 from what the system logged in so many hours, and put the model under watch."""
        (folder / "deploy.py").write_text(DEPLOY)
        command = json.dumps([sys.executable, str(folder / "deploy.py"), str(folder)])
        way = f"command: {command}, " if has_command else ""
        deploy = f"deploy: {{{way}confirm_within: {confirm_within}, timeout: 20s}}"
        path, places = folder / "config.yaml", Places(folder / "state")
        path.write_text(config or CONFIG.format(state=folder / "state", trainer=trainer, deploy=deploy))
        rows, now = logged_hours(hours), START + hours * HOUR
        make_logged_version(MODEL, load(path).models[MODEL], rows, COLUMNS, places, source="log.parquet", now=now)
        return cls(folder, VirtualClock(now), places, cls.open(path, places), hours)

    def feed(self, application: Driftd, change: Change = keep_rows) -> None:
        """An hour of predictions that the system makes, and their labels."""
        if self.follows and self.calls:
            self.served = self.calls[-1]
        frame, truth = change(*hour(self.hours))
        version, predicted = self._predict(frame)
        at = (self.start + self.hours * HOUR + np.arange(len(frame)) * HOUR / len(frame)).tolist()
        rows = frame.to_dict("records")
        events: list[dict[str, object]] = [
            {"prediction_id": f"{self.hours}-{row}", "at": at[row], "features": rows[row], "prediction": predicted[row]}
            | ({"version": version} if self.names_versions else {})
            for row in range(len(frame))
        ]
        events += [
            {"prediction_id": f"{self.hours}-{row}", "at": at[row] + LABEL_DELAY, "label": float(truth[row])}
            for row in range(len(frame))
        ]
        _, refused = application.log(events)
        assert not refused
        self.pass_hour()

    def _predict(self, frame: pd.DataFrame) -> tuple[int, list[float]]:
        path = self.served.get("artefact")
        if path is None:
            return OWN_VERSION, own_model(frame).tolist()
        loaded = load_version(Path(path).parent, allow_joblib=False)
        return loaded.version, loaded.predict(feature_frame(frame, loaded.schema)).prediction.tolist()

    @property
    def calls(self) -> list[dict[str, Any]]:
        """What the deploy command was told, oldest first."""
        path = self.folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def order(self, words: str) -> None:
        """Have the deploy command fail or hang from now on; neither with an empty text."""
        (self.folder / "orders.txt").write_text(words)

    def request(self, kind: str, **arguments: Any) -> str:
        """Ask the daemon for something; the answer."""
        at = self.clock.now()
        number = post_request(self.places.state_db, at=at, who="ada", model=MODEL, kind=kind, arguments=arguments)
        self.daemon.catch_up(at)
        answered = self.daemon.assembly.store.request(number)
        assert answered is not None
        assert answered.outcome is not None
        return answered.outcome

    def reasons(self, event: str) -> list[str]:
        """The reasons of all events of a name, oldest first."""
        history = reversed(self.daemon.assembly.store.history(MODEL, 1000))
        return [line.reason for line in history if line.event == event]
