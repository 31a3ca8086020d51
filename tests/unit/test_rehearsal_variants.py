"""`--vary`: which configs it asks for, and that each is checked as the config is."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftd.config.load import ConfigError, load
from driftd.rehearsal.config_changes import changed_keys, not_followed
from driftd.rehearsal.variants import MOST_CONFIGS, Variation, VariationError, isolate_config, variants_of

CONFIG = """\
state_dir: /nowhere
notify: {ops: {webhook: "https://example.org/secret"}}
models:
  demand:
    task: regression
    target: y
    window: {every: 1h}
    retrain: {refresh: off}
    promote: {approval: manual}
    registry: {mlflow: {name: demand, alias: champion, tracking_uri: "http://mlflow:5000"}}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A config on disk."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path / "config.yaml"


def variations(*texts: str) -> list[Variation]:
    """What the command line gives."""
    return [Variation.read(text) for text in texts]


def test_every_combination_is_a_config_beside_the_one_that_is(path: Path) -> None:
    """Two values of each of two keys make four, and the config as it is comes first."""
    given = variations("detect.false_alarms_per_year=0.5,4", "retrain.cooldown=1h,1d")
    found = variants_of(path, "demand", given)
    assert [variant.name for variant in found] == [
        "as it is",
        "detect.false_alarms_per_year=0.5, retrain.cooldown=1h",
        "detect.false_alarms_per_year=0.5, retrain.cooldown=1d",
        "detect.false_alarms_per_year=4, retrain.cooldown=1h",
        "detect.false_alarms_per_year=4, retrain.cooldown=1d",
    ]
    assert found[-1].config.models["demand"].detect.false_alarms_per_year == 4
    assert found[-1].config.models["demand"].retrain.cooldown == 86_400


def test_a_value_that_the_config_has_is_not_rehearsed_twice(path: Path) -> None:
    """A combination that is the config as it is adds none."""
    assert len(variants_of(path, "demand", variations("detect.false_alarms_per_year=1,2"))) == 2


def test_commas_within_brackets_part_no_values(path: Path) -> None:
    """A list is one value."""
    given = variations("retrain.on=[performance],[performance, new_labels]")
    assert given[0].values == ("[performance]", "[performance, new_labels]")
    assert len(variants_of(path, "demand", given)) == 3


def test_an_unknown_key_is_refused_as_the_config_refuses_it(path: Path) -> None:
    """The complaint is the config's own, with the nearest key that there is."""
    with pytest.raises(ConfigError, match=r"models\.demand\.detect\.false_alarm_per_year: .*did you mean"):
        variants_of(path, "demand", variations("detect.false_alarm_per_year=1"))


def test_a_value_that_is_not_allowed_is_refused_as_the_config_refuses_it(path: Path) -> None:
    """The complaint names the option that brought the value."""
    with pytest.raises(ConfigError, match=r"--vary detect\.false_alarms_per_year=-1"):
        variants_of(path, "demand", variations("detect.false_alarms_per_year=-1"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["detect.false_alarms_per_year"], "is not KEY=VALUE"),
        (["detect.false_alarms_per_year=1,,2"], "is not KEY=VALUE"),
        (["retrain.cooldown=1h", "retrain.cooldown=2h"], "names a key twice: retrain.cooldown"),
        (["target=y,z"], "cannot be varied"),
        (["retrain.refresh.rows=5%"], "retrain.refresh is 'off' in the config|retrain.refresh is False in the config"),
    ],
)
def test_a_vary_that_cannot_be_followed_says_why(path: Path, given: list[str], said: str) -> None:
    """The message names the option and what is allowed."""
    with pytest.raises(VariationError, match=said):
        variants_of(path, "demand", variations(*given))


def test_more_configs_than_can_be_rehearsed_at_once_are_refused(path: Path) -> None:
    """The message says how many were asked for, and what to do."""
    numbers = ",".join(str(number) for number in range(1, MOST_CONFIGS + 2))
    with pytest.raises(VariationError, match=f"asks for {MOST_CONFIGS + 1} configs .* at most {MOST_CONFIGS}"):
        variants_of(path, "demand", variations(f"retrain.budget.builds={numbers}"))


def test_a_rehearsed_config_reaches_nobody(path: Path, tmp_path: Path) -> None:
    """It notifies nobody, registers nothing, asks no person, and says what it left out."""
    config, said = isolate_config(load(path), "demand", tmp_path)
    settings = config.models["demand"]
    assert (config.state_dir, config.notify) == (tmp_path, {})
    assert (settings.registry.mlflow, settings.promote.approval, settings.source.kind) == (None, "auto", "store")
    assert any("a person says yes at once" in sentence for sentence in said)
    assert any("MLflow" in sentence for sentence in said)


def test_the_keys_that_differ_are_named(path: Path) -> None:
    """Down to the last word of each, and whether the policy can follow them over stored checks."""
    first = load(path).models["demand"]
    path.write_text(CONFIG.replace("window: {every: 1h}", "window: {every: 1h}\n    detect: {data: {tolerance: 0.1}}"))
    keys = changed_keys(first, load(path).models["demand"])
    assert keys == ["detect.data.tolerance"]
    assert "changes the evidence itself" in not_followed(keys[0])
    assert "results on record are those of before" in not_followed("promote.margin")
