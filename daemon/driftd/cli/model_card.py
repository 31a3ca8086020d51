"""`driftd model-card`: a model card of a version, as one HTML file or as JSON."""

from __future__ import annotations

import time
from pathlib import Path

import click
import msgspec

from driftd.cli.arguments import MODEL
from driftd.cli.terminal import AbsentError, chosen_model, config_option, console, open_places, print_json, say
from driftd.fsutil import write_durably
from driftd.registry import ManifestError, Registry
from driftd.store.state.reader import StateReader
from driftd.views.model_card import ModelCard, make_card
from driftd.views.model_card_page import card_page

ENDINGS = (".html", ".json")


@click.command("model-card")
@click.argument("model", required=False, type=MODEL)
@click.argument("version", required=False, type=click.IntRange(1))
@click.option("--to", "file", type=click.Path(path_type=Path, dir_okay=False), help="A file .html or .json.")
@config_option
def model_card(config_path: Path, model: str | None, version: int | None, file: Path | None) -> None:
    """A model card of VERSION of MODEL, or of the version that serves: what it is for, made from, and how good it is.

    The fields are those of Mitchell et al. (2019), as far as they are known; `card` in the config adds what only people
    know. Printed as JSON unless a file is named.

    \b
    Example:
      driftd model-card demand --to card.html
      driftd model-card demand 3 --to card.json
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    if file is not None and file.suffix not in ENDINGS:
        raise click.BadParameter(f"{file} ends neither in {' nor in '.join(ENDINGS)}", param_hint="--to")
    config, places = open_places(config_path)
    name, registry = chosen_model(config, model), Registry(places)
    number = registry.current(name) if version is None else version
    if number is None:
        raise AbsentError(f"no version of {name} serves: name one")
    try:
        manifest = registry.manifest(name, number)
    except ManifestError as error:
        raise AbsentError(str(error)) from error
    with StateReader.read_only(places.state_db) as reader:
        card = make_card(reader, manifest, config.models[name], time.time())
    if file is None:
        print_json(msgspec.to_builtins(card))
        return
    write_durably(file, _content(card, file.suffix))
    say(console(), f"{file}: the model card of {name}, version {number}")


def _content(card: ModelCard, ending: str) -> bytes:
    if ending == ".html":
        return card_page(card).encode("utf-8", "backslashreplace")
    return msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n"
