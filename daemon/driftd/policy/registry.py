"""Versions in a registry of others: each is registered, and an alias there names the one that serves.

A promotion waits until the alias names its version; a rollback or a pin waits for nothing, and the alias follows. What
is owed is not stored but compared, at each tick: the version that the alias is to name with the one that it was read
back to name. So whatever is interrupted is taken up where it was, and whatever is taken back moves the alias back.
"""

from __future__ import annotations

from dataclasses import replace

from driftd.formatting import format_time
from driftd.policy.builds import fail_step
from driftd.policy.inputs import (
    Facts,
    Finding,
    OperatorRequest,
    Override,
    PolicySettings,
    RegistrySettings,
    StepDone,
    StepFailed,
)
from driftd.policy.operator import answer_request
from driftd.policy.swaps import swap_action
from driftd.records import (
    Action,
    ActionKind,
    Build,
    BuildStep,
    DecisionFigures,
    Event,
    ModelState,
    MovedAlias,
    Phase,
    RegistryArguments,
    RegistryResult,
    RegistryState,
    RegistryTask,
    SwapArguments,
    SwapPurpose,
    Transition,
)

ACTOR = "mlflow alias"  # who asks for a swap where an alias is followed
_UNREADY = tuple(step for step in BuildStep if step is not BuildStep.SWAP)


def held_build(state: ModelState, facts: Facts, settings: PolicySettings) -> Build | None:
    """The build whose promotion waits for the alias; None where none does."""
    build = state.build
    is_swapping = ActionKind.SWAP in facts.working or state.hand_over is not None
    if build is None or build.step is not BuildStep.SWAP or is_swapping or settings.is_external:
        return None
    return build


def hold_promotion(decided: Transition, settings: PolicySettings) -> Transition:
    """Have an intended promotion wait for the alias; every other decision stays as it is."""
    if settings.registry is None or settings.is_external:
        return decided
    swap = next((action for action in decided.actions if _is_promotion(action)), None)
    if swap is None:
        return decided
    others = tuple(action for action in decided.actions if action is not swap)
    return replace(decided, reason=f"{decided.reason}; the alias in the registry moves first", actions=others)


def _is_promotion(action: Action) -> bool:
    return isinstance(action.arguments, SwapArguments) and action.arguments.purpose is SwapPurpose.PROMOTE


def release_for(state: ModelState, finding: Finding, facts: Facts, settings: PolicySettings) -> ModelState:
    """The state for a person's rollback or rejection: a promotion that waits for the alias gives way to it."""
    build = held_build(state, facts, settings)
    is_asked = isinstance(finding, OperatorRequest) and finding.kind in ("rollback", "reject")
    return state if build is None or not is_asked else _put_back(state, build)


def _put_back(state: ModelState, build: Build) -> ModelState:
    """The state in which the challenger of a held promotion waits for what a person says, as after its gate."""
    step = BuildStep.REFRESH if build.is_refresh else BuildStep.JUDGE
    waiting = replace(build, step=step, is_approved=False, review_since=0.0, approved_by=())
    if state.phase is Phase.PAUSED:
        return replace(state, resumes=Phase.AWAITING_APPROVAL, build=waiting)
    return replace(state, phase=Phase.AWAITING_APPROVAL, build=waiting)


def apply_to_registry(
    state: ModelState, finding: Finding, facts: Facts, settings: PolicySettings, override: Override, now: float
) -> Transition | None:
    """Apply how a task of the registry ended; None for every other finding."""
    match finding:
        case StepDone(RegistryArguments() as arguments, result):
            found = result if isinstance(result, RegistryResult) else RegistryResult("")
            return _finish(state, arguments, found, facts, settings, override, now)
        case StepFailed(RegistryArguments() as arguments, error):
            return _fail(state, arguments, error, settings, now)
        case _:
            return None


def _finish(
    state: ModelState,
    arguments: RegistryArguments,
    result: RegistryResult,
    facts: Facts,
    settings: PolicySettings,
    override: Override,
    now: float,
) -> Transition:
    known, where = state.registry, settings.registry
    if known is None or where is None or known.where != where.where:
        return Transition(state, f"what came of an abandoned {arguments.task} in the registry is put aside")
    after = f"; it answers again after {known.failures} failed tries" if known.failures else ""
    answering = replace(known, failures=0, retry_at=None, error="")
    if not result.is_fit:
        return _refuse(state, answering, arguments, result.sentence, facts, settings, now)
    version, figures = arguments.version, DecisionFigures(version=arguments.version)
    match arguments.task:
        case RegistryTask.REGISTER:
            kept = _with_registered(answering, version, facts)
            return Transition(
                replace(state, registry=kept), f"version {version} is registered: {result.sentence}{after}",
                Event.VERSION_REGISTERED, (), figures,
            )  # fmt: skip
        case RegistryTask.MOVE:
            kept = _with_registered(replace(answering, alias=version, looked_at=now, moved=None), version, facts)
            return Transition(
                replace(state, registry=kept), f"the alias names version {version}: {result.sentence}{after}",
                Event.ALIAS_SET, (), figures,
            )  # fmt: skip
        case RegistryTask.LOOK:
            looked = replace(answering, looked_at=now)
            return _compare(state, looked, arguments, result, facts, where, settings, override, now)


