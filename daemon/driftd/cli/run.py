"""The commands that start something: demo, run, serve; and check-config, which does not."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from driftd.cli.progress import show_steps
from driftd.cli.terminal import config_option, console, echo, json_option, print_json
from driftd.config.schema import Config

LEVEL = click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="The least severe lines that are logged.",
)


class ConfigAnswer(msgspec.Struct, frozen=True):
    """What a config means, in sentences by model and section, and the whole of it with its defaults."""

    hash: str
    warnings: list[str]
    meaning: dict[str, list[str]]
    config: Mapping[str, object]


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-state"),
    show_default=True,
    help="Where the state and the report go.",
)
@click.option(
    "--serve/--no-serve",
    "serves",
    default=None,
    help="Serve the page of its state afterwards, until Ctrl-C; by default on a terminal.",
)
@click.option("--page", "only_page", is_flag=True, help="Serve the page of a demonstration that has run; run none.")
def demo(folder: Path, serves: bool | None, only_page: bool) -> None:
    """Show the whole loop on a real year of flights, and tell the year in words.

    It takes minutes, and prints each decision. Version 1 is trained on two months, the other ten are replayed through
    the real event store and the real daemon on a virtual clock. FOLDER is made anew; a folder that holds anything else
    is left alone.

    \b
    Example:
      driftd demo --folder /tmp/driftd-demo
      driftd demo --page --folder /tmp/driftd-demo
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    from driftd.demonstration.page import serve_page  # noqa: PLC0415 - only here

    if not only_page:
        from driftd.demonstration.run import run as run_demo  # noqa: PLC0415 - pandas, plotly: only here

        run_demo(folder)
    if only_page or (serves if serves is not None else sys.stdin.isatty() and sys.stdout.isatty()):
        serve_page(folder, console())


@click.command()
@config_option
@LEVEL
def run(config_path: Path, log_level: str) -> None:
    """Watch the models of a config until SIGTERM: the daemon.

    \b
    Example:
      driftd run --config /etc/driftd/config.yaml
    """  # noqa: D301 - see above
    from driftd.loop.run import run as run_daemon  # noqa: PLC0415 - only the daemon needs its loop
    from driftd.sources.file_system import ASKING  # noqa: PLC0415 - see above

    code = run_daemon(config_path, log_level=log_level)
    if ASKING:  # a store that hangs: its client would wait for it at the interpreter's end, longer than systemd does
        sys.stderr.flush()
        os._exit(code)
    raise SystemExit(code)


@click.command()
@config_option
@LEVEL
def serve(config_path: Path, log_level: str) -> None:
    """Answer predictions and take events over HTTP until SIGTERM.

    \b
    Example:
      driftd serve --config config.yaml
      curl -s localhost:9465/v1/models/demand/predict -d '{"features": {"region": "north"}}'
    """  # noqa: D301 - see above
    from driftd.serving.run import serve as run_server  # noqa: PLC0415 - only the server needs it

    raise SystemExit(run_server(config_path, log_level=log_level))


@click.command("check-config")
@click.option("--reload", "for_reload", is_flag=True, help="Refuse, too, what takes a restart of the running daemon.")
@config_option
@json_option
def check_config(config_path: Path, for_reload: bool, as_json: bool) -> None:
    """Say whether a config is good, its hash, and what its budgets mean.

    A token, a certificate or a log file that cannot be used is a warning: it may be there by the start, or be for
    another user. Of log files a few rows are read as the daemon would; nothing of them is kept.

    \b
    Example:
      driftd check-config --config config.yaml
      driftd check-config --reload && systemctl reload driftd
    """  # noqa: D301 - see above
    from driftd.cli.check_config import meaning, require_libraries, require_reloadable  # noqa: PLC0415 - NumPy only where budgets are told
    from driftd.config.load import load  # noqa: PLC0415 - kept beside its use
    from driftd.config.redact import redacted_dict  # noqa: PLC0415 - see above

    config = load(config_path)
    require_libraries(config, config_path)
    if for_reload:
        require_reloadable(config, config_path)
    meanings = meaning(config, time.time())
    warnings = [*_warnings(config), *_look_at_sources(config, meanings)]
    if as_json:
        print_json(ConfigAnswer(config.hash, warnings, meanings, redacted_dict(config)))
        return
    echo(f"{config_path} is good (hash {config.hash})")
    for warning in warnings:
        echo(f"warning: {warning}")
    for subject, sentences in meanings.items():
        echo(f"{subject}:")
        for sentence in sentences:
            echo(f"  {sentence}")


def _look_at_sources(config: Config, meanings: dict[str, list[str]]) -> list[str]:
    """What is wrong with log files, by the first rows of the newest ones; what answers is added to the meanings."""
    if all(model.source.kind == "store" for model in config.models.values()):
        return []
    from driftd.cli.check_config import look_at_sources  # noqa: PLC0415 - Arrow only where files are read

    warnings: list[str] = []
    with show_steps("looking at log files"):
        looks = list(look_at_sources(config))
    for look in looks:
        warnings += look.warnings
        meanings[look.model] += [look.objects] if look.objects is not None else []
    return warnings


def _warnings(config: Config) -> list[str]:
    """What the servers need at their start beside a good config, and what of it is not there for this user."""
    from driftd.web.secrets import fault_of, secrets_of, unknown_of  # noqa: PLC0415 - see above

    warnings = []
    for secret in secrets_of(config):
        lost = f"driftd {secret.command} does not start" if secret.command else "its receiver is told nothing"
        if unknown := unknown_of(secret):
            warnings.append(f"{secret.key}: {unknown}")
        elif fault := fault_of(secret):
            warnings.append(f"{secret.key}: {fault}; {lost} without it")
    return warnings
