"""The daemon: alive, answering, and with the config that the file says."""

from __future__ import annotations

from collections.abc import Iterator

import httpx

from driftd.config.load import digest_of
from driftd.doctor.installation import Finding, Installation, fail, ok, warn

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
    if found is None:
        yield fail(
            "daemon",
            "no daemon runs on this state_dir",
            "systemctl start driftd; journalctl -u driftd says why it ended",
        )
        return
    address = installation.config.http.listen
    if address.endswith(":0"):
        yield ok("daemon", f"runs as process {found.pid} ({found.task}), on a port of the system's choice")
        return
    try:
        answer = httpx.get(f"http://{_reachable(address)}/metrics", timeout=_ANSWER_SECONDS)
    except httpx.HTTPError as error:
        why = str(error) or type(error).__name__
        said = f"process {found.pid} ({found.task}) owns the state, but {address} does not answer: {why}"
        yield fail("daemon", said, "see `journalctl -u driftd`; if it hangs, systemctl restart driftd")
        return
    if answer.status_code in _UNAUTHORIZED:
        yield ok("daemon", f"runs as process {found.pid} and answers at {address} (its metrics want a token)")
        return
    step = next((line for line in answer.text.splitlines() if line.startswith(_LAST_STEP)), None)
    age = installation.now - float(step.split()[1]) if step is not None else None
    if age is not None and age > _STALE_SECONDS:
        said = f"process {found.pid} answers, but its main loop last moved {age:.0f} s ago"
        yield fail("daemon", said, "systemctl restart driftd, and keep the log for a report")
    else:
        yield ok("daemon", f"runs as process {found.pid} and answers at {address}")


def _reachable(address: str) -> str:
    """Where a program that listens everywhere answers from here."""
    host, _, port = address.rpartition(":")
    return f"{ {'0.0.0.0': '127.0.0.1', '[::]': '[::1]', '': '127.0.0.1'}.get(host, host) }:{port}"  # noqa: S104 - compared, not bound
