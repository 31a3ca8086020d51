"""The command that sends every receiver of notifications a test."""

from __future__ import annotations

import time
from pathlib import Path

import click

from driftd.cli.options import config_option, configured, json_option
from driftd.cli.printing import console, print_json, say
from driftd.config.model import Config
from driftd.config.receiver import Receiver

NOT_DELIVERED = 1


@click.command("notify-test")
@click.argument("receivers", nargs=-1)
@config_option
@json_option
def notify_test(config_path: Path, receivers: tuple[str, ...], as_json: bool) -> None:
    """Send RECEIVERS, or every receiver of the config, one test message; says who took it.

    Nothing is retried and nothing is recorded. Ends with 1 unless all took it.

    \b
    Example:
      driftd notify-test
      driftd notify-test team-chat
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    config = configured(config_path)
    outcomes = {name: _tried(name, receiver) for name, receiver in _chosen(config, receivers).items()}
    if as_json:
        print_json({name: {"delivered": error is None, "error": error} for name, error in outcomes.items()})
    else:
        for name, error in outcomes.items():
            say(console(), f"{name}: {error or 'took the test message'}", "red" if error else "green")
    if any(outcomes.values()):
        raise SystemExit(NOT_DELIVERED)


def _chosen(config: Config, names: tuple[str, ...]) -> dict[str, Receiver]:
    if not config.notify:
        raise click.UsageError("the config names no receiver: add one under `notify` (docs/notifications.md)")
    for name in names:
        if name not in config.notify:
            raise click.UsageError(f"there is no receiver {name!r} in the config; there are {', '.join(config.notify)}")
    return {name: config.notify[name] for name in names or config.notify}


def _tried(name: str, receiver: Receiver) -> str | None:
    """None when the receiver took the message, else why it did not."""
    import asyncio  # noqa: PLC0415 - only here; `driftd --help` stays quick

    from driftd.notify.message import message_of_test  # noqa: PLC0415 - see above
    from driftd.notify.telling import deliver  # noqa: PLC0415 - see above
    from driftd.notify.trying import DeliveryError  # noqa: PLC0415 - see above

    try:
        asyncio.run(deliver(receiver, message_of_test(name, time.time())))
    except (DeliveryError, OSError) as error:
        return str(error)
    return None
