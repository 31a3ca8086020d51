"""The monitor of the served version: begun from its reference, kept in the store, taken up again after a restart."""

from __future__ import annotations

from dataclasses import dataclass, replace

import structlog

from driftd.registry import Registry
from driftd.store.state import StateStore
from driftd_detectors.monitor import Monitor, MonitorSettings
from driftd_detectors.reference import Reference

log = structlog.get_logger()


@dataclass(slots=True)
class Evidence:
    """What has accumulated against the champion of one model."""

    model: str
    registry: Registry
    settings: MonitorSettings
    monitor: Monitor | None = None

    @property
    def begun(self) -> Monitor:
        """The monitor; only asked for a model under watch, whose evidence was resumed or begun."""
        assert self.monitor is not None
        return self.monitor

    def fresh(self, version: int) -> Monitor:
        """New evidence against a version, from its own reference."""
        return Monitor.begin(self._reference(version), self.settings)

    @property
    def features(self) -> frozenset[str] | None:
        """The features of the version under watch; None before there is one."""
        return None if self.monitor is None else frozenset(self.monitor.reference.schema.names)

    def silence(self, features: frozenset[str]) -> None:
        """Have these features raise no alarm; all others as before. What was gathered is kept."""
        if features == self.settings.silenced:
            return
        log.info(
            "features_silenced", model=self.model, silenced=sorted(features), before=sorted(self.settings.silenced)
        )
        self.settings = replace(self.settings, silenced=features)
        if self.monitor is not None:
            self.monitor = Monitor.from_bytes(self.monitor.reference, self.settings, self.monitor.to_bytes())

    def save(self, version: int, monitor: Monitor, store: StateStore) -> None:
        """Keep the evidence; call it inside the transaction of the check or the swap that changed it."""
        store.save_monitor(self.model, version, {}, monitor.to_bytes())

    def resume(self, version: int, store: StateStore) -> None:
        """Take up the evidence where it was left; begin anew when it belongs to another version."""
        stored = store.monitor(self.model)
        if stored is not None and stored[0] == version:
            self.monitor = Monitor.from_bytes(self._reference(version), self.settings, stored[2])
            return
        self.monitor = self.fresh(version)
        self.save(version, self.monitor, store)
        log.info("evidence_begun", model=self.model, version=version)

    def _reference(self, version: int) -> Reference:
        return Reference.from_bytes(self.registry.file(self.model, version, "reference.bin").read_bytes())
