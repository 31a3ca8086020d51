"""The trainer of a model: a Python function, a program that trains, or a builder outside that is started."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, model_validator

from driftd.config.object_store_schema import ObjectStoreConfig, SourcePath
from driftd.config.types import HOUR, Duration, Flag, Section, WebAddress, Whole, web_address

OUTSIDE_WAYS = ("webhook", "webhook_file", "start")


class Command(Section):
    """A trainer that is a program."""

    tag: ClassVar[str] = "command"
    command: tuple[str, ...] = Field(
        min_length=1, description="the program and its arguments; it is told its paths in DRIFTD_* variables"
    )

    @property
    def program(self) -> str:
        """What is started."""
        return self.command[0]


def base_address(text: str) -> str:
    """The address under which others reach the daemon, without a slash at its end."""
    if "@" in text or "?" in text:
        raise ValueError("an address that others are told holds no password and no query: https://drift.example.org")
    try:
        return web_address(text).rstrip("/")
    except ValueError:
        raise ValueError(f"an address of the daemon is https://host:port, not {text!r:.80}") from None


class Storage(Section):
    """A folder or a prefix of an object store that another system reads; the path alone is enough."""

    path: SourcePath = Field(description="a folder that both see, or `s3://bucket/prefix`, `gs://...`, `abfs://...`")
    object_store: ObjectStoreConfig | None = Field(None, description="how the object store is reached")

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class OutsideTrainer(Section):
    """A trainer that builds elsewhere: it is started, and gives its artefact back or is asked how it goes."""

    tag: ClassVar[str] = "outside"
    webhook: WebAddress | None = Field(
        None, description="address that gets the order of a build as JSON by POST; a secret, shown nowhere"
    )
    webhook_file: Path | None = Field(
        None, description="a file that holds the address, read at each build; a bare name is a credential of systemd"
    )
    start: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="a program that starts the build and returns; gets the order as JSON on stdin and DRIFTD_* "
        'variables, and may print `{"status_url": ...}` as its last line',
    )
    body: dict[str, Any] | None = Field(
        None,
        description="what is posted instead of the order alone, as the other system wants it: `$ORDER` stands for the "
        "order, `$ORDER_TEXT` for its JSON as text, `$KEY` for its idempotency key",
    )
    form: Flag = Field(default=False, description="post `body` as a form and not as JSON")
    headers_file: Path | None = Field(
        None,
        description="a file with headers of the webhook and of the address that is polled, `Name: value` a line, such "
        "as `Authorization: Bearer ...`; a bare name is a credential of systemd",
    )
    secret_file: Path | None = Field(
        None,
        description="a file with the key by which what is posted is signed (`X-Driftd-Signature: sha256=HMAC`); a bare "
        "name is a credential of systemd",
    )
    deadline: Duration = Field(
        6 * HOUR,
        ge=1,
        description="a build that gave nothing back in this time has failed; what comes later is refused",
    )
    poll: Duration = Field(
        30.0, ge=1, description="how often the `status_url` of the answer is asked, where it has one"
    )
    timeout: Duration = Field(60.0, ge=1, description="the start, and one question, may take so long")
    url: Annotated[str, AfterValidator(base_address)] | None = Field(
        None,
        description="how the builder reaches this daemon's HTTP: `https://drift.example.org`; `http.listen` unless set",
    )
    storage: Storage | None = Field(
        None, description="where the rows are copied for a builder that does not download them from the daemon"
    )
    largest: Whole = Field(2 << 30, ge=1024, description="bytes of an artefact; a larger one is refused")

    @model_validator(mode="after")
    def _exactly_one(self) -> OutsideTrainer:
        ways = [way for way in OUTSIDE_WAYS if getattr(self, way) is not None]
        if len(ways) != 1:
            given = " and ".join(ways) or "none of them"
            raise ValueError(
                f"a build outside is started by exactly one of webhook, webhook_file and start, not {given}"
            )
        if self.start is not None and (self.body is not None or self.headers_file or self.secret_file):
            raise ValueError("body, headers_file and secret_file are of a webhook: a program gets the order as it is")
        if self.form and self.body is None:
            raise ValueError("form needs the fields of the form: body: {NAME: $ORDER_TEXT}")
        return self

    @property
    def program(self) -> str | None:
        """What is started; None where a webhook starts the build."""
        return None if self.start is None else self.start[0]


Trainer = str | Command | OutsideTrainer


def trainer_shape(given: Any) -> str:
    """Which of the kinds of a trainer is meant, for whoever reads the config."""
    if isinstance(given, OutsideTrainer) or (isinstance(given, dict) and any(way in given for way in OUTSIDE_WAYS)):
        return "outside"
    return "command" if isinstance(given, dict | Command) else "reference"


def watched_part(trainer: Trainer) -> str | tuple[str, ...]:
    """What of a trainer can be looked at here: of one that builds outside, the program that starts it.

    No words where a webhook starts it: nothing of it is here.
    """
    return (trainer.start or ()) if isinstance(trainer, OutsideTrainer) else command_or_reference(trainer)


def command_or_reference(trainer: Trainer | None) -> str | tuple[str, ...]:
    """A trainer without its section: the reference of a function, or the words of a command.

    Raises ValueError where no trainer is configured, and where it builds elsewhere.
    """
    if trainer is None:
        raise ValueError("no trainer is configured (trainer: null)")
    if not isinstance(trainer, str | Command):
        raise ValueError(  # noqa: TRY004 - the value of the config is at fault, not its type
            "the trainer builds outside, for `driftd run` alone: nothing can be built here and now"
        )
    return trainer if isinstance(trainer, str) else tuple(trainer.command)
