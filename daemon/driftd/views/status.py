"""What `driftd status` says: gathered from the state and the registry, in sentences."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from driftd.config.schema import Config, OverrideConfig
from driftd.paths import Places
from driftd.records import ModelState, Phase
from driftd.registry import Registry
from driftd.store.state.reader import StateAbsentError, StateReader
from driftd.store.state.records import StoredCheck
from driftd.views.conditions import ActiveCondition, ActiveConditions, ExportedValues, pressings
from driftd.views.config import config_standing, override_in_force, readable
from driftd.views.formatting import when
from driftd.views.row_counts import RowCounts, row_counts

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
        return str(error)


def _stamp(folder: Path) -> Stamp:
    try:
        found = [(path.name, path.stat()) for path in folder.iterdir()]
    except OSError:
        return ()
    return tuple(sorted((name, told.st_size, told.st_mtime_ns) for name, told in found))


LOOKED_BACK = 50  # checks, for the last one that had something to say
WORST_FIRST = ("drift", "error", "suspected", "inconclusive", "ok")
LOUD = WORST_FIRST[:3]


def fleet_status(
    config: Config, places: Places, config_path: Path, only: str | None, shown: ExportedValues | None = None
) -> dict[str, Any]:
    """Everything that `driftd status` says, of all models or of one.

    `shown` are the metrics of the daemon, where one answers.
    """
    wanted = [name for name in config.models if only in {None, name}]
    found = pressings(shown, wanted, time.time()) if shown is not None else ActiveConditions()
    models: list[dict[str, Any]] = []
    standing: dict[str, Any] | None = None
    try:
        with StateReader.read_only(places.state_db) as reader:
            states = [state for state in reader.models() if state.model in wanted]
            models = [{**model_status(reader, state), "pressing": found.of.get(state.model, ())} for state in states]
            for one in models:
                one["rows"] = row_counts(shown, one["model"]) if shown is not None else RowCounts()
                one["served_fault"] = served_fault(places, one["model"], one["version"])
                one["needs"] = _needs(one)
            standing, in_force = config_standing(reader, config_path), reader.config_in_force()
            config = (readable(in_force) if in_force is not None else None) or config
    except StateAbsentError:
        pass  # no daemon has run here yet: that is what is told of every model
    known = {one["model"] for one in models}
    registry = Registry(places)
    unwatched = [{"model": name, "version": registry.current(name)} for name in wanted if name not in known]
    return {
        "config": standing,
        "override": override_of(config),
        "lapsed": lapsed(config.override, time.time()),
        "host": found.host,
        "models": models,
        "not_watched": unwatched,
    }


def _needs(one: Mapping[str, Any]) -> str | None:
    """What a person must do first: of the state, of its versions on the disk, or of what the daemon says."""
    pressing = next(iter(one["pressing"]), None)
    return one["needs"] or one["served_fault"] or (spoken(pressing) if pressing is not None else None)


def model_status(reader: StateReader, state: ModelState) -> dict[str, Any]:
    """Everything that `driftd status` says of one model."""
    newest = {kind: _newest(reader, state, kind) for kind in ("window", "labels")}
    evidence: dict[str, Any] = {}
    for checks in newest.values():  # an inconclusive check leaves the evidence as it was
        evidence |= next((check.evidence for check in checks if check.evidence), {})
    last = newest["window"][0] if newest["window"] else None
    checked = next(iter(reader.newest_checks(state.model, "window", 1)), None)
    return {
        "model": state.model,
        "phase": state.phase,
        "version": state.champion,
        "needs": needs_person(state),
        "wanted": state.want is not None,
        "waits": state.waits,
        "failures": state.failures,
        "blocked": state.blocked,
        "build": state.build,
        "probation": state.probation,
        "pinned": state.pinned,
        "pin_refused": state.pin_refused,
        "verdict": last.verdict if last else None,
        "verdicts": {kind: one["verdict"] for kind, one in evidence.items()},
        "evidence": evidence,
        "last_check": checked.at if checked else None,
        "last_window": checked.window_index if checked else None,
        "reason": last.reason if last else _not_checked(state, checked),
        "learning": last.figures.get("learning") if last else None,
        "figures": newest["labels"][0].figures if newest["labels"] else {},
        "standing_alarms": [alarm.id for alarm in reader.standing_alarms(state.model, state.champion)],
    }


def _newest(reader: StateReader, state: ModelState, kind: str) -> list[StoredCheck]:
    """The last check, with those before it where it had nothing to say; what was said of an earlier version is over."""
    last = reader.newest_checks(state.model, kind, 1)
    found = last if last and last[0].evidence else reader.newest_checks(state.model, kind, LOOKED_BACK)
    return [check for check in found if check.version in {None, state.champion}]


def _not_checked(state: ModelState, checked: StoredCheck | None) -> str:
    return "no window was checked yet" if checked is None else f"no window of version {state.champion} was checked yet"


def needs_person(state: ModelState) -> str | None:
    """What a person must do, in one sentence; None when nothing."""
    if state.phase is Phase.AWAITING_APPROVAL and state.build is not None:
        version = state.build.number
        choice = f"`driftd approve {state.model} {version}` or `driftd reject {state.model} {version}`"
        return f"version {version} won its gate: {choice}"
    if state.pin_refused is not None:
        return f"the pin was refused: {state.pin_refused}"
    if state.blocked is not None:
        return f"the pipeline is broken, builds are blocked: {state.blocked}"
    return None


def unseen_labels(figures: Mapping[str, Any]) -> list[str]:
    """That labels of the last evaluated cohort are no class of its version, in one sentence; nothing when all are."""
    strays = int(figures.get("unseen_labels") or 0)
    if not strays:
        return []
    labels = int(figures.get("labels") or strays)
    return [f"{strays} of the last {labels} labels are outside the classes of the version; each counts as wrong"]


def lapsed(override: OverrideConfig, now: float) -> str | None:
    """What of the override stands in the config and has no effect any more; None when all of it has."""
    if override.expires is not None and override.expires.timestamp() <= now:
        return f"the override lapsed at {override.expires.isoformat()} and has no effect: remove it from the config"
    over = [
        f"{feature} of {model}"
        for model, features in override.silence.items()
        for feature, until in features.items()
        if until.timestamp() <= now
    ]
    return f"the silence of {', '.join(over)} lapsed: remove it from the config" if over else None


def override_of(config: Config) -> dict[str, Any] | None:
    """The override in force, None when there is none."""
    expires = config.override.expires
    set_keys = config.override.model_dump(mode="json", exclude_defaults=True)
    return override_in_force(set_keys, expires.timestamp() if expires is not None else None)


def sentences(one: dict[str, Any]) -> list[str]:
    """What there is to say of one model, most important first."""
    said = [f"{one['reason']} ({one['verdict']})" if one["verdict"] else one["reason"]]
    if one.get("served_fault") and one["served_fault"] != one["needs"]:
        said.append(one["served_fault"])
    said += [told for told in map(spoken, one.get("pressing", ())) if told != one["needs"]]
    if one.get("rows") is not None and one["rows"].sentence:
        said.append(one["rows"].sentence)
    said += unseen_labels(one["figures"])
    loud = [kind for kind, found in one["evidence"].items() if found["verdict"] != "ok"]
    said += [f"{kind} {one['verdicts'][kind]}: {one['evidence'][kind]['sentence']}" for kind in loud]
    if one["learning"]:
        said.append(f"still learning: {one['learning']}")
    if one["build"] is not None:
        said.append(f"version {one['build'].number} is being built, at the step {one['build'].step}")
    if one["probation"] is not None:
        said.append(
            f"on probation since {when(one['probation'].since)}: {one['probation'].sentence or 'no labels yet'}"
        )
    if one["waits"]:
        said.append(f"a build is wanted and waits: {one['waits']}")
    if one["pinned"] is not None and one["pin_refused"] is None:
        said.append(f"version {one['pinned']} is pinned by the override")
    if one["standing_alarms"]:
        alarms = ", ".join(map(str, one["standing_alarms"]))
        said.append(f"standing alarms: {alarms} (`driftd explain --alarm {one['standing_alarms'][0]}` tells why)")
    return said


def not_watched(version: int | None) -> str:
    """Why a model of the config is not in the state, and what to do."""
    if version is None:
        return "it has no version yet: `driftd init` makes the first"
    return f"version {version} serves, but no daemon has watched it yet: start `driftd run`"


def spoken(one: ActiveCondition) -> str:
    """What presses, on one line, with the command to begin with."""
    return f"{one.sentence[:1].lower()}{one.sentence[1:].rstrip('.')}: `{one.command}`"


def spoken_override(override: dict[str, Any]) -> str:
    """What an override asks, until when and why."""
    words = [f"{key} {value}" for key, value in override.items() if key not in {"reason", "expires"}]
    until = f" until {override['expires']}" if "expires" in override else ""
    return f"{'; '.join(words)}{until}: {override.get('reason')}"


def worst_verdict(one: dict[str, Any]) -> str:
    """The worst verdict of a model's last checks; a dash for none.

    What was well before says nothing of a last window that could not be judged.
    """
    verdicts = [*one["verdicts"].values(), one["verdict"]]
    loud = next((verdict for verdict in LOUD if verdict in verdicts), None)
    return str(loud or one["verdict"] or next(iter(one["verdicts"].values()), "-"))
