"""The typed config of a host: field names are the keys of config.yaml (DESIGN 6.1); unknown keys are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from driftd.config.model_schema import ModelConfig
from driftd.config.plugin_schema import PluginName
from driftd.config.rehearsal_schema import RehearsalConfig
from driftd.config.types import (
    DAY,
    HOUR,
    Duration,
    Flag,
    Folder,
    Moment,
    Reason,
    Section,
    Share,
    WebAddress,
    Whole,
    host_name,
    listen_address,
    model_name,
    page_url,
    receiver_name,
    web_address,
)
from driftd.decisions import DEFAULT, event_or_severity
from driftd.errors import DriftdError

Listen = Annotated[str, AfterValidator(listen_address)]
Host = Annotated[str, AfterValidator(host_name)]


class Tls(Section):
    """TLS 1.2 and newer."""

    certificate: Path = Field(description="PEM file with the certificate and its chain")
    key: Path = Field(description="PEM file with its key, without a password; a bare name is a credential of systemd")


class Access(Section):
    """An address, and who may do what there."""

    listen: Listen = Field(description="host:port")
    token_file: Path | None = Field(
        None,
        description="file of bearer tokens, one a line, for all that changes or hands in something; one with "
        "`role=operate` after it may ask for builds, approvals and the like by HTTP; a bare name is a credential of "
        "systemd",
    )
    tls: Tls | None = Field(None, description="answer by HTTPS alone")
    protect: Literal["changes", "all"] = Field(
        "changes",
        description="what needs a token of `token_file`: what changes or hands in something, or `all` but "
        "`/-/healthy`; browsers ask for it as the password of any user",
    )
    hosts: tuple[Host, ...] = Field(
        (),
        description="names by which it may be asked without a token, besides numbers, localhost, what `listen` names "
        "and the host's own name; `*` is any name",
    )
    allow_anonymous: Flag = Field(
        default=False,
        description="listen beyond this host without tokens: a proxy or a firewall guards the address. It may then be "
        "asked by any name, unless `hosts` has some",
    )


class Http(Access):
    """The daemon's own HTTP: metrics, health, reload, status, reports."""

    listen: Listen = Field("127.0.0.1:9464", description="host:port; changes only with a restart")
    url: Annotated[str, AfterValidator(page_url)] | None = Field(
        None,
        description="the address at which people open the page, such as `https://driftd.example.com/` of a proxy; "
        "reports that are forwarded and `driftd open` name it",
    )
    show_rows: Flag = Field(
        default=False,
        description="the page shows samples of the rows of a window, which are the data of your users, to whoever "
        "bears a token of `token_file`",
    )


class Serve(Access):
    """`driftd serve`: predictions, feedback, ingestion."""

    listen: Listen = Field("127.0.0.1:9465", description="host:port")
    preload: Flag = Field(
        default=True,
        description="load and warm the served version of each model at the start and after each swap; `/-/ready` waits "
        "for it. `false` for a server that only takes events in",
    )
    fallback: Flag = Field(
        default=False,
        description="where the served version cannot be loaded at the start, answer with the one before it, unless "
        "one is pinned; else there is no answer and the server is not ready",
    )
    max_body: Whole = Field(8_000_000, ge=1000, description="bytes of one request; a longer one is refused whole")
    max_batch: Whole = Field(10_000, ge=1, description="events of one request; more are refused whole")


class LimitsConfig(Section):
    """What child processes and checks may use."""

    memory: Whole = Field(
        8 << 30,
        ge=256 << 20,
        description="bytes of address space of each child process, those that hold the connection to an engine too",
    )
    disk: Whole = Field(
        32 << 30,
        ge=1 << 20,
        description="bytes of one file of a job, and of all its temporary files; a log has its own",
    )
    timeout: Duration = Field(HOUR, description="a job that takes longer is ended and counts as failed")
    threads: Whole | None = Field(None, ge=1, description="threads of a job; half of the cores unless set")
    check_timeout: Duration = Field(
        120.0, description="a source that does not answer for so long hangs: the model's windows wait until it does"
    )


