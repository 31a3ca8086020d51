"""The files of secrets that the config names: without them servers end at once, and receivers are told nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

from driftd.doctor.installation import Finding, Installation, fail, ok
from driftd.store.belonging import name_of, rather_as_owner
from driftd.web.secrets import Secret, fault_of, secrets_of, unknown_of


def secrets(installation: Installation) -> Iterator[Finding]:
    """Each is there and of use to the user of the services, who reads them at the start."""
    named = list(secrets_of(installation.config))
    if not named:
        yield ok("secrets", "the config names no token, no certificate and no file of a webhook")
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
