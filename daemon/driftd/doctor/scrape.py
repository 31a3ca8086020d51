"""What only a running daemon knows: its metrics and its obstacles, asked over its HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from driftd.config.schema import Http
from driftd.doctor.installation import Finding, Installation, fail, ok, warn
from driftd.observe.alerts import ALERTS
from driftd.observe.metric_family import Family
from driftd.views.conditions import ActiveCondition, blind_spots, pressings, with_source_faults
from driftd.web.local_client import NoAnswerError, ask, can_be_asked

SCRAPE_SECONDS = 2.0
_LINE = re.compile(r"^(driftd_\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_LONG = ("driftd_score", "driftd_quality_fault_ratio")  # a line for every feature, and nobody here asks for them
_CRITICAL = frozenset(alert.name for alert in ALERTS if alert.severity == "critical")
_WANTS_TOKEN = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


@dataclass(frozen=True, slots=True)
class Scrape:
    """The values of a daemon's metrics, as one scrape gave them."""

    values: Mapping[tuple[str, ...], float]  # by the name and the values of its labels in their order

    @classmethod
    def of(cls, text: str) -> Scrape:
        """Read a scrape."""
        return cls(
            {
                (name, *(label for _, label in _LABEL.findall(labels or ""))): float(value)
                for name, labels, value in _LINE.findall(text)
                if not name.startswith(_LONG)
            }
        )

    def value(self, family: Family, *labels: str) -> float | None:
        """The value of one series; None where there is none."""
        return self.values.get((family.name, *labels))

    def owners(self, family: Family) -> tuple[str, ...]:
        """The models or receivers that have series of a family."""
        return tuple(dict.fromkeys(key[1] for key in self.values if key[0] == family.name and len(key) > 1))


@dataclass(frozen=True, slots=True)
class DaemonAnswer:
    """What a daemon said of itself. Where it could not be asked there are no metrics, and `fault` says why."""

    metrics: Scrape | None = None
    obstacles: Mapping[str, str] = field(default_factory=dict)  # why models of its config are not watched
    source_faults: Mapping[str, str] = field(default_factory=dict)  # why their sources give no rows, or not all
    fault: str = ""


def ask_daemon(http: Http) -> DaemonAnswer:
    """What the daemon of this config knows. Whoever wants a token is not taken for somebody who knows of nothing."""
    if not can_be_asked(http):
        return DaemonAnswer(fault=f"{http.listen} is a port of the system's choice")
    try:
        status, text = ask(http, "/metrics", SCRAPE_SECONDS)
        if status != HTTPStatus.OK:
            return DaemonAnswer(fault=f"{http.listen} {_refusal(status)}")
        metrics = Scrape.of(text)
        status, text = ask(http, "/api/status", SCRAPE_SECONDS)
    except NoAnswerError as error:
        return DaemonAnswer(fault=f"{http.listen} does not answer: {error}")
    said = _said_of_models(text) if status == HTTPStatus.OK else {}
    return DaemonAnswer(metrics, _sentences(said, "obstacle"), _sentences(said, "source_fault"))


def _refusal(status: int) -> str:
    return "wants a token" if status in _WANTS_TOKEN else f"answers with status {status}"


def _said_of_models(text: str) -> dict[str, dict[str, object]]:
    try:
        said: dict[str, dict[str, object]] = json.loads(text)
    except ValueError:
        return {}
    return said


def _sentences(said: Mapping[str, Mapping[str, object]], key: str) -> dict[str, str]:
    return {name: str(of[key]) for name, of in said.items() if key in of}


def conditions(installation: Installation) -> Iterator[Finding]:
    """Everything that a running daemon knows to be wrong, as its page, its status and its alerts tell it."""
    said = ask_daemon(installation.config.http)
    if said.metrics is None:
        todo = "see the finding on the daemon; let it listen on a port that the config names; the page tells it too"
        yield warn("conditions", f"what only the daemon knows could not be looked at: {said.fault}", todo)
        return
    models = list(installation.config.models)
    found = with_source_faults(pressings(said.metrics, models, installation.now), said.source_faults)
    yield from (_finding(installation, "host", condition) for condition in found.host)
    for model in models:
        bad = list(_of_model(installation, model, said, found.of.get(model, ())))
        yield from bad or [ok(model, "the daemon knows of nothing wrong")]


def _of_model(
    installation: Installation, model: str, said: DaemonAnswer, pressing: tuple[ActiveCondition, ...]
) -> Iterator[Finding]:
    assert said.metrics is not None
    if model in said.obstacles:
        todo = f"mend what it names, or see `{installation.command('doctor')}` on its versions, source and evidence"
        yield fail(model, f"it is not watched: {said.obstacles[model]}", todo)
    for condition in pressing:
        if model not in said.obstacles or condition.alert != "DriftdModelNotWatched":
            yield _finding(installation, model, condition)
    for sentence in blind_spots(said.metrics, model):
        yield warn(model, sentence, "see `driftd status` and the log of the daemon")


def _finding(installation: Installation, subject: str, condition: ActiveCondition) -> Finding:
    level = fail if condition.alert in _CRITICAL else warn
    command = installation.command(condition.command.removeprefix("driftd "))
    section = next((alert.section for alert in ALERTS if alert.name == condition.alert), "")
    said = f"{condition.sentence} {condition.detail}".strip()
    return level(subject, said, f"`{command}`; section {section} of docs/runbook.md")
