"""Panels in one style: each has a sentence that says what is seen and when to worry, a unit, and words for no data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heat_models
from grafana_foundation_sdk.models import prometheus as query_models

from grafana.generate.boards import SOURCE

GREEN, YELLOW, ORANGE, RED, BLUE, PURPLE, GREY = "green", "yellow", "orange", "red", "blue", "purple", "#8e8e8e"
NO_DATA = "No data: is the daemon scraped?"

Steps = Sequence[tuple[float | None, str]]  # the first begins at None: everything below the second
Words = Mapping[str, tuple[str, str]]  # value -> what it means, its colour
Queries = Mapping[str, str]  # legend (or column) -> PromQL
AnyPanel = TypeVar("AnyPanel", timeseries.Panel, stat.Panel, table.Panel, statetimeline.Panel, heatmap.Panel)
Style = Mapping[str, Any]  # a field's property -> its value

BAND: Style = {
    "custom.lineWidth": 0,
    "custom.fillOpacity": 0,
    "custom.hideFrom": {"legend": True, "tooltip": False, "viz": False},
}
LIMIT: Style = {
    "custom.lineStyle": {"fill": "dash", "dash": [8, 6]},
    "custom.lineWidth": 2,
    "custom.fillOpacity": 0,
    "color": {"mode": "fixed", "fixedColor": RED},
}


def colour(name: str) -> Style:
    """The one colour of a series."""
    return {"color": {"mode": "fixed", "fixedColor": name}}


def steps(*given: tuple[float | None, str]) -> Builder[models.ThresholdsConfig]:
    """Thresholds at absolute values."""
    found = [models.Threshold(value=value, color=shade) for value, shade in given]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(found)


def meanings(words: Words) -> list[models.ValueMapping]:
    """What numbers stand for."""
    meaning = {
        value: models.ValueMappingResult(text=text, color=shade, index=index)
        for index, (value, (text, shade)) in enumerate(words.items())
    }
    return [models.ValueMap(options=meaning)]


def _style(panel: AnyPanel, overrides: Mapping[str, Style]) -> AnyPanel:
    for name, style in overrides.items():
        values = [models.DynamicConfigValue(id_val=key, value=value) for key, value in style.items()]
        panel.with_override(models.MatcherConfig(id_val="byRegexp", options=f"/^{name}$/"), values)
    return panel


def _query(panel: AnyPanel, queries: Queries, *, instant: bool) -> AnyPanel:
    panel.datasource(SOURCE)
    for index, (legend, expr) in enumerate(queries.items()):
        query = prometheus.Dataquery().ref_id(chr(ord("A") + index)).expr(expr).datasource(SOURCE).legend_format(legend)
        panel.with_target(query.instant() if instant else query.range())
    return panel


def series(
    title: str,
    description: str,
    queries: Queries,
    *,
    unit: str = "short",
    styles: Mapping[str, Style] | None = None,
    limits: Steps = (),
    lowest: float | None = 0,
    highest: float | None = None,
    none: str = NO_DATA,
    steplike: bool = False,
    bars: bool = False,
) -> timeseries.Panel:
    """Lines over time; with `limits`, dashed lines at fixed values; with `bars`, counted events."""
    panel = timeseries.Panel().title(title).description(description).unit(unit).no_value(none)
    panel.legend(
        common.VizLegendOptions()
        .display_mode(shapes.LegendDisplayMode.LIST)
        .placement(shapes.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs([])
    )
    panel.tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING))
    panel.line_width(2).fill_opacity(0).show_points(shapes.VisibilityMode.AUTO)
    if steplike:
        panel.line_interpolation(shapes.LineInterpolation.STEP_AFTER)
    if bars:
        panel.draw_style(shapes.GraphDrawStyle.BARS).fill_opacity(70).line_width(0)
        panel.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL).group("A"))
    if lowest is not None:
        panel.axis_soft_min(lowest)
    if highest is not None:
        panel.max(highest)
    if limits:
        panel.thresholds(steps(*limits))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(shapes.GraphThresholdsStyleMode.DASHED))
    return _style(_query(panel, queries, instant=False), styles or {})


def figure(
    title: str,
    description: str,
    expr: str,
    *,
    unit: str = "short",
    limits: Steps = ((None, BLUE),),
    words: Words | None = None,
    none: str = NO_DATA,
    label: str | None = None,
    links: Sequence[Builder[models.DashboardLink]] = (),
) -> stat.Panel:
    """One figure as it is now; with `label`, that label of the series is shown in place of its value."""
    panel = stat.Panel().title(title).description(description).unit(unit).no_value(none).thresholds(steps(*limits))
    panel.mappings(meanings(words or {}) if words else []).graph_mode(shapes.BigValueGraphMode.NONE)
    panel.color_mode(shapes.BigValueColorMode.VALUE).reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    panel.text_mode(shapes.BigValueTextMode.NAME if label else shapes.BigValueTextMode.VALUE)
    panel.data_links(list(links))
    return _query(panel, {f"{{{{{label}}}}}" if label else title: expr}, instant=True)


def listing(
    title: str,
    description: str,
    columns: Queries,
    *,
    by: str,
    styles: Mapping[str, Style] | None = None,
    none: str = NO_DATA,
    sort: str = "",
    names: Mapping[str, str] | None = None,
) -> table.Panel:
    """A table as things are now: a line for each value of the label `by`, a column for each query."""
    panel = table.Panel().title(title).description(description).no_value(none).datasource(SOURCE)
    rename = dict(names or {by: by.capitalize()})
    for index, (column, expr) in enumerate(columns.items()):
        letter = chr(ord("A") + index)
        query = prometheus.Dataquery().ref_id(letter).expr(expr).instant().datasource(SOURCE)
        panel.with_target(query.format(query_models.PromQueryFormat.TABLE))
        rename["Value" if len(columns) == 1 else f"Value #{letter}"] = column
    if len(columns) > 1:
        panel.with_transformation(
            models.DataTransformerConfig(id_val="joinByField", options={"byField": by, "mode": "outer"})
        )
    hidden = dict.fromkeys(("Time", *(f"Time {number}" for number in range(1, len(columns) + 1))), True)
    order = {name: place for place, name in enumerate(rename)}
    panel.with_transformation(
        models.DataTransformerConfig(
            id_val="organize", options={"excludeByName": hidden, "renameByName": rename, "indexByName": order}
        )
    )
    if sort:
        panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(True)])
    return _style(panel, styles or {})


def lanes(title: str, description: str, queries: Queries, words: Words, *, none: str = NO_DATA) -> statetimeline.Panel:
    """States over time, a lane for each series."""
    panel = statetimeline.Panel().title(title).description(description).no_value(none).mappings(meanings(words))
    panel.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC))
    if words:
        panel.thresholds(steps((None, GREY)))
        panel.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
    panel.show_value(shapes.VisibilityMode.AUTO).merge_values(True).row_height(0.8)
    panel.legend(common.VizLegendOptions().show_legend(False))
    panel.tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.SINGLE).sort(shapes.SortOrder.NONE))
    return _query(panel, queries, instant=False)


def heat(title: str, description: str, queries: Queries, *, unit: str, none: str, hottest: float) -> heatmap.Panel:
    """A row for each series, a column for each moment, the value as colour up to `hottest`."""
    panel = heatmap.Panel().title(title).description(description).no_value(none).calculate(False)
    colours = heatmap.HeatmapColorOptions().mode(heat_models.HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
    colours.fill("dark-orange").scale(heat_models.HeatmapColorScale.LINEAR).exponent(1).reverse(False).min(0)
    panel.color(colours.max(hottest)).cell_gap(1).cell_values(heatmap.CellValues().unit(unit))
    panel.y_axis(heatmap.YAxisConfig().axis_placement(shapes.AxisPlacement.LEFT))
    panel.tooltip(heatmap.HeatmapTooltip().mode(shapes.TooltipDisplayMode.SINGLE))
    return _query(panel, queries, instant=False)
