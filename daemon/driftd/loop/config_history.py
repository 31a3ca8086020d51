"""The history of the config: what was read, when, and whether it was applied or refused."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
from pydantic import ValidationError

from driftd.config.redact import redacted_dict
from driftd.config.schema import Config, OverrideConfig
from driftd.loop.config_mapping import active_overrides
from driftd.observe.metrics import Metrics
from driftd.store.integrity import handle_failure
from driftd.store.state.writer import StateStore

log = structlog.get_logger()

_LOOKED_BACK = 200  # configs, for the one that first asked for what the override asks for
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
    asked_since: dict[str, float] = field(default_factory=dict)  # what the override asks for, and since when

    def record_applied(self, config: Config, now: float) -> None:
        """This config is in force."""
        entry = _Entry(config.hash, now, content=redacted_dict(config))
        self.asked_since = asked_since([entry, *self._before()])
        self._append(entry)

    def record_refused(self, digest: str, error: str, now: float) -> None:
        """The config of this hash was refused."""
        self._append(_Entry(digest, now, error=error))

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
        with handle_failure(lambda _: None):  # the disk is still full
            self.keep()
            log.info("config_recorded")

    def _before(self) -> Iterator[_Entry]:
        """What was applied before, newest first: what waits for room, then what is stored."""
        yield from (entry for entry in reversed(self.waiting) if entry.content is not None)
        for stored in self.store.configs(_LOOKED_BACK):
            if stored.content is not None:
                yield _Entry(stored.hash, stored.at, content=stored.content)

    def _append(self, entry: _Entry) -> None:
        self.waiting.append(entry)
        with handle_failure(partial(self._report_failure, entry)):
            self.keep()

    def _report_failure(self, entry: _Entry, error: Exception) -> None:
        self.metrics.message_failed("reload")
        log.error("config_not_recorded", hash=entry.digest, error=str(error))


def asked_since(applied: Iterable[_Entry]) -> dict[str, float]:
    """Since when each thing that the newest config's override asks for stood in every config, which come newest first.

    An edit of something else begins nothing anew, and neither does a restart.
    """
    since: dict[str, float] = {}
    going_on: set[str] | None = None
    for entry in applied:
        current = _overrides_of(entry)
        going_on = current if going_on is None else going_on & current
        if not going_on:
            break
        since |= dict.fromkeys(going_on, entry.at)
    return since


def _overrides_of(entry: _Entry) -> set[str]:
    """What a config asked for when it was applied; nothing where another driftd stored it in another way."""
    try:
        override = OverrideConfig.model_validate((entry.content or {}).get("override", {}))
    except ValidationError:
        return set()
    return active_overrides(override, entry.at)[0]
