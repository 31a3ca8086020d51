"""The types of the config: strict sections, spans of time, and checks of single values."""

from __future__ import annotations

import difflib
import ipaddress
import re
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    SecretStr,
    SerializationInfo,
    Strict,
)

from driftd.stattests import EVIDENTLY, check_detector
from driftd_detectors.values import class_name

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
LONGEST = 100 * 366 * UNITS["d"]
_PATTERN = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*(ms|s|min|m|h|d|w)")


def seconds(value: Any) -> float:
    """Read a span; numbers are seconds already.

    Raises ValueError for anything else, for zero and negative spans, and for more than a hundred years.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        read = float(value) if abs(value) <= LONGEST else float("inf")
    elif isinstance(value, str) and (found := _PATTERN.fullmatch(value.strip())):
        read = float(found[1]) * UNITS[found[2]]
    else:
        raise ValueError(f"a span of time is a number and a unit (90s, 15m, 6h, 1d, 2w), not {value!r:.60}")
    if not 0 < read <= LONGEST:
        raise ValueError(f"a span of time is more than zero and at most a hundred years, not {value!r:.60}")
    return read


def spell_duration(span: float) -> str:
    """A span as one would write it in the config: the largest unit that says it in a whole number, else seconds."""
    for unit in ("w", "d", "h", "m", "s", "ms"):
        count = span / UNITS[unit]
        if count >= 1 and count == int(count):
            return f"{int(count)}{unit}"
    return f"{span:g}s"


def _serialize(span: float, info: SerializationInfo) -> float | str:
    return spell_duration(span) if info.context is FOR_PEOPLE else span


FOR_PEOPLE = {"durations": "spelled"}  # the `context` of a dump in which spans are written as people write them
Duration = Annotated[
    float,
    BeforeValidator(seconds),
    PlainSerializer(_serialize, return_type=float | str, when_used="json"),
]


_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)\s*%")
_WINDOWS = re.compile(r"(\d{1,6})\s*windows?")


def share(value: Any) -> float:
    """Read a share: `10%`, or 0.1. Raises ValueError for what is not above 0 % and at most 1000 %."""
    if isinstance(value, str) and (found := _SHARE.fullmatch(value.strip())):
        read = float(found[1]) / 100
    elif isinstance(value, int | float) and not isinstance(value, bool):
        read = float(value)
    else:
        raise ValueError(f"a share is a number and a percent sign (10%), not {value!r:.60}")
    if not 0 < read <= _LARGEST_SHARE:
        raise ValueError(f"a share is more than 0% and at most 1000%, not {value!r:.60}")
    return read


_LARGEST_SHARE = 10.0


def share_or_none(value: Any) -> float:
    """Read a share that may be none of it: 0, `1%`, or 0.01. Raises ValueError for anything else, and above 100 %."""
    if value in (0, "0", "0%") and not isinstance(value, bool):
        return 0.0
    read = share(value)
    if read > 1:
        raise ValueError(f"at most 100% of the values can be missing, not {value!r:.60}")
    return read


def windows(value: Any) -> int:
    """Read a number of windows: `7 windows`, or 7. Raises ValueError for anything else, and for none."""
    if isinstance(value, str) and (found := _WINDOWS.fullmatch(value.strip())):
        read = int(found[1])
    elif isinstance(value, int) and not isinstance(value, bool):
        read = value
    else:
        raise ValueError(f"a number of windows is written `7 windows`, not {value!r:.60}")
    if not 0 < read <= _MOST_WINDOWS:
        raise ValueError(f"a number of windows is at least 1 and at most {_MOST_WINDOWS}, not {value!r:.60}")
    return read


_MOST_WINDOWS = 100_000


def spell_share(value: float) -> str:
    """A share as one would write it in the config."""
    return f"{100 * value:g}%"


def spell_windows(count: int) -> str:
    """A number of windows as one would write it in the config."""
    return f"{count} window{'' if count == 1 else 's'}"


Share = Annotated[float, BeforeValidator(share), PlainSerializer(spell_share, return_type=str, when_used="json")]
Windows = Annotated[int, BeforeValidator(windows), PlainSerializer(spell_windows, return_type=str, when_used="json")]


HIGHEST_PORT = 65_535
CRON_FIELDS = 5
_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
_LISTEN = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[^:\s\[\]]+):(\d{1,5})")
_ENTRY_POINT = re.compile(r"[A-Za-z_][\w.-]*")
_TRAINER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def listen_address(text: str) -> str:
    """`host:port`, `[::1]:port`."""
    found = _LISTEN.fullmatch(text)
    if found is None or int(found[1]) > HIGHEST_PORT:
        raise ValueError(f"an address is host:port, such as 127.0.0.1:9464 or [::1]:9464, not {text!r}")
    return text


def host_name(text: str) -> str:
    """A name as a Host header has it, without a port; `*` is any."""
    if text != "*" and _HOST_NAME.fullmatch(text) is None:
        raise ValueError(f"a host is a name without a port, such as ml1.example.org, or *, not {text!r}")
    return text


def is_reached(address: str) -> bool:
    """Whether other hosts reach an address; what is no address is reached by nobody."""
    host = address.rpartition(":")[0].strip("[]")
    if _LISTEN.fullmatch(address) is None or host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True  # a name, which may be anything


def model_name(text: str) -> str:
    """A name that can be a folder, a label and a part of an address."""
    if _MODEL_NAME.fullmatch(text) is None:
        raise ValueError(
            f"a model's name is at most 63 of a-z, 0-9, _ and -, beginning with a letter or digit, not {text!r}"
        )
    return text


def receiver_name(text: str) -> str:
    """A name that can be a label and an argument."""
    if _MODEL_NAME.fullmatch(text) is None:
        raise ValueError(
            f"a receiver's name is at most 63 of a-z, 0-9, _ and -, beginning with a letter or digit, not {text!r}"
        )
    return text


def web_address(text: str) -> str:
    """`https://host/...`. The address is a secret: no message repeats it."""
    if _web_parts(text) is None:
        raise ValueError("a webhook is the whole address, https://host/path (its value is a secret and is not shown)")
    return text


def page_url(text: str) -> str:
    """The address at which people open a page: `https://host/`, with a path where a proxy has one."""
    parts = _web_parts(text)
    if parts is None or parts.query or parts.fragment or parts.username:
        raise ValueError(
            f"{text!r} is no address of a page: give all of it, such as https://driftd.example.com/ or "
            "https://tools.example.com/driftd/, without a user, a query or a fragment"
        )
    return text


def _web_parts(text: str) -> SplitResult | None:
    """The parts of a whole web address; None where a text is none."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if good and text.isascii() and not any(character.isspace() for character in text) else None


