"""A receiver of notifications, as the config names it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, PlainSerializer, SecretStr, model_validator

from driftd.config.durations import Duration
from driftd.config.rules import web_address, without_secret
from driftd.config.section import Section
from driftd.severities import DEFAULT, event_or_severity

LONGEST_ADDRESS = 4000  # bytes of a file that are read for one

EventOrSeverity = Annotated[str, AfterValidator(event_or_severity)]


def _web_address(secret: SecretStr) -> SecretStr:
    web_address(secret.get_secret_value())
    return secret


WebAddress = Annotated[
    SecretStr,
    AfterValidator(_web_address),
    PlainSerializer(lambda secret: without_secret(secret.get_secret_value()), return_type=str, when_used="json"),
]


class AddressFileError(Exception):
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
    on: tuple[EventOrSeverity, ...] = Field(
        (DEFAULT,), min_length=1, description="events or severities (docs/notifications.md), `default`, `all`"
    )
    models: tuple[str, ...] = Field((), description="only of these models; of all unless set")
    timeout: Duration = Field(15.0, description="one try takes at most so long; then it is repeated")

    @model_validator(mode="after")
    def _exactly_one(self) -> Receiver:
        ways = [one for one in ("webhook", "webhook_file", "command") if getattr(self, one) is not None]
        if len(ways) != 1:
            given = " and ".join(ways) or "none of them"
            raise ValueError(f"a receiver has exactly one of webhook, webhook_file and command, not {given}")
        return self
