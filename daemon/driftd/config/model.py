"""The typed config. Field names are the keys of config.yaml (DESIGN 6.1); unknown keys are refused.

Every field bears a description: docs/configuration.md is generated from them (`driftd.config.document`).
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PrivateAttr,
    SecretStr,
    Tag,
    model_validator,
)

from driftd.config.durations import Duration
from driftd.config.rules import (
    cron_schedule,
    listen_address,
    model_name,
    moment,
    receiver_name,
    trainer_reference,
    web_address,
    without_secret,
)
from driftd.severities import DEFAULT, event_or_severity
from driftd.stattests import stattest_named
from driftd_detectors.schema import Kind, Task

HOUR, DAY = 3600.0, 86400.0
Listen = Annotated[str, AfterValidator(listen_address)]
ModelName = Annotated[str, AfterValidator(model_name)]
ReceiverName = Annotated[str, AfterValidator(receiver_name)]
EventOrSeverity = Annotated[str, AfterValidator(event_or_severity)]
StattestName = Annotated[str, AfterValidator(lambda name: stattest_named(name).name)]
Moment = Annotated[datetime, AfterValidator(moment)]
Folder = Annotated[Path, BeforeValidator(lambda given: given.strip() if isinstance(given, str) else given)]


class Section(BaseModel):
    """Strict keys, frozen values, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Tls(Section):
    """TLS 1.2 and newer."""

    certificate: Path = Field(description="PEM file with the certificate and its chain")
    key: Path = Field(description="PEM file with its key, without a password; a bare name is a credential of systemd")


class Access(Section):
    """An address, and who may do what there."""

    listen: Listen = Field(description="host:port")
    token_file: Path | None = Field(
        None,
        description="file of bearer tokens, one a line, for all that changes or hands in something; "
        "a bare name is a credential of systemd",
    )
    tls: Tls | None = Field(None, description="answer by HTTPS alone")
    allow_anonymous: bool = Field(
        default=False, description="listen beyond this host without tokens: a proxy or a firewall guards the address"
    )


class Http(Access):
    """The daemon's own HTTP: metrics, health, reload, status, reports."""

    listen: Listen = Field("127.0.0.1:9464", description="host:port; changes only with a restart")


class Serve(Access):
    """`driftd serve`: predictions, feedback, ingestion."""

    listen: Listen = Field("127.0.0.1:9465", description="host:port")
    max_body: int = Field(8_000_000, ge=1000, description="bytes of one request; a longer one is refused whole")
    max_batch: int = Field(10_000, ge=1, description="events of one request; more are refused whole")


class Limits(Section):
    """What child processes and checks may use."""

    memory: int = Field(8 << 30, ge=256 << 20, description="bytes of address space of each child process")
    timeout: Duration = Field(HOUR, description="a job that takes longer is ended and counts as failed")
    threads: int | None = Field(None, ge=1, description="threads of a job; half of the cores unless set")
    check_timeout: Duration = Field(120.0, description="a check that takes longer gets the verdict `error`")


class Retention(Section):
    """How long things are kept. Transitions, alarms and versions stay."""

    events: Duration = Field(400 * DAY, description="predictions and feedback in the embedded event store")
    checks: Duration = Field(800 * DAY, description="what each check said, with its scores and Profiles")


class Backup(Section):
    """Backups of what cannot be built again: docs/backups.md says what is in one."""

    every: Duration = Field(DAY, description="how often one is made; the first within minutes of the first start")
    keep: int = Field(7, ge=1, description="so many of them stay, the newest")
    folder: Folder | None = Field(
        None, description="where they go; `backups` in state_dir unless set. Another disk is better"
    )
    events: int = Field(
        1 << 30,
        ge=0,
        description="bytes up to which a model's events.db comes along; a larger one is left out, and said so",
    )


class StoreSource(Section):
    """`kind: store`: the embedded event store, fed by the SDK and `driftd serve`."""

    kind: Literal["store"] = Field("store", description="where events are read from")


class FilesSource(Section):
    """`kind: files`: log files that an application writes."""

    kind: Literal["files"] = Field(description="where events are read from")
    path: str = Field(min_length=1, description="a folder, a file or a pattern such as `/var/log/app/*.jsonl`")
    format: Literal["auto", "parquet", "csv", "jsonl"] = Field("auto", description="`auto` goes by the file's suffix")
    columns: dict[Literal["id", "at", "prediction", "score", "version", "label", "label_at"], str] = Field(
        default_factory=dict, description="which column holds what, where the names differ from these"
    )
    feedback: str | None = Field(None, description="path of separate files that hold the labels")
    feedback_columns: dict[Literal["id", "label", "label_at"], str] = Field(
        default_factory=dict, description="which column of the feedback files holds what"
    )


