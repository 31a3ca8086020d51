"""The figures of the demonstration, its HTML page, and its short form for the terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np
import plotext
import plotly.graph_objects as go
from rich.console import Console
from rich.table import Table
from rich.text import Text

from driftd.rehearsal.curves import Curve, Numbers, monthly_means
from driftd.rehearsal.rivals import STATIC as LEFT_ALONE
from driftd.rehearsal.stream import DAY

ROLLING_DAYS = 7


class Keeper(StrEnum):
    """The ways of keeping a model that the demonstration compares, as they are called in its report."""

    DRIFTD = "driftd"
    STATIC = LEFT_ALONE
    MONTHLY = "rebuilt monthly"
    WEEKLY = "rebuilt weekly"


class MarkKind(StrEnum):
    """What the report marks on the time axis."""

    ALARM = "alarm"
    BUILD = "build"
    SWAP = "swap"
    KEPT = "champion kept"  # the gate refused the challenger or could not tell
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing that happened, at `at` (epoch seconds), with its one-sentence reason."""

    at: float
    kind: MarkKind
    sentence: str


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the final table."""

    name: str
    builds: int
    mean: float
    worst_month: float
    gain: float  # share of the static model's error that is gone, counted over all predictions


def rolling_mean(curve: Curve, days: int = ROLLING_DAYS) -> tuple[Numbers, Numbers]:
    """The mean error of the predictions of the last `days` days, at each midnight from the first full span on.

    Returns the midnights (epoch seconds) and the means; a span without predictions gives NaN, a gap in the line.
    """
    if not len(curve.at):
        return np.empty(0), np.empty(0)
    first_midnight = np.floor(curve.at[0] / DAY) * DAY
    ends = np.arange(first_midnight + days * DAY, curve.at[-1] + DAY, DAY)
    sums = np.concatenate([[0.0], np.cumsum(curve.error)])
    last = np.searchsorted(curve.at, ends, side="left")
    first = np.searchsorted(curve.at, ends - days * DAY, side="left")
    counts = last - first
    means = np.full(len(ends), np.nan)
    np.divide(sums[last] - sums[first], counts, out=means, where=counts > 0)
    return ends, means


def table(curves: Sequence[Curve]) -> list[Row]:
    """The final comparison, one row a curve in the order given; gains are against the curve named `Keeper.STATIC`."""
    static = next((curve.mean for curve in curves if curve.name == Keeper.STATIC), float("nan"))
    return [
        Row(
            name=curve.name,
            builds=curve.builds,
            mean=curve.mean,
            worst_month=max((mean for _, mean in monthly_means(curve)), default=float("nan")),
            gain=1.0 - curve.mean / static,
        )
        for curve in curves
    ]


# Readable on white and on near-black, and apart for colour-blind eyes (after Okabe and Ito, 2008).
COLOURS: dict[str, str] = {
    Keeper.DRIFTD: "#2a8fd8",
    Keeper.STATIC: "#d9730d",
    Keeper.MONTHLY: "#a06cd5",
    Keeper.WEEKLY: "#8a939c",
}
OTHER_COLOUR = "#4f9d69"
TERMINAL_COLOURS: dict[str, str] = {Keeper.DRIFTD: "blue+", Keeper.STATIC: "orange+", Keeper.WEEKLY: "gray"}
SYMBOLS = {
    MarkKind.ALARM: ("triangle-down", "#d64545"),
    MarkKind.BUILD: ("circle-open", "#2a8fd8"),
    MarkKind.SWAP: ("star", "#1f9d6b"),
    MarkKind.KEPT: ("x-thin-open", "#8a939c"),
    MarkKind.ROLLBACK: ("triangle-left", "#d9730d"),
}
UNIT = "minutes"


def write(
    path: Path,
    curves: Sequence[Curve],
    marks: Sequence[Mark],
    *,
    title: str,
    lead: str,
    mistakes: Sequence[str] = (),
    footer: str = "",
) -> Path:
    """Write the report to `path` (by rename: a reader never sees half a page) and return it.

    `mistakes` are sentences that say where driftd was wrong in hindsight.

    The page needs no network: plotly's script is inside, which makes it about 4.5 MB. Texts are escaped.
    """
    plot = _figure(curves, marks).to_html(full_html=False, include_plotlyjs=True, config={"displaylogo": False})
    page = Template((resources.files("driftd.demonstration") / "page.html").read_text("utf-8")).substitute(
        title=escape(title),
        lead=escape(lead),
        plot=plot,
        table=_table_html(table(curves)),
        mistakes=_mistakes_html(mistakes),
        marks=_marks_html(marks),
        footer=escape(footer),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(page, "utf-8")
    os.replace(unfinished, path)  # noqa: PTH105 - Path.replace is the same call; this one says rename(2)
    return path


def print_summary(console: Console, curves: Sequence[Curve], *, chart: bool = True) -> None:
    """Print the table of mean errors and builds, and a small chart of the rolling errors."""
    if chart:
        console.print(Text.from_ansi(terminal_chart(curves, width=min(console.width, 110))))
    lines = Table(title=f"Mean absolute error, {UNIT}", title_justify="left", header_style="bold")
    lines.add_column("model kept by")
    for heading in ("models trained", "mean error", "worst month", "error saved"):
        lines.add_column(heading, justify="right")
    for row in table(curves):
        style = "bold" if row.name == Keeper.DRIFTD else ""
        lines.add_row(row.name, *_cells(row), style=style)
    console.print(lines)


def terminal_chart(curves: Sequence[Curve], *, width: int = 100, height: int = 16) -> str:
    """The rolling errors as a chart of `width` by `height` characters, with ANSI colours."""
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.limit_size(False, False)  # noqa: FBT003 - its own signature: neither width nor height
    plotext.plotsize(width, height)
    plotext.title(f"mean absolute error of the last {ROLLING_DAYS} days, {UNIT}")
    ticks: dict[float, str] = {}
    for curve in curves:
        ends, means = rolling_mean(curve)
        seen = ~np.isnan(means)
        if not seen.any():
            continue
        plotext.plot(
            ends[seen].tolist(), means[seen].tolist(), label=curve.name, color=_terminal_colour(curve), marker="braille"
        )
        ticks |= {float(end): _date(end).strftime("%b %d") for end in ends[:: max(len(ends) // 6, 1)]}
    plotext.xticks(list(ticks), list(ticks.values()))
    chart: str = plotext.build()
    plotext.clear_figure()
    return chart


def _figure(curves: Sequence[Curve], marks: Sequence[Mark]) -> go.Figure:
    figure = go.Figure()
    for curve in curves:
        ends, means = rolling_mean(curve)
        wide = 3 if curve.name == Keeper.DRIFTD else 1.8
        line = {"color": COLOURS.get(curve.name, OTHER_COLOUR), "width": wide}
        name = f"{curve.name} ({curve.builds} trained, {curve.mean:.2f})"
        figure.add_scatter(x=[_date(end) for end in ends], y=means, name=name, line=line, mode="lines")
    _add_marks(figure, curves, marks)
    axis = {"gridcolor": "rgba(136, 136, 136, 0.25)", "zeroline": False}
    figure.update_layout(
        height=520,
        margin={"l": 60, "r": 20, "t": 20, "b": 40},
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        font={"color": "#808a94"},  # before the page's script runs, and where scripts are off
        legend={"orientation": "h", "y": -0.12},
        hovermode="closest",
        modebar={"bgcolor": "rgba(0, 0, 0, 0)"},
        xaxis=axis,
        yaxis=axis | {"title": f"mean absolute error of {ROLLING_DAYS} days ({UNIT})", "rangemode": "tozero"},
    )
    return figure


def _add_marks(figure: go.Figure, curves: Sequence[Curve], marks: Sequence[Mark]) -> None:
    """Put each mark on driftd's line at its time, one legend entry a kind, the sentence in the hover text."""
    served = next((curve for curve in curves if curve.name == Keeper.DRIFTD), None)
    ends, means = rolling_mean(served) if served is not None else (np.empty(0), np.empty(0))
    for kind in MarkKind:
        chosen = [mark for mark in marks if mark.kind is kind]
        if not chosen:
            continue
        symbol, colour = SYMBOLS[kind]
        at = np.array([mark.at for mark in chosen])
        figure.add_scatter(
            x=[_date(when) for when in at],
            y=np.interp(at, ends, means) if len(ends) else np.zeros(len(at)),
            name=f"{kind} ({len(chosen)})",
            mode="markers",
            marker={"symbol": symbol, "color": colour, "size": 13, "line": {"color": colour, "width": 2}},
            text=[_fold(mark.sentence) for mark in chosen],
            hovertemplate="%{x|%d %b %H:%M}<br>%{text}<extra></extra>",
        )


