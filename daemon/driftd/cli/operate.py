"""The commands that ask the daemon for something through the store: retrain, approve, reject, rollback, confirm, ..."""

from __future__ import annotations

import os
import pwd
import re
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import click
import msgspec
from msgspec import UNSET, UnsetType

from driftd.api.requests import (
    WEEK,
    Acknowledge,
    Approve,
    Confirm,
    PruneChecks,
    Reject,
    Request,
    RequestView,
    ResetCursor,
    ResetEvidence,
    Retrain,
    RetriedStage,
    Retry,
    Rollback,
    end_of,
    post,
)
from driftd.cli.arguments import MODEL
from driftd.cli.progress import show_steps
from driftd.cli.terminal import (
    AbsentError,
    Decorated,
    chosen_model,
    config_option,
    echo,
    json_option,
    open_places,
    print_json,
)
from driftd.config.schema import Config
from driftd.config.types import spell_duration
from driftd.errors import ExitCode
from driftd.loop.maintenance import retention_limits
from driftd.paths import Places
from driftd.store.events import retention
from driftd.store.state.reader import StateAbsentError, StateReader

LOOK_SECONDS = 0.1
UNANSWERED = (
    "{asked}; no daemon has answered within {wait:g} s: it will when it runs within a day; "
    "start it with `driftd run --config {config}`"
)


class RequestAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it stands; `outcome` is the daemon's sentence, None while no daemon has answered."""

    request: int
    model: str
    kind: str
    outcome: str | None
    refused: bool


class OldChecks(msgspec.Struct, frozen=True, kw_only=True):
    """How many checks there are, and how many are over their age."""

    total: int
    old: int


class PruneAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What is over its age and what went: `rows`, `old`, `deleted` and `held` are of events, if these were meant."""

    model: str
    rows: int | UnsetType = UNSET
    old: int | UnsetType = UNSET
    deleted: int | UnsetType = UNSET
    held: str | UnsetType | None = UNSET  # why the daemon keeps them
    checks: OldChecks | UnsetType = UNSET
    outcome: str | UnsetType | None = UNSET  # the daemon's answer about the checks


def request_options(command: Decorated) -> Decorated:
    """The options of every command that asks something of the daemon."""
    return why_option(default="")(answer_options(command))


def why_option(**settings: Any) -> Callable[[Decorated], Decorated]:
    """The reason of a request: one word for all commands, and an older one that scripts may use."""
    return click.option("--why", "--reason", "why", help="The reason, for the history.", **settings)


def answer_options(command: Decorated) -> Decorated:
    """The options of a command that waits for the daemon's answer."""
    wait = click.option(
        "--wait",
        default=10.0,
        show_default=True,
        type=click.FloatRange(0, 3600),
        help="How many seconds to wait for the daemon's answer.",
    )
    return wait(config_option(json_option(command)))


