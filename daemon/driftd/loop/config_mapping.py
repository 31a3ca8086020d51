"""Maps the config to the settings of policy and of the monitor."""

from __future__ import annotations

from driftd.config.model_schema import ModelConfig
from driftd.config.schema import Config
from driftd.config.schema import OverrideConfig as ConfiguredOverride
from driftd.loop.decide import Rules
from driftd.policy import Override, PolicySettings
from driftd.records import Trigger
from driftd_detectors.settings import MonitorSettings

YEAR = 365.25 * 86400.0
ROW_WINDOWS_A_YEAR = 8766.0  # what a row window is counted as until its real pace is known: one an hour


def rules_of(config: Config, model: str) -> Rules:
    """The inputs of policy that follow from the config, for one model."""
    return Rules(policy_settings(config.models[model]), override_of(config, model), config.hash)


def policy_settings(model: ModelConfig) -> PolicySettings:
    """The policy's settings of one model."""
    retrain, promote, probation = model.retrain, model.promote, model.probation
    return PolicySettings(
        retrain_on=frozenset(Trigger(trigger) for trigger in retrain.on),
        cooldown=retrain.cooldown,
        budget_builds=retrain.budget.builds,
        budget_per=retrain.budget.per,
        min_labels=promote.min_labels,
        new_labels=retrain.new_labels,
        approval=promote.approval,
        probation_span=probation.span,
        probation_min_labels=probation.min_labels,
    )


def override_of(config: Config, model: str) -> Override:
    """The part of the override that concerns one model."""
    override = config.override
    own = override.models.get(model)
    return Override(
        reason=override.reason or "",
        expires=override.expires.timestamp() if override.expires is not None else None,
        pause=frozenset(override.pause),
        pin=override.pin.get(model),
        retrain=override.retrain.get(model),
        approve=override.approve.get(model),
        reject=override.reject.get(model),
        silence={feature: until.timestamp() for feature, until in override.silence.get(model, {}).items()},
        acknowledge={} if own is None else dict.fromkeys(own.acknowledge, own.expires.timestamp()),
        acknowledge_reason="" if own is None else own.reason,
    )


def active_overrides(override: ConfiguredOverride, now: float) -> tuple[set[str], float | None]:
    """What the override asks for just now, over all models, in the words of the metrics; and when it lapses whole."""
    expires = override.expires.timestamp() if override.expires is not None else None
    acknowledged = {"acknowledge" for own in override.models.values() if now < own.expires.timestamp()}
    if expires is not None and now >= expires:
        return acknowledged, None
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
    return kinds | acknowledged | {f"pause_{what}" for what in override.pause}, expires


def monitor_settings(model: ModelConfig) -> MonitorSettings:
    """The settings of a model's evidence."""
    detect, every = model.detect, model.window.every
    return MonitorSettings(
        windows_per_year=YEAR / every if every is not None else ROW_WINDOWS_A_YEAR,
        window_seconds=every,
        false_alarms_per_year=detect.false_alarms_per_year,
        ignore=frozenset(detect.data.ignore),
        weights=detect.data.weights,
        tolerance=detect.data.tolerance,
        metric=detect.performance.metric,
        tolerated_loss=detect.performance.tolerated_loss,
        label_patience=detect.performance.patience,
    )
