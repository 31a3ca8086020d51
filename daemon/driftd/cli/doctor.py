"""The commands `doctor` and `notify-test`."""

from __future__ import annotations

import time
from pathlib import Path

import click
import msgspec
from rich.text import Text

from driftd.cli.progress import show_steps
from driftd.cli.terminal import config_option, console, json_option, load_config, print_json, say, say_text
from driftd.config.schema import Config, Receiver
from driftd.doctor.installation import Finding
from driftd.errors import ExitCode
from driftd.formatting import visible

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


class DoctorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Every finding, and how many there are of each level."""

    config: str
    count: dict[str, int]
    findings: list[Finding]


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a receiver took the test message, else why not."""

    delivered: bool
    error: str | None


@click.command()
@config_option
@json_option
def doctor(config_path: Path, as_json: bool) -> None:
    """Look over a whole installation, and say what to do about each finding.

    Files, disk, clock, libraries, databases, config, secrets, daemon, server, backups, sources, trainers, plug-ins,
    hand-overs, versions, evidence, progress, and all that the daemon itself knows to be wrong.
    Changes nothing. Ends with 0 when nothing fails (warnings do not count), else with 1.

    \b
    Example:
      sudo driftd doctor --config /etc/driftd/config.yaml
      driftd doctor --json | jq '.findings[] | select(.level == "fail")'
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    from driftd.doctor.checks import CHECKS  # noqa: PLC0415 - sources and their like only when examined
    from driftd.doctor.installation import examine_all  # noqa: PLC0415 - see above

    with show_steps("looking") as tell:
        found = list(examine_all(config_path, time.time(), CHECKS, lambda name: tell(f"looking at {name}")))
    count = {level: sum(finding.level == level for finding in found) for level in _STYLES}
    if as_json:
        print_json(DoctorAnswer(config=str(config_path), count=count, findings=found))
    else:
        out = console()
        for finding in found:
            head = Text(f"{finding.level:<6}", style=_STYLES[finding.level])
            said = visible(f"{finding.check}: {finding.subject}: {finding.said}")
            say_text(out, head.append(said, style="default"), indent=6)
            if finding.todo:
                say(out, f"      -> {finding.todo}")
        say(out, f"{count['fail']} fail, {count['warn']} warn, {count['ok']} ok")
    raise SystemExit(ExitCode.FAILED if count["fail"] else ExitCode.DONE)


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
    config = load_config(config_path)
    outcomes = {name: _try(name, receiver) for name, receiver in _receivers_named(config, receivers).items()}
    if as_json:
        print_json({name: Delivery(delivered=error is None, error=error) for name, error in outcomes.items()})
    else:
        for name, error in outcomes.items():
            say(console(), f"{name}: {error or 'took the test message'}", "red" if error else "green")
    if any(outcomes.values()):
        raise SystemExit(ExitCode.FAILED)


def _receivers_named(config: Config, names: tuple[str, ...]) -> dict[str, Receiver]:
    if not config.notify:
        raise click.UsageError("the config names no receiver: add one under `notify` (docs/notifications.md)")
    for name in names:
        if name not in config.notify:
            raise click.UsageError(f"there is no receiver {name!r} in the config; there are {', '.join(config.notify)}")
    return {name: config.notify[name] for name in names or config.notify}


def _try(name: str, receiver: Receiver) -> str | None:
    """None when the receiver took the message, else why it did not."""
    import asyncio  # noqa: PLC0415 - only here; `driftd --help` stays quick

    from driftd.notify.channels import DeliveryError  # noqa: PLC0415 - see above
    from driftd.notify.delivery import deliver  # noqa: PLC0415 - see above
    from driftd.notify.message import message_of_test  # noqa: PLC0415 - see above

    try:
        asyncio.run(deliver(receiver, message_of_test(name, time.time())))
    except (DeliveryError, OSError) as error:
        return str(error)
    return None
