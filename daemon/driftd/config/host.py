"""The sections that hold for the whole host: addresses and who may do what there, limits, retention, backups."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from driftd.config.durations import Duration
from driftd.config.rules import listen_address
from driftd.config.section import DAY, HOUR, Flag, Folder, Section, Whole

Listen = Annotated[str, AfterValidator(listen_address)]


class Tls(Section):
    """TLS 1.2 and newer."""

    certificate: Path = Field(description="PEM file with the certificate and its chain")
    key: Path = Field(description="PEM file with its key, without a password; a bare name is a credential of systemd")


class Access(Section):
    """An address, and who may do what there."""

    listen: Listen = Field(description="host:port")
    token_file: Path | None = Field(
        None,
        description="file of bearer tokens, one a line, for all that changes or hands in something; "
        "a bare name is a credential of systemd",
    )
    tls: Tls | None = Field(None, description="answer by HTTPS alone")
    allow_anonymous: Flag = Field(
        default=False, description="listen beyond this host without tokens: a proxy or a firewall guards the address"
    )


class Http(Access):
    """The daemon's own HTTP: metrics, health, reload, status, reports."""

    listen: Listen = Field("127.0.0.1:9464", description="host:port; changes only with a restart")


class Serve(Access):
    """`driftd serve`: predictions, feedback, ingestion."""

    listen: Listen = Field("127.0.0.1:9465", description="host:port")
    max_body: Whole = Field(8_000_000, ge=1000, description="bytes of one request; a longer one is refused whole")
    max_batch: Whole = Field(10_000, ge=1, description="events of one request; more are refused whole")


class Limits(Section):
    """What child processes and checks may use."""

    memory: Whole = Field(8 << 30, ge=256 << 20, description="bytes of address space of each child process")
    timeout: Duration = Field(HOUR, description="a job that takes longer is ended and counts as failed")
    threads: Whole | None = Field(None, ge=1, description="threads of a job; half of the cores unless set")
    check_timeout: Duration = Field(120.0, description="a check that takes longer gets the verdict `error`")


class Retention(Section):
    """How long things are kept. Transitions, alarms and versions stay."""

    events: Duration = Field(400 * DAY, description="predictions and feedback in the embedded event store")
    checks: Duration = Field(800 * DAY, description="what each check said, with its scores and Profiles")
    event_bytes: Whole | None = Field(
        None,
        ge=1 << 20,
        description="bytes of one model's event store; over them the oldest go, however young; no limit unless set",
    )


class Backup(Section):
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