def without_secret(address: str) -> str:
    """A web address of which only the scheme and the host are left: it may be shown, and still reads as an address."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/**********"


def zone_name(text: str) -> str:
    """A time zone of the IANA database."""
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        near = difflib.get_close_matches(text, sorted(available_timezones()), n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ", such as Europe/Istanbul or UTC"
        raise ValueError(f"there is no time zone {text!r:.60}{meant}") from error
    return text


def read_holidays(path: str | Path) -> tuple[date, ...]:
    """The dates of a calendar file: the first column of a CSV, as in `2026-01-01,New Year`; a header may be there.

    Raises ValueError that names the line when another line does not begin with a date, OSError when it cannot be read.
    """
    found = []
    for number, line in enumerate(Path(path).read_text("utf-8-sig").splitlines(), start=1):
        text = line.split(",")[0].strip().strip('"')
        if not text or text.startswith("#"):
            continue
        try:
            found.append(date.fromisoformat(text))
        except ValueError as error:
            if number > 1:
                raise ValueError(f"{path}, line {number}: {text!r:.40} is no date such as 2026-01-01") from error
    if not found:
        raise ValueError(f"{path} holds no date; each line begins with one, such as 2026-01-01,New Year")
    return tuple(found)


def trainer_reference(text: str) -> str:
    """`package.module:function`."""
    if _TRAINER.fullmatch(text) is None:
        given = (
            "" if any(character.isspace() for character in text) else f", not {text!r:.80}"
        )  # a command may hold a secret
        raise ValueError(f"a trainer is package.module:function, or {{command: [...]}}{given}")
    return text


def code_reference(text: str) -> str:
    """`package.module:name`, of code of the user."""
    if _TRAINER.fullmatch(text) is None:
        raise ValueError(f"code of yours is package.module:name, not {text!r:.80}")
    return text


def metric_reference(text: str) -> str:
    """The name of a metric, or `package.module:function`."""
    if ":" in text and _TRAINER.fullmatch(text) is None:
        raise ValueError(f"a metric of yours is package.module:function, not {text!r:.80}")
    return text


def detector_reference(text: str) -> str:
    """`evidently:name`, `package.module:function`, or the name of an entry point."""
    if text.startswith(EVIDENTLY):
        check_detector(text)
    elif _TRAINER.fullmatch(text) is None and _ENTRY_POINT.fullmatch(text) is None:
        raise ValueError(f"a detector is evidently:NAME, package.module:function or an installed one, not {text!r:.80}")
    return text


def plugin_name(text: str) -> str:
    """The name of an entry point."""
    if _ENTRY_POINT.fullmatch(text) is None:
        raise ValueError(f"a plug-in is named by an entry point (letters, digits, _ - .), not {text!r:.80}")
    return text


def class_name_of(given: object) -> object:
    """The text form of a class, which YAML may have read as a number or a truth."""
    return class_name(given) if isinstance(given, bool | int | float) else given


def distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names that differ."""
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if twice:
        raise ValueError(f"{twice[0]!r} stands twice in the list")
    return names


