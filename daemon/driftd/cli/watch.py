"""`driftd status --watch`, and what only the daemon knows, read from its metrics."""

from __future__ import annotations

import io
import json
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import NoReturn

import msgspec
from rich.console import Console
from rich.live import Live

from driftd.cli.picture import Unreadable, WatchedFleet, WatchedStatus, picture
from driftd.cli.terminal import console, print_status, say
from driftd.config.load import ConfigError, load
from driftd.config.schema import Config, Http
from driftd.formatting import format_minute, json_safe
from driftd.observe.metric_family import Family
from driftd.paths import Places
from driftd.records import Phase
from driftd.store.state.reader import StateAbsentError, StateReader
from driftd.views.config import last_applied
from driftd.views.status import ServedStatus, fleet_status
from driftd.web.local_client import NoAnswerError, ask, can_be_asked

SCRAPE_SECONDS = 2.0
_LINE = re.compile(r"^(driftd_\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_LONG = ("driftd_score", "driftd_quality_fault_ratio")  # a line for every feature, and nobody here asks for them


@dataclass(frozen=True, slots=True)
class Scrape:
    """The values of a daemon's metrics, as one scrape gave them."""

    values: Mapping[tuple[str, ...], float]  # by the name and the values of its labels in their order

    @classmethod
    def of(cls, text: str) -> Scrape:
        """Read a scrape."""
        return cls(
            {
                (name, *(label for _, label in _LABEL.findall(labels or ""))): float(value)
                for name, labels, value in _LINE.findall(text)
                if not name.startswith(_LONG)
            }
        )

    def value(self, family: Family, *labels: str) -> float | None:
        """The value of one series; None where there is none."""
        return self.values.get((family.name, *labels))

    def owners(self, family: Family) -> tuple[str, ...]:
        """The models or receivers that have series of a family."""
        return tuple(dict.fromkeys(key[1] for key in self.values if key[0] == family.name and len(key) > 1))


def read_scrape(http: Http) -> Scrape | None:
    """What the daemon of this config shows; None where none answers."""
    if not can_be_asked(http):
        return None
    try:
        status, text = ask(http, "/metrics", SCRAPE_SECONDS)
    except NoAnswerError:
        return None
    return Scrape.of(text) if status == HTTPStatus.OK else None


PAST = 60  # evaluated cohorts of labels whose loss is drawn
DECISIONS = 40
ANSWER_SECONDS = 0.5
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "*": "127.0.0.1"}  # noqa: S104 - what is listened on, not bound here


def watch_status(config_path: Path, model: str | None, every: float, *, as_json: bool) -> int:
    """Show the status until Ctrl-C; returns the exit code.

    A terminal gets a picture that changes in place; a pipe gets one status after the other (JSON: one a line).
    """
    to = console()
    try:
        if as_json:
            _again(_print_json_line, config_path, model, every)
        elif not to.is_terminal:
            _again(lambda found: _print(found, to), config_path, model, every)
        else:
            ascii_only = _ascii(to)
            with Live(console=to, screen=True, auto_refresh=False) as live:

                def show(found: WatchedFleet | Unreadable) -> None:
                    live.update(picture(found, model, to.size, ascii_only=ascii_only), refresh=True)

                _again(show, config_path, model, every)
    except KeyboardInterrupt:
        pass  # how a person ends it
    return 0


Show = Callable[[WatchedFleet | Unreadable], None]


def _again(show: Show, config_path: Path, model: str | None, every: float) -> NoReturn:
    found: WatchedFleet | Unreadable = Unreadable("")
    while True:
        try:
            found = snapshot(config_path, model, time.time())
        except Exception as error:  # noqa: BLE001 - a loop boundary: a file that cannot be read for a moment ends nothing
            found = msgspec.structs.replace(found, trouble=f"the state cannot be read now: {error}")
        show(found)
        time.sleep(every)


def _print_json_line(found: WatchedFleet | Unreadable) -> None:
    print(json.dumps(json_safe(found), default=str), flush=True)  # noqa: T201 - for a pipe, a status a line


def snapshot(config_path: Path, model: str | None, now: float) -> WatchedFleet:
    """What `driftd status` says, with each model's past losses, the last decisions and whether a daemon answers."""
    config = _config(config_path)
    places = Places(config.state_dir)
    answers = _answers(config.http.listen)
    fleet = fleet_status(config, places, config_path, model, read_scrape(config.http) if answers else None)
    whole = msgspec.structs.asdict(fleet)
    try:
        with StateReader.read_only(places.state_db) as reader:
            models = [_watched_status(reader, config, status, now) for status in fleet.models]
            decisions = reader.history(model, DECISIONS)
    except StateAbsentError as error:
        return WatchedFleet(**whole | {"models": []}, at=now, trouble=str(error), daemon=answers, decisions=[])
    return WatchedFleet(**whole | {"models": models}, at=now, trouble=None, daemon=answers, decisions=decisions)


def _watched_status(reader: StateReader, config: Config, status: ServedStatus, now: float) -> WatchedStatus:
    losses = _losses(reader, status.model)
    return WatchedStatus(**msgspec.structs.asdict(status), losses=losses, overdue=_is_overdue(config, status, now))


def _config(path: Path) -> Config:
    try:
        return load(path)
    except ConfigError:
        if (in_force := last_applied(path)) is not None:
            return in_force
        raise


def _losses(reader: StateReader, model: str) -> list[float]:
    """The losses of the last cohorts of labels, oldest first."""
    checks = reversed(reader.checks(model, PAST, "labels"))
    return [float(loss) for check in checks if (loss := check.figures.get("loss")) is not None]


def _is_overdue(config: Config, status: ServedStatus, now: float) -> bool:
    """Whether a window should have been checked and was not: only windows of time say when the next is due."""
    every = config.models[status.model].window.every if status.model in config.models else None
    if every is None or status.last_check is None or status.phase is Phase.PAUSED:
        return False
    return now - status.last_check > 2 * every + 60


def _answers(listen: str) -> bool | None:
    """Whether something listens where the daemon of this config would; None when that cannot be told."""
    host, _, port = listen.rpartition(":")
    if port == "0":
        return None
    try:
        socket.create_connection((_EVERYWHERE.get(host, host).strip("[]"), int(port)), ANSWER_SECONDS).close()
    except OSError:
        return False
    return True


def _print(found: WatchedFleet | Unreadable, to: Console) -> None:
    at = found.at if isinstance(found, WatchedFleet) else None
    say(to, f"--- {format_minute(at)} UTC", "dim")
    if found.trouble:
        say(to, found.trouble)
    if isinstance(found, WatchedFleet):
        print_status(found, to)
        if found.daemon is False:
            say(to, "no daemon answers")
    to.file.flush()


def _ascii(to: Console) -> bool:
    """Whether the terminal has no more than ASCII; what else comes from data is then shown as a question mark."""
    if to.encoding.lower().startswith("utf"):
        return False
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return True
