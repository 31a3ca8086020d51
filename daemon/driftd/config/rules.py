"""What single values of the config must be like. Each check returns the value, or raises ValueError with a sentence."""

from __future__ import annotations

import ipaddress
import re
from datetime import datetime
from urllib.parse import urlsplit

from driftd_detectors.schema import Task

HIGHEST_PORT = 65_535
CRON_FIELDS = 5
_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_LISTEN = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[^:\s\[\]]+):(\d{1,5})")
_TRAINER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
METRICS = {
    Task.CLASSIFICATION: (
        "accuracy",
        "balanced_accuracy",
        "brier",
        "error",
        "f1",
        "log_loss",
        "precision",
        "recall",
        "roc_auc",
    ),
    Task.REGRESSION: ("mae", "mse", "r2", "rmse"),
}  # those of driftd_detectors.losses, held equal by a test: this module stays free of NumPy


def listen_address(text: str) -> str:
    """`host:port`, `[::1]:port`."""
    found = _LISTEN.fullmatch(text)
    if found is None or int(found[1]) > HIGHEST_PORT:
        raise ValueError(f"an address is host:port, such as 127.0.0.1:9464 or [::1]:9464, not {text!r}")
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
    try:
        parts = urlsplit(text)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not text.isascii() or any(one.isspace() for one in text):
        raise ValueError("a webhook is the whole address, https://host/path (its value is a secret and is not shown)")
    return text


def without_secret(address: str) -> str:
    """A web address of which only the scheme and the host are left: it may be shown, and still reads as an address."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/**********"


def trainer_reference(text: str) -> str:
    """`package.module:function`."""
    if _TRAINER.fullmatch(text) is None:
        given = "" if any(one.isspace() for one in text) else f", not {text!r:.80}"  # a command may hold a secret
        raise ValueError(f"a trainer is package.module:function, or {{command: [...]}}{given}")
    return text


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
