"""The small plots of a report as SVG without styles of their own: classes alone, so that a strict policy holds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from driftd.formatting import visible
from driftd.views.metric_curve import MetricCurve
from driftd.views.moved_features import MovedFeature
from driftd.views.scores import Bin

WIDTH, HEIGHT, FOOT = 240, 74, 12
MOST_BARS = 26
LONG, TALL, LEFT, BOTTOM, TOP = 560, 150, 46, 16, 14
_DAY = 86_400.0


def feature_plot(feature: MovedFeature) -> str:
    """The shares by bin: before as grey bars, now as narrower bars before them."""
    bins = _choose_bins(feature)
    tallest = max((max(each.reference, each.current) for each in bins), default=0.0) or 1.0
    slot, high = WIDTH / max(1, len(bins)), HEIGHT - FOOT
    drawn = [_bars(each, slot * place, slot, high / tallest, high) for place, each in enumerate(bins)]
    drawn += [f'<line class="axis" x1="0" x2="{WIDTH}" y1="{high}" y2="{high}"/>', *_names(feature, bins, slot)]
    said = f"{feature.feature}: {feature.sentence}"
    return _svg("bins", WIDTH, HEIGHT, said, "".join(drawn))


def _choose_bins(feature: MovedFeature) -> list[Bin]:
    """Of many bins those with rows; of many labels the largest."""
    found = [each for each in feature.bins if each.reference > 0 or each.current > 0]
    if len(found) <= MOST_BARS:
        return found
    largest = sorted(found, key=lambda each: -max(each.reference, each.current))[:MOST_BARS]
    return [each for each in found if each in largest]


def _bars(each: Bin, x: float, slot: float, scale: float, foot: float) -> str:
    before, now = each.reference * scale, each.current * scale
    title = escape(visible(f"{each.name}: {100 * each.reference:.1f} % before, {100 * each.current:.1f} % now"))
    return (
        f"<g><title>{title}</title>"
        f'<rect class="before" x="{x + slot * 0.06:.1f}" y="{foot - before:.1f}" width="{slot * 0.88:.1f}" '
        f'height="{before:.1f}"/>'
        f'<rect class="now" x="{x + slot * 0.28:.1f}" y="{foot - now:.1f}" width="{slot * 0.44:.1f}" '
        f'height="{now:.1f}"/></g>'
    )


def _names(feature: MovedFeature, bins: Sequence[Bin], slot: float) -> Iterator[str]:
    """The names of few labels, or the ends of a range of numbers."""
    if feature.is_number:
        usual = [each.name for each in bins if each.usual]
        if usual:
            yield _text(0, HEIGHT - 2, usual[0].partition(" to ")[0], "start")
            yield _text(WIDTH, HEIGHT - 2, usual[-1].rpartition(" to ")[2], "end")
        return
    room = max(2, int(slot / 5.5))  # characters of about so many pixels
    if room >= 3 or len(bins) <= 8:  # noqa: PLR2004 - else no name can be read
        for place, each in enumerate(bins):
            yield _text(slot * (place + 0.5), HEIGHT - 2, _cut(each.name, room), "middle")


@dataclass(frozen=True, slots=True)
class _Scale:
    """From epoch seconds and values to pixels."""

    begin: float
    end: float
    low: float
    high: float

    def x(self, at: float) -> float:
        return LEFT + (LONG - LEFT - 6) * (at - self.begin) / max(1.0, self.end - self.begin)

    def y(self, value: float) -> float:
        return TOP + (TALL - TOP - BOTTOM) * (self.high - value) / (self.high - self.low)


def curve_plot(curve: MetricCurve) -> str:
    """The metric over time with its band, what is usual as a dashed line, and a mark for what happened."""
    known = [each for series in (curve.value, curve.low, curve.high, curve.level) for each in series]
    finite = [each for each in known if math.isfinite(each)] or [0.0, 1.0]
    margin = 0.06 * (max(finite) - min(finite) or abs(max(finite)) or 1.0)
    scale = _Scale(curve.at[0], curve.at[-1], min(finite) - margin, max(finite) + margin)
    drawn = [*_grid(scale), _band(curve, scale)]
    drawn += [_line(curve.at, curve.level, scale, "level"), _line(curve.at, curve.value, scale, "value")]
    drawn += _marks(curve, scale)
    return _svg("curve", LONG, TALL, f"{curve.title}; what is usual is dashed", "".join(drawn))


def _grid(scale: _Scale) -> Iterator[str]:
    for share in (0.1, 0.5, 0.9):
        value = scale.low + share * (scale.high - scale.low)
        y = scale.y(value)
        yield f'<line class="grid" x1="{LEFT}" x2="{LONG - 6}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield _text(LEFT - 5, y + 3, f"{value:.3g}", "end")
    pattern = "%d %b %Y" if scale.end - scale.begin > 3 * _DAY else "%d %b %H:%M"
    for at, anchor in ((scale.begin, "start"), ((scale.begin + scale.end) / 2, "middle"), (scale.end, "end")):
        yield _text(scale.x(at), TALL - 3, datetime.fromtimestamp(at, UTC).strftime(pattern), anchor)


def _band(curve: MetricCurve, scale: _Scale) -> str:
    ends = [
        (at, low, high)
        for at, low, high in zip(curve.at, curve.low, curve.high, strict=True)
        if math.isfinite(low) and math.isfinite(high)
    ]
    points = [(at, high) for at, _, high in ends] + [(at, low) for at, low, _ in reversed(ends)]
    path = " ".join(f"{scale.x(at):.1f},{scale.y(value):.1f}" for at, value in points)
    return f'<polygon class="band" points="{path}"/>' if points else ""


def _line(places: Sequence[float], values: Sequence[float], scale: _Scale, name: str) -> str:
    """A line that breaks where nothing is known."""
    path, is_down = [], False
    for at, value in zip(places, values, strict=True):
        if math.isfinite(value):
            path.append(f"{'L' if is_down else 'M'}{scale.x(at):.1f} {scale.y(value):.1f}")
        is_down = math.isfinite(value)
    return f'<path class="{name}" d="{" ".join(path)}"/>' if path else ""


def _marks(curve: MetricCurve, scale: _Scale) -> Iterator[str]:
    """Marks that stand closer than their labels are wide have their labels one below the other."""
    last, row = -math.inf, 0
    for mark in sorted(curve.marks, key=lambda each: each.at):
        if not scale.begin <= mark.at <= scale.end:
            continue
        x = scale.x(mark.at)
        row = row + 1 if x - last < 60 else 0  # noqa: PLR2004 - pixels of a label
        last = x
        anchor = "end" if x > LONG - 70 else "start"
        yield f'<line class="mark {mark.kind}" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{TALL - BOTTOM}"/>'
        yield _text(x + (-3 if anchor == "end" else 3), 10 + 13 * (row % 3), mark.label, anchor)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(visible(text))}</text>'


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: max(1, most - 1)]}…"


def _svg(name: str, width: int, height: int, said: str, drawn: str) -> str:
    label = escape(visible(said), quote=True)
    return f'<svg class="{name}" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{drawn}</svg>'
