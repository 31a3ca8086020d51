"""Values in the form in which people and JSON read them. Imports msgspec alone."""

from __future__ import annotations

import math
import re
import signal
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime

import msgspec

# What acts on a terminal instead of being seen there: the control characters of ASCII and Latin-1, separators of lines,
# marks and overrides of the direction of writing, and halves of characters, which no stream can encode.
_ACTING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_UNITS = (("d", 86_400.0), ("h", 3600.0), ("min", 60.0))


def json_safe(value: object) -> object:
    """A value as JSON can say it: records as objects, tuples and sets as arrays, NaN and the infinities as null."""
    if isinstance(value, msgspec.Struct):
        return json_safe(msgspec.to_builtins(value, enc_hook=str))
    if is_dataclass(value) and not isinstance(value, type):
        return json_safe(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [json_safe(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_safe_object(value: Mapping[str, object]) -> dict[str, object]:
    """A mapping as an object of JSON; see `json_safe`."""
    return {str(key): json_safe(item) for key, item in value.items()}


def format_time(at: float | None) -> str:
    """An epoch time as `2026-05-03 14:00 UTC`; a dash for none."""
    return f"{format_minute(at)} UTC" if at else "-"


def format_minute(at: float | None) -> str:
    """An epoch time as `2026-05-03 14:00`, for a column whose heading says that it is UTC; a dash for none.

    Data hold times that no calendar has: those are told in seconds.
    """
    if not at:
        return "-"
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return f"{at:.0f} s after 1970"


def format_duration(seconds: float) -> str:
    """A duration in the largest unit of which it is at least one: `6 h`, `1.5 d`, `40 s`."""
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.0f} s"


def visible(text: str) -> str:
    r"""A text from data or people as one line that does nothing to a terminal: what acts there is spelled (`\x1b`).

    Every text that is shown passes through here at the border: tables, sentences, log lines, the manager's status.
    """
    return _ACTING.sub(_spell, text) if _ACTING.search(text) else text


def encodable(text: str) -> str:
    r"""A text that a database takes: halves of characters, as of a byte that is not UTF-8, are spelled (`\udc9b`)."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def visible_lines(text: str) -> str:
    """A text of several lines of our own, each as `visible` shows it."""
    return "\n".join(visible(line) for line in text.split("\n"))


def _spell(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def describe_exit(code: int) -> str:
    """How a program ended, by the exit code that Python gives it: negative ones are signals."""
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    return f"exit code {code}: the signal {name}"
