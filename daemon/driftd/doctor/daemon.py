"""The daemon: its secrets, whether it answers with the config of the file, its databases and backups."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from http import HTTPStatus
from pathlib import Path

from driftd.config.load import digest_of
from driftd.doctor.installation import Finding, Installation, fail, ok, warn
from driftd.formatting import format_time
from driftd.loop.maintenance import retention_limits
from driftd.observe.alert_rule import DISK_SOON
from driftd.store.backups import list_backups, of_the_past
from driftd.store.events.retention import count_old, oldest_unsealed
from driftd.store.integrity import damage_marked, examine
from driftd.store.ownership import Holder, name_of, rather_as_owner
from driftd.store.schema_versions import DatabaseError, pending_steps
from driftd.store.subprocesses import PROBE_SECONDS, probe_hangs
from driftd.web.local_client import CertificateError, NoAnswerError, ask, can_be_asked
from driftd.web.secrets import Secret, fault_of, secrets_of, unknown_of


def secrets(installation: Installation) -> Iterator[Finding]:
    """Each is there and of use to the user of the services, who reads them at the start."""
    named = list(secrets_of(installation.config))
    if not named:
        yield ok("secrets", "the config names no token, no certificate and no file of a webhook")
    for secret in named:
        unknown = unknown_of(secret)
        if unknown is not None:
            yield warn(secret.key, unknown, "run this as root, while the unit runs")
            continue
        with nullcontext() if secret.is_credential else rather_as_owner(installation.places):
            fault = fault_of(secret)
        if fault is None:
            yield ok(secret.key, "is there and can be used")
            continue
        yield _unusable(secret, fault, "root" if secret.is_credential else _reader(installation))


def _unusable(secret: Secret, fault: str, reader: str) -> Finding:
    todo = f"put it there, readable by {reader} and not by everybody"
    if secret.command is None:
        name = secret.key.split(".")[1]
        return fail(secret.key, f"{fault}. Nothing is told to {name}", f"{todo}, then `driftd notify-test {name}`")
    unit = "driftd" if secret.command == "run" else "driftd-serve"
    lost = f"{unit} ends with exit code 2 at its start, and is not started again"
    return fail(secret.key, f"{fault}. {lost}", f"{todo}, then `systemctl restart {unit}`")


def _reader(installation: Installation) -> str:
    root = installation.places.root
    return name_of(root.stat().st_uid) if root.exists() else "the user of the services"


_ANSWER_SECONDS = 5.0
_STALE_SECONDS = 120.0
_LAST_STEP = "driftd_last_step_timestamp_seconds "
_DISK_FULL = "driftd_disk_full_timestamp_seconds "
_UNAUTHORIZED = (401, 403)


def config(installation: Installation) -> Iterator[Finding]:
    """The file is good, and what the daemon works by."""
    digest = digest_of(installation.config_path)
    with installation.reader() as reader:
        in_force = reader.config_in_force()
    if in_force is None:
        yield warn("config", f"is good ({digest}), but no daemon has read it yet", "start the daemon")
    elif in_force.hash != digest and installation.daemon is not None:
        said = f"the file is {digest}, the daemon works by {in_force.hash}"
        yield fail("config", said, "driftd takes a good file up within seconds: see `driftd status` for why it did not")
    elif in_force.hash != digest:
        yield ok("config", f"is good ({digest}); the daemon last worked by {in_force.hash}")
    else:
        yield ok("config", f"is good ({digest}), and is the one in force")


def daemon(installation: Installation) -> Iterator[Finding]:
    """Somebody owns the state directory, and the main loop moves."""
    found = installation.daemon
    if installation.lock_fault:
        said = f"whether one runs cannot be told from {installation.lock_fault}"
        yield fail("daemon", said, f"see the finding on files; if there is none: {installation.command('doctor')}")
        return
    if found is None:
        yield fail(
            "daemon",
            "no daemon runs on this state_dir",
            "systemctl start driftd; journalctl -u driftd says why it ended",
        )
        return
    http = installation.config.http
    if not can_be_asked(http):
        said = f"runs as process {found.pid} ({found.task}), on a port of the system's choice: it could not be asked"
        yield warn("daemon", said, "name a port in http.listen")
        return
    try:
        status, text = ask(http, "/metrics", _ANSWER_SECONDS)
    except CertificateError as error:
        said = f"process {found.pid} answers at {http.listen} with a certificate that is not in order: {error}"
        yield fail("daemon", said, "renew what http.tls names; after a renewal: systemctl restart driftd")
    except NoAnswerError as error:
        said = f"process {found.pid} ({found.task}) owns the state, but {http.listen} does not answer: {error}"
        yield fail("daemon", said, "see `journalctl -u driftd`; if it hangs, systemctl restart driftd")
    else:
        yield _answer(found, http.listen, status, text, installation.now)
        yield from _full_disk(text, installation.now)


def _full_disk(text: str, now: float) -> Iterator[Finding]:
    """When the disk is full at its rate, as the daemon measures it."""
    line = next((line for line in text.splitlines() if line.startswith(_DISK_FULL)), None)
    if line is not None and (full_at := float(line.split()[1])) - now < DISK_SOON:
        todo = "lower retention, set retention.disk, or make room: docs/disk.md has what each part should take"
        yield warn("disk", f"is full at {format_time(full_at)}, at the rate of the last day", todo)


def _answer(found: Holder, address: str, status: int, text: str, now: float) -> Finding:
    if status in _UNAUTHORIZED:
        said = f"runs as process {found.pid} and answers at {address}; its metrics want a token, so they were not seen"
        return warn("daemon", said, "look at the page with the token: it says whether the main loop moves")
    step = next((line for line in text.splitlines() if line.startswith(_LAST_STEP)), None)
    age = now - float(step.split()[1]) if step is not None else None
    if age is not None and age > _STALE_SECONDS:
        said = f"process {found.pid} answers, but its main loop last moved {age:.0f} s ago"
        return fail("daemon", said, "systemctl restart driftd, and keep the log for a report")
    return ok("daemon", f"runs as process {found.pid} and answers at {address}")


_CHECK_SECONDS = 60.0
_UNSEALED_SECONDS = 3 * 86_400.0  # a day cold is sealed in any case
_LATE = 2.0  # times the interval of backups
DAY = 86_400.0
_STOP, _START = "sudo systemctl stop driftd", "sudo systemctl start driftd"


def databases(installation: Installation) -> Iterator[Finding]:
    """Whole, by SQLite's quick check, and with this program's schema."""
    restore = installation.command("restore")
    yield from _database(installation.places.state_db, "state", f"{_STOP}; {restore}; {_START}")
    for name, model in installation.config.models.items():
        path = installation.places.events_db(name)
        if model.source.kind == "store" and path.exists():
            yield from _database(path, "events", installation.command(f"restore --events {name}"))


def _database(path: Path, kind: str, restore: str) -> Iterator[Finding]:
    if not path.exists():
        yield fail(str(path), "does not exist", f"start the daemon; if there are backups: {restore}")
        return
    finding = damage_marked(path) or examine(path, seconds=_CHECK_SECONDS)
    if finding is not None:
        yield fail(str(path), f"is damaged: {finding}", restore)
        return
    try:
        missing = pending_steps(path, kind)
    except DatabaseError as error:
        yield fail(str(path), str(error), "install the newer driftd again, or restore a backup from before it")
        return
    if missing:
        yield warn(str(path), f"lacks {', '.join(missing)}", "restart the daemon: it migrates, after a backup")
    else:
        yield ok(str(path), f"{path.stat().st_size / 1e6:,.1f} MB, whole, schema current")


def backlog(installation: Installation) -> Iterator[Finding]:
    """Events that were never sealed into segments: the daemon's upkeep does that."""
    for name, model in installation.config.models.items():
        path = installation.places.events_db(name)
        if model.source.kind != "store" or not path.exists() or damage_marked(path) is not None:
            continue  # told by the checks of sources and of databases
        yield from _old_events(installation, name, path)
        oldest = oldest_unsealed(path)
        if oldest is not None and installation.now - oldest > _UNSEALED_SECONDS:
            said = f"its oldest unsealed events are {(installation.now - oldest) / DAY:.0f} days old"
            yield warn(name, said, "upkeep does not end well: grep the daemon's log for upkeep_failed")
        else:
            yield ok(name, "no backlog of events to seal")