class RetentionConfig(Section):
    """How long things are kept. Transitions, alarms and versions stay."""

    events: Duration = Field(400 * DAY, description="predictions and feedback in the embedded event store")
    checks: Duration = Field(800 * DAY, description="what each check said, with its scores and Profiles")
    share: Share = Field(
        0.2,
        description="of one model's events or checks that may go by age at once; more wait until `driftd prune` is "
        "called, because a clock that is wrong looks the same. 1: all may go",
    )
    versions: Whole = Field(
        200,
        ge=3,
        description="of one model; over them the oldest go, but for those that serve, served last or are being built",
    )
    jobs: Whole = Field(500, ge=10, description="folders of one model's builds and reports, with their logs")
    reports: Whole = Field(500, ge=1, description="second opinions of one model")
    disk: Whole | None = Field(
        None,
        ge=1 << 26,
        description="bytes of state_dir altogether (docs/disk.md has what to expect); over them only what is in use "
        "stays of snapshots, versions, jobs and reports, and then the oldest events go. No limit unless set",
    )
    event_bytes: Whole | None = Field(
        None,
        ge=1 << 20,
        description="bytes of one model's event store; over them the oldest go, however young; no limit unless set",
    )
    snapshot_bytes: Whole = Field(
        10 << 30,
        ge=0,
        description="bytes of one model's snapshots; over them the oldest go, but for those of the versions that serve "
        "or served last; a version whose snapshot is gone cannot be built again",
    )


class BackupConfig(Section):
    """Backups of what cannot be built again: docs/backups.md says what is in one."""

    every: Duration = Field(DAY, description="how often one is made; the first within minutes of the first start")
    keep: Whole = Field(7, ge=1, description="so many of them stay, the newest")
    folder: Folder | None = Field(
        None, description="where they go; `backups` in state_dir unless set. Another disk is better"
    )
    events: Whole = Field(
        1 << 30,
        ge=0,
        description="bytes up to which a model's events.db comes along; a larger one is left out, and said so",
    )


Pausable = Literal["checks", "retraining", "promotion"]


class ModelOverride(Section):
    """What the override asks of one model, with a reason and an end of its own."""

    pause: tuple[Pausable, ...] = Field((), description="what is held of this model")
    silence: tuple[str, ...] = Field((), description="features that raise no alarm until then")
    acknowledge: tuple[Annotated[Whole, Field(ge=1)], ...] = Field(
        (), description="standing alarms of performance, by their ids, that nothing is done about until then"
    )
    reason: Reason = Field(description="why")
    expires: Moment | None = Field(
        None, description="when it lapses by itself, with its zone; a pause alone may have no end"
    )

    @model_validator(mode="after")
    def _asks_something(self) -> ModelOverride:
        if not (self.pause or self.silence or self.acknowledge):
            raise ValueError("it asks for nothing: set pause, silence or acknowledge, or take it out")
        if self.expires is None and (self.silence or self.acknowledge):
            what = "silence" if self.silence else "acknowledge"
            raise ValueError(f"{what} needs `expires`: what nobody looks at must end by itself")
        return self

    def has_lapsed(self, now: float) -> bool:
        """Whether its time is over."""
        return self.expires is not None and self.expires.timestamp() <= now


class OverrideConfig(Section):
    """The operator's hand. A reason is required when anything else is set."""

    reason: Reason | None = Field(None, description="why; it is told wherever the override has an effect")
    expires: Moment | None = Field(None, description="when it lapses by itself, with its zone: `2026-12-01T00:00:00Z`")
    pause: tuple[Pausable, ...] = Field((), description="what is held, on all models")
    pin: dict[str, Annotated[Whole, Field(ge=1)]] = Field(
        default_factory=dict, description="serve exactly this version of a model, swap nothing"
    )
    silence: dict[str, dict[str, Moment]] = Field(
        default_factory=dict,
        description="features that raise no alarm, each until a time: `{demand: {price: 2026-12-01T00:00:00Z}}`",
    )
    retrain: dict[str, str] = Field(default_factory=dict, description="each new text is one build of the model")
    approve: dict[str, Annotated[Whole, Field(ge=1)]] = Field(
        default_factory=dict, description="let this waiting version of a model serve"
    )
    reject: dict[str, Annotated[Whole, Field(ge=1)]] = Field(
        default_factory=dict, description="turn this waiting version of a model down"
    )
    models: dict[str, ModelOverride] = Field(default_factory=dict, description="what is asked of one model, by name")


