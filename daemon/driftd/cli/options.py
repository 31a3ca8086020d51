"""The options that commands share, and what they lead to: the config, the places, the model that is meant."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import click

from driftd.config.load import ConfigError, load
from driftd.config.schema import Config
from driftd.errors import DriftdError, ExitCode
from driftd.paths import Places
from driftd.store.ownership import as_owner_of, rather_as_owner
from driftd.views.config import last_applied

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
        click.echo(f"{error}\ndriftd: going by the config that is in force ({in_force.hash})", err=True)
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
