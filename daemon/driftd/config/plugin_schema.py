"""The keys by which a section of the config names a plug-in, and the sections that do nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from driftd.config.types import Duration, Section, plugin_name
from driftd.entry_points import PluginError, find_plugin

if TYPE_CHECKING:
    from driftd.config.model_schema import ModelConfig
    from driftd.config.schema import Config

PluginName = Annotated[str, AfterValidator(plugin_name)]
PLUGIN_METRIC = "plugin:"  # begins the name of a metric that an installed package brings


class PluginSection(Section):
    """A plug-in that an installed package brings, and its options."""

    plugin: PluginName = Field(description="its name: an entry point of an installed package (docs/plug-ins)")
    options: dict[str, Any] = Field(
        default_factory=dict, description="handed to it as they are; let an option name the file of a secret"
    )


class PluginMetric(Section):
    """A metric that an installed package brings."""

    plugin: PluginName = Field(description="its name: an entry point of the group `driftd.metrics`")


class PluginSourceConfig(PluginSection):
    """`kind: plugin`: rows that an installed package reads; docs/plug-ins/sources.md."""

    kind: Literal["plugin"] = Field(description="where events are read from")
    columns: dict[Literal["id", "at", "prediction", "score", "version", "label", "label_at"], str] = Field(
        default_factory=dict,
        description="which column holds what, where the names differ from `prediction_id`, `at`, `prediction`, "
        "`score`, `version`, `label`, `label_at`",
    )
    timeout: Duration = Field(600.0, ge=1, description="a call takes at most so long; then its process is ended")


class PluginRegistry(PluginSection):
    """A registry of models that an installed package knows; docs/plug-ins/registries.md."""

    moved: Literal["tell", "restore", "follow"] = Field(
        "tell", description="what is done when somebody moved the alias, as for `registry.mlflow.moved`"
    )
    look_every: Duration = Field(900.0, ge=10, description="how often is looked whether somebody moved the alias")
    timeout: Duration = Field(300.0, ge=5, description="one try takes at most so long; then it is ended and repeated")

    @property
    def where(self) -> str:
        """What tells this place from others, in one line; of the options only the names."""
        options = f" ({', '.join(sorted(self.options))})" if self.options else ""
        return f"plug-in {self.plugin}{options}"


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
