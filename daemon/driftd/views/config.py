"""The config in force beside the config file: its hash and time, the override, the last refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import yaml
from pydantic import ValidationError

from driftd.config.load import digest_of
from driftd.config.redact import redact_config, redact_section
from driftd.config.schema import Config, OverrideConfig
from driftd.config.types import FOR_PEOPLE
from driftd.config.yaml_reader import Plain, read
from driftd.formatting import format_time
from driftd.paths import Places
from driftd.records import ModelState
from driftd.store.state.chart_queries import SeriesReader
from driftd.store.state.reader import StateAbsentError, StateReader
from driftd.store.state.records import StoredConfig


class WindowKeys(msgspec.Struct, frozen=True):
    """How a model cuts its windows: by seconds, or by rows."""

    every: float | None = None
    rows: int | None = None


class PerformanceKeys(msgspec.Struct, frozen=True):
    """The metric that is watched; `auto` and None leave the choice to the daemon."""

    metric: str | dict[str, object] | None = None  # a mapping: costs


class DetectKeys(msgspec.Struct, frozen=True):
    """What is detected."""

    performance: PerformanceKeys = PerformanceKeys()


class ModelKeys(msgspec.Struct, frozen=True):
    """The keys of a stored model that the views read."""

    window: WindowKeys = WindowKeys()
    detect: DetectKeys = DetectKeys()
    serving: str = "embedded"
    trainer: object = ""  # None: nothing is built

    @classmethod
    def of(cls, stored: object) -> ModelKeys:
        """Read a stored section; one of another driftd that cannot be read has no keys."""
        try:
            return msgspec.convert(stored, cls)
        except msgspec.ValidationError:
            return cls()


@dataclass(frozen=True, slots=True)
class ConfigInForce:
    """What was applied last; of no models before a daemon applied one."""

    models: Mapping[str, ModelKeys]
    is_recorded: bool

    @classmethod
    def of(cls, stored: StoredConfig | None) -> ConfigInForce:
        """Read a stored config; None is what was recorded before a daemon ran."""
        models = ((stored.content if stored is not None else None) or {}).get("models", {})
        return cls({name: ModelKeys.of(model) for name, model in models.items()}, stored is not None)

    def knows(self, model: str) -> bool:
        """Whether a model is in the config; true for all while no config was recorded."""
        return not self.is_recorded or model in self.models

    def window_seconds(self, model: str) -> float | None:
        """The length of a model's windows; None for windows of rows and for models that are gone."""
        return self._keys(model).window.every

    def by_rows(self, model: str) -> bool:
        """Whether a model's windows count rows."""
        return self._keys(model).window.rows is not None

    def can_train(self, model: str) -> bool:
        """Whether a model has a trainer."""
        return self._keys(model).trainer is not None

    def is_external(self, model: str) -> bool:
        """Whether another system serves a model."""
        return self._keys(model).serving == "external"

    def metric(self, model: str, reader: SeriesReader) -> str | None:
        """The metric that is watched; what `auto` came to is known from the last evaluated labels."""
        named = self._keys(model).detect.performance.metric
        return named if isinstance(named, str) and named != "auto" else reader.latest_subject(model, "performance")

    def _keys(self, model: str) -> ModelKeys:
        return self.models.get(model, ModelKeys())


def config_in_force(reader: SeriesReader) -> ConfigInForce:
    """The config that the daemon applied last."""
    return ConfigInForce.of(reader.config_in_force())


def last_applied(config_path: Path) -> Config | None:
    """The config in force of the state directory that a bad file names; None when that cannot be told."""
    root = named_state_dir(config_path)
    if root is None:
        return None
    try:
        with StateReader.read_only(Places(root).state_db) as reader:
            stored = reader.config_in_force()
    except StateAbsentError:
        return None
    return None if stored is None else readable(stored)


def readable(stored: StoredConfig) -> Config | None:
    """A stored config as it was; None of one that another driftd stored in a way that this one cannot read."""
    try:
        return Config.model_validate(stored.content).with_hash(stored.hash)
    except ValidationError:
        return None


def named_state_dir(config_path: Path) -> Path | None:
    """The state directory that a file names, however bad the rest of it is; None when that cannot be told."""
    try:
        data = read(config_path.read_bytes()).data
    except (OSError, ValueError):
        return None
    root = data.get("state_dir", Config.model_fields["state_dir"].default) if isinstance(data, dict) else None
    return None if root is None else Path(str(root))


