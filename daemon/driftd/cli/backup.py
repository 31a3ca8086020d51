"""The commands `backup` and `restore`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import click
import msgspec
from msgspec import UNSET, UnsetType

from driftd.cli.arguments import MODEL
from driftd.cli.operate import whoami
from driftd.cli.progress import show_steps
from driftd.cli.table import print_table
from driftd.cli.terminal import (
    AbsentError,
    chosen_model,
    config_option,
    console,
    echo,
    json_option,
    load_config,
    open_places,
    print_json,
    say,
)
from driftd.config.load import files_of
from driftd.config.schema import Config
from driftd.formatting import format_minute, format_time
from driftd.loop.maintenance import backup_plan
from driftd.paths import Places
from driftd.store.backups import BY_HAND, BackedUpModel, Backup, BackupError, backup_apart, check_backup, list_backups
from driftd.store.integrity import damage_marked
from driftd.store.ownership import StateInUseError, hold_lock
from driftd.store.restore import Restored, newest_good, restore_events, restore_state
from driftd.store.standby import make_standby, read_standby, take_over

Found = Sequence[tuple[Path, Backup]]


_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.option("--to", type=_FOLDER, metavar="DIR", help="Make a whole copy for another host in DIR instead.")
@config_option
@json_option
def backup(config_path: Path, to: Path | None, as_json: bool) -> None:
    """Make a backup now, beside the daily ones; the daemon may be running.

    With --to, a whole copy of the state, the event stores, versions and snapshots, for `driftd restore --from` on
    another host; what the copy before holds unchanged is linked (docs/standby.md).

    \b
    Example:
      sudo driftd backup
      driftd restore --list
      sudo driftd backup --to /mnt/standby/driftd
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    config, places = open_places(config_path, makes=True)
    if not places.state_db.exists():
        raise AbsentError(f"there is no state database at {places.state_db}: nothing to back up")
    if to is not None:
        _copy(config, config_path, places, to, as_json=as_json)
        return
    plan = backup_plan(config, config_path, places, time.time(), reason=BY_HAND)
    with show_steps("reading, copying, checking"):
        made = backup_apart(plan)
    if as_json:
        print_json(_line(plan.folder / made.name, made))
        return
    echo(f"backup {made.name} is made and checked ({_size(made.bytes)}) in {plan.folder}")
    for name, model in made.models.items():
        if model.events.startswith("left out"):
            echo(f"  the events of {name} are {model.events}")


def _copy(config: Config, config_path: Path, places: Places, to: Path, *, as_json: bool) -> None:
    now, began = time.time(), time.monotonic()
    with show_steps("copying"):
        made = make_standby(places, files_of(config_path), tuple(config.models), to, program=version("driftd"), now=now)
    content = read_standby(made)
    seconds, size = time.monotonic() - began, sum(content.files.values())
    if as_json:
        print_json(CopyAnswer(path=str(made), made_at=now, bytes=size, copied=content.copied, seconds=seconds))
        return
    figures = f"{_size(size)}, {_size(content.copied)} new, {seconds:.1f} s"
    echo(f"{made} holds everything acknowledged until {format_time(now)} ({figures})")


@click.command()
@click.option("--list", "only_list", is_flag=True, help="Show the backups there are, and do nothing.")
@click.option("--backup", "name", help="The backup to restore; the newest good one by default.")
@click.option(
    "--events", "model", type=MODEL, metavar="MODEL", help="Restore the event store of MODEL instead of the state."
)
@click.option("--from", "source", type=_FOLDER, metavar="DIR", help="Take over from the copies of `backup --to DIR`.")
@click.option("--empty", is_flag=True, help="With --events: begin with an empty event store.")
@config_option
@json_option
def restore(
    config_path: Path,
    only_list: bool,
    name: str | None,
    model: str | None,
    source: Path | None,
    empty: bool,
    as_json: bool,
) -> None:
    """Put a backup in the place of a broken state database, or of a broken event store.

    Nothing is deleted: the replaced files are kept beside the new ones, and no version is touched. The daemon must be
    stopped first; `driftd serve` and applications go on. Root works as the user whose state it is.

    \b
    Example:
      driftd restore --list
      sudo systemctl stop driftd; sudo driftd restore; sudo systemctl start driftd
      sudo driftd restore --events demand
      sudo driftd restore --from /mnt/standby/driftd
    """  # noqa: D301 - see above
    if source is not None:
        if only_list or name or model or empty:
            raise click.UsageError("--from takes over a whole state: no other option goes with it")
        _take_over(config_path, source, as_json=as_json)
        return
    if empty and model is None:
        raise click.UsageError("--empty is for an event store: name its model with --events")
    who = whoami()
    config, places = open_places(config_path, makes=not only_list)
    found = list_backups([config.backup.folder or places.backups, places.backups])
    if only_list:
        _list(found, as_json=as_json)
        return
    model = chosen_model(config, model) if model is not None else None
    with ExitStack() as stack:
        _own(stack, places, model)
        wanted = _with_events(found, model) if model is not None else found
        chosen = None if empty else _choose(wanted, name, model)
        with show_steps("restoring"):
            if model is not None:
                done = restore_events(places, model, chosen.path if chosen else None, now=time.time())
            else:
                assert chosen is not None
                done = restore_state(places, chosen.path, chosen.backup, who=who, now=time.time())
    _tell(done, chosen, config, config_path, model, as_json=as_json)


