"""Reconciles a state that comes from a backup with the versions and the link on disk, which are newer."""

from __future__ import annotations

from dataclasses import replace

from driftd.policy.formatting import moment
from driftd.records import BuildStep, DecisionFigures, Event, ModelState, Phase, Probation, Transition


def restored(
    state: ModelState, served: int | None, versions: frozenset[int], asked: str | None, *, made_at: float, now: float
) -> Transition:
    """Take a restored state up. Pure.

    `served` is what the link names and can be served, `versions` those on disk, `asked` the retrain text of the config.
    What serves goes on serving: a restore of the books is no reason to change it. A later version than the backup's
    champion won its gate in the time that is lost, and is put on probation beside it; an earlier one was gone back to,
    and simply stays. A swap that was under way is over, one way or the other. Nothing is asked twice.
    """
    champion = state.champion
    sentences = [f"the state is that of the backup of {moment(made_at)}; what was decided after it is forgotten"]
    after = _without_swap(state, served)
    if after.build is None and state.build is not None:
        sentences.append(f"build {state.build.number} ended in that time")
    if asked is not None and asked not in after.asked:
        after = replace(after, asked=(*after.asked, asked))
        sentences.append(
            f"the build that the override asks for ({asked}) counts as begun: another text is another build"
        )
    unknown = sorted(version for version in versions if version > max([champion or 0, *state.barred]))
    if unknown:
        sentences.append(f"it does not know the versions {', '.join(map(str, unknown))}, which stay as they are")
    if served is None or served == champion:
        sentences.append(f"version {champion} serves")
    else:
        after = _with_served(after, served, versions, now)
        sentences.append(f"version {served} was found serving instead of {champion} and goes on{_watch(after)}")
    figures = DecisionFigures(version=after.champion, from_version=champion, backup=made_at)
    return Transition(after, "; ".join(sentences), Event.RESTORED, (), figures)


def _without_swap(state: ModelState, served: int | None) -> ModelState:
    """The state without a build that the lost time finished: one whose version serves, or whose swap was under way."""
    build = state.build
    if build is None or (build.number != served and build.step is not BuildStep.SWAP):
        return state
    phase = Phase.STEADY if state.phase in (Phase.RETRAINING, Phase.AWAITING_APPROVAL) else state.phase
    resumes = Phase.STEADY if state.resumes in (Phase.RETRAINING, Phase.AWAITING_APPROVAL) else state.resumes
    return replace(state, build=None, want=None, waits=None, phase=phase, resumes=resumes)


def _with_served(state: ModelState, served: int, versions: frozenset[int], now: float) -> ModelState:
    before = state.champion
    later = before is not None and served > before and before in versions and state.build is None
    probation = Probation(before, now) if later and before is not None else None
    phase = Phase.PROBATION if later else _unwatched(state.phase)
    return replace(
        state,
        champion=served,
        previous=before,
        probation=probation,
        want=None if later else state.want,
        phase=state.phase if state.phase is Phase.PAUSED else phase,
        resumes=phase if state.phase is Phase.PAUSED and later else state.resumes and _unwatched(state.resumes),
        barred=tuple(version for version in state.barred if version != served),
    )


def _unwatched(phase: Phase) -> Phase:
    return Phase.STEADY if phase is Phase.PROBATION else phase


def _watch(state: ModelState) -> str:
    return f", on probation beside {state.previous}" if state.probation is not None else ""
