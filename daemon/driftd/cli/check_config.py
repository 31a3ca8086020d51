"""What a config means, what is wrong with its sources at a first look, and whether a daemon takes it by a reload."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from driftd.cli.build_summary import loop_sentences
from driftd.config.detect_schema import Data
from driftd.config.load import ConfigError
from driftd.config.model_schema import ModelConfig
from driftd.config.named_plugins import plugin_faults
from driftd.config.object_store_schema import scheme_of
from driftd.config.redact import redacted_dict
from driftd.config.schema import Access, Config, ModelOverride, OverrideConfig, Receiver
from driftd.config.source_schema import FilesSourceConfig, ProfilesSourceConfig
from driftd.config.types import spell_duration
from driftd.decisions import DEFAULT
from driftd.entry_points import installed_plugins
from driftd.loop.config_history import monitor_settings
from driftd.loop.supervision import SourceHangsError, TimeoutWorker
from driftd.paths import Places
from driftd.registry import Registry
from driftd.sources import open_source
from driftd.sources.files import FilesSource
from driftd.sources.open import paths_of
from driftd.store.descriptors import describe_capacity
from driftd.store.state.reader import StateAbsentError, StateReader
from driftd.store.subprocesses import PROBE_SECONDS, probe_hangs
from driftd_detectors.schema import Feature, Schema
from driftd_detectors.settings import FEWEST_WINDOWS

_SECONDS = 20.0


def require_libraries(config: Config, path: Path) -> None:
    """Raise ConfigError where a stage names a library that is not installed here: its builds would all fail."""
    for name, model in config.models.items():
        for key, module, command in model.stages.libraries():
            if importlib.util.find_spec(module) is None:
                said = f"{path}: models.{name}.stages.{key}: {module} is not installed here: {command}"
                raise ConfigError(said)


@dataclass(frozen=True, slots=True)
class SourceLook:
    """What a first look at the files of one model found: what is wrong, by the key in the config, and how many."""

    model: str
    warnings: tuple[str, ...]
    objects: str | None = None  # a sentence, of an object store that answered


def look_at_sources(config: Config) -> Iterator[SourceLook]:
    """Look at the files of each model as a check would. They may come later, or be for another user."""
    for name, model in config.models.items():
        if isinstance(model.source, FilesSourceConfig):
            counts: list[int] = []
            warnings = [f"models.{name}.source: {said}" for said in _sentences(name, model, config, counts)]
            path = model.source.path
            is_counted = counts and counts[0] and scheme_of(path) is not None
            yield SourceLook(name, tuple(warnings), f"{path} answers: {counts[0]:,} objects" if is_counted else None)
        elif model.source.kind == "delta" and model.retrain.data.keep == "in_place":
            said = (
                "rows stay in a Delta table, whose old versions go by its delta.deletedFileRetentionDuration (a week "
                "unless it is set): then no version is built again; raise it, or leave keep: in_place out"
            )
            yield SourceLook(name, (f"models.{name}.source: {said}",))
        elif isinstance(model.source, ProfilesSourceConfig) and not Path(model.source.path).is_dir():
            said = f"the folder {model.source.path} is not there yet: `driftd profile-job {name}` makes it"
            yield SourceLook(name, (f"models.{name}.source: {said}",))


def source_warnings(config: Config) -> Iterator[str]:
    """What is wrong with the plug-ins that are named, and with the files of each model."""
    yield from plugin_faults(config)
    for look in look_at_sources(config):
        yield from look.warnings


def _sentences(name: str, model: ModelConfig, config: Config, counts: list[int]) -> Iterator[str]:
    """What is wrong with the files of a model; how many there are is added to `counts`."""
    if probe_hangs(paths_of(name, model, Places(config.state_dir))):
        yield f"did not answer within {PROBE_SECONDS:.0f} s: look whether its files can be reached"
        return
    guard = TimeoutWorker(name, _SECONDS)
    with TemporaryDirectory(prefix="driftd-preview-") as scratch:
        try:
            source = open_source(name, model, _schema(config, name, model), Places(Path(scratch)))
            assert isinstance(source, FilesSource)
            found = guard.run(source.preview, time.time())
        except SourceHangsError:
            yield f"did not answer within {_SECONDS:.0f} s: look whether its files can be reached"
            return
        except Exception as error:  # noqa: BLE001 - whatever a source raises is what is to be told
            yield str(error)
            return
        finally:
            guard.close()
    counts.append(found.files)
    yield from found.faults
    yield from found.remarks
    if not found.rows and not found.faults:
        yield "there is no row yet"


def _schema(config: Config, name: str, model: ModelConfig) -> Schema:
    """The schema of the version that serves; else what the config says of it, which may be no feature at all."""
    registry = Registry(Places(config.state_dir))
    served = registry.current(name)
    if served is not None:
        try:
            return registry.readable(name, served).schema
        except Exception:  # noqa: BLE001, S110 - the versions are not what is asked for here
            pass
    features = tuple(Feature(feature, kind) for feature, kind in (model.features or {}).items())
    return Schema(model.task, model.target, features)


def meaning(config: Config, now: float) -> dict[str, list[str]]:
    """Sentences by what they are about: each model, then the whole. `now` tells which overrides have lapsed."""
    meanings = {name: _model(model) for name, model in config.models.items()}
    meanings["driftd"] = [
        f"watches {describe_capacity(len(config.models))[0]}",
        f"keeps everything in {config.state_dir}: events for {spell_duration(config.retention.events)}, "
        f"checks for {spell_duration(config.retention.checks)}",
        f"the daemon answers on {_address(config.http)}/metrics, driftd serve on {_address(config.serve)}",
    ]
    if config.notify:
        meanings["notify"] = [f"{name}: {_receiver(receiver)}" for name, receiver in config.notify.items()]
    if plugins := installed_plugins():
        meanings["plug-ins"] = [f"installed: {plugin}" for plugin in plugins]
    if sentences := _override(config.override, now):
        meanings["override"] = sentences
    return meanings


def _address(access: Access) -> str:
    return f"{'http' if access.tls is None else 'https'}://{access.listen}"


def _model(model: ModelConfig) -> list[str]:
    return [
        f"{model.task} of {model.target}{_features(model)}, {_source(model)}",
        *_describe_serving(model),
        *_describe_registry(model),
        _windows(model),
        *_budget(model),
        *loop_sentences(model),
    ]


def _describe_serving(model: ModelConfig) -> list[str]:
    """Nothing of a model that driftd serves: it is what one expects."""
    if not model.is_external:
        return []
    deploy = model.deploy
    way = {
        None: "people, who are told and confirm",
        "command": f"the program {deploy.command[0] if deploy.command else ''}",
        "webhook": "a webhook",
        "webhook_file": f"the webhook in {deploy.webhook_file}",
        "plugin": f"the plug-in {deploy.plugin}",
        "mlflow": "" if deploy.mlflow is None else f"MLflow's alias {deploy.mlflow.name}@{deploy.mlflow.alias}",
    }[deploy.way]
    return [
        "another system serves it: driftd watches what that predicts, and predicts nothing itself",
        f"hands a version over by {way}, and takes it back unless it is confirmed within "
        f"{spell_duration(deploy.confirm_within)}",
    ]


_MOVED = {
    "tell": "tells people when somebody moves it",
    "restore": "moves it back when somebody moves it",
    "follow": "serves the version that somebody moves it to, where that is one of driftd's",
}


def _describe_registry(model: ModelConfig) -> list[str]:
    """Where versions are registered, and what is missing for that."""
    mlflow, plugin = model.registry.mlflow, model.registry.plugin
    if plugin is not None:
        return [f"registers each version by the plug-in {plugin.plugin}; {_MOVED[plugin.moved]}"]
    if mlflow is None:
        return []
    where = mlflow.tracking_uri or "the server that MLFLOW_TRACKING_URI names"
    wait = "" if model.is_external else ", and promotes a version once it does"
    said = [
        f"registers each version with {where}, as {mlflow.name}; has {mlflow.name}@{mlflow.alias} name the one that "
        f"serves{wait}; {_MOVED[mlflow.moved]}"
    ]
    if importlib.util.find_spec("mlflow") is None:
        said.append("MLflow is not installed here, so nothing can be registered: pip install 'driftd[mlflow]'")
    return said


def _features(model: ModelConfig) -> str:
    return f" from {len(model.features)} features" if model.features is not None else ""


def _source(model: ModelConfig) -> str:
    source = model.source
    labels = getattr(source, "labels", None)
    tables = f"{getattr(source, 'predictions', '')}{f' and {labels}' if labels else ''}"
    match source.kind:
        case "files":
            said = f"the files {source.path}"
        case "profiles":
            said = f"the windows that a job of yours counts into {source.path}"
        case "plugin":
            said = f"the plug-in {source.plugin}"
        case "sql":
            said = f"the tables {tables} of {source.url}"
        case "spark":
            said = f"the tables {tables} of {source.remote}"
        case "delta":
            said = f"the Delta tables {tables}"
        case "iceberg":
            said = f"the Iceberg tables {tables} of {source.catalog.uri}"
        case _:
            said = "the embedded event store"
    return f"read from {said}"


def _windows(model: ModelConfig) -> str:
    if model.window.every is not None:
        every = spell_duration(model.window.every)
        return f"looks at every {every} of predictions, and again at their labels when these came"
    return f"looks at every {model.window.rows} predictions, and again at their labels when these came"


def _budget(model: ModelConfig) -> list[str]:
    settings = monitor_settings(model)
    pace = "" if model.window.every is not None else " if a window comes about every hour"
    sentences = [
        f"false alarms: {settings.budget.promise}{pace}, over everything that is watched together "
        f"({settings.budget.windows_between_alarms:,.0f} clean windows from one to the next)"
    ]
    if settings.budget.is_capped:
        asked, a_year = settings.false_alarms_per_year, settings.windows_per_year
        sentences.append(
            f"false_alarms_per_year: {asked:g} would be one in {a_year / asked:.2g} windows, which evidence cannot "
            f"keep: it is held to one in {FEWEST_WINDOWS:.0f} ({a_year / FEWEST_WINDOWS:.2g} a year). "
            "Shorten the windows, or lower the number"
        )
    performance = model.detect.performance
    if performance.tolerated_loss is not None:
        sentences.append(f"tolerates {performance.metric} worse by {performance.tolerated_loss:g}")
    sentences += _data(model.detect.data)
    return sentences


def _data(data: Data) -> list[str]:
    sentences = []
    if data.ignore:
        sentences.append(f"does not look at {', '.join(data.ignore)}")
    if data.stattests:
        tests = ", ".join(f"{test} of {feature}" for feature, test in data.stattests.items())
        sentences.append(f"asks Evidently for a second opinion by {tests}")
    return sentences


def _receiver(receiver: Receiver) -> str:
    if receiver.plugin is not None:
        way = f"the plug-in {receiver.plugin}"
    elif receiver.command is not None:
        way = f"the program {receiver.command[0]}"
    else:
        way = "a webhook" if receiver.webhook is not None else f"the webhook in {receiver.webhook_file}"
    what = "what needs to be known (`default`)" if receiver.on == (DEFAULT,) else ", ".join(receiver.on)
    return f"{way} is told of {what}, of {', '.join(receiver.models) or 'all models'}"


def _override(override: OverrideConfig, now: float) -> list[str]:
    of_models = [_of_model(name, own, now) for name, own in override.models.items()]
    if override.expires is not None and override.expires.timestamp() <= now:
        lapsed = f"it lapsed at {override.expires.isoformat()} and has no effect: remove it ({override.reason})"
        return [lapsed, *of_models]
    said = [f"pauses {', '.join(override.pause)}"] if override.pause else []
    said += [f"{name} serves exactly version {version}" for name, version in override.pin.items()]
    said += [
        f"{feature} of {name} raises no alarm until {until.isoformat()}"
        if until.timestamp() > now
        else f"{feature} of {name} raises alarms again: its silence lapsed at {until.isoformat()}"
        for name, features in override.silence.items()
        for feature, until in features.items()
    ]
    said += [f"a build of {name} is requested: {text}" for name, text in override.retrain.items()]
    said += [f"version {version} of {name} is approved" for name, version in override.approve.items()]
    said += [f"version {version} of {name} is rejected" for name, version in override.reject.items()]
    until = f" until {override.expires.isoformat()}" if override.expires is not None else ""
    return [*(f"{sentence}{until} ({override.reason})" for sentence in said), *of_models]


def _of_model(name: str, own: ModelOverride, now: float) -> str:
    alarms = ", ".join(map(str, own.acknowledge))
    said = [f"pauses {', '.join(own.pause)} of {name}"] if own.pause else []
    said += [f"{', '.join(own.silence)} of {name} raises no alarm"] if own.silence else []
    said += [f"nothing is done about alarm {alarms} of {name}"] if alarms else []
    if own.expires is None:
        return f"{'; '.join(said)} ({own.reason})"
    if own.has_lapsed(now):
        return f"what it asks of {name} lapsed at {own.expires.isoformat()}: remove it ({'; '.join(said)})"
    return f"{'; '.join(said)} until {own.expires.isoformat()} ({own.reason})"


def require_reloadable(config: Config, path: Path) -> None:
    """Raise ConfigError for a change that the daemon refuses while it runs, as its reload does."""
    try:
        with StateReader.read_only(Places(config.state_dir).state_db) as reader:
            in_force = reader.config_in_force()
    except StateAbsentError:
        raise ConfigError(f"{path}: no daemon keeps its state in {config.state_dir}; {_RESTART}") from None
    before = (in_force.content or {}).get("http", {}) if in_force is not None else {}
    now = redacted_dict(config)["http"]
    changed = [key for key, value in before.items() if isinstance(now, Mapping) and key in now and now[key] != value]
    if changed:
        raise ConfigError(f"{path}: http.{changed[0]} is not what the daemon runs with; {_RESTART}")


_RESTART = "state_dir and http change only with a restart of driftd: systemctl restart driftd"