def _table_html(rows: Sequence[Row]) -> str:
    heads = "".join(
        f'<th class="number">{head}</th>' for head in ("models trained", "mean error", "worst month", "error saved")
    )
    body = "".join(
        f"<tr><td>{escape(row.name)}</td>"
        + "".join(f'<td class="number">{escape(cell)}</td>' for cell in _cells(row))
        + "</tr>"
        for row in rows
    )
    caption = (
        f"Absolute error in {UNIT} over all replayed predictions; saved against the first model left alone. "
        "Weekly is every 7 days, monthly every 28, on all rows with labels."
    )
    return f"<table><caption>{caption}</caption><tr><th>model kept by</th>{heads}</tr>{body}</table>"


def _marks_html(marks: Sequence[Mark]) -> str:
    if not marks:
        return "<p>Nothing: no alarm, no build.</p>"
    body = "".join(
        f'<tr><td class="when">{_date(mark.at):%d %b %H:%M}</td><td>{escape(mark.kind)}</td>'
        f"<td>{escape(mark.sentence)}</td></tr>"
        for mark in sorted(marks, key=lambda mark: mark.at)
    )
    return f"<table><tr><th>when</th><th>what</th><th>why</th></tr>{body}</table>"


def _mistakes_html(mistakes: Sequence[str]) -> str:
    if not mistakes:
        return "<p>Nowhere: no swap, no refusal and no month in which another version would have done better.</p>"
    return f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in mistakes)}</ul>"


def _cells(row: Row) -> tuple[str, str, str, str]:
    saved = "-" if row.name == Keeper.STATIC else f"{row.gain:.0%}"
    return str(row.builds), f"{row.mean:.2f}", f"{row.worst_month:.2f}", saved


def _fold(sentence: str, width: int = 80) -> str:
    """A sentence for plotly's hover box: escaped, and broken into lines of about `width` characters."""
    lines, line = [], ""
    for word in escape(sentence).split():
        if line and len(line) + len(word) >= width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "<br>".join([*lines, line])


def _terminal_colour(curve: Curve) -> str:
    return TERMINAL_COLOURS.get(curve.name, "magenta")


def _date(at: float) -> datetime:
    return datetime.fromtimestamp(float(at), UTC)