class Window(Section):
    """What one check evaluates: by time or by rows, exactly one of the two."""

    every: Duration | None = Field(None, description="length of a time window; windows are aligned to UTC")
    rows: int | None = Field(None, ge=10, description="number of predictions in a row window")
    lateness: Duration | None = Field(
        None, description="how long a closed window waits for stragglers; 1 % of `every`, at least 1s, unless set"
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Window:
        if (self.every is None) == (self.rows is None):
            raise ValueError("a window is cut either by time (every: 1h) or by rows (rows: 500): give exactly one")
        return self


class Command(Section):
    """A trainer that is a program."""

    command: tuple[str, ...] = Field(
        min_length=1, description="the program and its arguments; it is told its paths in DRIFTD_* variables"
    )


class Performance(Section):
    """Labelled performance."""

    metric: str = Field(
        "auto",
        description="what is watched where labels come; `auto`: brier (error without scores), or mae for numbers",
    )
    tolerated_loss: float | None = Field(
        None,
        gt=0,
        description="how much worse is tolerated, in units of the metric; 10 % of the reference's loss unless set",
    )
    patience: Duration | None = Field(
        None, description="the age at which a window's missing labels are no longer waited for; learned unless set"
    )


class Data(Section):
    """Data drift."""

    ignore: tuple[str, ...] = Field((), description="features that are not looked at")
    weights: Annotated[
        Annotated[Literal["importance", "uniform"], Tag("word")] | Annotated[dict[str, float], Tag("mapping")],
        Discriminator(lambda given: "mapping" if isinstance(given, dict) else "word"),
    ] = Field("importance", description="how much each feature counts: a word, or a weight for each feature by name")
    tolerance: float = Field(0.03, ge=0, le=1, description="shifts below this many standard deviations do not matter")
    stattests: dict[str, StattestName] = Field(
        default_factory=dict, description="Evidently's stattest for the second opinion on a feature, by name"
    )


class Detect(Section):
    """What is watched, and how many false alarms that may cost."""

    false_alarms_per_year: float = Field(
        1.0,
        gt=0,
        le=366,
        description="the budget of false alarms over all that is watched; every threshold follows from it",
    )
    performance: Performance = Field(Performance(), description="labelled performance")
    data: Data = Field(Data(), description="data drift")
    segments: tuple[str, ...] = Field(
        (), description="features by whose values the gate compares too: no group may become clearly worse"
    )


class Budget(Section):
    """Storm control: never more builds than this."""

    builds: int = Field(4, ge=1, description="at most so many builds")
    per: Duration = Field(DAY, description="in so long")


class TrainingData(Section):
    """Which labelled rows a build trains on; the word alone (`data: recent`) is enough."""

    use: Literal["auto", "all", "recent", "since_change"] = Field(
        "auto", description="`auto` lets later rows choose between the others"
    )
    rows: int | None = Field(None, ge=100, description="at most so many of the newest rows")
    span: Duration | None = Field(None, description="rows at most so old")

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        return {"use": value} if isinstance(value, str) else value


class Retrain(Section):
    """When a build starts."""

    on: tuple[Literal["performance", "harm", "data_drift", "schedule", "new_labels", "code_changed"], ...] = Field(
        ("performance",),
        description="the triggers; data drift and harm estimated without labels inform unless they are named here",
    )
    schedule: Annotated[str, AfterValidator(cron_schedule)] | None = Field(
        None,
        description='five cron fields in UTC, the day of the week by name: `"0 3 * * sun"`; for the trigger `schedule`',
    )
    new_labels: int = Field(10_000, ge=1, description="labels since the last build, for the trigger `new_labels`")
    cooldown: Duration = Field(6 * HOUR, description="no build starts sooner after one ended")
    budget: Budget = Field(Budget(), description="storm control")
    data: TrainingData = Field(TrainingData(), description="which labelled rows a build trains on")


class Promote(Section):
    """When a challenger replaces the champion."""

    approval: Literal["auto", "manual"] = Field("auto", description="`manual`: a person says yes (`driftd approve`)")
    margin: float = Field(0.0, ge=0, description="how much better the challenger must be, in units of the gate's loss")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="how sure the gate must be")
    min_labels: int = Field(300, ge=20, description="labelled rows that a build and its gate need at least")


class Probation(Section):
    """How long a new champion is watched beside the old one."""

    span: Duration = Field(DAY, description="at least so long")
    min_labels: int = Field(300, ge=20, description="and until so many labels came")
    tolerated_harm: float | None = Field(
        None,
        ge=0,
        description="how much worse than the old champion is tolerated, in units of the loss; derived unless set",
    )


def _trainer_shape(given: Any) -> str:
    return "command" if isinstance(given, dict | Command) else "reference"


