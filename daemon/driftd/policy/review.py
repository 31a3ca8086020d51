"""The review of a challenger: what holds it back, whose yes it needs, and how long people are waited for."""

from __future__ import annotations

from dataclasses import replace

from driftd.formatting import format_duration
from driftd.policy.build_steps import end_build, judge_again
from driftd.policy.inputs import Facts, Override, PolicySettings
from driftd.policy.orders import describe_pause
from driftd.policy.swaps import promote
from driftd.policy.triggers import consider_refresh
from driftd.records import Build, DecisionFigures, Event, ModelState, Phase, Transition

MANUAL = "promote.approval is manual"


def person_of(who: str) -> str:
    """The person behind a name: `ada@host` of a command and `ada by API from ::1` are one and the same."""
    name = who.partition(" by API from ")[0].partition("@")[0].partition(" as ")[0]
    return name.strip().casefold()


def promote_or_hold(
    state: ModelState, build: Build, settings: PolicySettings, override: Override, figures: DecisionFigures, now: float
) -> Transition:
    """Have what a build chose serve, or ask people, where something holds it back that only they may pass."""
    hold = None if build.is_approved else build.hold or _hold(state, settings, override)
    if hold is not None:
        reason = f"version {build.candidate} {_merit(build)} ({build.decision}) and waits for a person: {hold}"
        waiting = _with_review(replace(build, review_since=now, approved_by=()), settings)
        return Transition(
            replace(state, phase=Phase.AWAITING_APPROVAL, build=waiting), reason, Event.APPROVAL_WANTED, (), figures
        )
    return promote(state, build, f"version {build.candidate} {_merit(build)}: {build.decision}", figures)


def _with_review(build: Build, settings: PolicySettings) -> Build:
    """The build with what the config asks of its review now."""
    expires = settings.review_expires
    until = None if expires is None else build.review_since + expires
    return replace(build, review_until=until, reviewers=settings.review_people)


def _merit(build: Build) -> str:
    if not build.is_refresh:
        return "won its gate"
    return "is refreshed" if build.serves is None else f"serves rather than the refreshed {build.number}"


def _hold(state: ModelState, settings: PolicySettings, override: Override) -> str | None:
    if state.pinned is not None:
        return f"the override pins version {state.pinned}"
    pause = override.pause_of("promotion")
    if pause is not None:
        return f"promotion is paused by {describe_pause(pause)}"
    return MANUAL if settings.approval == "manual" else None


def release_challenger(
    state: ModelState, facts: Facts, settings: PolicySettings, override: Override, now: float
) -> Transition:
    """Promote a challenger that only the override held back, once the override lets go of it.

    What a refresh built gives way to the next refresh: a person is always asked about the newest. One that people do
    not answer about in time is put aside.
    """
    build = state.build
    if build is not None:
        since = build.review_since or now  # none of an earlier driftd, or of one that waits again
        build = _with_review(replace(build, review_since=since), settings)
        state = replace(state, build=build)
    hold = (build.hold if build is not None else "") or _hold(state, settings, override)
    if build is not None and state.pinned is None:
        if build.is_approved:  # and could not be served at the first try
            return promote(
                state, build, f"version {build.candidate} was approved", DecisionFigures(version=build.candidate)
            )
        if len(build.approved_by) >= settings.review_people:  # fewer people are asked for by now
            return _promote_approved(state, build, "")
    if build is None or hold is not None:
        expired = None if build is None else _expire(state, build, facts, settings, override, now)
        newer = (
            consider_refresh(state, facts, settings, override, now) if build is not None and build.is_refresh else None
        )
        return expired or newer or Transition(state, f"a challenger waits for approval: {hold}")
    if not build.is_refresh and build.judged_against not in (None, state.champion):
        return judge_again(state, build, f"nothing holds version {build.number} back any more")
    reason = f"nothing holds version {build.candidate} back any more, which {_merit(build)}: {build.decision}"
    return promote(state, build, reason, DecisionFigures(version=build.candidate))


def _expire(
    state: ModelState, build: Build, facts: Facts, settings: PolicySettings, override: Override, now: float
) -> Transition | None:
    """Put a challenger aside that nobody answered about in time. A pin and a pause are no question to anybody."""
    is_held = state.pinned is not None or override.pause_of("promotion") is not None or facts.clock_fault is not None
    if settings.review_expires is None or is_held or now - build.review_since < settings.review_expires:
        return None
    given = f" (approved by {' and '.join(build.approved_by)})" if build.approved_by else ""
    waited = format_duration(settings.review_expires)
    reason = f"version {build.candidate} is put aside: its review was not answered within {waited}{given}"
    figures = DecisionFigures(version=build.number)
    return end_build(state, build, settings, now, Event.REVIEW_EXPIRED, reason, figures)


def approve(state: ModelState, build: Build, who: str, text: str, settings: PolicySettings) -> Transition:
    """Count a person's yes; the challenger serves once as many different people gave it as the config asks for.

    Where several are asked, who asked for the build by hand is none of them.
    """
    if settings.review_people > 1:
        refusal = _approval_refusal(build, who)
        if refusal is not None:
            return Transition(state, refusal, Event.REQUEST_REFUSED)
    build = replace(build, approved_by=(*build.approved_by, who))
    lacking = settings.review_people - len(build.approved_by)
    if lacking <= 0:
        return _promote_approved(state, build, text)
    more = "one more person" if lacking == 1 else f"{lacking} more people"
    given = f"{len(build.approved_by)} of {settings.review_people}"
    reason = f"version {build.candidate} is approved by {who}{text} ({given}): {more} must say yes"
    return Transition(
        replace(state, build=build), reason, Event.APPROVED, (), DecisionFigures(version=build.candidate, who=who)
    )


def _approval_refusal(build: Build, who: str) -> str | None:
    person = person_of(who)
    if person == person_of(build.requested_by):
        return f"{who} asked for build {build.number}: other people review it"
    if person in map(person_of, build.approved_by):
        return f"{who} has approved version {build.candidate} already: another person must say yes"
    return None


def _promote_approved(state: ModelState, build: Build, text: str) -> Transition:
    names = " and ".join(build.approved_by)
    figures = DecisionFigures(version=build.candidate, who=names)
    approved = replace(build, is_approved=True)
    promoted = promote(state, approved, f"version {build.candidate} is approved by {names}{text}", figures)
    return replace(promoted, actor=names if len(build.approved_by) > 1 else None)


def apply_configured_approval(
    state: ModelState, build: Build, reason: str, settings: PolicySettings, actor: str
) -> Transition | None:
    """Count the yes that the override of the config gives; None where it is counted already."""
    if settings.review_people > 1 and _approval_refusal(build, actor) is not None:
        return None
    decided = approve(state, build, actor, f": {reason}", settings)
    if decided.event is Event.APPROVED:
        return replace(decided, actor=actor)
    if build.approved_by:
        return decided
    said = f"version {build.candidate} is approved by the override: {reason}"
    return replace(decided, reason=said, actor=actor, figures=DecisionFigures(version=build.candidate))