@click.command()
@click.argument("model", required=False, type=MODEL)
@click.option(
    "--snapshot",
    callback=lambda _context, _option, given: _snapshot_name(given),
    help="Build from this snapshot, not from the newest rows: its SHA-256, or the first 8 digits or more.",
)
@request_options
def retrain(config_path: Path, model: str | None, snapshot: str | None, why: str, wait: float, as_json: bool) -> None:
    """Ask for a build of MODEL now. It passes over the cool-down and the budget, not over a broken pipeline.

    A build from a --snapshot is judged like any other, by every labelled row that is later than those it trains on.

    \b
    Example:
      driftd retrain demand --why "after the schema fix"
      driftd retrain demand --snapshot 3fb1c2d4 --why "without the rows of the outage"
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    ask(config_path, model, Retrain(snapshot=snapshot, reason=why), wait=wait, as_json=as_json)


def _snapshot_name(given: str | None) -> str | None:
    if given is not None and re.fullmatch("[0-9a-f]{8,64}", given) is None:
        raise click.BadParameter(f"{given!r} is no snapshot: name at least 8 digits (0-9, a-f) of its SHA-256")
    return given


@click.command()
@click.argument("model", type=MODEL)
@click.option(
    "--from",
    "stage",
    type=click.Choice(get_args(RetriedStage)),
    help="The stage to begin with; where it failed unless given.",
)
@request_options
def retry(config_path: Path, model: str, stage: RetriedStage | None, why: str, wait: float, as_json: bool) -> None:
    """Begin the last failed build of MODEL again, with what its earlier stages made.

    Also a version that its tests refused: they are run again. Where a stage cannot be, the answer says which can.

    \b
    Example:
      driftd retry demand --why "the test was wrong"
      driftd retry demand --from take_data
    """  # noqa: D301 - see above
    ask(config_path, model, Retry(stage=stage, reason=why), wait=wait, as_json=as_json)


@click.command()
@click.argument("model", type=MODEL)
@click.argument("version", type=int)
@request_options
def approve(config_path: Path, model: str, version: int, why: str, wait: float, as_json: bool) -> None:
    """Let the challenger VERSION of MODEL, which waits for approval, serve.

    \b
    Example:
      driftd approve demand 8 --why "checked on the holdout"
    """  # noqa: D301 - see above
    ask(config_path, model, Approve(version=version, reason=why), wait=wait, as_json=as_json)


@click.command()
@click.argument("model", type=MODEL)
@click.argument("version", type=int)
@request_options
def reject(config_path: Path, model: str, version: int, why: str, wait: float, as_json: bool) -> None:
    """Turn the challenger VERSION of MODEL, which waits for approval, down.

    \b
    Example:
      driftd reject demand 8 --why "region north is worse"
    """  # noqa: D301 - see above
    ask(config_path, model, Reject(version=version, reason=why), wait=wait, as_json=as_json)


@click.command()
@click.argument("model", type=MODEL)
@click.argument("version", type=int)
@request_options
def confirm(config_path: Path, model: str, version: int, why: str, wait: float, as_json: bool) -> None:
    """Say that the system that serves MODEL, which is not driftd, serves VERSION now.

    A version that was handed over is confirmed by this, or by the first prediction that names it; else it is taken
    back in time. Any other version that the system serves instead, such as the one before, is taken up too.

    \b
    Example:
      driftd confirm demand 8 --why "rolled out to all hosts"
    """  # noqa: D301 - see above
    ask(config_path, model, Confirm(version=version, reason=why), wait=wait, as_json=as_json)


@click.command()
@click.argument("model", required=False, type=MODEL)
@click.option("--to", "version", type=int, help="The version to go back to; the one before by default.")
@request_options
def rollback(config_path: Path, model: str | None, version: int | None, why: str, wait: float, as_json: bool) -> None:
    """Go back to an earlier version of MODEL; the one that serves now is not promoted again by itself.

    It serves until the next build wins or the next refresh is due; `override.pin` in the config holds a version.

    \b
    Example:
      driftd rollback demand --to 3 --why "complaints from the north"
    """  # noqa: D301 - see above
    ask(config_path, model, Rollback(version=version, reason=why), wait=wait, as_json=as_json)


def _time_or_span(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    """A moment with its zone, or a span from now, looked at before anything is asked."""
    try:
        end_of(text, time.time())
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return text


def until_option(**settings: Any) -> Callable[[Decorated], Decorated]:
    """The end of what is asked for."""
    text = "A time with its zone (2026-12-01T00:00:00Z), or a span from now (7d)."
    return click.option("--until", show_default=True, callback=_time_or_span, help=text, **settings)


@click.command()
@click.argument("model", type=MODEL)
@click.argument("alarm", required=False, type=int)
@why_option(required=True)
@until_option(default=WEEK)
@answer_options
def acknowledge(
    config_path: Path, model: str, alarm: int | None, why: str, until: str, wait: float, as_json: bool
) -> None:
    """Do nothing about the ALARM of performance that stands against MODEL until a time; about all without ALARM.

    \b
    Example:
      driftd acknowledge demand 17 --why "price campaign until Sunday" --until 3d
    """  # noqa: D301 - see above
    ask(config_path, model, Acknowledge(alarm=alarm, until=until, reason=why), wait=wait, as_json=as_json)


@click.command("reset-evidence")
@click.argument("model", type=MODEL)
@why_option(required=True)
@answer_options
def reset_evidence(config_path: Path, model: str, why: str, wait: float, as_json: bool) -> None:
    """Reset the evidence against the served version of MODEL, as after a swap.

    For evidence that cannot be read any more, or that garbage of a broken feed has poisoned. What was gathered is put
    aside: standing alarms end, the next windows and labels count from zero. Versions and events are not touched; the
    history keeps who asked and why. A fault that blocks builds stays until a window without it.

    \b
    Example:
      driftd reset-evidence demand --why "INC-123: two days of test traffic"
    """  # noqa: D301 - see above
    ask(config_path, model, ResetEvidence(reason=why), wait=wait, as_json=as_json)


@click.command("reset-cursor")
@click.argument("model", required=False, type=MODEL)
@click.option("--force", is_flag=True, help="Also where most checks of windows with rows lie ahead of the clock.")
@request_options
def reset_cursor(config_path: Path, model: str | None, why: str, wait: float, force: bool, as_json: bool) -> None:
    """After the clock was ahead: check the windows of MODEL that were passed over before their time.

    Set the clock right first (`timedatectl`). What that clock checked is checked again, and nothing waits any more for
    a time that it wrote down. No event, version or decision is touched. It is refused while the clock seems to be
    behind.

    \b
    Example:
      driftd reset-cursor demand --why "the host was a year ahead"
    """  # noqa: D301 - see above
    ask(config_path, model, ResetCursor(reason=why, force=force), wait=wait, as_json=as_json)


@click.command()
@click.argument("model", required=False, type=MODEL)
@click.option("--dry-run", is_flag=True, help="Say what would go, and delete nothing.")
@click.option("--only", type=click.Choice(["events", "checks"]), help="Only these; both by default.")
@request_options
def prune(
    config_path: Path, model: str | None, dry_run: bool, only: str | None, why: str, wait: float, as_json: bool
) -> None:
    """Delete events and checks of MODEL older than `retention.events` and `retention.checks`, by the clock of now.

    The daemon does so by itself, but not where the clock disagrees with them by months, nor where more than
    `retention.share` of them would go at once: this says that it is right. Events go at once, checks by the daemon.

    \b
    Example:
      driftd prune demand --dry-run
      sudo driftd prune demand
      driftd prune demand --only checks --why "shorter retention"
    """  # noqa: D301 - see above
    who = whoami()  # before this process becomes the owner of the state
    config, places = open_places(config_path, makes=not dry_run)
    name = chosen_model(config, model)
    said: dict[str, object] = {}
    if only != "checks" and (only == "events" or places.events_db(name).exists()):
        said |= _prune_events(config, places, name, dry_run=dry_run, quiet=as_json)
    if only != "events":
        old, total = _count_old_checks(config, places, name)
        said["checks"] = {"total": total, "old": old}
        if not as_json:
            spell = spell_duration(config.retention.checks)
            echo(f"{name}: {old:,} of {total:,} checks are older than {spell} (retention.checks)")
        if old and not dry_run:
            asked = _post(places, name, PruneChecks(reason=why), who=who, wait=wait)
            outcome = said["outcome"] = asked.outcome
            if not as_json:
                echo(outcome or UNANSWERED.format(asked="asked", wait=wait, config=config_path))
    if as_json:
        print_json(msgspec.convert({"model": name, **said}, PruneAnswer))
    raise SystemExit(ExitCode.UNANSWERED if said.get("outcome", "") is None else ExitCode.DONE)


def _prune_events(config: Config, places: Places, name: str, *, dry_run: bool, quiet: bool) -> dict[str, object]:
    path, segments, limits, now = places.events_db(name), places.segments(name), retention_limits(config), time.time()
    if not path.exists():
        raise AbsentError(f"{name} has no event store at {path}: nothing to delete")
    old, total, allowed = retention.count_old(path, now, limits)
    with show_steps("deleting"):
        gone = 0 if dry_run else retention.prune(path, segments, now, replace(limits, is_ordered=True)).rows
    if not quiet:
        spell = spell_duration(config.retention.events)
        echo(f"{name}: {old:,} of about {total:,} predictions are older than {spell} (retention.events)")
        if allowed.reason:
            echo(f"the daemon keeps them: {allowed.reason}")
        if not dry_run:
            echo(f"{gone:,} are deleted, with their labels")
    return {"rows": total, "old": old, "deleted": gone, "held": allowed.reason}


def _count_old_checks(config: Config, places: Places, name: str) -> tuple[int, int]:
    """How many checks are over their age, and how many there are; none before a daemon has run."""
    try:
        with StateReader.read_only(places.state_db) as reader:
            times = reader.check_times(name)
    except StateAbsentError:
        return 0, 0
    return sum(at < time.time() - config.retention.checks for at in times), len(times)


def ask(
    config_path: Path, model: str | None, request: Request, *, wait: float, as_json: bool, who: str | None = None
) -> None:
    """Post a request, wait a while for the answer, print it, and end with its exit code."""
    who = who or whoami()  # before this process becomes the owner of the state
    config, places = open_places(config_path)
    name = chosen_model(config, model)
    asked = _post(places, name, request, who=who, wait=wait)
    outcome, refused = asked.outcome, asked.status == "refused"
    if as_json:
        print_json(RequestAnswer(request=asked.id, model=name, kind=asked.kind, outcome=outcome, refused=refused))
    elif outcome is None:
        echo(UNANSWERED.format(asked=f"asked (request {asked.id})", wait=wait, config=config_path))
    else:
        echo(outcome)
    raise SystemExit(ExitCode.UNANSWERED if outcome is None else ExitCode.REFUSED if refused else ExitCode.DONE)


def _post(places: Places, name: str, request: Request, *, who: str, wait: float) -> RequestView:
    """A request as it stands once the daemon has answered, or after so many seconds."""
    number = post(places.state_db, name, request, who=who)
    deadline = time.monotonic() + wait
    with StateReader.read_only(places.state_db, lasts=True) as reader:
        while True:
            posted = reader.request(number)
            if posted is not None and (posted.outcome is not None or time.monotonic() >= deadline):
                return RequestView.of(posted)
            time.sleep(LOOK_SECONDS)


def whoami() -> str:
    """`user@host`, for the history: the account of this process, and who stands behind it where sudo says so."""
    try:
        account = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container without an entry for its user
        account = f"uid {os.getuid()}"
    behind = os.environ.get("SUDO_USER")
    user = f"{behind} as {account}" if behind and behind != account else account
    return f"{user}@{socket.gethostname()}"
