"""Values as people and JSON read them."""

from __future__ import annotations

import json
import math
import unicodedata
from dataclasses import dataclass
from types import MappingProxyType

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftd.formatting import (
    format_duration,
    format_minute,
    format_time,
    json_safe,
    json_safe_object,
    visible,
    visible_lines,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


@dataclass(frozen=True)
class Loss:
    value: float
    kinds: tuple[str, ...] = ()


@given(VALUES)
def test_every_value_becomes_json_without_nan(value: object) -> None:
    """Whatever figures hold, their JSON is what the standard allows, and reads back as the same value."""
    safe = json_safe(value)
    assert json.loads(json.dumps(safe, allow_nan=False)) == safe


def test_only_what_json_cannot_say_is_changed() -> None:
    """Records become objects, tuples and sets arrays, keys texts, NaN and the infinities null."""
    value = {
        "loss": Loss(math.nan, ("a", "b")),
        3: {math.inf},
        "read_only": MappingProxyType({"x": np.float64("-inf")}),
    }
    assert json_safe(value) == {
        "loss": {"value": None, "kinds": ["a", "b"]},
        "3": [None],
        "read_only": {"x": None},
    }
    assert json_safe_object({"level": 0.5, "count": 3}) == {"level": 0.5, "count": 3}


class Gain(msgspec.Struct, frozen=True):
    version: int | msgspec.UnsetType = msgspec.UNSET
    before: float | None = msgspec.field(default=None, name="from")
    loss: Loss | None = None


def test_a_record_is_what_msgspec_makes_of_it() -> None:
    """Fields have their names in JSON, those that are not set are left out, and records inside are safe as well."""
    assert json_safe({"gain": Gain(before=math.inf, loss=Loss(math.nan))}) == {
        "gain": {"from": None, "loss": {"value": None, "kinds": []}}
    }
    assert json_safe([Gain(3)]) == [{"version": 3, "from": None, "loss": None}]


def test_times_are_in_utc_to_the_minute() -> None:
    """A sentence names the zone, a column does not, and no time is a dash."""
    assert format_time(1_777_816_800.0) == "2026-05-03 14:00 UTC"
    assert format_minute(1_777_816_800.0) == "2026-05-03 14:00"
    assert format_time(None) == format_minute(None) == "-"


@given(st.floats())
def test_any_number_can_be_told_as_a_time(at: float) -> None:
    """A time that no calendar has is told in seconds: what tells of odd data must not fail on them."""
    assert format_time(at)
    assert format_time(-62_135_596_801.0) == "-62135596801 s after 1970 UTC"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 s"), (40.0, "40 s"), (90.0, "1.5 min"), (3600.0, "1 h"), (129_600.0, "1.5 d"), (8_640_000.0, "100 d")],
)
def test_a_duration_is_told_in_its_largest_unit(seconds: float, text: str) -> None:
    """The unit is the largest of which the duration is at least one; a whole number has no decimals."""
    assert format_duration(seconds) == text


@given(st.text(st.characters(codec=None)))
def test_nothing_in_a_visible_text_acts_on_a_terminal(text: str) -> None:
    """No control character, separator of lines or override of direction stays, and a stream can encode the text."""
    shown = visible(text)
    assert not {unicodedata.category(sign) for sign in shown} & {"Cc", "Zl", "Zp", "Cs"}
    assert not any(unicodedata.bidirectional(sign) in BIDI for sign in shown)
    assert visible(shown) == shown
    assert shown.encode() or not text
    assert visible_lines(f"{text}\n{text}") == "\n".join([visible_lines(text)] * 2)


BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def test_what_acts_is_spelled() -> None:
    """The characters that were there can still be read, and letters of every language stay."""
    assert visible("\x1b[31mred\x1b[0m\r\nFAKE\x9b2J\u202eevil") == r"\x1b[31mred\x1b[0m\r\nFAKE\x9b2J\u202eevil"
    assert visible("größe 価格 السعر 👩‍🔬") == "größe 価格 السعر 👩‍🔬"
