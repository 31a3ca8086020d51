"""Which keys of a model differ between two configs, and which of them the policy can follow over stored checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from driftd.config.model_schema import ModelConfig

# What the pure policy decides by, or what only moves thresholds. The rest changes what a check or a job itself says.
FOLLOWED = (
    "detect.false_alarms_per_year",
    "retrain.on",
    "retrain.refresh.enabled",
    "retrain.refresh.rows",
    "retrain.refresh.every",
    "retrain.schedule",
    "retrain.new_labels",
    "retrain.cooldown",
    "retrain.budget.builds",
    "retrain.budget.per",
    "promote.approval",
    "promote.min_labels",
)
_WHY = {
    "detect": "it changes the evidence itself, and the stored checks hold that of before",
    "window": "it cuts other windows than those that were checked",
    "source": "it only says where rows come from",
    "deploy": "a hand-over is not replayed",
    "registry": "a registry is not replayed",
}
_OF_JOBS = "what a build or a comparison gives follows from it, and the results on record are those of before"


def changed_keys(before: ModelConfig, after: ModelConfig) -> list[str]:
    """The dotted keys whose values differ."""
    first, second = dict(_flat(before.model_dump(mode="json"))), dict(_flat(after.model_dump(mode="json")))
    return sorted(key for key in first.keys() | second.keys() if first.get(key) != second.get(key))


def _flat(section: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in section.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def not_followed(key: str) -> str:
    """Why the replay cannot follow a key, in one sentence."""
    return f"{key}: {_WHY.get(key.partition('.')[0], _OF_JOBS)}; `driftd rehearse` goes by the rows instead"