class ConfigStanding(msgspec.Struct, frozen=True, kw_only=True):
    """Which config is in force since when, and how the file on disk compares: the proof that it was read."""

    file: str | None  # its hash
    in_force: str | None  # the hash of what is in force
    since: float | None
    refused: str | None  # what is wrong with the file, where it was refused
    refused_at: float | None
    sentence: str


def config_standing(reader: StateReader, config_path: Path) -> ConfigStanding:
    """Compare the config in force with the file on disk."""
    in_force = reader.config_in_force()
    file = digest_of(config_path)
    last = next(iter(reader.configs(1)), None)
    refused = last if last is not None and last.error is not None and last.hash == (file or "absent") else None
    return ConfigStanding(
        file=file,
        in_force=in_force.hash if in_force else None,
        since=in_force.at if in_force else None,
        refused=refused.error if refused else None,
        refused_at=refused.at if refused else None,
        sentence=_sentence(config_path, file, in_force, refused),
    )


def _sentence(path: Path, file: str | None, in_force: StoredConfig | None, refused: StoredConfig | None) -> str:
    if in_force is None:
        return f"no daemon has read {path} yet: start `driftd run`"
    runs = f"config {in_force.hash} is in force since {format_time(in_force.at)}"
    if refused is not None and refused.error is not None:
        return f"{path} was REFUSED at {format_time(refused.at)} and {runs}: {refused.error.splitlines()[0]}"
    if file != in_force.hash:
        return f"{path} (now {file}) has not been taken up; {runs}: a running daemon reads it within seconds"
    return runs


class ModelOverrideInForce(msgspec.Struct, frozen=True):
    """What an override asks of one model."""

    reason: str
    expires: str | None = None  # ISO 8601; a pause alone may have no end
    pause: list[str] = []
    silence: list[str] = []
    acknowledge: list[int] = []

    @property
    def sentence(self) -> str:
        """What it asks, without whom and until when."""
        said = [f"pause {', '.join(self.pause)}"] if self.pause else []
        said += [f"silence {', '.join(self.silence)}"] if self.silence else []
        said += [f"alarm {', '.join(map(str, self.acknowledge))} acknowledged"] if self.acknowledge else []
        return ", ".join(said)


