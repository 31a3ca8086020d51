"""States that driftd exports as sets of 0 and 1, as one number each that a panel can colour and name."""

from __future__ import annotations

from collections.abc import Sequence

from grafana.generate.panels import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, YELLOW, Words

# In the order of how much they matter: where several series meet, the highest number is shown.
VERDICTS: tuple[tuple[str, str], ...] = (
    ("ok", GREEN),
    ("inconclusive", GREY),
    ("suspected", YELLOW),
    ("error", ORANGE),
    ("drift", RED),
)
PHASES: tuple[tuple[str, str], ...] = (
    ("steady", GREEN),
    ("probation", BLUE),
    ("retraining", PURPLE),
    ("paused", GREY),
    ("awaiting_approval", ORANGE),
)
OUTCOMES: tuple[tuple[str, str], ...] = (
    ("promoted", GREEN),
    ("superseded", GREY),
    ("turned_down", GREY),
    ("inconclusive", YELLOW),
    ("rejected", ORANGE),
    ("failed", RED),
)


def number(metric: str, label: str, states: Sequence[tuple[str, str]], only: str, by: str) -> str:
    """PromQL: the highest of the states that are on, counted from 1; 0 while none is."""
    terms = (f'{place} * {metric}{{{only},{label}="{name}"}}' for place, (name, _) in enumerate(states, 1))
    return f"max by ({by}) ({' or '.join(terms)})"


def words(states: Sequence[tuple[str, str]], none: str) -> Words:
    """What the numbers stand for."""
    named = {str(place): (name.replace("_", " "), shade) for place, (name, shade) in enumerate(states, 1)}
    return {"0": (none, GREY), **named}
