"""The section of one model under watch: its source, its windows, what is detected, and what follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from driftd.config.detect_schema import ClassName, Detect
from driftd.config.plugin_schema import PluginName
from driftd.config.registry_schema import MlflowAlias, RegistryConfig
from driftd.config.source_schema import SourceConfig, StoreSourceConfig
from driftd.config.types import (
    DAY,
    HOUR,
    Duration,
    Flag,
    Number,
    Section,
    Share,
    WebAddress,
    Whole,
    Windows,
    cron_schedule,
    distinct,
    trainer_reference,
)
from driftd_detectors.schema import Kind, Task


class WindowConfig(Section):
    """What one check evaluates: by time or by rows, exactly one of the two."""

    every: Duration | None = Field(None, description="length of a time window; windows are aligned to UTC")
    rows: Whole | None = Field(None, ge=10, description="number of predictions in a row window")
    lateness: Duration | None = Field(
        None, description="how long a closed window waits for stragglers; 1 % of `every`, at least 1s, unless set"
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> WindowConfig:
        if (self.every is None) == (self.rows is None):
            raise ValueError("a window is cut either by time (every: 1h) or by rows (rows: 500): give exactly one")
        return self


class Command(Section):
    """A trainer that is a program."""

    command: tuple[str, ...] = Field(
        min_length=1, description="the program and its arguments; it is told its paths in DRIFTD_* variables"
    )


class BudgetConfig(Section):
    """Storm control: never more builds than this."""

    builds: Whole = Field(4, ge=1, description="at most so many builds")
    per: Duration = Field(DAY, description="in so long")


class CostConfig(Section):
    """What an hour of a build costs, in a unit of yours."""

    per_hour: Number = Field(ge=0, description="of the time that its jobs take")
    unit: str = Field(min_length=1, max_length=40, description="such as EUR or kWh")


class TrainingData(Section):
    """Which labelled rows a build trains on; the word alone (`data: recent`) is enough."""

    use: Literal["auto", "all", "recent", "since_change"] = Field(
        "auto", description="`auto` lets later rows choose between the others"
    )
    rows: Whole | None = Field(
        None, ge=100, description="a build reads at most so many of the newest rows, beside those that judge it"
    )
    span: Duration | None = Field(
        None, description="and rows at most so old, counted from the newest, beside those that judge it"
    )
    sample: Whole | None = Field(
        None,
        ge=1_000,
        description="of more rows than this the trainer gets a sample: as many, each class in its share, newer rows "
        "more often where the recipe weighs them so. Unless set, as many rows as have 25,000,000 values of features "
        "and fit half of `limits.memory`. What was read and kept stands in the lineage of a version",
    )

    keep: Literal["copy", "in_place"] = Field(
        "copy",
        description="`in_place`: the rows that are trained on stay where the source has them, and a trainer that is a "
        "program is told which they are (`DRIFTD_ROWS`); the newest alone are copied, for the gate",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        return {"use": value} if isinstance(value, str) else value


class RefreshConfig(Section):
    """A fresh model from all rows with complete labels; the word `off` is enough for none."""

    enabled: Flag = Field(default=True, description="`false`, or `refresh: off`: no refresh, as without the trigger")
    rows: Share = Field(
        0.1, description="when labelled rows have grown by so much, against those that the last refresh weighed"
    )
    every: Windows = Field(7, description="at most every so many windows; an alarm brings the next one forward")
    recipes: Annotated[
        tuple[Literal["all", "recent", "half_life"], ...], Field(min_length=1), AfterValidator(distinct)
    ] = Field(
        ("all", "recent", "half_life"),
        description="the ways of training that are built each time: all rows, the newest 20 %, all with weights that "
        "halve every 28 windows. The one whose earlier builds did best on later rows is served",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        return {"enabled": False} if value in ("off", False) else value


BuildTrigger = Literal[
    "performance", "refresh", "harm", "data_drift", "schedule", "new_labels", "code_changed", "parameters_changed"
]


class Retrain(Section):
    """When a build starts."""

    on: tuple[BuildTrigger, ...] = Field(
        ("performance", "refresh"),
        description="the triggers; data drift and harm estimated without labels inform unless they are named here. "
        "`code_changed`: the trainer's source, or the lock file of its project; `parameters_changed`: `parameters`, "
        "`classes`, `retrain.data` or the metric. Both need a challenger that is not clearly worse",
    )
    refresh: RefreshConfig = Field(RefreshConfig(), description="when a fresh model is built, and how; or `off`")
    schedule: Annotated[str, AfterValidator(cron_schedule)] | None = Field(
        None,
        description='five cron fields in UTC, the day of the week by name: `"0 3 * * sun"`; for the trigger `schedule`',
    )
    new_labels: Whole = Field(10_000, ge=1, description="labels since the last build, for the trigger `new_labels`")
    cooldown: Duration = Field(6 * HOUR, description="no build starts sooner after one ended")
    budget: BudgetConfig = Field(BudgetConfig(), description="storm control")
    cost: CostConfig | None = Field(None, description="what `driftd plan` says that a build costs")
    data: TrainingData = Field(TrainingData(), description="which labelled rows a build trains on")


class Promote(Section):
    """When a challenger replaces the champion."""

    approval: Literal["auto", "manual"] = Field("auto", description="`manual`: a person says yes (`driftd approve`)")
    margin: Number = Field(0.0, ge=0, description="how much better the challenger must be, in units of the gate's loss")
    serve: Literal["fresh", "surely_better"] = Field(
        "fresh",
        description="what a refresh serves: `fresh`, what it built, unless an older version is surely better; "
        "`surely_better`, what it built only where that is surely better than the version that serves",
    )
    confidence: Number = Field(0.95, gt=0.5, lt=1, description="how sure the gate must be")
    min_labels: Whole = Field(300, ge=20, description="labelled rows that a build and its gate need at least")
    block: Duration | None = Field(
        None,
        description="rows within so long share their luck: the gate and probation count them as one, and the gate "
        "needs three such blocks; 1d, or a window where windows are longer, unless set",
    )


class ProbationConfig(Section):
    """How long a new champion is watched beside the old one."""

    span: Duration = Field(
        7 * DAY, description="so long; less where a model that is worse by a tenth would have been seen in five days"
    )
    min_labels: Whole = Field(300, ge=20, description="and until so many labels came; never without one")
    tolerated_harm: Number | None = Field(
        None,
        ge=0,
        description="how much worse than the old champion is tolerated, in units of the loss; derived unless set",
    )


class Deploy(Section):
    """How another version is handed over to the system that serves (`serving: external`): at most one way."""

    command: tuple[str, ...] | None = Field(
        None, min_length=1, description="a program and its arguments; gets JSON on stdin and DRIFTD_* variables"
    )
    webhook: WebAddress | None = Field(
        None, description="address that gets the same JSON by POST; a secret, shown nowhere"
    )
    webhook_file: Path | None = Field(
        None,
        description="a file that holds the address, read at each hand-over; a bare name is a credential of systemd",
    )
    mlflow: MlflowAlias | None = Field(None, description="register the version with MLflow and move an alias to it")
    plugin: PluginName | None = Field(
        None, description="a deployer that an installed package brings: docs/plug-ins/deployers.md"
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="of the plug-in; let an option name the file of a secret"
    )
    confirm_within: Duration = Field(
        DAY, ge=1, description="a hand-over that is not confirmed in this time is taken back"
    )
    timeout: Duration = Field(300.0, ge=1, description="one try takes at most so long; then it is ended and repeated")

    @model_validator(mode="after")
    def _at_most_one(self) -> Deploy:
        ways = [way for way in DEPLOY_WAYS if getattr(self, way) is not None]
        if len(ways) > 1:
            raise ValueError(f"a version is handed over in one way, not by {' and '.join(ways)}")
        if self.options and self.plugin is None:
            raise ValueError("options are those of a plug-in: name it (plugin: NAME), or leave them out")
        return self

    @property
    def way(self) -> str | None:
        """The key that says how; None: people are told, and confirm."""
        return next((way for way in DEPLOY_WAYS if getattr(self, way) is not None), None)


DEPLOY_WAYS = ("command", "webhook", "webhook_file", "mlflow", "plugin")


def _trainer_shape(given: Any) -> str:
    return "command" if isinstance(given, dict | Command) else "reference"


def command_or_reference(trainer: str | Command | None) -> str | tuple[str, ...]:
    """A trainer without its section: the reference of a function, or the words of a command.

    Raises ValueError where no trainer is configured.
    """
    if trainer is None:
        raise ValueError("no trainer is configured (trainer: null)")
    return trainer if isinstance(trainer, str) else tuple(trainer.command)


class ModelConfig(Section):
    """One model under watch."""

    task: Task = Field(description="what the model predicts")
    target: str = Field(min_length=1, description="the column that is predicted")
    classes: Annotated[tuple[ClassName, ...], Field(min_length=2), AfterValidator(distinct)] | None = Field(
        None,
        description="the classes, in the order that the first version has them: for two, `score` is the probability of "
        "the second. A class that is added here is learned by the next build; learned from the first rows unless set",
    )
    features: Annotated[dict[str, Kind], Field(min_length=1)] | None = Field(
        None, description="the features and their kinds; learned from the first rows unless set"
    )
    source: Annotated[SourceConfig, Field(discriminator="kind")] = Field(
        StoreSourceConfig(), description="where predictions and labels are read from"
    )
    window: WindowConfig = Field(WindowConfig(every=HOUR), description="what one check evaluates")
    serving: Literal["embedded", "external"] = Field(
        "embedded",
        description="`external`: predictions are made elsewhere, and driftd watches them; docs/external.md",
    )
    trainer: (
        Annotated[
            Annotated[str, AfterValidator(trainer_reference), Tag("reference")] | Annotated[Command, Tag("command")],
            Discriminator(_trainer_shape),
        ]
        | None
    ) = Field(
        "driftd.trainers:gradient_boosting",
        description="`package.module:function`, or `{command: [...]}`; `null`, for `serving: external` alone: nothing "
        "is built, a new version is asked for",
    )
    parameters: dict[str, Any] = Field(default_factory=dict, description="handed to the trainer as they are")
    allow_joblib: Flag = Field(
        default=False,
        description="let artefacts be stored with joblib where skops cannot hold them; loading one runs its code",
    )
    detect: Detect = Field(Detect(), description="what is watched, and how many false alarms that may cost")
    retrain: Retrain = Field(Retrain(), description="when a build starts")
    promote: Promote = Field(Promote(), description="when a challenger replaces the champion")
    probation: ProbationConfig = Field(
        ProbationConfig(), description="how long a new champion is watched beside the old one"
    )
    registry: RegistryConfig = Field(
        RegistryConfig(), description="where each version is registered besides, and an alias names the one that serves"
    )
    deploy: Deploy = Field(Deploy(), description="how another version is handed over, for `serving: external`")

    @property
    def is_external(self) -> bool:
        """Whether the predictions are made elsewhere."""
        return self.serving == "external"

    @property
    def block_seconds(self) -> float:
        """The seconds within which rows share their luck, for the gate and for probation."""
        if self.promote.block is not None:
            return self.promote.block
        return max(DAY, self.window.every or 0.0)
