"""The section of one model under watch: its source, its windows, what is detected, and what follows from it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from driftd.config.card_schema import CardConfig
from driftd.config.deploy_schema import Deploy
from driftd.config.detect_schema import ClassName, Detect
from driftd.config.registry_schema import RegistryConfig
from driftd.config.source_schema import SourceConfig, StoreSourceConfig
from driftd.config.stage_schema import Stages
from driftd.config.trainer_schema import Command, OutsideTrainer, trainer_shape
from driftd.config.types import (
    DAY,
    HOUR,
    Duration,
    Flag,
    Number,
    Section,
    Share,
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
    "performance",
    "refresh",
    "estimated_performance",
    "data_drift",
    "schedule",
    "new_labels",
    "code_changed",
    "parameters_changed",
    "harm",
]


class Retrain(Section):
    """When a build starts."""

    on: tuple[BuildTrigger, ...] = Field(
        ("performance", "refresh"),
        description="the triggers; data drift and performance estimated without labels inform unless they are named "
        "here; `harm` is the earlier name of `estimated_performance`. `code_changed`: the trainer's source, or the "
        "lock file of its project; `parameters_changed`: `parameters`, `classes`, `retrain.data` or the metric. Both "
        "need a challenger that is not clearly worse",
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
            Annotated[str, AfterValidator(trainer_reference), Tag("reference")]
            | Annotated[Command, Tag("command")]
            | Annotated[OutsideTrainer, Tag("outside")],
            Discriminator(trainer_shape),
        ]
        | None
    ) = Field(
        "driftd.trainers:gradient_boosting",
        description="`package.module:function`, `{command: [...]}`, or a builder outside (`{webhook: ...}`, `{start: "
        "[...]}`); `null`, for `serving: external` alone: nothing is built, a new version is asked for",
    )
    parameters: dict[str, Any] = Field(default_factory=dict, description="handed to the trainer as they are")
    allow_joblib: Flag = Field(
        default=False,
        description="let artefacts be stored with joblib where skops cannot hold them; loading one runs its code",
    )
    detect: Detect = Field(Detect(), description="what is watched, and how many false alarms that may cost")
    retrain: Retrain = Field(Retrain(), description="when a build starts")
    promote: Promote = Field(Promote(), description="when a challenger replaces the champion")
    stages: Stages = Field(
        Stages(),
        description="what a build passes besides: checks of its rows, tests of yours, a review; docs/stages.md",
    )
    probation: ProbationConfig = Field(
        ProbationConfig(), description="how long a new champion is watched beside the old one"
    )
    registry: RegistryConfig = Field(
        RegistryConfig(), description="where each version is registered besides, and an alias names the one that serves"
    )
    deploy: Deploy = Field(Deploy(), description="how another version is handed over, for `serving: external`")
    card: CardConfig = Field(CardConfig(), description="what people say of the model, for its model cards")

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
