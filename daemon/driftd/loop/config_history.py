"""The history of the config: what was read, when, and whether it was applied or refused."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import structlog

from driftd.config.model import Config
from driftd.config.redacting import shown
from driftd.observe.metrics import Metrics
from driftd.store.integrity import is_damage
from driftd.store.state import StateStore

log = structlog.get_logger()

_MOST_WAITING = 50  # of a file that changes again and again while the disk is full, the newest count


@dataclass(frozen=True, slots=True)
class _Entry:
    digest: str
    at: float
    content: dict[str, Any] | None = None
    error: str | None = None


@dataclass(slots=True)
class ConfigHistory:
    """Writes into the store which config was read; what a full disk does not take waits, and is tried again."""

    store: StateStore
    metrics: Metrics
    waiting: deque[_Entry] = field(default_factory=lambda: deque(maxlen=_MOST_WAITING))

    def applied(self, config: Config, now: float) -> None:
        """This config is in force."""
        self._add(_Entry(config.hash, now, content=shown(config)))

    def refused(self, digest: str, error: str, now: float) -> None:
        """The config of this hash was refused."""
        self._add(_Entry(digest, now, error=error))

    def keep(self) -> None:
        """Write what waits. Raises what the store raises."""
        if not self.waiting:
            return
        with self.store.transaction():
            for entry in self.waiting:
                self.store.save_config(entry.digest, at=entry.at, content=entry.content, error=entry.error)
        self.waiting.clear()

    def try_again(self) -> None:
        """Write what waits, if the store takes it by now."""
        if not self.waiting:
            return
        try:
            self.keep()
        except Exception as error:
            if is_damage(error):
                raise
            return
        log.info("config_recorded")

    def _add(self, entry: _Entry) -> None:
        self.waiting.append(entry)
        try:
            self.keep()
        except Exception as error:
            if is_damage(error):
                raise
            self.metrics.message_failed("reload")
            log.error("config_not_recorded", hash=entry.digest, error=str(error))
