"""Whether the files of secrets that a config names are there and can be used."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from driftd.config.credential_files import CredentialFileError, read_token
from driftd.config.database_address import read_address
from driftd.config.model_schema import ModelConfig
from driftd.config.registry_schema import credential_in
from driftd.config.schema import AddressFileError, Config, Tls, address_in
from driftd.config.trainer_schema import OutsideTrainer
from driftd.paths import SYSTEM_CREDENTIALS, credential
from driftd.web.tokens import TokenFileError, Tokens


@dataclass(frozen=True, slots=True)
class Secret:
    """What one key of a config names: its files, and the use that fails when they are not as they should be."""

    key: str
    paths: tuple[Path, ...]
    use: Callable[[tuple[Path, ...]], object]
    command: str | None = None  # of driftd that does not start without it

    @property
    def is_credential(self) -> bool:
        """Whether systemd brings it, and this process is not the one that it brings it to."""
        return any(len(path.parts) == 1 for path in self.paths) and "CREDENTIALS_DIRECTORY" not in os.environ


def secrets_of(config: Config) -> Iterator[Secret]:
    """The secrets of both servers, then of receivers, of databases and object stores, and of registries."""
    for name, access, command in (("http", config.http, "run"), ("serve", config.serve, "serve")):
        if access.token_file is not None:
            yield Secret(f"{name}.token_file", (access.token_file,), _read, command)
        if access.tls is not None:
            yield Secret(f"{name}.tls", (access.tls.certificate, access.tls.key), _load, command)
    for name, receiver in config.notify.items():
        if receiver.webhook_file is not None:
            yield Secret(f"notify.{name}.webhook_file", (receiver.webhook_file,), _address)
    for name, model in config.models.items():
        yield from _secrets_of_model(f"models.{name}", model)


def _secrets_of_model(key: str, model: ModelConfig) -> Iterator[Secret]:
    if model.source.kind == "sql" and model.source.credentials_file is not None:
        use = partial(_credentials, model.source.url)
        yield Secret(f"{key}.source.credentials_file", (model.source.credentials_file,), use)
    store = model.source.object_store if model.source.kind in {"files", "delta", "iceberg"} else None
    if store is not None and store.credentials_file is not None:
        yield Secret(f"{key}.source.object_store.credentials_file", (store.credentials_file,), _keys)
    if model.source.kind == "spark" and model.source.token_file is not None:
        yield Secret(f"{key}.source.token_file", (model.source.token_file,), _token)
    if model.source.kind == "iceberg" and model.source.catalog.token_file is not None:
        yield Secret(f"{key}.source.catalog.token_file", (model.source.catalog.token_file,), _token)
    mlflow = model.registry.mlflow
    for name in ("token_file", "password_file"):
        if mlflow is not None and (path := getattr(mlflow, name)) is not None:
            yield Secret(f"{key}.registry.mlflow.{name}", (path,), _read_credential)

    yield from _secrets_of_systems(key, model)


def _secrets_of_systems(key: str, model: ModelConfig) -> Iterator[Secret]:
    """Of the builder outside, and of the system that serves."""
    trainer, kserve = model.trainer, model.deploy.kserve
    if isinstance(trainer, OutsideTrainer):
        if trainer.webhook_file is not None:
            yield Secret(f"{key}.trainer.webhook_file", (trainer.webhook_file,), _address)
        for name in ("headers_file", "secret_file"):
            if (path := getattr(trainer, name)) is not None:
                yield Secret(f"{key}.trainer.{name}", (path,), _read_credential)
    if kserve is not None:
        yield Secret(f"{key}.deploy.kserve.token_file", (kserve.token_file,), _token)


_FAULTS = (TokenFileError, AddressFileError, CredentialFileError)


def fault_of(secret: Secret) -> str | None:
    """Why a secret cannot be used by this user, in one sentence; None when it can."""
    from driftd.web.server import TlsError  # noqa: PLC0415 - uvicorn only where TLS is spoken

    try:
        secret.use(tuple(_credential_path(path) if secret.is_credential else path for path in secret.paths))
    except (*_FAULTS, TlsError) as error:
        return str(error)
    return None


def unknown_of(secret: Secret) -> str | None:
    """Why nothing can be said of a secret from here; None when it can be looked at."""
    if not secret.is_credential or os.access(SYSTEM_CREDENTIALS, os.R_OK | os.X_OK):
        return None
    names = ", ".join(path.name for path in secret.paths if len(path.parts) == 1)
    return f"{names} is a credential that systemd gives to the unit: whether it is there cannot be checked here"


def _read(paths: tuple[Path, ...]) -> None:
    Tokens(paths[0])


def _load(paths: tuple[Path, ...]) -> None:
    from driftd.web.server import context_of  # noqa: PLC0415 - see above

    context_of(Tls(certificate=paths[0], key=paths[1]))


def _address(paths: tuple[Path, ...]) -> None:
    address_in(credential(paths[0]))


def _credentials(url: str, paths: tuple[Path, ...]) -> None:
    read_address(url, paths[0])


def _keys(paths: tuple[Path, ...]) -> None:
    try:
        credential(paths[0]).read_bytes()
    except OSError as error:
        raise CredentialFileError(f"credentials_file {paths[0]} cannot be read: {error.strerror}") from None


def _read_credential(paths: tuple[Path, ...]) -> None:
    credential_in(credential(paths[0]))


def _token(paths: tuple[Path, ...]) -> None:
    read_token(paths[0])


def _credential_path(path: Path) -> Path:
    """Where the unit gets a credential from: under its name, or under what is left of `driftd_NAME`."""
    if len(path.parts) != 1:
        return path
    found = (SYSTEM_CREDENTIALS / path, SYSTEM_CREDENTIALS / path.name.removeprefix("driftd_"))
    return next((place for place in found if place.exists()), found[0])
