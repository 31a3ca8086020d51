"""The plug-ins that a config names, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator

from driftd.config.model_schema import ModelConfig
from driftd.config.plugin_schema import PLUGIN_METRIC
from driftd.config.schema import Config
from driftd.entry_points import PluginError, find_plugin


def plugins_of(model: ModelConfig) -> Iterator[tuple[str, str, str]]:
    """The plug-ins that a model names: the key of the config, the kind and the name."""
    if model.source.kind == "plugin":
        yield "source", "source", model.source.plugin
    metric = model.detect.performance.metric_name
    if metric.startswith(PLUGIN_METRIC):
        yield "detect.performance.metric", "metric", metric.removeprefix(PLUGIN_METRIC)
    for number, detector in enumerate(model.detect.detectors):
        if ":" not in detector.use:
            yield f"detect.detectors[{number}]", "detector", detector.use
    if model.registry.plugin is not None:
        yield "registry.plugin", "registry", model.registry.plugin.plugin
    if model.deploy.plugin is not None:
        yield "deploy.plugin", "deployer", model.deploy.plugin


def plugins_named(config: Config) -> Iterator[tuple[str, str, str]]:
    """The same of a whole config, receivers too."""
    for name, model in config.models.items():
        yield from ((f"models.{name}.{key}", kind, plugin) for key, kind, plugin in plugins_of(model))
    for name, receiver in config.notify.items():
        if receiver.plugin is not None:
            yield f"notify.{name}", "receiver", receiver.plugin


def plugin_versions(model: ModelConfig) -> dict[str, str]:
    """The packages whose plug-ins a version depends on, with their versions: of its source, metric and detectors."""
    found = {}
    for _, kind, name in plugins_of(model):
        if kind in {"source", "metric", "detector"}:
            plugin = find_plugin(kind, name)
            found[plugin.distribution] = plugin.version
    return found


def plugin_faults(config: Config) -> Iterator[str]:
    """What is wrong with the plug-ins that a config names, one sentence each; none of their code runs."""
    for key, kind, name in plugins_named(config):
        try:
            find_plugin(kind, name)
        except PluginError as error:
            yield f"{key}: {error}"
