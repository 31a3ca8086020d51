"""Requests of people that change what the loop keeps of a model: its cursors, its evidence and its checks."""

from __future__ import annotations

from dataclasses import replace

from driftd.formatting import format_duration, format_time
from driftd.loop.check_schedule import CLOCKS_DIFFER, CheckScheduler
from driftd.loop.resume import MonitorState
from driftd.paths import Places
from driftd.policy.inputs import OperatorRequest
from driftd.store.state.reader import StateReader
from driftd.store.state.records import StoredRequest
from driftd.store.state.writer import StateStore
from driftd_detectors.monitor import Monitor

RESET_CURSOR, RESET_EVIDENCE, PRUNE_CHECKS = "reset-cursor", "reset-evidence", "prune-checks"
SNAPSHOT_MANIFEST = "manifest.json"
SHOWN_SNAPSHOTS = 5
MOST_AHEAD = 0.5  # share of the checks with rows that a clock which is right may lie behind


def request_of(request: StoredRequest) -> OperatorRequest:
    """The request as the policy takes it; kinds are spelled like commands, some older ones had `_` for `-`."""
    given = request.arguments
    return OperatorRequest(
        request.kind.replace("_", "-"),
        request.who,
        str(given.get("text") or ""),
        given.get("version"),
        request.at,
        given.get("alarm"),
        given.get("until"),
        tuple(given.get("what") or ()),
        given.get("feature"),
        given.get("snapshot"),
        given.get("stage"),
        given.get("submission"),
        given.get("trained_until"),
    )


def with_snapshot(finding: OperatorRequest, places: Places, model: str) -> OperatorRequest:
    """The request with the whole name of the snapshot that it names the beginning of, or why there is none."""
    if finding.snapshot is None or finding.kind != "retrain":
        return finding
    there = {path.parent.name: path for path in places.snapshot(model, "x").parent.glob(f"*/{SNAPSHOT_MANIFEST}")}
    found = sorted(name for name in there if name.startswith(finding.snapshot))
    if len(found) == 1:
        return replace(finding, snapshot=found[0])
    newest = sorted(there, key=lambda name: there[name].stat().st_mtime, reverse=True)[:SHOWN_SNAPSHOTS]
    known = ", ".join(name[:12] for name in (found or newest)) or "none"
    which = "several snapshots begin" if found else "there is no snapshot of this model that begins"
    return replace(
        finding, obstacle=f"{which} with {finding.snapshot} (there are: {known}); `driftd versions` has them"
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


def find_reset_obstacle(request: StoredRequest, store: StateReader, now: float) -> str:
    """Why cursors are not set back by this clock; empty where they may be, and where a person insists.

    A clock that is behind looks like a past one that was ahead, and a reset would forget checks of real windows.
    """
    ahead, total = store.count_checks_after(request.model, now + CLOCKS_DIFFER)
    if request.arguments.get("force") or ahead <= MOST_AHEAD * total:
        return ""
    return (
        f"{ahead:,} of {total:,} checks of windows with rows were made after {format_time(now)}, which is now: the "
        "clock seems to be behind; set it (timedatectl). If it is right, ask with --force: these checks are forgotten"
    )


def count_old_checks(
    finding: OperatorRequest, store: StateReader, model: str, keep: float, now: float
) -> OperatorRequest:
    """The request with what is to be forgotten as its text; without a text where no check is as old as that."""
    times = store.check_times(model)
    old = sum(at < now - keep for at in times)
    why = f" ({finding.text})" if finding.text else ""
    said = f"{old:,} of {len(times):,} checks that are older than {format_duration(keep)}{why}" if old else ""
    return replace(finding, text=said)