class ModelConfig(Section):
    """One model under watch."""

    task: Task = Field(description="what the model predicts")
    target: str = Field(min_length=1, description="the column that is predicted")
    features: Annotated[dict[str, Kind], Field(min_length=1)] | None = Field(
        None, description="the features and their kinds; learned from the first rows unless set"
    )
    source: Annotated[StoreSource | FilesSource, Field(discriminator="kind")] = Field(
        StoreSource(), description="where predictions and labels are read from"
    )
    window: Window = Field(Window(every=HOUR), description="what one check evaluates")
    trainer: Annotated[
        Annotated[str, AfterValidator(trainer_reference), Tag("reference")] | Annotated[Command, Tag("command")],
        Discriminator(_trainer_shape),
    ] = Field("driftd.trainers:gradient_boosting", description="`package.module:function`, or `{command: [...]}`")
    parameters: dict[str, Any] = Field(default_factory=dict, description="handed to the trainer as they are")
    allow_joblib: bool = Field(
        default=False,
        description="let artefacts be stored with joblib where skops cannot hold them; loading one runs its code",
    )
    detect: Detect = Field(Detect(), description="what is watched, and how many false alarms that may cost")
    retrain: Retrain = Field(Retrain(), description="when a build starts")
    promote: Promote = Field(Promote(), description="when a challenger replaces the champion")
    probation: Probation = Field(Probation(), description="how long a new champion is watched beside the old one")


class Override(Section):
    """The operator's hand. A reason is required when anything else is set."""

    reason: str | None = Field(None, min_length=1, description="why; it is told wherever the override has an effect")
    expires: Moment | None = Field(None, description="when it lapses by itself, with its zone: `2026-12-01T00:00:00Z`")
    pause: tuple[Literal["checks", "retraining", "promotion"], ...] = Field(
        (), description="what is held, on all models"
    )
    pin: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict, description="serve exactly this version of a model, swap nothing"
    )
    silence: dict[str, dict[str, Moment]] = Field(
        default_factory=dict,
        description="features that raise no alarm, each until a time: `{demand: {price: 2026-12-01T00:00:00Z}}`",
    )
    retrain: dict[str, str] = Field(default_factory=dict, description="each new text is one build of the model")
    approve: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict, description="let this waiting version of a model serve"
    )
    reject: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict, description="turn this waiting version of a model down"
    )


def _web_address(secret: SecretStr) -> SecretStr:
    web_address(secret.get_secret_value())
    return secret


WebAddress = Annotated[
    SecretStr,
    AfterValidator(_web_address),
    PlainSerializer(lambda secret: without_secret(secret.get_secret_value()), return_type=str, when_used="json"),
]


class Receiver(Section):
    """One receiver of notifications: a webhook or a program, told of every decision that `on` names."""

    webhook: WebAddress | None = Field(
        None, description="address that gets Slack-compatible JSON by POST; a secret, shown nowhere"
    )
    webhook_file: Path | None = Field(
        None,
        description="a file that holds the address, read at each delivery; a bare name is a credential of systemd",
    )
    command: tuple[str, ...] | None = Field(
        None, min_length=1, description="a program and its arguments; gets JSON on stdin and DRIFTD_* variables"
    )
    on: tuple[EventOrSeverity, ...] = Field(
        (DEFAULT,), min_length=1, description="events or severities (docs/notifications.md), `default`, `all`"
    )
    models: tuple[str, ...] = Field((), description="only of these models; of all unless set")
    timeout: Duration = Field(15.0, description="one try takes at most so long; then it is repeated")

    @model_validator(mode="after")
    def _exactly_one(self) -> Receiver:
        ways = [one for one in ("webhook", "webhook_file", "command") if getattr(self, one) is not None]
        if len(ways) != 1:
            given = " and ".join(ways) or "none of them"
            raise ValueError(f"a receiver has exactly one of webhook, webhook_file and command, not {given}")
        return self


class Config(Section):
    """The whole file."""

    state_dir: Folder = Field(
        Path("/var/lib/driftd"), description="everything that driftd keeps; changes only with a restart"
    )
    http: Http = Field(Http(), description="the daemon's own HTTP")
    serve: Serve = Field(Serve(), description="the HTTP of `driftd serve`")
    limits: Limits = Field(Limits(), description="what child processes and checks may use")
    retention: Retention = Field(Retention(), description="how long things are kept")
    backup: Backup = Field(Backup(), description="backups of what cannot be built again")
    models: dict[ModelName, ModelConfig] = Field(min_length=1, description="the models under watch, by name")
    notify: dict[ReceiverName, Receiver] = Field(
        default_factory=dict, description="who is told of decisions, by the receiver's name"
    )
    override: Override = Field(Override(), description="the operator's hand")
    _hash: str = PrivateAttr("")

    @property
    def hash(self) -> str:
        """The first twelve hexadecimal digits of the file's SHA-256; empty for a config that came from no file."""
        return self._hash

    def hashed(self, digest: str) -> Config:
        """This config, read from a file with that hash."""
        config = self.model_copy()
        config._hash = digest
        return config
