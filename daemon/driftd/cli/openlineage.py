"""`driftd openlineage`: the builds as run events of OpenLineage, in a file of JSON lines or sent to a backend."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import click
import httpx

from driftd.cli.arguments import MODEL
from driftd.cli.terminal import chosen_model, config_option, console, open_places, print_data, say
from driftd.config.schema import Config
from driftd.fsutil import write_durably
from driftd.paths import Places
from driftd.registry import ManifestError, Registry
from driftd.registry.manifest import Manifest
from driftd.store.state.reader import StateReader
from driftd.views.openlineage import LineageEvents, build_runs

SECONDS = 30.0  # of one request


@click.command()
@click.argument("model", required=False, type=MODEL)
@click.option("--to", "file", type=click.Path(path_type=Path, dir_okay=False), help="A file of JSON lines.")
@click.option("--url", help="Send each event by POST to this address, such as http://marquez:5000/api/v1/lineage.")
@click.option(
    "--token-file", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Its content is sent as bearer."
)
@click.option("--namespace", default="driftd", show_default=True, help="Of jobs, runs and datasets.")
@config_option
def openlineage(
    config_path: Path, model: str | None, file: Path | None, url: str | None, token_file: Path | None, namespace: str
) -> None:
    """The builds of MODEL, or of all models, as events of OpenLineage: START, then COMPLETE or FAIL.

    Printed as JSON lines unless a file or an address is named. A build has the same run id each time, so what was sent
    may be sent again.

    \b
    Example:
      driftd openlineage --to builds.jsonl
      driftd openlineage demand --url http://marquez:5000/api/v1/lineage --token-file /etc/driftd/marquez.token
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    if token_file is not None and url is None:
        raise click.UsageError("--token-file is for --url")
    config, places = open_places(config_path)
    names = list(config.models) if model is None else [chosen_model(config, model)]
    events = list(_events(config, places, names, namespace))
    lines = [json.dumps(event, ensure_ascii=False, allow_nan=False) for event in events]
    if file is not None:
        write_durably(file, "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
        say(console(), f"{file}: {len(lines):,} events")
    if url is not None:
        _send(url, events, token_file)
        say(console(), f"{len(events):,} events sent")
    if file is None and url is None:
        print_data("".join(f"{line}\n" for line in lines))


def _events(config: Config, places: Places, names: Iterable[str], namespace: str) -> Iterator[Mapping[str, object]]:
    registry = Registry(places)
    with StateReader.read_only(places.state_db) as reader:
        for name in names:
            runs = build_runs(list(_manifests(registry, name)), reader.build_actions(name))
            yield from LineageEvents(name, config.models[name], namespace).of(runs)


def _manifests(registry: Registry, model: str) -> Iterator[Manifest]:
    """Those that can be read; `driftd verify` tells of the others."""
    for version in registry.versions(model):
        try:
            yield registry.manifest(model, version)
        except ManifestError as error:
            say(console(stderr=True), f"version {version} of {model} is left out: {error}", "yellow")


def _send(url: str, events: Iterable[Mapping[str, object]], token_file: Path | None) -> None:
    """Send each event; raises ClickException at the first that is not taken, which says how many were."""
    headers = {} if token_file is None else {"Authorization": f"Bearer {token_file.read_text('utf-8').strip()}"}
    with httpx.Client(headers=headers, timeout=SECONDS, follow_redirects=False, trust_env=False) as client:
        for count, event in enumerate(events):
            try:
                answer = client.post(url, json=event)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise click.ClickException(f"{count:,} events were sent, then {url} did not answer: {error}") from error
            if not answer.is_success:
                said = answer.text[:200]
                raise click.ClickException(
                    f"{count:,} events were sent, then {url} answered {answer.status_code} ({said}); "
                    "once that is mended send all again: each has the same id"
                )