LONGEST_ADDRESS = 4000  # bytes of a file that are read for one

EventOrSeverity = Annotated[str, AfterValidator(event_or_severity)]


class AddressFileError(DriftdError):
    """The file of a webhook's address cannot be used; the message does not hold what is in it."""


def address_in(path: Path) -> str:
    """The address that a `webhook_file` holds. Raises AddressFileError."""
    try:
        return web_address(path.read_text("utf-8")[:LONGEST_ADDRESS].strip())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise AddressFileError(f"webhook_file {path} cannot be read: {reason}") from None
    except ValueError as error:
        raise AddressFileError(f"webhook_file {path}: {error}") from None


class Receiver(Section):
    """One receiver of notifications: a webhook or a program, told of every decision that `on` names."""

    webhook: WebAddress | None = Field(
        None, description="address that gets Slack-compatible JSON by POST; a secret, shown nowhere"
    )
    webhook_file: Path | None = Field(
        None,
        description="a file that holds the address, read at each delivery; a bare name is a credential of systemd",
    )
    command: tuple[str, ...] | None = Field(
        None, min_length=1, description="a program and its arguments; gets JSON on stdin and DRIFTD_* variables"
    )
    plugin: PluginName | None = Field(
        None, description="a receiver that an installed package brings: docs/plug-ins/receivers.md"
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="of the plug-in; let an option name the file of a secret"
    )
    on: tuple[EventOrSeverity, ...] = Field(
        (DEFAULT,), min_length=1, description="events or severities (docs/notifications.md), `default`, `all`"
    )
    models: tuple[str, ...] = Field((), description="only of these models; of all unless set")
    timeout: Duration = Field(15.0, description="one try takes at most so long; then it is repeated")

    @model_validator(mode="after")
    def _exactly_one(self) -> Receiver:
        ways = [way for way in ("webhook", "webhook_file", "command", "plugin") if getattr(self, way) is not None]
        if len(ways) != 1:
            given = " and ".join(ways) or "none of them"
            raise ValueError(f"a receiver has exactly one of webhook, webhook_file, command and plugin, not {given}")
        if self.options and self.plugin is None:
            raise ValueError("options are those of a plug-in: name it (plugin: NAME), or leave them out")
        return self


ModelName = Annotated[str, AfterValidator(model_name)]
ReceiverName = Annotated[str, AfterValidator(receiver_name)]


class Config(Section):
    """The whole file."""

    state_dir: Folder = Field(
        Path("/var/lib/driftd"), description="everything that driftd keeps; changes only with a restart"
    )
    http: Http = Field(Http(), description="the daemon's own HTTP")
    serve: Serve = Field(Serve(), description="the HTTP of `driftd serve`")
    limits: LimitsConfig = Field(LimitsConfig(), description="what child processes and checks may use")
    retention: RetentionConfig = Field(RetentionConfig(), description="how long things are kept")
    backup: BackupConfig = Field(BackupConfig(), description="backups of what cannot be built again")
    models: dict[ModelName, ModelConfig] = Field(min_length=1, description="the models under watch, by name")
    models_from: str | None = Field(
        None,
        min_length=1,
        description="files with more models, as a pattern seen from the folder of this file: `conf.d/*.yaml`. Each "
        "has `models:` and nothing else; a change in any of them is a change of the config",
    )
    notify: dict[ReceiverName, Receiver] = Field(
        default_factory=dict, description="who is told of decisions, by the receiver's name"
    )
    override: OverrideConfig = Field(OverrideConfig(), description="the operator's hand")
    rehearsal: RehearsalConfig = Field(RehearsalConfig(), description="what `driftd rehearse` goes by")
    _hash: str = PrivateAttr("")

    @property
    def hash(self) -> str:
        """The first twelve hexadecimal digits of the file's SHA-256; empty for a config that came from no file."""
        return self._hash

    def with_hash(self, digest: str) -> Config:
        """This config, read from a file with that hash."""
        config = self.model_copy()
        config._hash = digest
        return config
