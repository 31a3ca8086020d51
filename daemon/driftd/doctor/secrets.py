"""The files of secrets that the config names: without them `driftd run` and `driftd serve` end at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

from driftd.doctor.installation import Finding, Installation, fail, ok
from driftd.store.belonging import name_of, rather_as_owner
from driftd.web.secrets import fault_of, secrets_of, unknown_of


def secrets(installation: Installation) -> Iterator[Finding]:
    """Each is there and of use to the user of the services, who reads them at the start."""
    named = list(secrets_of(installation.config))
    if not named:
        yield ok("secrets", "the config names neither tokens nor certificates")
    for secret in named:
        unknown = unknown_of(secret)
        if unknown is not None:
            yield ok(secret.key, unknown)
            continue
        with nullcontext() if secret.is_credential else rather_as_owner(installation.places):
            fault = fault_of(secret)
        if fault is None:
            yield ok(secret.key, "is there and can be used")
            continue
        unit = "driftd" if secret.key.startswith("http.") else "driftd-serve"
        who = "root" if secret.is_credential else _reader(installation)
        todo = f"put it there, readable by {who} and not by everybody, then `systemctl restart {unit}`"
        yield fail(secret.key, f"{fault}. {unit} ends with exit code 2 at its start, and is not started again", todo)


def _reader(installation: Installation) -> str:
    root = installation.places.root
    return name_of(root.stat().st_uid) if root.exists() else "the user of the services"
