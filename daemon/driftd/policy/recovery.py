"""Reconciles a state with the disk after a restore, and with the clock after that was ahead."""

from __future__ import annotations

from dataclasses import replace

from driftd.formatting import format_time
from driftd.policy.alarms import pending_request
from driftd.policy.swaps import phase_without_probation, resting_phase
from driftd.policy.triggers import without_endless_waits
from driftd.records import (
    BuildStep,
    DecisionFigures,
    Event,
    ModelState,
    Phase,
    Probation,
    RefreshState,
    Transition,
)


def reconcile_restored(
    state: ModelState,
    served: int | None,
    versions: frozenset[int],
    requested: str | None,
    *,
    made_at: float,
    now: float,
) -> Transition:
    """Compare a restored state with what is on disk. Pure.

    `served` is the version that the link names, None where it cannot be served. `versions` are those on disk.
    `requested` is the retrain text of the config; it counts as begun, so that it does not build twice.

    The served version stays. A later version than the champion of the backup won its gate in the time that is lost:
    it goes on probation beside that champion. An earlier version comes from a rollback: it stays. A swap that was
    under way has ended.
    """
    champion = state.champion
    clauses = [f"the state is that of the backup of {format_time(made_at)}; what was decided after it is forgotten"]
    after = _without_swap(state, served)
    if after.build is None and state.build is not None:
        clauses.append(f"build {state.build.number} ended in that time")
    if requested is not None and requested not in after.asked:
        after = replace(after, asked=(*after.asked, requested))
        clauses.append(
            f"the build that the override asks for ({requested}) counts as begun: another text is another build"
        )
    unknown = sorted(version for version in versions if version > max([champion or 0, *state.barred]))
    if unknown:
        clauses.append(f"it does not know the versions {', '.join(map(str, unknown))}, which stay as they are")
    if served is None or served == champion:
        clauses.append(f"version {champion} serves")
    else:
        after = _with_served(after, served, versions, now)
        clauses.append(
            f"version {served} was found serving instead of {champion} and goes on{_probation_clause(after)}"
        )
    figures = DecisionFigures(version=after.champion, from_version=champion, backup=made_at)
    return Transition(after, "; ".join(clauses), Event.RESTORED, (), figures)


def _without_swap(state: ModelState, served: int | None) -> ModelState:
    """The state without a build that the lost time finished: one whose version serves, or whose swap was under way."""
    state = replace(state, hand_over=None, failed=None)  # whatever came of it, `driftd confirm` says what serves now
    if state.registry is not None:
        state = replace(state, registry=replace(state.registry, alias=None))  # it is moved to what serves
    build = state.build
    if build is None or (build.number != served and build.step is not BuildStep.SWAP):
        return state
    rest = resting_phase(state)
    phase = rest if state.phase in (Phase.RETRAINING, Phase.AWAITING_APPROVAL) else state.phase
    resumes = rest if state.resumes in (Phase.RETRAINING, Phase.AWAITING_APPROVAL) else state.resumes
    return replace(state, build=None, want=pending_request(state), waits=None, phase=phase, resumes=resumes)


def _with_served(state: ModelState, served: int, versions: frozenset[int], now: float) -> ModelState:
    before = state.champion
    later = before is not None and served > before and before in versions and state.build is None
    probation = Probation(before, now) if later and before is not None else None
    phase = Phase.PROBATION if later else phase_without_probation(state.phase)
    return replace(
        state,
        champion=served,
        open_alarms=(),
        previous=before,
        probation=probation,
        want=None if later else state.want,
        phase=state.phase if state.phase is Phase.PAUSED else phase,
        resumes=phase
        if state.phase is Phase.PAUSED and later
        else state.resumes and phase_without_probation(state.resumes),
        barred=tuple(version for version in state.barred if version != served),
    )


def _probation_clause(state: ModelState) -> str:
    return f", on probation beside {state.previous}" if state.probation is not None else ""


def without_future_times(state: ModelState, window: int, now: float) -> ModelState:
    """The state without times that a clock that was ahead has left in it. Pure.

    `window` is the index of the window that is open now. Nothing may wait for such a time: a build's budget would stay
    used up, a refresh or a schedule would not be due for years, a probation would not end.
    """
    state = replace(
        without_endless_waits(state, now),
        last_schedule=min(state.last_schedule, now),
        build_starts=tuple(min(at, now) for at in state.build_starts),
        served_since=min(state.served_since, now),
        open_alarms=tuple(
            replace(alarm, since=min(alarm.since, now), change_at=_past(alarm.change_at, now))
            for alarm in state.open_alarms
        ),
    )
    if state.want is not None:
        want = state.want
        state = replace(state, want=replace(want, since=min(want.since, now), change_at=_past(want.change_at, now)))
    if state.build is not None:
        build = state.build
        started_at, change_at = min(build.started_at, now), _past(build.change_at, now)
        review_since = min(build.review_since, now)
        build = replace(build, started_at=started_at, change_at=change_at, review_since=review_since)
        state = replace(state, build=build)
    if state.probation is not None:
        state = replace(state, probation=_probation_until(state.probation, window, now))
    return state if state.refresh is None else replace(state, refresh=_refresh_until(state.refresh, window, now))


def _probation_until(probation: Probation, window: int, now: float) -> Probation:
    since, looked_at = min(probation.since, now), min(probation.looked_at, now)
    return replace(probation, since=since, looked_at=looked_at, window=min(probation.window, window))


def _refresh_until(refresh: RefreshState, window: int, now: float) -> RefreshState:
    return replace(
        refresh,
        window=min(refresh.window, window),
        mature_until=min(refresh.mature_until, now),
        extra=tuple(index for index in refresh.extra if index <= window),
        change_at=_past(refresh.change_at, now),
    )


def _past(at: float | None, now: float) -> float | None:
    return None if at is None else min(at, now)
