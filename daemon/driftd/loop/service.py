"""Between the main loop and the service manager: signs of life, the status line, and being told to stop.

The main loop calls `alive` wherever it may stay for long, and only the main loop does. While it waits for a source it
wakes to do so, so the watchdog's span need not cover `limits.check_timeout`: a slow source is bounded by that limit and
becomes an `error` verdict, a loop that no longer turns is ended by the watchdog.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from driftd.observe.service_manager import ServiceManager
from driftd.records import ModelState, Verdict

WORST_FIRST = (Verdict.DRIFT, Verdict.ERROR, Verdict.SUSPECTED, Verdict.OK, Verdict.INCONCLUSIVE)


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
    states: Iterable[tuple[ModelState, Mapping[str, Verdict]]], obstacles: Mapping[str, str], refusal: str | None
) -> str:
    """Phase and last verdict of each model, after what needs a person; short, for `systemctl status`.

    `states` has the last verdict of each kind of check; `obstacles` says why a model is not under watch; `refusal` why
    the config on disk is not in force.
    """
    told = [f"config refused, the one before is in force: {refusal}"] if refusal is not None else []
    told += [f"{model} not watched: {reason}" for model, reason in obstacles.items()]
    told += [_standing(state, verdicts) for state, verdicts in states]
    return "; ".join(told) or "no models in the config"


def _standing(state: ModelState, verdicts: Mapping[str, Verdict]) -> str:
    worst = next((verdict for verdict in WORST_FIRST if verdict in verdicts.values()), "not checked yet")
    blocked = " blocked" if state.blocked is not None else ""
    return f"{state.model} v{state.champion} {state.phase} {worst}{blocked}"