def _take_over(config_path: Path, source: Path, *, as_json: bool) -> None:
    who, began = whoami(), time.monotonic()
    Places(load_config(config_path).state_dir).root.mkdir(parents=True, exist_ok=True, mode=0o750)
    _, places = open_places(config_path, makes=True)
    with hold_lock(places.lock, "driftd restore", patience=0.0), show_steps("checking and copying"):
        chosen, content = take_over(places, source, who=who, now=time.time())
    seconds, size = time.monotonic() - began, sum(content.files.values())
    if as_json:
        print_json(CopyAnswer(path=str(chosen), made_at=content.made_at, bytes=size, seconds=seconds))
        return
    echo(f"the state is that of {chosen}, of {format_time(content.made_at)}; it took {seconds:.1f} s")
    echo(f"next: start driftd (--config {config_path}); what came to the other host later is not here")


@dataclass(frozen=True, slots=True)
class _Chosen:
    path: Path
    backup: Backup
    passed_over: list[str]


def _own(stack: ExitStack, places: Places, model: str | None) -> None:
    """Keep daemons away. One that runs has let go of a damaged event store already: that may be replaced under it."""
    try:
        stack.enter_context(hold_lock(places.lock, "driftd restore", patience=0.0))
    except StateInUseError:
        if model is None or damage_marked(places.events_db(model)) is None:
            raise


def _with_events(found: Found, model: str) -> Found:
    return [item for item in found if model in item[1].models and item[1].models[model].events == "included"]


def _choose(found: Found, name: str | None, model: str | None) -> _Chosen:
    if name is None:
        if not found:
            what = "no backup" if model is None else f"no backup with the events of {model}"
            way = "" if model is None else "; `--empty` begins with an empty event store, and the broken one is kept"
            raise AbsentError(f"there is {what}{way}")
        with show_steps("checking backups"):
            return _Chosen(*newest_good(found, time.time()))
    for path, backup in found:
        if backup.name == name:
            fault = check_backup(path, backup)
            if fault is not None:
                raise BackupError(f"{name} cannot be used: {fault}")
            return _Chosen(path, backup, [])
    known = ", ".join(backup.name for _, backup in found) or "none"
    raise AbsentError(f"there is no backup {name!r}{'' if model is None else f' with the events of {model}'}: {known}")


def _list(found: Found, *, as_json: bool) -> None:
    if as_json:
        print_json([_line(path, backup) for path, backup in found])
        return
    if not found:
        echo("there is no backup yet: the daemon makes the first within a minute of its start")
        return
    now = time.time()
    rows = [
        (b.name, format_minute(b.made_at) + " (ahead)" * b.is_ahead(now), _size(b.bytes), b.schema, _models(b))
        for _, b in found
    ]
    print_table(console(), ("backup", "made (UTC)", "size", "schema", "models"), rows, long="models")


def _models(backup: Backup) -> str:
    sentences = []
    for name, model in backup.models.items():
        events = model.events.partition(":")[0]
        sentences.append(
            f"{name}: {model.phase}, serves {model.champion or 'none'} of {_span(model.versions)}, events {events}"
        )
    return "; ".join(sentences)


def _span(versions: Sequence[int]) -> str:
    return "-".join(map(str, dict.fromkeys((versions[0], versions[-1])))) if versions else "none"


def _tell(
    done: Restored, chosen: _Chosen | None, config: Config, config_path: Path, model: str | None, *, as_json: bool
) -> None:
    if as_json:
        restored = _line(chosen.path, chosen.backup) if chosen else None
        kept = None if done.kept is None else str(done.kept)
        print_json(RestoreAnswer(model=model, kept=kept, aside=[str(path) for path in done.aside], restored=restored))
        return
    out = console()
    for sentence in chosen.passed_over if chosen else ():
        say(out, sentence, "yellow")
    what = "the state" if model is None else f"the event store of {model}"
    source = f"restored from {chosen.backup.name} ({format_time(chosen.backup.made_at)})" if chosen else "empty now"
    say(out, f"{what} is {source}")
    for path in (done.kept, *done.aside):
        if path is not None:
            say(out, f"  kept: {path}")
    if model is None:
        say(out, f"next: start driftd (--config {config_path}); it compares the state with the versions on disk, and ")
        say(out, "      `driftd history` then says what it found. Windows after the backup are checked again.")
    elif config.models[model].window.rows is not None:
        say(out, f"  {model} counts its windows in rows: the rows until the old count is reached are not checked")


class BackupLine(msgspec.Struct, frozen=True, kw_only=True):
    """A backup, as `--json` says it: without the hashes of its files."""

    made_at: float
    reason: str
    program: str
    schema: str
    bytes: int
    name: str
    path: str
    models: dict[str, BackedUpModel]


class CopyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole copy that was made, or taken over; `made_at` in epoch seconds, `copied` the bytes that were new."""

    path: str
    made_at: float
    bytes: int
    copied: int | UnsetType = UNSET
    seconds: float


class RestoreAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What was put in place: `restored` is None for an empty event store, `model` for the state."""

    model: str | None
    kept: str | None  # where the replaced file is now
    aside: list[str]
    restored: BackupLine | None


def _line(path: Path, backup: Backup) -> BackupLine:
    return BackupLine(
        made_at=backup.made_at,
        reason=backup.reason,
        program=backup.program,
        schema=backup.schema,
        bytes=backup.bytes,
        name=backup.name,
        path=str(path),
        models=backup.models,
    )


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
