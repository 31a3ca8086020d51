"""What `driftd status` says: gathered from the state and the registry, in sentences."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from types import MappingProxyType

import msgspec

from driftd.config.model_schema import ModelConfig
from driftd.config.schema import Config
from driftd.errors import raise_shortage
from driftd.formatting import format_minute
from driftd.paths import Places
from driftd.records import Build, HandOver, ModelState, Phase, Probation, RegistryState, Verdict
from driftd.registry import Registry
from driftd.sentences.alarms import kind_name
from driftd.sentences.service_wordings import describe_probation
from driftd.store.state.reader import StateAbsentError, StateReader
from driftd.store.state.records import CheckFigures, KindEvidence, StoredCheck
from driftd.views.conditions import (
    ActiveCondition,
    ActiveConditions,
    ExportedValues,
    blind_spots,
    pressings,
    with_source_faults,
)
from driftd.views.config import (
    ConfigStanding,
    OrderView,
    OverrideInForce,
    config_standing,
    lapse_of,
    order_views,
    override_in_force,
    readable,
)
from driftd.views.other_systems import (
    describe_hand_over,
    describe_registry,
    external_sentences,
    is_awaited,
    needs_look,
    outside_wait,
)
from driftd.views.row_counts import RowCounts, row_counts
from driftd.views.stages import describe_review
from driftd_detectors.assessment import CALM_TO_LOUD, LatestVerdicts, loudness

Stamp = tuple[tuple[str, int, int], ...]  # name, size, nanoseconds


def served_fault(places: Places, model: str, champion: int | None) -> str | None:
    """What is wrong with what serves, in one sentence with the way on; None when nothing is."""
    served, link = Registry(places).current(model), places.current(model)
    doctor = "`driftd doctor` says what to do"
    if served is None:
        names = link.readlink() if link.is_symlink() else None
        return None if names is None else f"the link {link} names {names}, which is not there: {doctor}"
    if (fault := _fault(places, model, served, _stamp(places.version(model, served)))) is not None:
        return f"version {served}, which serves, is damaged: {fault}; {doctor}"
    if champion not in {None, served}:
        return f"version {served} serves, not {champion}: a swap is under way, or else {doctor}"
    return None


@lru_cache(maxsize=1000)
def _fault(places: Places, model: str, version: int, _unchanged: Stamp) -> str | None:
    try:
        return Registry(places).fault(model, version)
    except OSError as error:
        raise_shortage(error)  # nothing is kept of it
        return str(error)


def _stamp(folder: Path) -> Stamp:
    try:
        found = [(path.name, path.stat()) for path in folder.iterdir()]
    except OSError:
        return ()
    return tuple(sorted((name, status.st_size, status.st_mtime_ns) for name, status in found))


LOOKED_BACK = 50  # checks, for the last one that had something to say
CHECKS = ("window", "labels")


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where one model stands: its state, and what the last checks of its champion concluded."""

    model: str
    phase: Phase
    version: int | None
    needs: str | None  # what a person must do, in one sentence
    wanted: bool  # whether a build is
    waits: str | None
    failures: int  # builds failed in a row
    blocked: str | None
    build: Build | None
    probation: Probation | None
    pinned: int | None
    pin_refused: str | None
    verdict: Verdict | None  # of the last window
    worst: str  # the verdict on the model; "-" before the first check
    verdicts: Mapping[str, Verdict]  # by kind of evidence
    evidence: Mapping[str, KindEvidence]  # by kind
    last_check: float | None  # epoch seconds
    last_window: int | None
    reason: str
    learning: str | None
    figures: Mapping[str, object]  # of the last labels, as they are stored: `label_figures` has their types
    standing_alarms: list[int]
    pressing: tuple[ActiveCondition, ...] = ()
    is_external: bool = False  # another system serves it; driftd only watches
    hand_over: HandOver | None = None  # of a version to that system
    registry: RegistryState | None = None  # of others, where versions are registered
    orders: Sequence[OrderView] = ()  # of people, that hold
    outside: str | None = None  # what a build waits for that is made outside, in a clause
    version_asked: str | None = None  # why a new version was asked for, where no trainer is configured

    @property
    def loudness(self) -> int:
        """The rank of the verdict on the model; -1 before the first check."""
        return loudness(Verdict(self.worst)) if self.worst in CALM_TO_LOUD else -1

    @property
    def nearest(self) -> str | None:
        """The kind of evidence that has come nearest to its threshold; None while there is no evidence."""
        return max(self.evidence, key=lambda kind: self.evidence[kind].share, default=None)

    @property
    def label_figures(self) -> CheckFigures:
        """The figures of the last labels."""
        return msgspec.convert(self.figures, CheckFigures)


