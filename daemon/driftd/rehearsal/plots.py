"""Plots of a rehearsal as SVG inside the page: readable on white and on near-black, in print, and by their texts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from html import escape

import numpy as np

from driftd.events import Event
from driftd.rehearsal.curves import Numbers
from driftd.rehearsal.figures import RehearsalReport, WayFigures, metric_means

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 960, 360, 64, 28, 12, 12
ROW = 26  # pixels of a way among the intervals
NAMES = 300  # pixels
SHOWN_POINTS = 120  # of a line: longer records are told in means of several windows
# Apart for colour-blind eyes (after Okabe and Ito, 2008), and told apart by their dashes too.
COLOURS = ("#2a8fd8", "#d9730d", "#4f9d69", "#a06cd5", "#c94f7c", "#8a939c", "#b58900", "#0f9b9b", "#d64545", "#6c71c4")
DASHES = ("", "8 4", "2 3", "10 3 2 3", "5 5", "1 4")
MARKS = {Event.ALARM: "alarm", Event.BUILD_STARTED: "build", Event.PROMOTED: "swap", Event.ROLLED_BACK: "rollback"}


def stroke_of(number: int) -> str:
    """The attributes of the line of one way, by its place."""
    dash = DASHES[number % len(DASHES)]
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'stroke="{COLOURS[number % len(COLOURS)]}" stroke-width="{2.6 if number == 0 else 1.6}"{dashed} fill="none"'


def error_plot(report: RehearsalReport) -> str:
    """The mean error of each way over time, with what the daemon decided below."""
    starts = np.array(report.starts)
    group = max(1, -(-len(starts) // SHOWN_POINTS))
    places = starts[::group]
    lines = [_group_means(metric_means(way.means), group) for way in report.ways]
    known = np.concatenate([line[np.isfinite(line)] for line in lines] or [np.empty(0)])
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    margin = 0.05 * (high - low or abs(high) or 1.0)
    scale = _Scale(float(starts[0]), report.end, low - margin, high + margin)
    drawn = [*_grid(scale), *_marks(report, scale)]
    for number, (way, line) in reversed(list(enumerate(zip(report.ways, lines, strict=True)))):
        drawn.append(f"<g><title>{escape(way.name)}</title>{_line(places, line, scale, stroke_of(number))}</g>")
    unit = "each window" if group == 1 else f"every {group} windows"
    said = f"Mean {report.metric} of {unit}, one line for each way of keeping the model. The table below has the means."
    return _figure(f"0 0 {WIDTH} {HEIGHT}", "".join(drawn), said, legend(report))


def legend(report: RehearsalReport) -> str:
    """Which line is which way."""
    items = "".join(
        f'<li><svg viewBox="0 0 40 12" aria-hidden="true"><line x2="40" y1="6" y2="6" {stroke_of(number)}/></svg>'
        f"{escape(way.name)} ({way.error:.4g})</li>"
        for number, way in enumerate(report.ways)
    )
    return f'<ul class="legend">{items}</ul>'


def interval_plot(report: RehearsalReport) -> str:
    """The difference of each way to the first version left alone, with its interval."""
    ways = [way for way in report.ways if way.to_static.mean == way.to_static.mean]
    ends = [bound for way in ways for bound in _ends(way)] or [0.0]
    low, high = min(0.0, *ends), max(0.0, *ends)
    margin = 0.05 * (high - low or 1.0)
    height = ROW * len(ways) + 2 * BOTTOM

    def x(value: float) -> float:
        return NAMES + (WIDTH - NAMES - RIGHT) * (value - low + margin) / (high - low + 2 * margin)

    drawn = [f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="4" y2="{height - BOTTOM}"/>']
    drawn += [
        f'<text x="{x(tick):.1f}" y="{height - 8}" text-anchor="middle">{tick:.3g}</text>' for tick in _ticks(low, high)
    ]
    for number, way in enumerate(ways):
        y, (lower, upper) = ROW * number + 18, _ends(way)
        colour = COLOURS[report.ways.index(way) % len(COLOURS)]
        drawn.append(
            f'<text x="{NAMES - 10}" y="{y + 4}" text-anchor="end">{escape(_short(way.name))}</text>'
            f'<line x1="{x(lower):.1f}" x2="{x(upper):.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="3"/>'
            f'<circle cx="{x(way.to_static.mean):.1f}" cy="{y}" r="5" fill="{colour}"/>'
        )
    said = (
        f"Mean {report.metric} minus that of the first version left alone, on the same predictions: left of zero is "
        "better. Lines are intervals of 95 % (paired block bootstrap)."
    )
    return _figure(f"0 0 {WIDTH} {height}", "".join(drawn), said, "")


class _Scale:
    """From epoch seconds and errors to pixels."""

    def __init__(self, begin: float, end: float, low: float, high: float) -> None:
        self.begin, self.end, self.low, self.high = begin, max(end, begin + 1), low, high

    def x(self, at: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (at - self.begin) / (self.end - self.begin)

    def y(self, error: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (self.high - error) / (self.high - self.low)


def _grid(scale: _Scale) -> Iterator[str]:
    for tick in _ticks(scale.low, scale.high):
        y = scale.y(tick)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:.4g}</text>'
    for share in np.linspace(0, 1, 6):
        at = scale.begin + float(share) * (scale.end - scale.begin)
        anchor = {0.0: "start", 1.0: "end"}.get(float(share), "middle")
        day = f"{datetime.fromtimestamp(at, UTC):%d %b %Y}"
        yield f'<text x="{scale.x(at):.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{day}</text>'


def _marks(report: RehearsalReport, scale: _Scale) -> Iterator[str]:
    """The alarms, builds, swaps and rollbacks of the first config, at the foot of the plot."""
    for line in report.ways[0].decisions:
        if line.event not in MARKS or not scale.begin <= line.at <= scale.end:
            continue
        x, foot = scale.x(line.at), HEIGHT - BOTTOM
        shape = {
            "alarm": f'<path d="M{x - 5:.1f} {foot - 10} h10 l-5 9 z" fill="#d64545"/>',
            "build": f'<circle cx="{x:.1f}" cy="{foot - 5}" r="3.5" fill="none" stroke="#2a8fd8" stroke-width="1.5"/>',
            "swap": f'<path d="M{x - 4:.1f} {foot - 15} h8 v-8 h-8 z" fill="#1f9d6b"/>',
            "rollback": f'<path d="M{x + 5:.1f} {foot - 25} v-10 l-9 5 z" fill="#d9730d"/>',
        }[MARKS[Event(line.event)]]
        day = f"{datetime.fromtimestamp(line.at, UTC):%d %b %Y %H:%M}"
        yield f"<g>{shape}<title>{day} {MARKS[Event(line.event)]}: {escape(line.reason)}</title></g>"


def _line(places: Numbers, values: Numbers, scale: _Scale, stroke: str) -> str:
    """A line that breaks where there is nothing to measure."""
    path, is_down = [], False
    for at, value in zip(places.tolist(), values.tolist(), strict=True):
        if np.isfinite(value):
            path.append(f"{'L' if is_down else 'M'}{scale.x(at):.1f} {scale.y(value):.1f}")
        is_down = bool(np.isfinite(value))
    return f'<path d="{" ".join(path)}" {stroke}/>'


def _group_means(values: Numbers, group: int) -> Numbers:
    """The mean of each so many windows; NaN where none has a label."""
    padded = np.full(-(-len(values) // group) * group, np.nan)
    padded[: len(values)] = values
    folded = padded.reshape(-1, group)
    counts = np.isfinite(folded).sum(axis=1)
    means = np.full(len(folded), np.nan)
    np.divide(np.nansum(folded, axis=1), counts, out=means, where=counts > 0)
    return means


def _ticks(low: float, high: float) -> list[float]:
    step = 10.0 ** np.floor(np.log10(max(high - low, 1e-12)))
    step *= next(part for part in (0.2, 0.25, 0.5, 1.0, 2.0) if (high - low) / (part * step) <= 6)  # noqa: PLR2004
    first = int(np.ceil(low / step))
    return [float(number * step) for number in range(first, int(np.floor(high / step)) + 1)]


def _ends(way: WayFigures) -> tuple[float, float]:
    found = way.to_static
    return (found.mean, found.mean) if found.lower is None or found.upper is None else (found.lower, found.upper)


def _short(name: str, most: int = 44) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _figure(box: str, drawn: str, said: str, below: str) -> str:
    label = escape(said, quote=True)
    plot = f'<svg viewBox="{box}" role="img" aria-label="{label}">{drawn}</svg>'
    return f"<figure>{plot}<figcaption>{escape(said)}</figcaption>{below}</figure>"