def _old_events(installation: Installation, name: str, path: Path) -> Iterator[Finding]:
    """Events over their age that the daemon keeps, because the clock or their number speaks against deleting them."""
    if not path.exists() or pending_steps(path, "events"):
        return
    old, _, allowed = count_old(path, installation.now, retention_limits(installation.config))
    if old and allowed.reason:
        todo = f"set the clock if it is wrong; else {installation.command(f'prune {name}')} deletes them"
        yield warn(name, f"{old:,} predictions over retention.events are kept: {allowed.reason}", todo)


def backups(installation: Installation) -> Iterator[Finding]:
    """The newest backup is as young as the config wants."""
    config, by_hand = installation.config.backup, installation.command("backup")
    folder = config.folder or installation.places.backups
    if probe_hangs([str(folder)]):
        said = f"does not answer within {PROBE_SECONDS:.0f} s"
        yield fail(str(folder), said, "bring its mount or disk back, or name another (backup.folder)")
        return
    every = list_backups([folder])
    found = [backup for _, backup in of_the_past(every, installation.now)]
    if len(found) < len(every):
        ahead = ", ".join(backup.name for _, backup in every if backup.is_ahead(installation.now))
        said = f"the time of {ahead} is yet to come: a clock was ahead, or is behind now"
        yield warn(str(folder), said, "`driftd restore` takes others first; delete them once the clock is right")
    if not found:
        yield warn(str(folder), "holds no backup", f"a running daemon makes one within a minute; else: {by_hand}")
        return
    age = installation.now - found[0].made_at
    said = f"{len(found)} backups, the newest {age / 3600:.1f} h old ({found[0].name})"
    if age > _LATE * config.every:
        yield fail(str(folder), said, f"grep the daemon's log for backup_failed; `{by_hand}` makes one now")
    else:
        yield ok(str(folder), said)


def server(installation: Installation) -> Iterator[Finding]:
    """`driftd serve`, where it answers, has the version of each model that should serve."""
    serve = installation.config.serve
    if not can_be_asked(serve):
        yield ok("server", "answers on a port of the system's choice, if at all")
        return
    try:
        status, text = ask(serve, "/-/ready", _ANSWER_SECONDS)
    except NoAnswerError:
        yield ok("server", f"none answers at {serve.listen}: applications predict by the SDK, or elsewhere")
        return
    if status in _UNAUTHORIZED:
        yield ok("server", f"answers at {serve.listen} (whether it is ready is told with a token)")
        return
    said = "; ".join(line for line in text.splitlines() if ": " in line)
    todo = f"`{installation.command('versions MODEL')}`; a damaged version: see the findings on versions"
    if status != HTTPStatus.OK:
        yield fail("server", f"answers at {serve.listen}, but is not ready: {said or text.strip()}", todo)
    elif said:
        yield warn("server", f"is ready at {serve.listen}, but {said}", todo)
    else:
        yield ok("server", f"is ready at {serve.listen}")