class ServedStatus(ModelStatus, frozen=True, kw_only=True):
    """A model's status, with what is wrong with the files that serve."""

    served_fault: str | None
    rows: RowCounts
    obstacle: str | None = None  # why the daemon does not watch it
    blind_spots: tuple[str, ...] = ()  # what of it is not watched, not evaluated or put off


class NotWatched(msgspec.Struct, frozen=True):
    """A model of the config that no daemon has watched yet."""

    model: str
    version: int | None
    obstacle: str | None = None


class FleetStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that `driftd status` says."""

    config: ConfigStanding | None
    override: OverrideInForce | None
    lapsed: str | None
    host: tuple[ActiveCondition, ...]
    models: Sequence[ServedStatus]
    not_watched: list[NotWatched]


def fleet_status(
    config: Config,
    places: Places,
    config_path: Path,
    only: str | None,
    metrics: ExportedValues | None = None,
    obstacles: Mapping[str, str] = MappingProxyType({}),
    source_faults: Mapping[str, str] = MappingProxyType({}),
) -> FleetStatus:
    """The status of all models or of one. What comes after `only` is what the daemon says, where one answers."""
    wanted = [name for name in config.models if only in {None, name}]
    now = time.time()
    found = pressings(metrics, wanted, now) if metrics is not None else ActiveConditions()
    found = with_source_faults(found, source_faults)
    models: list[ServedStatus] = []
    standing: ConfigStanding | None = None
    override = config.override
    try:
        with StateReader.read_only(places.state_db) as reader:
            states = [state for state in reader.models() if state.model in wanted]
            models = [
                _served_status(
                    reader, state, places, found.of.get(state.model, ()), metrics, config.models[state.model]
                )
                for state in states
            ]
            models = [_with_obstacle(status, obstacles.get(status.model)) for status in models]
            standing, in_force = config_standing(reader, config_path), reader.config_in_force()
            applied = readable(in_force) if in_force is not None else None
            override = applied.override if applied is not None else override
    except StateAbsentError:
        pass  # no daemon has run here yet: that is what is told of every model
    known = {status.model for status in models}
    registry = Registry(places)
    return FleetStatus(
        config=standing,
        override=override_in_force(override, now),
        lapsed=lapse_of(override, now),
        host=found.host,
        models=models,
        not_watched=[
            NotWatched(name, registry.current(name), obstacles.get(name)) for name in wanted if name not in known
        ],
    )


def _served_status(
    reader: StateReader,
    state: ModelState,
    places: Places,
    pressing: tuple[ActiveCondition, ...],
    metrics: ExportedValues | None,
    model: ModelConfig,
) -> ServedStatus:
    """A person must look first at what the state says, then at the versions on disk, then at what the daemon says."""
    status = model_status(reader, state, pressing, is_external=model.is_external)
    fault = served_fault(places, state.model, state.champion)
    needs = status.needs or fault or next(map(format_condition, pressing), None)
    rows = row_counts(metrics, state.model) if metrics is not None else RowCounts()
    status = msgspec.structs.replace(status, needs=needs)
    spots = blind_spots(metrics, state.model) if metrics is not None else ()
    return ServedStatus(**msgspec.structs.asdict(status), served_fault=fault, rows=rows, blind_spots=spots)


def _with_obstacle(status: ServedStatus, obstacle: str | None) -> ServedStatus:
    """A model that is not watched says so before all else."""
    if obstacle is None:
        return status
    return msgspec.structs.replace(status, obstacle=obstacle, needs=f"it is not watched: {obstacle}")


def model_status(
    reader: StateReader, state: ModelState, pressing: tuple[ActiveCondition, ...] = (), *, is_external: bool = False
) -> ModelStatus:
    """The status of one model, from the store."""
    newest = {kind: _newest(reader, state, kind) for kind in CHECKS}
    evidence = {key: value for kind in CHECKS for key, value in _evidence(newest[kind]).items()}
    last = newest["window"][0] if newest["window"] else None
    checked = next(iter(reader.newest_checks(state.model, "window", 1)), None)
    return ModelStatus(
        model=state.model,
        phase=state.phase,
        version=state.champion,
        needs=needs_person(state),
        wanted=state.want is not None,
        waits=state.waits,
        failures=state.failures,
        blocked=state.blocked,
        build=state.build,
        probation=state.probation,
        pinned=state.pinned,
        pin_refused=state.pin_refused,
        verdict=last.verdict if last else None,
        worst=_latest(newest).overall or "-",
        verdicts={kind: found.verdict for kind, found in evidence.items()},
        evidence=evidence,
        last_check=checked.at if checked else None,
        last_window=checked.window_index if checked else None,
        reason=last.reason if last else _not_checked(state, checked),
        learning=last.figures.get("learning") if last else None,
        figures=newest["labels"][0].figures if newest["labels"] else {},
        standing_alarms=[alarm.id for alarm in reader.standing_alarms(state.model, state.champion)],
        pressing=pressing,
        is_external=is_external,
        hand_over=state.hand_over,
        outside=outside_wait(reader, state),
        registry=state.registry,
        orders=order_views(state),
        version_asked=None if state.version_request is None else state.version_request.reason,
    )


def latest_verdicts(reader: StateReader, state: ModelState) -> LatestVerdicts:
    """What the last checks of the champion concluded, from the store."""
    return _latest({kind: _newest(reader, state, kind) for kind in CHECKS})


def _latest(newest: Mapping[str, list[StoredCheck]]) -> LatestVerdicts:
    last = {kind: checks[0].verdict if checks else None for kind, checks in newest.items()}
    kinds = {kind: tuple(found.verdict for found in _evidence(newest[kind]).values()) for kind in CHECKS}
    return LatestVerdicts(last["window"], last["labels"], kinds["window"], kinds["labels"])


def _evidence(checks: list[StoredCheck]) -> Mapping[str, KindEvidence]:
    """The evidence of the newest check that has any: an inconclusive one leaves it as it was."""
    return next((check.evidence for check in checks if check.evidence), {})


def _newest(reader: StateReader, state: ModelState, kind: str) -> list[StoredCheck]:
    """The last check, with those before it where it had nothing to say; not what was said before a swap or a reset."""
    last = reader.newest_checks(state.model, kind, 1)
    found = last if last and last[0].evidence else reader.newest_checks(state.model, kind, LOOKED_BACK)
    return list(takewhile(lambda check: _is_of(state, check), found))


def _is_of(state: ModelState, check: StoredCheck) -> bool:
    """Whether a check speaks of the evidence as it is gathered now."""
    return check.version in {None, state.champion} and check.at > state.evidence_since


def _not_checked(state: ModelState, checked: StoredCheck | None) -> str:
    return "no window was checked yet" if checked is None else f"no window of version {state.champion} was checked yet"


def needs_person(state: ModelState) -> str | None:
    """What a person must do, in one sentence; None when nothing."""
    if state.phase is Phase.AWAITING_APPROVAL and state.build is not None:
        version = state.build.candidate
        choice = f"`driftd approve {state.model} {version}` or `driftd reject {state.model} {version}`"
        merit = "is refreshed" if state.build.is_refresh else "won its gate"
        review = state.build.reviewers > 1 or state.build.review_until is not None
        return f"version {version} {merit}: {choice}{f' ({describe_review(state.build)})' if review else ''}"
    if state.hand_over is not None and is_awaited(state.hand_over):
        return describe_hand_over(state.model, state.hand_over)
    if state.pin_refused is not None:
        return f"the pin was refused: {state.pin_refused}"
    if state.blocked is not None:
        return f"the pipeline is broken, builds are blocked: {state.blocked}"
    if state.unattended is not None:
        alarm = state.unattended
        what = (
            f"no build for {kind_name(alarm.kind)} alarm {alarm.number} is under way: {state.waits or 'none was begun'}"
        )
        return f"{what} (`driftd acknowledge {state.model} {alarm.number}` if that is known)"
    return describe_registry(state.registry, state.build) if needs_look(state.registry) else None


def unseen_labels(figures: CheckFigures) -> list[str]:
    """That labels of the last evaluated cohort are no class of its version, in one sentence; nothing when all are."""
    strays = int(figures.unseen_labels)
    if not strays:
        return []
    labels = int(figures.labels or strays)
    return [f"{strays} of the last {labels} labels are outside the classes of the version; each counts as wrong"]


def sentences(status: ServedStatus) -> list[str]:
    """What there is to say of one model, most important first."""
    said = [f"{status.reason} ({status.verdict})" if status.verdict else status.reason]
    said += external_sentences(status)
    trouble = describe_registry(status.registry, status.build)
    said += [trouble] if trouble is not None and trouble != status.needs else []
    said += [order.sentence for order in status.orders]
    if status.served_fault and status.served_fault != status.needs:
        said.append(status.served_fault)
    said += [sentence for sentence in map(format_condition, status.pressing) if sentence != status.needs]
    said += status.blind_spots
    if status.rows.sentence:
        said.append(status.rows.sentence)
    said += unseen_labels(status.label_figures)
    loud = {kind: found for kind, found in status.evidence.items() if found.verdict is not Verdict.OK}
    said += [f"{kind_name(kind)} {found.verdict}: {found.sentence}" for kind, found in loud.items()]
    if status.learning:
        said.append(f"still {status.learning}")
    if status.build is not None:
        step = status.outside or f"at the step {status.build.step}"
        said.append(f"version {status.build.number} is being built, {step}")
    if status.probation is not None:
        sentence = describe_probation(status.probation.sentence) or "no labels yet"
        said.append(f"on probation since {format_minute(status.probation.since)}: {sentence}")
    if status.failures:
        times = "the last build failed" if status.failures == 1 else f"the last {status.failures} builds failed"
        said.append(f"{times}: `driftd history {status.model}` says why")
    if status.waits:
        said.append(f"a build is requested and waits: {status.waits}")
    if status.pinned is not None and status.pin_refused is None:
        said.append(f"version {status.pinned} is pinned by the override")
    if status.standing_alarms:
        alarms = ", ".join(map(str, status.standing_alarms))
        said.append(f"standing alarms: {alarms} (`driftd explain --alarm {status.standing_alarms[0]}` tells why)")
    return said


def not_watched(absent: NotWatched) -> str:
    """Why a model of the config is not in the state, and what to do."""
    version = absent.version
    if absent.obstacle is not None and version is not None:
        return f"it is not watched: {absent.obstacle}"
    if version is None:
        return "it has no version yet: `driftd init` makes the first"
    return f"version {version} serves, but no daemon has watched it yet: start `driftd run`"


def format_condition(condition: ActiveCondition) -> str:
    """What presses, on one line, with the command to begin with."""
    return f"{condition.sentence[:1].lower()}{condition.sentence[1:].rstrip('.')}: `{condition.command}`"
