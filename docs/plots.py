"""The two plots of docs/statistics.md, drawn from simulations with fixed seeds: `python docs/plots.py`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

IMAGES = Path(__file__).parent / "images"
WIDTH, HEIGHT, LEFT, BOTTOM = 720, 300, 76, 40
WINDOWS, CHANGE, THRESHOLD, BET = 100, 60, 500.0, 0.5
GREY, BLUE, RED, GREEN = "#808a94", "#2a8fd8", "#d64545", "#1f9d6b"


def evidence() -> str:
    """Evidence over windows: of a stream where nothing changes, and of one where something does."""
    random = np.random.default_rng(7)
    noise = random.normal(size=(2, WINDOWS))
    noise[1, CHANGE:] += 0.9
    logs = []
    for series in noise:
        gathered, log = 0.0, []
        for score in series:  # a bet on "higher than usual": its mean is 1 where nothing changed
            gathered = max(gathered + BET * score - BET**2 / 2, 0.0)
            log.append(gathered / np.log(10))
        logs.append(log)
    top = 5.0

    def place(number: int, log: float) -> tuple[float, float]:
        return LEFT + number * (WIDTH - LEFT - 20) / WINDOWS, HEIGHT - BOTTOM - log * (HEIGHT - BOTTOM - 20) / top

    parts = [_axis("windows", "evidence (powers of ten)")]
    for tick in range(5):
        y = place(0, tick)[1]
        parts.append(_text(LEFT - 8, y + 4, str(10**tick), "end"))
    level = place(0, np.log10(THRESHOLD))[1]
    parts.append(f'<path d="M{LEFT} {level:.0f}H{WIDTH - 20}" stroke="{RED}" stroke-dasharray="6 4"/>')
    parts.append(_text(LEFT + 8, level - 6, "threshold: an alarm", "start", RED))
    begin = place(CHANGE, 0)[0]
    parts.append(f'<path d="M{begin:.0f} 20V{HEIGHT - BOTTOM}" stroke="{GREY}" stroke-dasharray="2 4"/>')
    parts.append(_text(begin - 6, 32, "the change begins", "end"))
    for log, colour in zip(logs, (GREY, BLUE), strict=True):
        parts.append(_line([place(number, min(value, top)) for number, value in enumerate(log)], colour))
    return _svg(parts, "Evidence stays low where nothing changes, and passes the threshold soon after a change")


def gate() -> str:
    """Three comparisons of a challenger with the champion: what the interval of the gain decides."""
    rows = [("promote", 0.02, 0.09, GREEN), ("inconclusive", -0.02, 0.06, GREY), ("reject", -0.08, -0.01, RED)]
    zero, scale = 380, 3000
    parts = [
        f'<path d="M{zero} 20V230" stroke="{GREY}" stroke-dasharray="2 4"/>',
        _text(zero, 250, "no gain", "middle"),
    ]
    parts.append(_text(zero + 240, 250, "challenger better", "middle"))
    parts.append(_text(zero - 240, 250, "champion better", "middle"))
    for number, (name, low, high, colour) in enumerate(rows):
        y = 60 + 60 * number
        first, last = zero + low * scale, zero + high * scale
        parts.append(f'<path d="M{first:.0f} {y}H{last:.0f}" stroke="{colour}" stroke-width="5"/>')
        parts.append(f'<circle cx="{(first + last) / 2:.0f}" cy="{y}" r="7" fill="{colour}"/>')
        parts.append(_text(20, y + 4, name, "start", colour))
    return _svg(parts, "The interval of the gain decides: wholly above zero, across it, or wholly below")


def _axis(across: str, up: str) -> str:
    path = f'<path d="M{LEFT} 20V{HEIGHT - BOTTOM}H{WIDTH - 20}" stroke="{GREY}" fill="none"/>'
    middle = (HEIGHT - BOTTOM) / 2
    turned = f'<text x="14" y="{middle:.0f}" transform="rotate(-90 14 {middle:.0f})" text-anchor="middle">{up}</text>'
    return path + turned + _text(WIDTH / 2, HEIGHT - 10, across, "middle")


def _text(x: float, y: float, text: str, anchor: str, colour: str = GREY) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{colour}">{text}</text>'


def _line(points: Sequence[tuple[float, float]], colour: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _svg(parts: Sequence[str], title: str) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{GREY}"><title>{title}</title>'
    )
    return "\n".join([head, *parts, "</svg>\n"])


PLOTS = {"evidence.svg": evidence, "gate.svg": gate}

if __name__ == "__main__":
    for name, plot in PLOTS.items():
        (IMAGES / name).write_text(plot())
        sys.stdout.write(f"{IMAGES / name}\n")
