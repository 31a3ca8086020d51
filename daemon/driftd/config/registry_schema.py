"""The registry of models of others: where versions are registered, by which alias, and with which credentials."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from driftd.config.credential_files import CredentialFileError
from driftd.config.plugin_schema import PluginRegistry
from driftd.config.types import Duration, Section

_NAME = re.compile(r"[^/:'@\s]+")
_ALIAS = re.compile(r"[A-Za-z0-9_-]+")
LONGEST_CREDENTIAL = 65_536  # characters of a file that are read for one
_RESERVED = re.compile(r"latest|v\d+", re.IGNORECASE)  # by MLflow


def registered_name(given: str) -> str:
    """The name of a registered model. Raises ValueError with a sentence."""
    if not _NAME.fullmatch(given):
        raise ValueError(f"{given!r} is no name of a registered model: leave out spaces and / : @ '")
    return given


def alias_name(given: str) -> str:
    """An alias as MLflow takes it. Raises ValueError with a sentence."""
    if not _ALIAS.fullmatch(given) or _RESERVED.fullmatch(given):
        raise ValueError(
            f"{given!r} is no alias that MLflow takes: letters, digits, _ and -, and neither latest nor v1, v2, ..."
        )
    return given


def open_address(given: str) -> str:
    """An address of MLflow without a secret in it. Raises ValueError with a sentence that does not repeat one."""
    if urlsplit(given).password is not None:
        raise ValueError("the address holds a password: leave it out, and say username and password_file")
    return given


def credential_in(path: Path) -> str:
    """What a file of credentials holds, without the space around it. Raises CredentialFileError."""
    try:
        found = path.read_text("utf-8")[:LONGEST_CREDENTIAL].strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise CredentialFileError(f"the file {path} of MLflow's credentials cannot be read: {reason}") from None
    if not found:
        raise CredentialFileError(f"the file {path} of MLflow's credentials is empty")
    return found


RegisteredName = Annotated[str, AfterValidator(registered_name)]
AliasName = Annotated[str, AfterValidator(alias_name)]
TrackingAddress = Annotated[str, AfterValidator(open_address)]


class MlflowAlias(Section):
    """A version of MLflow's registry of models; its alias says which one the serving system loads."""

    name: str = Field(min_length=1, description="the registered model")
    alias: str = Field("champion", min_length=1, description="the alias that moves to the version handed over")
    tracking_uri: str | None = Field(None, description="MLflow's server or store; MLFLOW_TRACKING_URI unless set")


class MlflowRegistry(Section):
    """MLflow as the registry of a model's versions."""

    name: RegisteredName = Field(description="the registered model; it is made where there is none")
    alias: AliasName = Field("champion", description="the alias that names the version that serves")
    tracking_uri: TrackingAddress | None = Field(
        None, description="MLflow's server or store; MLFLOW_TRACKING_URI unless set"
    )
    token_file: Path | None = Field(
        None,
        description="a file that holds MLFLOW_TRACKING_TOKEN, read at each try; a bare name is a credential of systemd",
    )
    username: str | None = Field(None, min_length=1, description="MLFLOW_TRACKING_USERNAME; with password_file")
    password_file: Path | None = Field(
        None, description="a file that holds MLFLOW_TRACKING_PASSWORD, as token_file does its token"
    )
    moved: Literal["tell", "restore", "follow"] = Field(
        "tell",
        description="what is done when somebody moved the alias: people are told, it is moved back, or the version "
        "that it names is to serve, where it is one of driftd's",
    )
    look_every: Duration = Field(900.0, ge=10, description="how often is looked whether somebody moved the alias")
    timeout: Duration = Field(300.0, ge=5, description="one try takes at most so long; then it is ended and repeated")

    @model_validator(mode="after")
    def _one_way_in(self) -> MlflowRegistry:
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and password_file belong together: give both, or neither")
        if self.token_file is not None and self.username is not None:
            raise ValueError("MLflow is entered by token_file or by username and password_file, not by both")
        return self

    @property
    def where(self) -> str:
        """The server, the name and the alias, in one line without secrets."""
        return f"{self.tracking_uri or 'MLFLOW_TRACKING_URI'} {self.name}@{self.alias}"


class RegistryConfig(Section):
    """Where each version is registered besides: nowhere, in MLflow, or where a plug-in knows."""

    mlflow: MlflowRegistry | None = Field(None, description="MLflow as the registry: docs/your-mlflow.md")
    plugin: PluginRegistry | None = Field(
        None, description="a registry that an installed package knows: docs/plug-ins/registries.md"
    )

    @model_validator(mode="after")
    def _at_most_one(self) -> RegistryConfig:
        if self.mlflow is not None and self.plugin is not None:
            raise ValueError("versions are registered in one place: keep mlflow or plugin")
        return self

    @property
    def place(self) -> MlflowRegistry | PluginRegistry | None:
        """Where versions are registered; None: nowhere."""
        return self.mlflow if self.mlflow is not None else self.plugin
