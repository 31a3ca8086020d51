"""The `detect` section of a model: what is watched, how, and how many false alarms that may cost."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from driftd.config.plugin_schema import PLUGIN_METRIC, PluginMetric
from driftd.config.types import (
    Duration,
    Flag,
    Number,
    Section,
    class_name_of,
    detector_reference,
    metric_reference,
    zone_name,
)
from driftd.stattests import stattest_named
from driftd_detectors.schema import cost_metric

StattestName = Annotated[str, AfterValidator(lambda name: stattest_named(name).name)]
ClassName = Annotated[str, BeforeValidator(class_name_of)]
Cost = Annotated[Number, Field(ge=0)]


class CostsConfig(Section):
    """A metric that says what wrong predictions cost."""

    costs: dict[
        ClassName,
        Annotated[
            Annotated[Cost, Tag("unit")] | Annotated[dict[ClassName, Cost], Tag("classes")],
            Discriminator(lambda given: "classes" if isinstance(given, dict) else "unit"),
        ],
    ] = Field(
        min_length=1,
        description="of classes: the label, and under it what each prediction costs (right ones nothing, wrong ones "
        "that are not named the most); of numbers: what a unit `over` and a unit `under` the label costs",
    )


def _metric_shape(given: Any) -> str:
    if isinstance(given, PluginMetric) or (isinstance(given, dict) and "plugin" in given):
        return "plugin"
    return "costs" if isinstance(given, dict | CostsConfig) else "name"


class PerformanceConfig(Section):
    """Labelled performance."""

    metric: Annotated[
        Annotated[str, AfterValidator(metric_reference), Tag("name")]
        | Annotated[CostsConfig, Tag("costs")]
        | Annotated[PluginMetric, Tag("plugin")],
        Discriminator(_metric_shape),
    ] = Field(
        "auto",
        description="what is watched and gated where labels come; `auto`: mae for numbers, brier for classes (error "
        "without scores; log_loss, with roc_auc beside it, where the rarer of two classes is below 5 %); or your own: "
        "`package.module:function` or `{costs: {...}}` (docs/your-metric.md), or an installed one, `{plugin: NAME}` "
        "(docs/plug-ins/metrics.md)",
    )
    tolerated_loss: Number | None = Field(
        None,
        gt=0,
        description="how much worse is tolerated, in units of the metric; 10 % of the reference's loss unless set",
    )
    patience: Duration | None = Field(
        None, description="the age at which a window's missing labels are no longer waited for; learned unless set"
    )

    @property
    def metric_name(self) -> str:
        """The metric as the statistics name it, or `auto`; the name of costs holds them."""
        if isinstance(self.metric, PluginMetric):
            return f"{PLUGIN_METRIC}{self.metric.plugin}"
        return self.metric if isinstance(self.metric, str) else cost_metric(self.metric.costs)


class Data(Section):
    """Data drift."""

    ignore: tuple[str, ...] = Field((), description="features that are not looked at")
    weights: Annotated[
        Annotated[Literal["importance", "uniform"], Tag("word")] | Annotated[dict[str, Number], Tag("mapping")],
        Discriminator(lambda given: "mapping" if isinstance(given, dict) else "word"),
    ] = Field("importance", description="how much each feature counts: a word, or a weight for each feature by name")
    tolerance: Number = Field(0.03, ge=0, le=1, description="shifts below this many standard deviations do not matter")
    stattests: dict[str, StattestName] = Field(
        default_factory=dict, description="Evidently's stattest for the second opinion on a feature, by name"
    )


class CalendarConfig(Section):
    """Which days and hours windows fall on, for windows of at most a day."""

    zone: Annotated[str, AfterValidator(zone_name)] = Field(
        "UTC", description="the time zone that hours and days of the week are told in; windows stay aligned to UTC"
    )
    holidays: str | None = Field(
        None,
        min_length=1,
        description="a CSV file whose lines begin with a date, `2026-01-01,New Year`: such days are unlike others, and "
        "the first of them only teach how; read when the config is",
    )
    month_ends: Flag = Field(default=True, description="whether the last two days of a month may be unlike others too")


class DetectorConfig(Section):
    """A score of the user's choice, watched as data drift."""

    use: Annotated[str, AfterValidator(detector_reference)] = Field(
        description="`evidently:` and a stattest or a metric of Evidently (`evidently:psi`, `evidently:MeanValue`), "
        "your own `package.module:function`, or the name of a detector that an installed package brings"
    )
    columns: tuple[str, ...] = Field(
        (), description="Evidently scores each of them apart, a function gets them together; all features unless set"
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="handed to the metric of Evidently or to the function, by name"
    )
    timeout: Duration = Field(
        30.0, description="for one window; a score that takes longer is an error of this detector alone"
    )


class Detect(Section):
    """What is watched, and how many false alarms that may cost."""

    false_alarms_per_year: Number = Field(
        1.0,
        gt=0,
        le=366,
        description="the budget of false alarms over all that is watched; every threshold follows from it",
    )
    performance: PerformanceConfig = Field(PerformanceConfig(), description="labelled performance")
    data: Data = Field(Data(), description="data drift")
    calendar: CalendarConfig = Field(CalendarConfig(), description="local time, holidays and month ends")
    segments: Annotated[
        Annotated[Literal["auto"], Tag("word")] | Annotated[tuple[str, ...], Tag("list")],
        Discriminator(lambda given: "word" if isinstance(given, str) else "list"),
    ] = Field(
        "auto",
        description="features by whose values performance is watched apart, and by which the gate compares too: no "
        "group may become clearly worse; `auto` watches the groups that a shallow tree finds on the reference's losses "
        "(the gate compares none), `[]` none",
    )

    detectors: tuple[DetectorConfig, ...] = Field(
        (), description="more scores of each window, calibrated on the reference: they share the budget of data drift"
    )

    @property
    def segment_columns(self) -> tuple[str, ...]:
        """The features that are named."""
        return () if self.segments == "auto" else self.segments