def _with_registered(known: RegistryState, version: int, facts: Facts) -> RegistryState:
    return replace(known, registered=tuple(sorted({*known.registered, version} & facts.versions)))


def _refuse(
    state: ModelState,
    known: RegistryState,
    arguments: RegistryArguments,
    why: str,
    facts: Facts,
    settings: PolicySettings,
    now: float,
) -> Transition:
    """A version that cannot be registered because of itself: trying again would change nothing."""
    version, build = arguments.version, held_build(state, facts, settings)
    if arguments.task is RegistryTask.REGISTER:
        kept = replace(state, registry=_with_registered(known, version, facts))
        reason = f"version {version} cannot be registered, which is not tried again: {why}"
        return Transition(kept, reason, Event.REGISTRY_FAILED, (), DecisionFigures(version=version))
    if build is not None and build.candidate == version:
        swap = SwapArguments(version=version, purpose=SwapPurpose.PROMOTE, from_version=state.champion)
        return fail_step(replace(state, registry=known), StepFailed(swap, why), settings, now)
    return _fail(state, arguments, why, settings, now)


def _fail(
    state: ModelState, arguments: RegistryArguments, error: str, settings: PolicySettings, now: float
) -> Transition:
    """Try again after a pause that doubles, for ever; the first failure in a row is told, the state has the last."""
    known, where = state.registry, settings.registry
    if known is None or where is None or known.where != where.where:
        return Transition(state, f"the failure of an abandoned {arguments.task} in the registry is put aside: {error}")
    failures = known.failures + 1
    retry_at = now + min(where.retry_most, where.retry_first * 2 ** min(failures - 1, 30))
    failing = replace(known, failures=failures, retry_at=retry_at, error=error)
    what = {
        RegistryTask.REGISTER: f"version {arguments.version} could not be registered",
        RegistryTask.MOVE: f"the alias could not be moved to version {arguments.version}",
        RegistryTask.LOOK: "the alias could not be looked at",
    }[arguments.task]
    reason = f"{what}: {error}; it is tried again from {format_time(retry_at)} on, with growing pauses"
    figures = DecisionFigures(version=arguments.version, failures=failures)
    event = Event.REGISTRY_FAILED if failures == 1 else None
    return Transition(replace(state, registry=failing), reason, event, (), figures)


def _compare(
    state: ModelState,
    known: RegistryState,
    arguments: RegistryArguments,
    result: RegistryResult,
    facts: Facts,
    where: RegistrySettings,
    settings: PolicySettings,
    override: Override,
    now: float,
) -> Transition:
    """Compare what the alias names with what driftd had it name."""
    if known.alias is None or arguments.version != known.alias:
        return Transition(replace(state, registry=known), "what the alias named before it was to move is put aside")
    if result.version == known.alias:
        back = "" if known.moved is None else " again"
        return Transition(replace(state, registry=replace(known, moved=None)), f"the alias names its version{back}")
    before = known.moved
    is_news = before is None or (before.number, before.version) != (result.number, result.version)
    moved = MovedAlias(result.number, result.version, now if is_news or before is None else before.since)
    seen = replace(state, registry=replace(known, moved=moved))
    event = Event.ALIAS_MOVED if is_news else None
    figures = DecisionFigures(version=result.version, from_version=known.alias)
    reason = f"somebody moved the alias: {result.sentence}, and driftd had it name version {known.alias}"
    if where.moved == "restore":
        owed = replace(seen, registry=replace(known, alias=None, moved=moved))
        return Transition(owed, f"{reason}; it is moved back (moved: restore)", Event.ALIAS_MOVED, (), figures)
    if where.moved == "follow" and result.version is not None and result.version != state.champion:
        return _follow(seen, reason, result.version, facts, settings, override, now, is_news=is_news)
    stays = f"version {state.champion} serves on, and the alias stays where it is until the next swap"
    if where.moved == "follow" and result.version is None:
        stays = f"that is no version of driftd's, so it cannot be followed: {adoption_hint(where.where)}; {stays}"
    return Transition(seen, f"{reason}; {stays}", event, (), figures)


def adoption_hint(where: str) -> str:
    """How a version of others is taken over. `where` ends with the name and the alias."""
    return f"`driftd init --model models:/{where.rpartition(' ')[2]} --name ...` adopts it as a model of its own"


