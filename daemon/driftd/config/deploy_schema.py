"""How a version is handed over to the system that serves: by a program, a webhook, MLflow's registry or KServe."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from driftd.config.plugin_schema import PluginName
from driftd.config.registry_schema import MlflowAlias
from driftd.config.trainer_schema import Storage, base_address
from driftd.config.types import DAY, Duration, Section, WebAddress

_KUBERNETES_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def kubernetes_name(text: str) -> str:
    """The name of a namespace or a service of Kubernetes."""
    if _KUBERNETES_NAME.fullmatch(text) is None:
        raise ValueError(f"a name of Kubernetes is at most 63 of a-z, 0-9 and -, not {text!r:.80}")
    return text


KubernetesName = Annotated[str, AfterValidator(kubernetes_name)]


class KServe(Section):
    """An InferenceService whose model is loaded from where driftd copies each version."""

    name: KubernetesName = Field(description="the InferenceService")
    namespace: KubernetesName = Field("default", description="its namespace")
    storage: Storage = Field(
        description="where each version is copied, at `MODEL/VERSION`: a prefix of an object store, or a folder that "
        "is a volume in the cluster (`uri` then says how it is called there)"
    )
    uri: str | None = Field(
        None, min_length=1, description="how the service calls `storage`: `pvc://models/orders`; its path unless set"
    )
    server: Annotated[str, AfterValidator(base_address)] = Field(
        "https://kubernetes.default.svc", description="the API server of Kubernetes"
    )
    token_file: Path = Field(
        SERVICE_ACCOUNT / "token",
        description="the token of a service account that may get and patch the service; read at each hand-over",
    )
    ca_file: Path | None = Field(
        SERVICE_ACCOUNT / "ca.crt", description="the certificates of the API server's authority; null: the usual ones"
    )
    poll: Duration = Field(5.0, ge=0.1, description="how often is asked whether the version serves")


class Deploy(Section):
    """How another version is handed over to the system that serves (`serving: external`): at most one way."""

    command: tuple[str, ...] | None = Field(
        None, min_length=1, description="a program and its arguments; gets JSON on stdin and DRIFTD_* variables"
    )
    webhook: WebAddress | None = Field(
        None, description="address that gets the same JSON by POST; a secret, shown nowhere"
    )
    webhook_file: Path | None = Field(
        None,
        description="a file that holds the address, read at each hand-over; a bare name is a credential of systemd",
    )
    mlflow: MlflowAlias | None = Field(None, description="register the version with MLflow and move an alias to it")
    kserve: KServe | None = Field(
        None, description="have an InferenceService of KServe load the version, and read back what it serves"
    )
    plugin: PluginName | None = Field(
        None, description="a deployer that an installed package brings: docs/plug-ins/deployers.md"
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="of the plug-in; let an option name the file of a secret"
    )
    confirm_within: Duration = Field(
        DAY, ge=1, description="a hand-over that is not confirmed in this time is taken back"
    )
    timeout: Duration = Field(300.0, ge=1, description="one try takes at most so long; then it is ended and repeated")

    @model_validator(mode="after")
    def _at_most_one(self) -> Deploy:
        ways = [way for way in DEPLOY_WAYS if getattr(self, way) is not None]
        if len(ways) > 1:
            raise ValueError(f"a version is handed over in one way, not by {' and '.join(ways)}")
        if self.options and self.plugin is None:
            raise ValueError("options are those of a plug-in: name it (plugin: NAME), or leave them out")
        return self

    @property
    def way(self) -> str | None:
        """The key that says how; None: people are told, and confirm."""
        return next((way for way in DEPLOY_WAYS if getattr(self, way) is not None), None)


DEPLOY_WAYS = ("command", "webhook", "webhook_file", "mlflow", "kserve", "plugin")
