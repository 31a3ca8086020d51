"""The typed config. Field names are the keys of config.yaml (DESIGN 6.1); unknown keys are refused.

Every field bears a description: docs/configuration.md is generated from them (`driftd.config.document`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, PrivateAttr

from driftd.config.host import Backup, Http, Limits, Retention, Serve
from driftd.config.override import Override
from driftd.config.receiver import Receiver
from driftd.config.rules import model_name, receiver_name
from driftd.config.section import Folder, Section
from driftd.config.watched import ModelConfig

ModelName = Annotated[str, AfterValidator(model_name)]
ReceiverName = Annotated[str, AfterValidator(receiver_name)]


class Config(Section):
    """The whole file."""

    state_dir: Folder = Field(
        Path("/var/lib/driftd"), description="everything that driftd keeps; changes only with a restart"
    )
    http: Http = Field(Http(), description="the daemon's own HTTP")
    serve: Serve = Field(Serve(), description="the HTTP of `driftd serve`")
    limits: Limits = Field(Limits(), description="what child processes and checks may use")
    retention: Retention = Field(Retention(), description="how long things are kept")
    backup: Backup = Field(Backup(), description="backups of what cannot be built again")
    models: dict[ModelName, ModelConfig] = Field(min_length=1, description="the models under watch, by name")
    notify: dict[ReceiverName, Receiver] = Field(
        default_factory=dict, description="who is told of decisions, by the receiver's name"
    )
    override: Override = Field(Override(), description="the operator's hand")
    _hash: str = PrivateAttr("")

    @property
    def hash(self) -> str:
        """The first twelve hexadecimal digits of the file's SHA-256; empty for a config that came from no file."""
        return self._hash

    def hashed(self, digest: str) -> Config:
        """This config, read from a file with that hash."""
        config = self.model_copy()
        config._hash = digest
        return config
