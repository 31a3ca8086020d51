"""The options that commands share, and how they print: sentences, tables, JSON, the lines of the fleet."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from driftd.cli.table import Cell, print_table, print_wrapped
from driftd.config.load import ConfigError, load
from driftd.config.schema import Config
from driftd.errors import DriftdError, ExitCode
from driftd.formatting import format_minute, json_safe, visible, visible_lines
from driftd.paths import Places
from driftd.store.ownership import as_owner_of, rather_as_owner
from driftd.views.config import format_override, last_applied
from driftd.views.status import FleetStatus, ModelStatus, format_condition, not_watched, sentences

PIPED_WIDTH = 500  # columns; what is not a terminal gets whole lines
VERDICT_STYLES = {"drift": "bold red", "error": "bold red", "suspected": "yellow", "inconclusive": "dim", "ok": "green"}


class SafeConsole(Console):
    """A console on which no text does anything but be seen; only its own styles and movements act."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of what is printed, their texts made visible."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text == "\n":
                yield segment
            else:
                yield segment._replace(text=visible_lines(segment.text))


def console(*, stderr: bool = False) -> Console:
    """Standard output, or error: coloured and wrapped on a terminal, whole plain lines in a pipe."""
    found = SafeConsole(markup=False, highlight=False, stderr=stderr)
    if found.is_terminal:
        return found
    return SafeConsole(markup=False, highlight=False, width=PIPED_WIDTH, stderr=stderr)


def say(to: Console, text: str, style: str = "") -> None:
    """One sentence, wrapped between words where the console has a width; whole on one line in a pipe."""
    say_text(to, Text(visible(text), style=style))


def say_text(to: Console, text: Text, *, indent: int = 0) -> None:
    """A sentence of several styles, already visible; its later lines stand `indent` columns further in."""
    if to.width == PIPED_WIDTH:
        to.print(text, soft_wrap=True)
    else:
        print_wrapped(to, text, indent=indent)


def echo(sentence: str, *, err: bool = False) -> None:
    """One sentence on standard output, or error."""
    say(console(stderr=err), sentence)


def print_data(text: str) -> None:
    """Lines for another program, as they are; on a terminal with every character visible."""
    if console().is_terminal:
        text = "\n".join(visible(line) for line in text.split("\n"))
    click.echo(text, nl=False)


def print_json(value: object) -> None:
    """Print a value as JSON; times stay epoch seconds, NaN becomes null."""
    click.echo(json.dumps(json_safe(value), indent=2, default=str))


def number(value: object) -> str:
    """A figure for people: four digits of a float, everything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def print_status(fleet: FleetStatus, to: Console) -> None:
    """Print what `fleet_status` found, for people."""
    for status in fleet.models:
        if status.needs:
            say(to, f"{status.model}: {status.needs}", "bold red")
    if fleet.models:
        headings = ["model", "phase", "version", "verdict", "last check (UTC)", "nearest to an alarm"]
        print_table(to, headings, [_status_row(status) for status in fleet.models])
    for status in fleet.models:
        for sentence in sentences(status):
            say(to, f"  {status.model}: {sentence}")
    _print_whole(fleet, to)


def _print_whole(fleet: FleetStatus, to: Console) -> None:
    """What concerns no single model that is watched."""
    for absent in fleet.not_watched:
        say(to, f"  {absent.model}: {not_watched(absent)}", "yellow")
    if fleet.override is not None:
        say(to, f"override in force: {format_override(fleet.override)}", "bold yellow")
    for condition in fleet.host:
        say(to, format_condition(condition), "bold red")
    if fleet.lapsed:
        say(to, fleet.lapsed, "yellow")
    if fleet.config is not None:
        calm = "dim" if fleet.config.file == fleet.config.in_force else "yellow"
        say(to, fleet.config.sentence, "bold red" if fleet.config.refused else calm)


def _status_row(status: ModelStatus) -> list[Cell]:
    nearest = status.nearest
    return [
        status.model,
        status.phase,
        str(status.version or "-"),
        Text(status.worst, style=VERDICT_STYLES.get(status.worst, "")),
        format_minute(status.last_check),
        f"{nearest}: {status.evidence[nearest].share:.0%}" if nearest is not None else "-",
    ]


Decorated = TypeVar("Decorated", bound=Callable[..., Any])

SYSTEM_CONFIG = Path("/etc/driftd/config.yaml")


class AbsentError(DriftdError):
    """What was named is not there."""

    exit_code: ClassVar[int] = ExitCode.ABSENT


def config_option(command: Decorated) -> Decorated:
    """`--config`: the file, else $DRIFTD_CONFIG, else ./config.yaml, else /etc/driftd/config.yaml."""
    option = click.option(
        "--config",
        "-c",
        "config_path",
        type=click.Path(path_type=Path, dir_okay=False),
        default=default_config,
        show_default="$DRIFTD_CONFIG, ./config.yaml or /etc/driftd/config.yaml",
        help="The config file.",
    )
    return option(command)


def json_option(command: Decorated) -> Decorated:
    """`--json`: for machines."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")(command)


def default_config() -> Path:
    """The config that is meant when none is named."""
    if named := os.environ.get("DRIFTD_CONFIG"):
        return Path(named)
    here = Path("config.yaml")
    return here if os.path.exists(here) else SYSTEM_CONFIG  # noqa: PTH110 - False, too, in a folder that is closed to us


def open_places(config_path: Path, *, makes: bool = False) -> tuple[Config, Places]:
    """The config and the places of its state. From here on root works as the user whose state it is.

    `makes` is for a command that makes or replaces files there: then nobody but that user and root may go on. Raises
    ConfigError and ForeignStateError.
    """
    config = load_config(config_path)
    places = Places(config.state_dir)
    context = click.get_current_context()
    context.with_resource(as_owner_of(places.root) if makes else rather_as_owner(places))
    return config, places


def load_config(config_path: Path) -> Config:
    """The config; of a bad file, the one that the daemon goes on with.

    Raises ConfigError when no daemon has applied one before.
    """
    try:
        config = load(config_path)
    except ConfigError as error:
        in_force = last_applied(config_path)
        if in_force is None:
            raise
        click.echo(
            f"{visible_lines(str(error))}\ndriftd: going by the config that is in force ({in_force.hash})", err=True
        )
        config = in_force
    return config


def chosen_model(config: Config, model: str | None) -> str:
    """The named model, or the only one. Raises AbsentError, and click.UsageError when it must be named."""
    names = ", ".join(config.models)
    if model is None:
        if len(config.models) > 1:
            raise click.UsageError(f"which model? Name one of {names}")
        return next(iter(config.models))
    if model not in config.models:
        raise AbsentError(f"there is no model {model!r} in the config; there are {names}")
    return model
