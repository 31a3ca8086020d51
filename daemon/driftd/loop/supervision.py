"""Signs of life for the service manager, its status line, and a log that repeats no failure each second."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from driftd.observe.systemd import ServiceManager
from driftd.records import ModelState
from driftd_detectors.assessment import LatestVerdicts

APART_SECONDS = 60.0


@dataclass(slots=True)
class LogThrottle:
    """What was told when, and how many of each kind were kept back since."""

    apart: float = APART_SECONDS
    _told_at: dict[tuple[str, ...], float] = field(default_factory=dict)
    _kept_back: dict[tuple[str, ...], int] = field(default_factory=dict)

    def due(self, *kind: str, now: float) -> int | None:
        """Whether one more of a kind is to be told: then how many before it were kept back, else None.

        A clock that was set back keeps nothing back.
        """
        told_at = self._told_at.get(kind)
        if told_at is not None and 0 <= now - told_at < self.apart:
            self._kept_back[kind] = self._kept_back.get(kind, 0) + 1
            return None
        self._told_at[kind] = now
        return self._kept_back.pop(kind, 0)


class StopAskedError(BaseException):
    """The main loop was told to stop while it waited. No Exception: nothing that handles failures may hold it up."""


@dataclass(slots=True)
class Service:
    """The process as its manager sees it."""

    manager: ServiceManager = field(default_factory=ServiceManager)
    stop_asked: str | None = None  # why; set by a signal handler

    def alive(self) -> None:
        """Say that the main loop turns; call it only where nothing is half done.

        Raises StopAskedError when the process was told to stop.
        """
        self.manager.alive()
        if self.stop_asked is not None:
            raise StopAskedError(self.stop_asked)


def status_line(
    states: Iterable[tuple[ModelState, LatestVerdicts]], obstacles: Mapping[str, str], refusal: str | None
) -> str:
    """Phase and last verdict of each model, after what needs a person; short, for `systemctl status`.

    `states` has what the last checks of each model concluded; `obstacles` says why a model is not under watch;
    `refusal` why the config on disk is not in force.
    """
    sentences = [f"config refused, the one before is in force: {refusal}"] if refusal is not None else []
    sentences += [f"{model} not watched: {reason}" for model, reason in obstacles.items()]
    sentences += [_standing(state, verdicts) for state, verdicts in states]
    return "; ".join(sentences) or "no models in the config"


def _standing(state: ModelState, verdicts: LatestVerdicts) -> str:
    verdict = verdicts.overall or "not checked yet"
    blocked = " blocked" if state.blocked is not None else ""
    return f"{state.model} v{state.champion} {state.phase} {verdict}{blocked}"
