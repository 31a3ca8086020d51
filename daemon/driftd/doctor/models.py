"""Each model: its source answers, its trainer can be imported, its loop moves, its versions are whole."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

from driftd.config.model_schema import ModelConfig
from driftd.config.object_store_schema import scheme_of
from driftd.doctor.installation import Finding, Installation, fail, ok, warn
from driftd.doctor.stages import builder_reach
from driftd.errors import raise_shortage
from driftd.formatting import format_time
from driftd.fsutil import sha256_of
from driftd.loop.backtest import eras_of
from driftd.loop.config_history import monitor_settings
from driftd.loop.resume import EvidenceUnreadableError, read_monitor
from driftd.loop.supervision import SourceDamagedError, SourceHangsError, TimeoutWorker
from driftd.observe.alert_rule import silent_after
from driftd.observe.model_families import SET_ASIDE
from driftd.records import ModelState, Phase, Verdict, Window
from driftd.registry import ManifestError, Registry
from driftd.sources import open_source
from driftd.sources.open import ENGINES, paths_of
from driftd.sources.protocol import Extent, default_lateness
from driftd.stattests import EVIDENTLY
from driftd.store.integrity import damage_marked
from driftd.store.state.reader import StateReader
from driftd.store.state.records import StoredCheck
from driftd.store.subprocesses import PROBE_SECONDS, ChildError, probe_hangs, run_apart
from driftd.views.other_systems import describe_hand_over, describe_registry, is_awaited
from driftd.views.status import needs_person
from driftd_detectors.reference import Reference
from driftd_detectors.schema import Schema, is_own

_SOURCE_SECONDS, _IMPORT_SECONDS, _SPARE_SECONDS = 30.0, 120.0, 900.0
_WINDOWS_LATE = 3.0
_NOT_JUDGED = 12  # windows in a row that had nothing to say
_PUT_OFF = 900.0  # seconds that an action may wait for a free process
_LONG_ACTION = 1.5  # times limits.timeout


def sources(installation: Installation) -> Iterator[Finding]:
    """The source of each model answers in time and has something."""
    registry = Registry(installation.places)
    for name, model in installation.config.models.items():
        served = registry.current(name)
        if served is None and installation.places.current(name).is_symlink():
            continue  # told by the check of versions
        if served is None:
            yield warn(name, "has no version yet", "driftd init trains the first one (driftd init --help)")
        elif damage_marked(installation.places.events_db(name)) is None:  # else told by the check of databases
            yield from _source(installation, name, model, registry.readable(name, served).schema)


def _source(installation: Installation, name: str, model: ModelConfig, schema: Schema) -> Iterator[Finding]:
    extent = _extent(installation, name, model, schema)
    if isinstance(extent, Finding):
        yield extent
        return
    yield _silence(name, model, extent, installation.now) or source_finding(
        name, model.source.kind, extent, _store_of(model)
    )
    for remark in extent.remarks:
        yield warn(name, f"its source ({model.source.kind}): {remark}", "see `source` in docs/configuration.md")


def _extent(installation: Installation, name: str, model: ModelConfig, schema: Schema) -> Extent | Finding:
    """What the source has, after a row of it was read as the daemon would; or why that failed."""
    if probe_hangs(paths_of(name, model, installation.places)):
        said = f"its source ({model.source.kind}) does not answer within {PROBE_SECONDS:.0f} s"
        return fail(name, f"{said}: its windows wait", "bring its mount, disk or database back")
    guard = TimeoutWorker(name, _SOURCE_SECONDS)
    try:
        source = open_source(name, model, schema, installation.places)
        extent = guard.run(source.refresh, installation.now)
        if extent.rows and model.source.kind in {"store", "files"}:
            newest = Window(0, extent.rows - 1, extent.rows, by="rows")
            guard.run(lambda: [columns.rows for columns, _ in source.chunks(newest)])
            extent = guard.run(source.refresh, installation.now)
        guard.run(source.close)
    except SourceDamagedError as error:
        todo = installation.command(f"restore --events {name}")
        return fail(name, f"its event store is damaged: {error}", todo)
    except SourceHangsError as error:
        return fail(name, str(error), "bring its mount, disk or database back: windows wait for it")
    except Exception as error:  # noqa: BLE001 - whatever a source raises is what is to be told
        return fail(name, f"its source ({model.source.kind}) fails: {error}", "correct `source` or what it names")
    finally:
        guard.close()
    return extent


def _silence(name: str, model: ModelConfig, extent: Extent, now: float) -> Finding | None:
    """That a sound source has said nothing for longer than the alert on it waits."""
    limit = silent_after(model.window.every or 0.0)
    if extent.faults or extent.newest_at is None or now - extent.newest_at <= limit:
        return None
    said = f"its source ({model.source.kind}) answers, but its newest prediction is {_ago(now - extent.newest_at)}"
    return warn(name, said, "does the application still log, and into this source?")


def _store_of(model: ModelConfig) -> str | None:
    """The prefix in an object store that a source reads, if it reads one."""
    if model.source.kind != "files" or scheme_of(model.source.path) is None:
        return None
    return model.source.path


_TODO_OF_FILES = "mount it, mend it, move it away, correct `source`, or let the user of the services read it"
_PAGES = {"sql": "docs/your-warehouse.md", "spark": "docs/your-spark-cluster.md"}


def source_finding(name: str, kind: str, extent: Extent, store: str | None = None) -> Finding:
    """What to say of a source that answered: its faults, or how many rows it has and how many were set aside.

    `store` is the prefix of an object store, where it reads one.
    """
    if extent.faults:
        more = f" (and {len(extent.faults) - 1} more)" if len(extent.faults) > 1 else ""
        todo = f"what the sentence says; see {_PAGES[kind]}" if kind in _PAGES else _TODO_OF_FILES
        return fail(name, f"its source ({kind}): {extent.faults[0]}{more}", todo)
    if kind in ENGINES and extent.newest_at is not None:
        return ok(name, f"its source ({kind}) answers: its newest prediction is of {format_time(extent.newest_at)}")
    if extent.rows:
        aside = _set_aside(extent)
        where = "" if store is None else f" in {extent.files:,} objects of {store}"
        return ok(name, f"its source ({kind}) answers: {extent.rows:,} predictions so far{where}{aside}")
    todo = "does the application log with the SDK, driftd serve, or into these files?"
    return warn(name, f"its source ({kind}) answers, but has no prediction", todo)


def _set_aside(extent: Extent) -> str:
    """Where the other rows are, as the metrics count them."""
    reasons = {
        **{reason: reason.replace("_", " ") for reason in SET_ASIDE},
        "late": "late",
        "unjoined": "labels unjoined",
    }
    parts = [f"{extent.counts[key]:,.0f} {words}" for key, words in reasons.items() if extent.counts.get(key)]
    return f" (besides: {', '.join(parts)})" if parts else ""


def trainers(installation: Installation) -> Iterator[Finding]:
    """Each trainer, metric and detector of the user can be found, as a build would: imported apart from us."""
    yield from own_functions(installation)
    for name, model in installation.config.models.items():
        if model.trainer is None:
            yield ok(name, "no trainer is configured: a new version is asked for where one would be built")
            continue
        if not isinstance(model.trainer, str):
            program, todo = model.trainer.program, "install it, or give its whole path"
            if program is None:
                yield builder_reach(name, model.trainer, installation)
            elif shutil.which(program) is None:
                yield fail(name, f"its trainer's program {program!r} is not found", todo)
            else:
                yield ok(name, f"its trainer's program is {shutil.which(program)}")
            continue
        try:
            run_apart("driftd.doctor.import_trainer", [model.trainer], _IMPORT_SECONDS)
        except ChildError as error:
            todo = "install its package into driftd's environment, or put its folder on PYTHONPATH of the unit"
            yield fail(name, f"its trainer {model.trainer} cannot be imported: {error}", todo)
        else:
            yield ok(name, f"its trainer {model.trainer} can be imported")


def own_functions(installation: Installation) -> Iterator[Finding]:
    """Each metric and detector of the user can be imported, in a process of its own."""
    for name, model in installation.config.models.items():
        metric = model.detect.performance.metric_name
        wanted = [metric] if is_own(metric) else []
        wanted += [detector.use for detector in model.detect.detectors if is_own(detector.use)]
        for use in dict.fromkeys(use for use in wanted if not use.startswith((EVIDENTLY, "plugin:"))):
            try:
                run_apart("driftd.doctor.import_trainer", [use], _IMPORT_SECONDS)
            except ChildError as error:
                todo = "install its package into driftd's environment, or put its folder on PYTHONPATH of the unit"
                yield fail(name, f"{use} cannot be imported: {error}", todo)
            else:
                yield ok(name, f"{use} can be imported")


def hand_overs(installation: Installation) -> Iterator[Finding]:
    """Of models that another system serves: what tells that system is there, and nothing awaits its confirmation."""
    states = installation.states()
    external = {name: model for name, model in installation.config.models.items() if model.is_external}
    if not external:
        yield ok("hand-overs", "driftd serves every model itself")
    for name, model in external.items():
        way, program = model.deploy.way, (model.deploy.command or ("",))[0]
        if way == "command" and shutil.which(program) is None:
            yield fail(name, f"the program {program!r} of deploy is not found", "install it, or give its whole path")
        else:
            by = f"by {way}" if way is not None else "by people, who are told of it"
            yield ok(name, f"another system serves it; a version is handed over {by}")
        state = states.get(name)
        if state is not None and state.hand_over is not None and is_awaited(state.hand_over):
            todo = f"`{installation.command(f'confirm {name} {state.hand_over.version}')}` once that is so"
            yield warn(name, describe_hand_over(name, state.hand_over), todo)


def registries(installation: Installation) -> Iterator[Finding]:
    """Of models whose versions are registered: MLflow is installed, and what is owed there is done."""
    states = installation.states()
    placed = {name: model.registry.mlflow for name, model in installation.config.models.items()}
    if not any(placed.values()):
        yield ok("registries", "no registry of models is configured")
    for name, mlflow in placed.items():
        if mlflow is None:
            continue
        if importlib.util.find_spec("mlflow") is None:
            yield fail(name, "MLflow is not installed, so no version can be registered", "pip install 'driftd[mlflow]'")
            continue
        state = states.get(name)
        known = None if state is None else state.registry
        said = f"its versions are registered as {mlflow.name}"
        if known is None or state is None or known.where != mlflow.where:
            yield warn(name, f"nothing is known yet of {mlflow.name} in MLflow", "start the daemon: it asks at once")
        elif (trouble := describe_registry(known, state.build)) is not None:
            yield warn(name, trouble, "see `registry-fails` and `alias-moved` in docs/runbook.md")
        elif known.alias is None:
            yield warn(name, f"{said}, and the alias {mlflow.alias} is being moved", "ask again in a minute")
        else:
            yield ok(name, f"{said}, and the alias {mlflow.alias} names version {known.alias}")


def evidence(installation: Installation) -> Iterator[Finding]:
    """The stored evidence of each model can be read, against the reference of the version that serves."""
    registry = Registry(installation.places)
    with installation.reader() as reader:
        for name, model in installation.config.models.items():
            stored = reader.monitor(name)
            if stored is None:
                yield warn(name, "no evidence is gathered yet", "start the daemon; a first window brings the first")
                continue
            version, _, content = stored
            try:
                reference = Reference.from_bytes(registry.file(name, version, "reference.bin").read_bytes())
                read_monitor(reference, monitor_settings(model), name, content)
            except ManifestError as error:
                yield warn(name, f"its evidence could not be looked at: {error}", "see the findings on versions")
            except EvidenceUnreadableError as error:
                todo = installation.command(f"reset-evidence {name} --why ...")
                yield fail(
                    name, str(error).partition(": `")[0], f"`{todo}` begins it anew; restore goes back to a backup"
                )
            else:
                yield ok(name, f"its evidence against version {version} can be read ({len(content):,} bytes)")


def progress(installation: Installation) -> Iterator[Finding]:
    """Checks keep up with their windows, actions end, builds do not fail again and again."""
    with installation.reader() as reader:
        states = {state.model: state for state in reader.models()}
        for name in installation.config.models:
            state = states.get(name)
            if state is None:
                yield warn(name, "is not under watch yet", "start the daemon; `driftd init` trains a first version")
                continue
            last = reader.checks(name, _NOT_JUDGED, "window")
            faults = [*_check_last(installation, state, last), *_check_actions(installation, name, reader)]
            faults += _check_judged(name, last)
            needs = needs_person(state) if state.hand_over is None else None  # else told by the check of hand-overs
            if needs is not None and not state.failures:
                faults.append(warn(name, needs, "see `driftd status`"))
            if state.failures:
                todo = f"`{installation.command(f'explain last --model {name}')}` and the log of the job say why"
                faults.append(warn(name, f"{state.failures} builds failed in a row", todo))
            yield from faults
            if not faults and not last:
                yield warn(name, f"is {state.phase}, and no window of it was checked yet", "wait for a whole window")
            elif not faults:
                yield ok(name, f"is {state.phase}, its last window was checked {_ago(installation.now - last[0].at)}")


def _check_last(installation: Installation, state: ModelState, last: list[StoredCheck]) -> Iterator[Finding]:
    window, name = installation.config.models[state.model].window, state.model
    if not last:
        return
    if window.every is not None and state.phase is not Phase.PAUSED:
        lateness = window.lateness if window.lateness is not None else default_lateness(window)
        behind = installation.now - last[0].window_end
        if -behind > window.every + _SPARE_SECONDS:
            said = f"windows until {format_time(last[0].window_end)} count as checked: the clock was ahead"
            todo = f"set the clock; then {installation.command(f'reset-cursor {name}')}"
            yield fail(name, said, todo)
        if behind > _WINDOWS_LATE * window.every + lateness + _SPARE_SECONDS:
            todo = "is the daemon running, and its source answering? See `driftd status`"
            yield fail(name, f"the last checked window ended {behind / window.every:.0f} windows ago", todo)
    if last[0].verdict is Verdict.ERROR:
        yield fail(name, f"its last check failed: {last[0].reason}", "see the findings on its source")


def _check_judged(name: str, last: list[StoredCheck]) -> Iterator[Finding]:
    if len(last) == _NOT_JUDGED and all(check.verdict is Verdict.INCONCLUSIVE for check in last):
        said = f"none of its last {_NOT_JUDGED} windows could be judged: {last[0].reason}"
        yield warn(name, said, f"set a longer window, such as `models.{name}.window: {{every: 1d}}`, or more rows")


def _check_actions(installation: Installation, name: str, reader: StateReader) -> Iterator[Finding]:
    for action in reader.open_actions(name):
        waited = installation.now - action.intended_at
        if action.started_at is None and waited > _PUT_OFF:
            said = f"its action {action.id} ({action.kind}) was decided {_ago(waited)} and is still put off"
            yield warn(name, said, "others are at work, or the override pauses it: see `driftd status`")
            continue
        hours = (installation.now - (action.started_at or action.intended_at)) / 3600
        if hours * 3600 > _LONG_ACTION * installation.config.limits.timeout:
            said = f"its action {action.id} ({action.kind}) is open for {hours:.1f} h"
            yield warn(name, said, f"see jobs/{name}-{action.id}-{action.kind}/log.txt in state_dir")


def _ago(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h ago" if seconds > 3600 else f"{seconds / 60:.0f} min ago"  # noqa: PLR2004 - an hour


_FROM_COPY = "put its folder back from your own backup of models/"


def versions(installation: Installation) -> Iterator[Finding]:
    """Every file of every version matches its hash; every snapshot its name; the link names the champion."""
    registry, states = Registry(installation.places), installation.states()
    for name in installation.config.models:
        state = states.get(name)
        faults = dict(_faults(registry, name))
        champion, served = (state.champion if state else None), registry.current(name)
        way_back = _rollback_hint(installation, registry, name, state, faults)
        link = list(_link(installation, name, champion, served, way_back))
        yield from link
        for version, said in faults.items():
            if version in (champion, served):
                yield fail(name, f"version {version}, which serves, is damaged: {said}", f"{_FROM_COPY}, or {way_back}")
            else:
                yield warn(name, f"version {version} is damaged: {said}", _FROM_COPY)
        if not faults and not link:
            yield ok(name, f"{len(registry.versions(name))} versions match their hashes, version {served} serves")
        yield from _snapshots(installation, name)


def _link(
    installation: Installation, name: str, champion: int | None, served: int | None, way_back: str
) -> Iterator[Finding]:
    """What is wrong with `current`."""
    link = installation.places.current(name)
    names = f"the link names version {served}"
    if served is None and link.is_symlink():
        names = f"the link {link} names {link.readlink()}, which is not there"
    if champion is None:
        if served is None and link.is_symlink():
            yield fail(name, names, f"{_FROM_COPY}, or point the link to a version that is there: ln -sfn versions/N")
    elif not installation.places.version(name, champion).is_dir():
        yield fail(name, f"{names}; the store says {champion}, whose folder is gone", f"{_FROM_COPY}, or {way_back}")
    elif served != champion:
        todo = "sudo systemctl restart driftd: it points the link to its champion (or says why it cannot)"
        yield fail(name, f"{names}, the store says {champion}", todo)


def _rollback_hint(
    installation: Installation, registry: Registry, name: str, state: ModelState | None, faults: dict[int, str]
) -> str:
    """How to go back to the last version that served, is whole and is not barred: a challenger never proved itself."""
    if state is None:
        return "train the model anew under another name: no other version of it ever served"
    if state.pinned is not None:
        return f"pin another version than {state.pinned} in the config's override"
    with installation.reader() as reader:
        served = [era.version for era in eras_of(reader.history(name, limit=-1))]
    whole = set(registry.versions(name)) - set(faults) - {state.champion, *state.barred}
    good = [version for version in served if version in whole]
    if not good:
        return f"build it again: `{installation.command(f'retrain {name} --why damaged')}` (no other version served)"
    return f"go back: `{installation.command(f'rollback {name} --to {good[-1]} --why damaged')}`"


def _faults(registry: Registry, name: str) -> Iterator[tuple[int, str]]:
    for version in registry.versions(name):
        try:
            for file in registry.manifest(name, version).files:
                registry.file(name, version, file)
        except (ManifestError, OSError) as error:
            raise_shortage(error)
            yield version, str(error)


def _snapshots(installation: Installation, name: str) -> Iterator[Finding]:
    folder = installation.places.snapshot(name, "x").parent
    found = sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    broken = [path.name[:12] for path in found if not _matches(path)]
    if broken:
        todo = "restore them from your own backup: versions built from them cannot be reproduced without"
        yield warn(name, f"snapshots {', '.join(broken)} do not match their names", todo)


def _matches(snapshot: Path) -> bool:
    data = snapshot / "data.parquet"
    return data.is_file() and sha256_of(data) == snapshot.name
