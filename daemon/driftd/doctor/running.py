"""The daemon: alive, answering, and with the config that the file says."""

from __future__ import annotations

from collections.abc import Iterator

from driftd.config.load import digest_of
from driftd.doctor.installation import Finding, Installation, fail, ok, warn
from driftd.store.lock import Holder
from driftd.web.asking import CertificateError, NoAnswerError, ask, can_be_asked

_ANSWER_SECONDS = 5.0
_STALE_SECONDS = 120.0
_LAST_STEP = "driftd_last_step_timestamp_seconds "
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
        yield ok("daemon", f"runs as process {found.pid} ({found.task}), on a port of the system's choice")
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
        yield _answered(found, http.listen, status, text, installation.now)


def _answered(found: Holder, address: str, status: int, text: str, now: float) -> Finding:
    if status in _UNAUTHORIZED:
        return ok("daemon", f"runs as process {found.pid} and answers at {address} (its metrics want a token)")
    step = next((line for line in text.splitlines() if line.startswith(_LAST_STEP)), None)
    age = now - float(step.split()[1]) if step is not None else None
    if age is not None and age > _STALE_SECONDS:
        said = f"process {found.pid} answers, but its main loop last moved {age:.0f} s ago"
        return fail("daemon", said, "systemctl restart driftd, and keep the log for a report")
    return ok("daemon", f"runs as process {found.pid} and answers at {address}")
