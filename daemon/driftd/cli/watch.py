"""`driftd status --watch`, as a picture in a terminal, as lines in a pipe."""

from __future__ import annotations

import io
import json
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import msgspec
from rich.console import Console
from rich.live import Live

from driftd.cli.picture import Unreadable, WatchedFleet, WatchedStatus, picture
from driftd.cli.terminal import console, print_status, say
from driftd.config.load import ConfigError, load
from driftd.config.schema import Config
from driftd.doctor.scrape import DaemonAnswer, ask_daemon
from driftd.formatting import format_minute, json_safe
from driftd.paths import Places
from driftd.records import Phase
from driftd.store.state.reader import StateAbsentError, StateReader
from driftd.views.config import last_applied
from driftd.views.status import ServedStatus, fleet_status

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
    said = ask_daemon(config.http) if answers else DaemonAnswer()
    fleet = fleet_status(config, places, config_path, model, said.metrics, said.obstacles, said.source_faults)
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
