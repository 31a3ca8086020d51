"""The config in force as the store recorded it: what the page reads of it without opening the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from driftd.store.state_records import StoredConfig
from driftd.store.state_series import SeriesReader


@dataclass(frozen=True, slots=True)
class ConfigInForce:
    """What was applied last; of no models before a daemon applied one."""

    stored: StoredConfig | None

    @property
    def content(self) -> Mapping[str, Any]:
        """The whole config, without secrets."""
        return (self.stored.content if self.stored is not None else None) or {}

    @property
    def models(self) -> Mapping[str, Any]:
        """The models by name."""
        found: Mapping[str, Any] = self.content.get("models", {})
        return found

    def knows(self, model: str) -> bool:
        """Whether a model is in the config; true for all while no config was recorded."""
        return self.stored is None or model in self.models

    def window_seconds(self, model: str) -> float | None:
        """The length of a model's windows; None for windows of rows and for models that are gone."""
        every = self.models.get(model, {}).get("window", {}).get("every")
        return None if every is None else float(every)

    def by_rows(self, model: str) -> bool:
        """Whether a model's windows count rows."""
        return self.models.get(model, {}).get("window", {}).get("rows") is not None

    def metric(self, model: str, reader: SeriesReader) -> str | None:
        """The metric that is watched; what `auto` came to is known from the last evaluated labels."""
        named = self.models.get(model, {}).get("detect", {}).get("performance", {}).get("metric")
        return reader.latest_subject(model, "performance") if named in {None, "auto"} else str(named)


def config_in_force(reader: SeriesReader) -> ConfigInForce:
    """The config that the daemon applied last."""
    return ConfigInForce(reader.config_in_force())
