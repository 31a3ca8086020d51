"""Maps the config to the settings of policy and of the monitor, and records what was read, applied and refused."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
from apscheduler.triggers.cron import CronTrigger
from pydantic import ValidationError

from driftd.config.detect_schema import CalendarConfig
from driftd.config.model_schema import ModelConfig
from driftd.config.redact import redacted_dict
from driftd.config.schema import Config, ModelOverride, OverrideConfig
from driftd.config.schema import OverrideConfig as ConfiguredOverride
from driftd.config.types import read_holidays
from driftd.events import trigger_named
from driftd.loop.decide import COUNTS_A_WINDOW, Counts, Rules
from driftd.observe.metrics import Metrics
from driftd.policy import Override, PolicySettings, RefreshSettings, RegistrySettings
from driftd.policy.inputs import THE_OVERRIDE
from driftd.records import BuildSpec, Order, OrderKind, Trigger
from driftd.registry import Registry
from driftd.store.integrity import handle_failure
from driftd.store.state.writer import StateStore
from driftd_detectors.comparison.gate import FEWEST_BLOCKS
from driftd_detectors.evidence.history import Calendar
from driftd_detectors.settings import MonitorSettings

YEAR = 365.25 * 86400.0
RECOUNT_SECONDS = 60.0  # row windows have no span to divide
ROW_WINDOWS_A_YEAR = 8766.0  # what a row window is counted as until its real pace is known: one an hour


def rules_of(config: Config, model: str) -> Rules:
    """The inputs of policy that follow from the config, for one model."""
    return Rules(policy_settings(config.models[model]), override_of(config, model), config.hash)


def policy_settings(model: ModelConfig) -> PolicySettings:
    """The policy's settings of one model."""
    retrain, promote, probation = model.retrain, model.promote, model.probation
    refresh = retrain.refresh
    # Each refresh serves unless it is surely worse: of a model that is served elsewhere that were a hand-over a week.
    place = model.registry.place
    is_refreshed = refresh.enabled and Trigger.REFRESH in retrain.on and not model.is_external
    return PolicySettings(
        retrain_on=frozenset(map(trigger_named, retrain.on)),
        refresh=RefreshSettings(growth=refresh.rows, every=refresh.every) if is_refreshed else None,
        cooldown=retrain.cooldown,
        budget_builds=retrain.budget.builds,
        budget_per=retrain.budget.per,
        min_labels=promote.min_labels,
        judged_after=(FEWEST_BLOCKS + 1) * model.block_seconds,  # the first of them may have begun before the build
        new_labels=retrain.new_labels,
        approval=promote.approval,
        has_checks=model.stages.check_data.is_set,
        has_tests=model.stages.test.is_set,
        review_people=model.stages.review.people,
        review_expires=model.stages.review.expires,
        probation_span=probation.span,
        probation_min_labels=probation.min_labels,
        is_external=model.is_external,
        has_rows=model.source.kind != "profiles",
        can_train=model.trainer is not None,
        can_tell=model.deploy.way is not None,
        confirm_within=model.deploy.confirm_within,
        registry=None if place is None else RegistrySettings(place.where, place.look_every, place.moved),
    )


def counts_of(
    name: str,
    model: ModelConfig,
    registry: Registry,
    spec: Callable[[float], tuple[BuildSpec | None, str]],
    *,
    counts_labels: bool = False,
) -> Counts:
    """What counts the facts of a model; labels since its last build where they are a trigger, or are asked for."""
    schedule = CronTrigger.from_crontab(model.retrain.schedule, "UTC") if model.retrain.schedule else None
    every = model.window.every
    recount = every / COUNTS_A_WINDOW if every is not None else RECOUNT_SECONDS
    new_labels = counts_labels or Trigger.NEW_LABELS in model.retrain.on
    is_refreshed = policy_settings(model).refresh is not None
    return Counts(name, registry, schedule, spec, new_labels, recount, model.window, is_refreshed, model.is_external)


