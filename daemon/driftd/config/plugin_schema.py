"""The keys by which a section of the config names a plug-in, and the sections that do nothing else."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from driftd.config.types import Duration, Section, plugin_name

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
