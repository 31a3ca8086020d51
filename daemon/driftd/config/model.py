"""The typed config. Field names are the keys of config.yaml (DESIGN 6.1); unknown keys are refused."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from driftd.config.durations import Duration
from driftd.stattests import stattest_named
from driftd_detectors.schema import Kind, Task

HOUR, DAY = 3600.0, 86400.0
Listen = Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$")]
ModelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
StattestName = Annotated[str, AfterValidator(lambda name: stattest_named(name).name)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """Strict keys, frozen values."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Http(Section):
    """The daemon's own HTTP: metrics, health, status."""

    listen: Listen = "127.0.0.1:9464"


class Serve(Section):
    """`driftd serve`: predictions, feedback, ingestion."""

    listen: Listen = "127.0.0.1:9465"
    max_body: int = Field(8_000_000, ge=1000, description="bytes of one request")
    max_batch: int = Field(10_000, ge=1, description="events of one request")


class Limits(Section):
    """What child processes and checks may use."""

    memory: int = Field(8 << 30, ge=256 << 20, description="bytes of each child process")
    timeout: Duration = HOUR
    threads: int | None = Field(None, ge=1)
    check_timeout: Duration = 120.0


class Retention(Section):
    """How long things are kept."""

    events: Duration = 400 * DAY
    checks: Duration = 800 * DAY


class StoreSource(Section):
    """The embedded event store, fed by the SDK and `driftd serve`."""

    kind: Literal["store"] = "store"


class FilesSource(Section):
    """Log files that an application writes. `columns` maps id, at, prediction, score, version, label, label_at."""

    kind: Literal["files"]
    path: str
    format: Literal["auto", "parquet", "csv", "jsonl"] = "auto"
    columns: dict[Literal["id", "at", "prediction", "score", "version", "label", "label_at"], str] = Field(
        default_factory=dict
    )
    feedback: str | None = None
    feedback_columns: dict[Literal["id", "label", "label_at"], str] = Field(default_factory=dict)


class Window(Section):
    """By time or by rows: exactly one."""

    every: Duration | None = None
    rows: int | None = Field(None, ge=10)
    lateness: Duration | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Window:
        if (self.every is None) == (self.rows is None):
            raise ValueError("a window is cut either by time (every: 1h) or by rows (rows: 500): give exactly one")
        return self


class Command(Section):
    """A trainer that is a program."""

    command: tuple[str, ...] = Field(min_length=1)


class Performance(Section):
    """Labelled performance."""

    metric: str = "auto"
    tolerated_loss: float | None = Field(None, gt=0)
    patience: Duration | None = None


class Data(Section):
    """Data drift."""

    ignore: tuple[str, ...] = ()
    weights: Literal["importance", "uniform"] | dict[str, float] = "importance"
    tolerance: float = Field(0.03, ge=0, le=1)
    stattests: dict[str, StattestName] = Field(default_factory=dict)


class Detect(Section):
    """What is watched, and how many false alarms that may cost."""

    false_alarms_per_year: float = Field(1.0, gt=0, le=366)
    performance: Performance = Performance()
    data: Data = Data()
    segments: tuple[str, ...] = ()


class Budget(Section):
    """Storm control."""

    builds: int = Field(4, ge=1)
    per: Duration = DAY


class TrainingData(Section):
    """Which labelled rows a build trains on."""

    use: Literal["auto", "all", "recent", "since_change"] = "auto"
    rows: int | None = Field(None, ge=100)
    span: Duration | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        return {"use": value} if isinstance(value, str) else value


class Retrain(Section):
    """When a build starts."""

    on: tuple[Literal["performance", "harm", "data_drift", "schedule", "new_labels", "code_changed"], ...] = (
        "performance",
        "harm",
    )
    schedule: str | None = None
    new_labels: int = Field(10_000, ge=1)
    cooldown: Duration = 6 * HOUR
    budget: Budget = Budget()
    data: TrainingData = TrainingData()


class Promote(Section):
    """When a challenger replaces the champion."""

    approval: Literal["auto", "manual"] = "auto"
    margin: float = Field(0.0, ge=0)
    confidence: float = Field(0.95, gt=0.5, lt=1)
    min_labels: int = Field(300, ge=20)


class Probation(Section):
    """How long a new champion is watched beside the old one."""

    span: Duration = DAY
    min_labels: int = Field(300, ge=20)
    tolerated_harm: float | None = Field(None, ge=0)


class ModelConfig(Section):
    """One model under watch."""

    task: Task
    target: str
    features: dict[str, Kind] | None = None
    source: Annotated[StoreSource | FilesSource, Field(discriminator="kind")] = StoreSource()
    window: Window = Window(every=HOUR)
    trainer: str | Command = "driftd.trainers:gradient_boosting"
    parameters: dict[str, Any] = Field(default_factory=dict)
    allow_joblib: bool = False
    detect: Detect = Detect()
    retrain: Retrain = Retrain()
    promote: Promote = Promote()
    probation: Probation = Probation()


class Override(Section):
    """The operator's hand."""

    reason: str | None = None
    expires: datetime | None = None
    pause: tuple[Literal["checks", "retraining", "promotion"], ...] = ()
    pin: dict[str, int] = Field(default_factory=dict)
    retrain: dict[str, str] = Field(default_factory=dict)
    approve: dict[str, int] = Field(default_factory=dict)
    reject: dict[str, int] = Field(default_factory=dict)


class Config(Section):
    """The whole file."""

    state_dir: Path = Path("/var/lib/driftd")
    http: Http = Http()
    serve: Serve = Serve()
    limits: Limits = Limits()
    retention: Retention = Retention()
    models: dict[ModelName, ModelConfig] = Field(min_length=1)
    override: Override = Override()
    hash: str = Field("", exclude=True)
