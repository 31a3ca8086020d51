"""Starts a build outside, by a webhook or a program, asks how it goes, and gives it up."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import msgspec

from driftd.config.redact import redact_command
from driftd.config.registry_schema import LONGEST_CREDENTIAL
from driftd.config.schema import address_in
from driftd.errors import DriftdError
from driftd.outside.exchange import Answer

if TYPE_CHECKING:
    import httpx

_ANSWER_BYTES = 65_536
_SHOWN = 200
_BEGUN_BEFORE = 409  # Conflict: what the idempotency key names is there already


class OutsideError(DriftdError):
    """The builder outside could not be started or asked; the message says how it answered, and holds no secret."""


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """How builds are started; secrets stand in no other job's arguments."""

    place: str  # as the lineage calls it: the host of the webhook, or the program
    webhook: str | None = None
    webhook_file: str | None = None
    start: tuple[str, ...] | None = None
    body: dict[str, Any] | None = None
    form: bool = False
    headers_file: str | None = None
    secret_file: str | None = None
    timeout: float

    @property
    def address(self) -> str:
        """Of the webhook. Raises AddressFileError."""
        if self.webhook is not None:
            return self.webhook
        return address_in(Path(self.webhook_file or ""))


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What a builder says of a build that it is asked about."""

    state: Literal["queued", "running", "succeeded", "failed"]
    artefact: str | None = None  # https://..., or the path of a file that both see
    sha256: str | None = None
    commit: str | None = None  # of git, of the sources that it was made of
    log: str = ""


class _StartAnswer(msgspec.Struct, frozen=True):
    status_url: str | None = None
    cancel_url: str | None = None


def start_build(way: Way, order: Mapping[str, object], *, is_again: bool = False) -> Answer:
    """Start the build of an order. `is_again`: it may have been started before, by the same idempotency key.

    Raises OutsideError, AddressFileError.
    """
    if way.start is not None:
        return _run(way.start, order, way.timeout)
    answer: Answer = _run_limited(_post(way, order, is_again=is_again), way.timeout, "gave no answer")
    return answer


def ask_status(way: Way, url: str) -> Status:
    """Ask a builder how its build goes. Raises OutsideError."""
    content = _run_limited(_get(way, url), way.timeout, "does not say how the build goes")
    try:
        return msgspec.json.decode(content, type=Status)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise OutsideError(f"the status of the build cannot be read: {error}") from None


def cancel_build(way: Way, url: str) -> None:
    """Tell a builder that its build is given up. Raises OutsideError."""
    _run_limited(_cancel(way, url), way.timeout, "was not told that the build is given up")


def open_artefact(way: Way, url: str) -> Iterator[bytes]:
    """The pieces of an artefact. Raises OutsideError."""
    import httpx  # noqa: PLC0415 - only where a webhook is the way

    headers = _headers_for(way, url)
    try:
        with httpx.stream("GET", url, headers=headers, timeout=way.timeout, follow_redirects=False) as answer:
            if not answer.is_success:
                raise OutsideError(f"the address of the artefact answers {answer.status_code}")
            yield from answer.iter_bytes(1 << 20)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        reason = str(error).replace(url, "its address") or "no words"
        raise OutsideError(f"the artefact cannot be fetched: {type(error).__name__}: {reason}") from None


def signature_of(key: bytes, body: bytes) -> str:
    """The header by which a receiver knows who posted a body."""
    return "sha256=" + hmac.new(key, body, "sha256").hexdigest()


def fill_template(template: object, order: Mapping[str, object]) -> object:
    """A body as the other system wants it, with the order in its place."""
    if isinstance(template, Mapping):
        return {key: fill_template(value, order) for key, value in template.items()}
    if isinstance(template, list | tuple):
        return [fill_template(value, order) for value in template]
    if template == "$ORDER":
        return order
    if isinstance(template, str):
        return template.replace("$ORDER_TEXT", json.dumps(order)).replace("$KEY", str(order["key"]))
    return template


def headers_in(file: str | None) -> dict[str, str]:
    """The headers that a file holds, one a line. Raises OutsideError with no word of what is in it."""
    if file is None:
        return {}
    try:
        text = Path(file).read_text("ascii")[:LONGEST_CREDENTIAL]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "headers are plain ASCII"
        raise OutsideError(f"headers_file {file} cannot be read: {reason}") from None
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, colon, value = line.partition(":")
        if line.strip() and not (colon and name.strip()):
            raise OutsideError(f"headers_file {file}, line {number}: a header is `Name: value`")
        if line.strip():
            found[name.strip()] = value.strip()
    return found


async def _post(way: Way, order: Mapping[str, object], *, is_again: bool) -> Answer:
    address, body = way.address, _body_of(way, order)
    headers = {"Content-Type": "application/x-www-form-urlencoded" if way.form else "application/json"}
    headers |= {"Idempotency-Key": str(order["key"]), **headers_in(way.headers_file)}
    if way.secret_file is not None:
        headers["X-Driftd-Signature"] = signature_of(_key_in(way.secret_file), body)
    async with _client(way, address) as client, client.stream("POST", address, content=body, headers=headers) as answer:
        if is_again and answer.status_code == _BEGUN_BEFORE:
            return Answer(sentence=f"{way.place} has begun it before")
        content = await _content(answer, "the webhook")
    return _answer_of(content, f"started by a POST to {way.place}")


def _body_of(way: Way, order: Mapping[str, object]) -> bytes:
    import httpx  # noqa: PLC0415 - only where a webhook is the way

    content = dict(order) if way.body is None else fill_template(way.body, order)
    if way.form:
        assert isinstance(content, dict)
        fields = {name: value if isinstance(value, str) else json.dumps(value) for name, value in content.items()}
        return str(httpx.QueryParams(fields)).encode()
    return json.dumps(content).encode()


def _key_in(file: str) -> bytes:
    try:
        return Path(file).read_bytes()[:LONGEST_CREDENTIAL].strip()
    except OSError as error:
        raise OutsideError(f"secret_file {file} cannot be read: {error.strerror}") from None


async def _get(way: Way, url: str) -> bytes:
    async with _client(way, url) as client, client.stream("GET", url, headers=_headers_for(way, url)) as answer:
        return await _content(answer, "the address of the build's status")


async def _cancel(way: Way, url: str) -> None:
    async with _client(way, url) as client, client.stream("POST", url, headers=_headers_for(way, url)) as answer:
        await _content(answer, "the address that cancels the build")


def _headers_for(way: Way, url: str) -> dict[str, str]:
    """The headers of the webhook, for no other server than its own: they hold secrets."""
    if way.start is not None or way.headers_file is None:
        return {}
    own, other = urlsplit(way.address), urlsplit(url)
    is_own = (own.scheme, own.netloc) == (other.scheme, other.netloc)
    return headers_in(way.headers_file) if is_own else {}


@asynccontextmanager
async def _client(way: Way, address: str) -> AsyncIterator[httpx.AsyncClient]:
    import httpx  # noqa: PLC0415 - only where a webhook is the way

    try:
        async with httpx.AsyncClient(timeout=way.timeout, follow_redirects=False) as client:
            yield client
    except httpx.TimeoutException:
        raise TimeoutError from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        reason = str(error).replace(address, "its address") or "no words"
        raise OutsideError(f"{way.place} cannot be reached: {type(error).__name__}: {reason}") from None


async def _content(answer: httpx.Response, who: str) -> bytes:
    """What an answer says. Raises OutsideError for one that is not 2xx."""
    content = b""
    async for piece in answer.aiter_bytes():
        content += piece
        if len(content) >= _ANSWER_BYTES:
            break
    if answer.is_success:
        return content[:_ANSWER_BYTES]
    words = " ".join(content.decode("utf-8", "replace").split())[:_SHOWN]
    raise OutsideError(f"{who} answers {answer.status_code}{f': {words}' if words else ''}")


def _run_limited(call: Any, timeout: float, failure: str) -> Any:
    """Run a call within so many seconds, however slowly its answer comes."""

    async def limit() -> Any:
        async with asyncio.timeout(timeout):
            return await call

    try:
        return asyncio.run(limit())
    except TimeoutError:
        raise OutsideError(f"the builder outside {failure} within {timeout:g} s (trainer.timeout)") from None


def _answer_of(content: bytes, sentence: str) -> Answer:
    """The addresses that an answer names; one that is no JSON of ours names none."""
    try:
        said = msgspec.json.decode(content, type=_StartAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Answer(sentence=sentence)
    urls = {"status_url": said.status_url, "cancel_url": said.cancel_url}
    for name, url in urls.items():
        if url is not None and urlsplit(url).scheme not in {"http", "https"}:
            raise OutsideError(f"the {name} of the answer is no address: {url[:_SHOWN]!r}")
    return Answer(sentence=sentence, **urls)


def _run(command: tuple[str, ...], order: Mapping[str, object], timeout: float) -> Answer:
    """Run a program that starts the build and returns; what it left running ends with the job."""
    program = " ".join(redact_command(command))
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    environment = {**os.environ, "PATH": path, **variables_of(order)}
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as output:
        stdin.write(json.dumps(order).encode())
        stdin.seek(0)
        try:
            code = subprocess.run(
                command, stdin=stdin, stdout=output, stderr=sys.stderr, env=environment, timeout=timeout, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            raise OutsideError(f"`{program}` was ended: it took longer than {timeout:g} s (trainer.timeout)") from None
        except OSError as error:
            raise OutsideError(f"`{program}` cannot be run: {error.strerror}") from None
        last = _last_line(output)
    if code != 0:
        raise OutsideError(f"`{program}` ended with exit code {code}{f': {last[:_SHOWN]}' if last else ''}")
    return _answer_of(last.encode(), f"started by `{program}`")


def variables_of(order: Mapping[str, object]) -> dict[str, str]:
    """What of an order is plain, for simple programs: DRIFTD_MODEL, DRIFTD_URL, DRIFTD_TOKEN, ..."""
    plain = {name: value for name, value in order.items() if isinstance(value, str | int | float)}
    return {f"DRIFTD_{name.upper()}": str(value) for name, value in plain.items()} | {"DRIFTD_ORDER": json.dumps(order)}


def _last_line(output: IO[bytes]) -> str:
    output.seek(max(0, output.seek(0, os.SEEK_END) - _ANSWER_BYTES))
    lines = output.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""
