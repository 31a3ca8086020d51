"""Requests of people that change what the loop keeps of a model: its cursors and its evidence."""

from __future__ import annotations

from dataclasses import replace

from driftd.loop.check_schedule import CheckScheduler
from driftd.loop.resume import MonitorState
from driftd.policy.inputs import OperatorRequest
from driftd.store.state.records import StoredRequest
from driftd.store.state.writer import StateStore
from driftd_detectors.monitor import Monitor

RESET_CURSOR = "reset-cursor"  # the request of `driftd reset-cursor`
RESET_EVIDENCE = "reset_evidence"  # the request of `driftd reset-evidence`


def request_of(request: StoredRequest) -> OperatorRequest:
    """The request as the policy takes it."""
    given = request.arguments
    return OperatorRequest(
        request.kind,
        request.who,
        str(given.get("text") or ""),
        given.get("version"),
        request.at,
        given.get("alarm"),
        given.get("until"),
    )


def reset_cursor(
    finding: OperatorRequest,
    scheduler: CheckScheduler,
    evidence: MonitorState,
    champion: int | None,
    store: StateStore,
    now: float,
) -> tuple[OperatorRequest, Monitor | None]:
    """Mend what a clock that was ahead did to the windows; returns the request with that, and the evidence.

    Call it inside the transaction of the decision.
    """
    done, is_anew = scheduler.reset_cursor(store, now)
    scheduler.labels_not_before = 0.0
    monitor = evidence.monitor
    if is_anew and champion is not None and monitor is not None:
        monitor = evidence.fresh(champion)
        evidence.save(champion, monitor, store)
    why = f" ({finding.text})" if finding.text and done else ""
    return replace(finding, text=f"{done}{why}"), monitor
