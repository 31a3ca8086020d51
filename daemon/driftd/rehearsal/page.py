"""The HTML report of a rehearsal: one file that needs no network and no script."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from driftd.rehearsal.figures import Bounds, Decided, RehearsalReport, WayFigures
from driftd.rehearsal.plots import error_plot, interval_plot

HEADS = ("error", "to left alone", "to as it is", "alarms", "pages", "builds", "swaps", "rollbacks")
COST_HEADS = ("cost", "cost to as it is")


def write(path: Path, report: RehearsalReport) -> Path:
    """Write the report to `path` (by rename: a reader never sees half a page) and return it. Texts are escaped."""
    page = Template((resources.files("driftd.rehearsal") / "page.html").read_text("utf-8")).substitute(
        model=escape(report.model),
        lead=escape(_lead(report)),
        recommendation=escape(report.recommendation),
        remarks=_remarks(report.remarks),
        errors=error_plot(report),
        intervals=interval_plot(report),
        table=_table(report),
        decisions="".join(_decisions(way, number) for number, way in enumerate(report.configs)),
        footer=escape(_footer(report)),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(page, "utf-8")
    unfinished.replace(path)
    return path


def _lead(report: RehearsalReport) -> str:
    return (
        f"{report.rows:,} predictions ({report.labelled:,} with a label) in {report.windows} windows, from "
        f"{_day(report.start)} to {_day(report.end)}; the loss is {report.metric}. Every prediction is answered by the "
        "version that serves at its moment."
    )


def _footer(report: RehearsalReport) -> str:
    costs = ""
    if report.costs is not None:
        costs = "Costs: " + ", ".join(f"{name} {value:g}" for name, value in report.costs.items()) + ". "
    return (
        f"{costs}Intervals are of 95 %, by a paired bootstrap of blocks of days. A build takes no time on the virtual "
        "clock. A rival that is rebuilt on a schedule has no gate and pages nobody."
    )


def _remarks(remarks: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(remark)}</li>" for remark in remarks)
    return f'<ul class="quiet">{items}</ul>' if items else ""


def _table(report: RehearsalReport) -> str:
    heads = (*HEADS, *(COST_HEADS if report.costs is not None else ()))
    head = "".join(f'<th scope="col" class="number">{name}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(way.name)}</th>'
        + "".join(f'<td class="number">{escape(cell)}</td>' for cell in _cells(way, costs=report.costs is not None))
        + "</tr>"
        for way in report.ways
    )
    caption = f"Mean {escape(report.metric)} over all predictions with a label, which count alike; differences at 95 %."
    return f'<table><caption>{caption}</caption><tr><th scope="col">kept by</th>{head}</tr>{body}</table>'


def _cells(way: WayFigures, *, costs: bool) -> list[str]:
    counts = (way.alarms, way.pages, way.builds, way.swaps, way.rollbacks)
    cells = [f"{way.error:.4g}", _span(way.to_static), _span(way.to_default), *map(str, counts)]
    return [*cells, f"{way.cost:.4g}", _span(way.cost_to_default)] if costs else cells


def _span(found: Bounds | None) -> str:
    if found is None:
        return "-"
    if found.lower is None or found.upper is None:
        return f"{found.mean:+.3g}"
    return f"{found.mean:+.3g} ({found.lower:+.3g} to {found.upper:+.3g})"


def _decisions(way: WayFigures, number: int) -> str:
    rows = "".join(map(_decision, way.decisions)) or '<tr><td colspan="3">Nothing: no alarm, no build.</td></tr>'
    head = '<tr><th scope="col">when</th><th scope="col">what</th><th scope="col">why</th></tr>'
    opened = " open" if number == 0 else ""
    return (
        f"<details{opened}><summary>{escape(way.name)}: {len(way.decisions)} decisions</summary>"
        f'<div class="wide"><table>{head}{rows}</table></div></details>'
    )


def _decision(line: Decided) -> str:
    when = f"{datetime.fromtimestamp(line.at, UTC):%d %b %Y %H:%M}"
    what = escape(line.event.replace("_", " "))
    return f'<tr><td class="when">{when}</td><td>{what}</td><td>{escape(line.reason)}</td></tr>'


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%d %b %Y}"