class OverrideInForce(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What an override asks, without the keys that ask nothing."""

    reason: str | None = None
    expires: str | None = None  # ISO 8601
    pause: list[str] = []
    pin: dict[str, int] = {}
    silence: dict[str, dict[str, str]] = {}
    retrain: dict[str, str] = {}
    approve: dict[str, int] = {}
    reject: dict[str, int] = {}
    models: dict[str, ModelOverrideInForce] = {}


def override_in_force(override: OverrideConfig, now: float) -> OverrideInForce | None:
    """What of an override has not lapsed; None where that is nothing. What it asks of one model has its own end."""
    lapsed = override.expires is not None and override.expires.timestamp() <= now
    models = {name: own for name, own in override.models.items() if not own.has_lapsed(now)}
    override = (OverrideConfig() if lapsed else override).model_copy(update={"models": models})
    asked = msgspec.convert(override.model_dump(mode="json", exclude_defaults=True), OverrideInForce)
    return asked if asked != OverrideInForce() else None


class OrderView(msgspec.Struct, frozen=True, kw_only=True):
    """What a person ordered of one model, beside the override."""

    kind: str  # pause | silence | acknowledge
    subject: str  # what is paused, the feature, or the alarm's id
    who: str
    reason: str
    until: float | None  # epoch seconds

    @property
    def sentence(self) -> str:
        """What holds, until when, by whom and why."""
        words = {"pause": "{} paused", "silence": "{} raises no alarm", "acknowledge": "alarm {} acknowledged"}
        until = f" until {format_time(self.until)}" if self.until is not None else ""
        return f"{words[self.kind].format(self.subject)}{until} by {self.who}: {self.reason}"


def order_views(state: ModelState) -> list[OrderView]:
    """What people ordered of a model and have not ended, acknowledgements too."""
    given = [
        OrderView(kind=order.kind, subject=order.subject, who=order.who, reason=order.reason, until=order.until)
        for order in state.orders
    ]
    known = [(str(alarm.number), alarm.acknowledged) for alarm in state.open_alarms]
    given += [
        OrderView(kind="acknowledge", subject=number, who=said.who, reason=said.reason, until=said.until)
        for number, said in known
        if said is not None
    ]
    return given


class OverrideView(msgspec.Struct, frozen=True):
    """What an override asks in one sentence; whether it has lapsed is for the reader's clock to say."""

    sentence: str
    reason: str | None
    expires: str | None


class ConfigSummary(ConfigStanding, frozen=True, kw_only=True):
    """What every view shows of the config: whether the file was taken up, and the override."""

    override: OverrideView | None


class ConfigRead(msgspec.Struct, frozen=True):
    """One config that was read; `error` says why it was refused."""

    at: float
    hash: str
    error: str | None


class ConfigView(ConfigSummary, frozen=True, kw_only=True):
    """Everything that the page says of the config."""

    path: str
    set: str | None  # as YAML: what differs from the defaults
    whole: str | None  # as YAML
    read: list[ConfigRead]  # the last ones, newest first


READ_BACK = 30  # configs


def config_summary(reader: StateReader, config_path: Path) -> ConfigSummary:
    """What every view shows of the config."""
    standing, override = config_standing(reader, config_path), override_view(reader.config_in_force())
    return ConfigSummary(**msgspec.structs.asdict(standing), override=override)


def config_view(reader: StateReader, config_path: Path) -> ConfigView:
    """Everything that the page says of the config."""
    in_force = reader.config_in_force()
    recorded = in_force if in_force is not None and in_force.content is not None else None
    return ConfigView(
        **msgspec.structs.asdict(config_summary(reader, config_path)),
        path=str(config_path),
        set=None if recorded is None else config_as_yaml(recorded, only_set=True),
        whole=None if recorded is None else config_as_yaml(recorded, only_set=False),
        read=[ConfigRead(entry.at, entry.hash, entry.error) for entry in reader.configs(READ_BACK)],
    )


def override_view(stored: StoredConfig | None) -> OverrideView | None:
    """What the override of a stored config asks; None when nothing."""
    content = (stored.content if stored is not None else None) or {}
    override = redact_section(content.get("override") or {})
    parts = {key: value for key, value in override.items() if value and key not in {"reason", "expires"}}
    if not parts:
        return None
    words = [f"{key} {_words(value)}" for key, value in parts.items()]
    return OverrideView("; ".join(words), _text(override.get("reason")), _text(override.get("expires")))


def _text(value: Plain) -> str | None:
    return None if value is None else str(value)


def config_as_yaml(stored: StoredConfig, *, only_set: bool) -> str:
    """A stored config as people write it, without secrets, or what of it differs from the defaults."""
    return _as_yaml(_as_written(stored, only_set=only_set))


def model_as_yaml(stored: StoredConfig, model: str) -> str:
    """The whole section of one model; `{}` of one that is not in the config."""
    models = _as_written(stored, only_set=False).get("models")
    return _as_yaml(models.get(model, {}) if isinstance(models, Mapping) else {})


def _as_written(stored: StoredConfig, *, only_set: bool) -> dict[str, Plain]:
    """As plain data; an older daemon's config as it was stored."""
    content = redact_config(stored.content or {})
    try:
        config = Config.model_validate(content)
        return config.model_dump(mode="json", exclude_defaults=only_set, context=FOR_PEOPLE)
    except ValidationError:
        return content


def _as_yaml(value: object) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100))


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(
            f"{key} ({_words(item)})" if isinstance(item, Mapping) else f"{key} {item}" for key, item in value.items()
        )
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def lapse_of(override: OverrideConfig, now: float) -> str | None:
    """What of the override stands in the config and has no effect any more; None when all of it has."""
    if override.expires is not None and override.expires.timestamp() <= now:
        return f"the override lapsed at {override.expires.isoformat()} and has no effect: remove it from the config"
    lapsed = [name for name, own in override.models.items() if own.has_lapsed(now)]
    if lapsed:
        return f"what override.models asks of {', '.join(lapsed)} lapsed: remove it from the config"
    over = [
        f"{feature} of {model}"
        for model, features in override.silence.items()
        for feature, until in features.items()
        if until.timestamp() <= now
    ]
    return f"the silence of {', '.join(over)} lapsed: remove it from the config" if over else None


def format_override(override: OverrideInForce) -> str:
    """What an override asks, until when and why."""
    asked = msgspec.to_builtins(msgspec.structs.replace(override, reason=None, expires=None, models={}))
    words = [f"{key} {value}" for key, value in asked.items()]
    until = f" until {override.expires}" if override.expires is not None else ""
    sentences = [f"{'; '.join(words)}{until}: {override.reason}"] if words else []
    for model, own in override.models.items():
        until = f" until {own.expires}" if own.expires is not None else ""
        sentences.append(f"{model}: {own.sentence}{until}: {own.reason}")
    return "; ".join(sentences)