def no_number(given: object) -> object:
    """A moment before it is read: a number would silently be taken for seconds since 1970."""
    if isinstance(given, int | float) or (isinstance(given, str) and re.fullmatch(r"[\s\d.+-]*\d{5,}[\s\d.]*", given)):
        raise ValueError(f"a moment is a date and a time with its zone, 2026-12-01T00:00:00Z, not {given!r:.40}")
    return given


def reason(text: str) -> str:
    """A sentence that says why."""
    if not text.strip():
        raise ValueError("a reason says why, in words: whoever is paged reads it")
    return text.strip()


def folder(given: object) -> object:
    """A folder's path before it is read."""
    if not isinstance(given, str):
        return given
    if not given.strip():
        raise ValueError("a folder must be named: an empty path would be wherever driftd happens to be started")
    return given.strip()


def text_encoding(name: str) -> str:
    """The name of an encoding of text that Python knows."""
    try:
        "text".encode(name)
    except (LookupError, UnicodeError) as error:
        raise ValueError(f"{name!r} is no encoding of text; such are utf-8, utf-16, latin-1, cp1252") from error
    return name


def moment(at: datetime) -> datetime:
    """A time that says its zone."""
    if at.tzinfo is None or at.utcoffset() is None:
        raise ValueError(f"this time needs a zone: {at.isoformat()}Z for UTC, or an offset such as +02:00")
    try:
        at.timestamp()
    except (OverflowError, ValueError) as error:
        raise ValueError(f"{at.isoformat()} is too far away") from error
    return at


def cron_schedule(text: str) -> str:
    """Five cron fields. The day of the week is a name: cron counts it from Sunday, the scheduler from Monday."""
    from apscheduler.triggers.cron import CronTrigger  # noqa: PLC0415 - only where a schedule is set

    fields = text.split()
    if len(fields) != CRON_FIELDS:
        raise ValueError(f"a schedule has five fields (minute hour day month weekday), {text!r} has {len(fields)}")
    if re.search(r"(?<![/\d])\d", fields[4]):
        raise ValueError(
            f"write the day of the week by name (mon ... sun), not {fields[4]!r}: programs count it differently"
        )
    try:
        CronTrigger.from_crontab(text, "UTC")
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"{text!r} is no schedule: {error}") from error
    return text


def _secret_address(secret: SecretStr) -> SecretStr:
    web_address(secret.get_secret_value())
    return secret


HOUR, DAY = 3600.0, 86400.0
Flag = Annotated[bool, Strict()]  # `yes`, "true" and 1 are no answers to a question of this weight
Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Moment = Annotated[datetime, AfterValidator(moment), BeforeValidator(no_number)]
Reason = Annotated[str, AfterValidator(reason)]
Folder = Annotated[Path, BeforeValidator(folder)]
WebAddress = Annotated[
    SecretStr,
    AfterValidator(_secret_address),
    PlainSerializer(lambda secret: without_secret(secret.get_secret_value()), return_type=str, when_used="json"),
]


class Section(BaseModel):
    """Strict keys, frozen values, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