def override_of(config: Config, model: str) -> Override:
    """The part of the override that concerns one model."""
    override = config.override
    own = override.models.get(model)
    end = own.expires.timestamp() if own is not None and own.expires is not None else None
    return Override(
        reason=override.reason or "",
        expires=override.expires.timestamp() if override.expires is not None else None,
        pause=frozenset(override.pause),
        pin=override.pin.get(model),
        retrain=override.retrain.get(model),
        approve=override.approve.get(model),
        reject=override.reject.get(model),
        silence={feature: until.timestamp() for feature, until in override.silence.get(model, {}).items()},
        acknowledge=dict.fromkeys(own.acknowledge, end) if own is not None and end is not None else {},
        acknowledge_reason=own.reason if own is not None and own.acknowledge else "",
        orders=() if own is None else _orders_of(own, end),
    )


def _orders_of(own: ModelOverride, end: float | None) -> tuple[Order, ...]:
    pauses = [Order(OrderKind.PAUSE, what, THE_OVERRIDE, own.reason, end) for what in own.pause]
    silences = [Order(OrderKind.SILENCE, feature, THE_OVERRIDE, own.reason, end) for feature in own.silence]
    return (*pauses, *silences)


def active_overrides(override: ConfiguredOverride, now: float) -> tuple[set[str], float | None]:
    """What the override asks for just now, over all models, in the words of the metrics; and when it lapses whole."""
    expires = override.expires.timestamp() if override.expires is not None else None
    own = {kind for each in override.models.values() if not each.has_lapsed(now) for kind in _kinds_of(each)}
    if expires is not None and now >= expires:
        return own, None
    by_model = {
        "pin": override.pin,
        "retrain": override.retrain,
        "approve": override.approve,
        "reject": override.reject,
        "silence": [
            end for features in override.silence.values() for end in features.values() if now < end.timestamp()
        ],
    }
    kinds = {kind for kind, models in by_model.items() if models}
    return kinds | own | {f"pause_{what}" for what in override.pause}, expires


def _kinds_of(own: ModelOverride) -> set[str]:
    named = {"silence": own.silence, "acknowledge": own.acknowledge}
    return {kind for kind, subjects in named.items() if subjects} | {f"pause_{what}" for what in own.pause}


def monitor_settings(model: ModelConfig) -> MonitorSettings:
    """The settings of a model's evidence. Reads the file of holidays; raises OSError or ValueError where it is gone."""
    detect, every = model.detect, model.window.every
    return MonitorSettings(
        windows_per_year=YEAR / every if every is not None else ROW_WINDOWS_A_YEAR,
        window_seconds=every,
        false_alarms_per_year=detect.false_alarms_per_year,
        ignore=frozenset(detect.data.ignore),
        weights=detect.data.weights,
        tolerance=detect.data.tolerance,
        metric=detect.performance.metric_name,
        tolerated_loss=detect.performance.tolerated_loss,
        label_patience=detect.performance.patience,
        calendar=_calendar(detect.calendar),
        has_detectors=bool(detect.detectors),
        segments=None if detect.segments == "auto" else detect.segments,
    )


def _calendar(given: CalendarConfig) -> Calendar:
    dates = () if given.holidays is None else read_holidays(given.holidays)
    return Calendar(given.zone, frozenset(day.toordinal() for day in dates), given.month_ends)


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
        for stored in self.store.applied_configs(_LOOKED_BACK):
            if stored.content is not None:
                yield _Entry(stored.hash, stored.at, content=stored.content)

    def _append(self, entry: _Entry) -> None:
        self.waiting.append(entry)
        with handle_failure(partial(self._report_failure, entry)):
            self.keep()

    def _report_failure(self, entry: _Entry, error: Exception) -> None:
        self.metrics.count_failed_message("reload")
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


def log_fields(config: Config, now: float) -> dict[str, object]:
    """What the log says of a config that comes into force."""
    fields: dict[str, object] = {"models": sorted(config.models)}
    override = config.override.model_dump(mode="json", exclude_defaults=True)
    if override:
        expires = config.override.expires
        lapsed = expires is not None and expires.timestamp() <= now
        fields["override"] = {**override, "has_expired": True} if lapsed else override
    return fields
