"""The command `open`: the status page of the daemon in the browser."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from urllib.parse import quote

import click

from driftd.cli.arguments import MODEL
from driftd.cli.terminal import chosen_model, config_option, echo, load_config
from driftd.config.schema import Access, Http
from driftd.errors import DriftdError
from driftd.web.local_client import CertificateError, NoAnswerError, ask, can_be_asked, local_host

ANSWER_SECONDS = 3.0


class NoPageError(DriftdError):
    """No daemon serves its page where the config says."""


@click.command("open")
@click.argument("model", required=False, type=MODEL)
@click.option("--print", "only_print", is_flag=True, help="Print the address; open nothing.")
@config_option
def open_page(config_path: Path, model: str | None, only_print: bool) -> None:
    """Open the page of the daemon, or that of MODEL, in the browser; print its address where there is none.

    \b
    Example:
      driftd open
      driftd open demand --print
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    config = load_config(config_path)
    name = chosen_model(config, model) if model is not None else None
    _require_daemon(config.http, config_path)
    address = page_address(config.http, name)
    if only_print or not _opens(address):
        echo(address)
    else:
        echo(f"opened {address}")
    if config.http.protect == "all":
        echo(f"it asks for a token of {config.http.token_file}", err=True)


def page_address(access: Access, model: str | None = None) -> str:
    """The address of the page, that of the config or that on this host; or of a model's part of it."""
    place = "" if model is None else f"#/model/{quote(model, safe='')}"
    if isinstance(access, Http) and access.url is not None:
        return f"{access.url.rstrip('/')}/{place}"
    port = access.listen.rpartition(":")[2]
    scheme = "http" if access.tls is None else "https"
    host = local_host(access.listen)
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/{place}"


def _require_daemon(access: Access, config_path: Path) -> None:
    """Raises NoPageError where nobody answers as a daemon."""
    if not can_be_asked(access):
        raise NoPageError("the config has the daemon listen on a port of the system's choice: its log names the port")
    address = page_address(access)
    try:
        status, _ = ask(access, "/-/healthy", ANSWER_SECONDS)
    except CertificateError:
        return  # somebody answers; the browser will say what it thinks of the certificate
    except NoAnswerError as error:
        raise NoPageError(
            f"no daemon answers at {address} ({error}): start it with `driftd run --config {config_path}`, "
            "or look with `driftd status` at what the state says"
        ) from error
    if status not in {200, 401, 403, 503}:
        raise NoPageError(f"what answers at {address} is no driftd: `driftd doctor` says more")


def _opens(address: str) -> bool:
    """Whether a browser of this host was told."""
    try:
        return webbrowser.get().open(address)
    except webbrowser.Error:
        return False
