"""Delivering to a webhook: one POST, certificates verified, redirects not followed, a deadline for the whole of it."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING

from driftd.config.receiver import AddressFileError, Receiver, address_in
from driftd.notify.message import Message, encoded
from driftd.notify.trying import DeliveryError
from driftd.places import credential

if TYPE_CHECKING:
    import httpx

_ANSWER_BYTES = 2000  # of a refusal are read for the log; the rest is not waited for
_ANSWER_SHOWN = 200
_OK, _REDIRECT, _TOO_MANY, _UNAVAILABLE = range(200, 300), range(300, 400), 429, 503


async def post(receiver: Receiver, message: Message) -> None:
    """Post a message. Raises DeliveryError when it was not taken in time; the error does not hold the address."""
    import httpx  # noqa: PLC0415 - 6 MB that a daemon without webhooks does without

    for chatty in ("httpx", "httpcore"):  # their lines name the address, which is a secret
        logging.getLogger(chatty).setLevel(logging.WARNING)
    address = _address(receiver)
    try:
        async with (
            asyncio.timeout(receiver.timeout),
            httpx.AsyncClient(verify=_authorities(), follow_redirects=False, timeout=receiver.timeout) as client,
            client.stream("POST", address, content=encoded(message.body), headers=_HEADERS) as answer,
        ):
            await _judge(answer)
    except TimeoutError:
        raise DeliveryError(f"no answer within {receiver.timeout:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        told = str(error).replace(address, "the webhook") or "no words"
        raise DeliveryError(f"{type(error).__name__}: {told}") from None


_HEADERS = {"content-type": "application/json; charset=utf-8", "user-agent": "driftd"}


async def _judge(answer: httpx.Response) -> None:
    status = answer.status_code
    if status in _OK:
        return
    if status in _REDIRECT:
        raise DeliveryError(f"it answers with a redirect ({status}), which is not followed: configure where it leads")
    said = b""
    async for chunk in answer.aiter_raw():
        said += chunk
        if len(said) >= _ANSWER_BYTES:
            break
    words = " ".join(said[:_ANSWER_BYTES].decode("utf-8", "replace").split())[:_ANSWER_SHOWN]
    after = answer.headers.get("retry-after", "") if status in {_TOO_MANY, _UNAVAILABLE} else ""
    raise DeliveryError(
        f"it answers {status}{f': {words}' if words else ''}", retry_after=float(after) if after.isdecimal() else None
    )


def _address(receiver: Receiver) -> str:
    if receiver.webhook is not None:
        return receiver.webhook.get_secret_value()
    assert receiver.webhook_file is not None  # the config has exactly one way, and a command is not posted
    try:
        return address_in(credential(receiver.webhook_file))
    except AddressFileError as error:
        raise DeliveryError(str(error)) from None


def _authorities() -> ssl.SSLContext:
    """The system's certificate authorities (or those of SSL_CERT_FILE, SSL_CERT_DIR), certifi's where it has none."""
    found = ssl.get_default_verify_paths()
    if found.cafile is not None or found.capath is not None:
        return ssl.create_default_context()
    import certifi  # noqa: PLC0415 - comes with httpx

    return ssl.create_default_context(cafile=certifi.where())