def _follow(
    state: ModelState,
    reason: str,
    version: int,
    facts: Facts,
    settings: PolicySettings,
    override: Override,
    now: float,
    *,
    is_news: bool,
) -> Transition:
    """Ask for the version that the alias names, as a person would; what is refused is asked again at the next look."""
    asked = OperatorRequest("rollback", ACTOR, reason, version)
    released = release_for(state, asked, facts, settings)
    answered = answer_request(released, asked, facts, settings, override, now)
    if answered.event is not Event.REQUEST_REFUSED:
        return replace(answered, actor=ACTOR)
    refused = f"{reason}; it cannot be followed now ({answered.reason}), and is tried again at the next look"
    return Transition(state, refused, Event.ALIAS_MOVED if is_news else None, (), DecisionFigures(version=version))


def settle_registry(
    state: ModelState, facts: Facts, settings: PolicySettings, override: Override, now: float
) -> Transition | None:
    """What is due of the registry at a tick where nothing else is decided; None where nothing is."""
    build, where = held_build(state, facts, settings), settings.registry
    concerns = where is not None or state.registry is not None
    if build is not None and concerns and state.phase is not Phase.PAUSED:
        freed = _free(state, build, where, override)
        if freed is not None:
            return freed
    if where is None:
        stale = state.registry is not None
        return Transition(replace(state, registry=None), "no registry is configured any more") if stale else None
    known = state.registry
    if ActionKind.REGISTRY in facts.working:
        return _wait(state, build)
    if known is None or known.where != where.where:
        known = RegistryState(where.where)
    task = _due(replace(state, registry=known), known, build, facts, where, now)
    if task is None:
        return _wait(state, build)
    # A move that fails may have been made: until it is read back, where the alias is counts as unknown.
    begun = replace(known, retry_at=None, alias=None if task.task is RegistryTask.MOVE else known.alias)
    return Transition(replace(state, registry=begun), f"the registry is asked: {task.task}", None, (Action(task),))


def _wait(state: ModelState, build: Build | None) -> Transition | None:
    """What a held promotion waits for; None where none is held."""
    if build is None:
        return None
    error = "" if state.registry is None or not state.registry.error else f": {state.registry.error}"
    return Transition(state, f"version {build.candidate} waits until the alias in the registry names it{error}")


def _free(state: ModelState, build: Build, where: RegistrySettings | None, override: Override) -> Transition | None:
    """Swap to a version that waited for the alias, or have it wait for what a person, or its gate, says now."""
    version, figures = build.candidate, DecisionFigures(version=build.candidate)
    why, pause = None, override.pause_of("promotion")
    if state.pinned is not None:
        why = f"the override pins version {state.pinned}"
    elif pause is not None and not build.is_approved:
        why = f"promotion is paused by {pause.who}: {pause.reason}"
    elif build.judged_against not in (None, state.champion) and not build.is_approved:
        why = f"it was compared with version {build.judged_against}, and version {state.champion} serves now"
    if why is not None:
        reason = f"version {version} waits no longer for the alias: {why}"
        return Transition(_put_back(state, build), reason, Event.APPROVAL_WANTED, (), figures)
    known = state.registry
    is_named = where is not None and known is not None and (known.where, known.alias) == (where.where, version)
    if where is not None and not is_named:
        return None
    said = f"the alias names version {version}" if is_named else "no registry is configured any more"
    return Transition(state, f"{said}: it is to serve", None, (swap_action(state, version, SwapPurpose.PROMOTE),))


def _due(
    state: ModelState, known: RegistryState, build: Build | None, facts: Facts, where: RegistrySettings, now: float
) -> RegistryArguments | None:
    """The next task: the alias first, then versions that are not registered, then a look."""
    # A pause that a clock ahead of time wrote down holds nothing up; what the alias is to name is known after a swap.
    is_pausing = known.retry_at is not None and 0 < known.retry_at - now <= where.retry_most
    if is_pausing or ActionKind.SWAP in facts.working:
        return None
    is_paused, attempt = state.phase is Phase.PAUSED, known.failures + 1
    wanted = state.champion if build is None or is_paused else build.candidate
    if wanted is not None and wanted != known.alias and wanted not in facts.logged:
        return RegistryArguments(RegistryTask.MOVE, wanted, attempt)
    if is_paused:
        return None
    for version in sorted(facts.versions - facts.logged - {*known.registered}):
        if not _is_unready(state, version):
            return RegistryArguments(RegistryTask.REGISTER, version, attempt)
    if known.alias is not None and not 0 <= now - known.looked_at < where.look_every:
        return RegistryArguments(RegistryTask.LOOK, known.alias, attempt)
    return None


def registry_due(state: ModelState, where: RegistrySettings | None) -> tuple[float, ...]:
    """When the registry is to be asked next (epoch seconds): for another try, or for a look at the alias."""
    if where is None or state.registry is None:
        return ()
    retry_at = state.registry.retry_at
    return (state.registry.looked_at + where.look_every,) if retry_at is None else (retry_at,)


def _is_unready(state: ModelState, version: int) -> bool:
    """Whether a version's gate is still to say something: what is registered has that in its lineage."""
    build = state.build
    awaits = Phase.AWAITING_APPROVAL in (state.phase, state.resumes)
    return build is not None and build.number == version and build.step in _UNREADY and not awaits
