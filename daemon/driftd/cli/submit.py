"""The command that hands a version in which was made elsewhere, by nobody's order."""

from __future__ import annotations

from pathlib import Path

import click

from driftd.api.requests import Submit
from driftd.cli.arguments import MODEL
from driftd.cli.operate import ask, request_options, whoami
from driftd.cli.terminal import chosen_model, open_places
from driftd.fsutil import sha256_of
from driftd.outside.exchange import ENDINGS, ArtefactWriter, open_submission, submission_key
from driftd.store.state.reader import StateReader

_PIECE = 1 << 20


@click.command()
@click.argument("model", type=MODEL)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--trained-until",
    metavar="TIME",
    help="Up to when the rows go that it was trained on, with its zone; now, unless given. Later ones judge it.",
)
@click.option("--commit", metavar="COMMIT", help="The git commit that it was made of, for its lineage.")
@request_options
def submit(
    config_path: Path,
    model: str,
    file: Path,
    trained_until: str | None,
    commit: str | None,
    why: str,
    wait: float,
    as_json: bool,
) -> None:
    """Hand in FILE, a version of MODEL that was made elsewhere: it is checked, judged and handed on like any build.

    \b
    Example:
      driftd submit demand model.skops --trained-until 2026-11-01T00:00:00Z --why "nightly pipeline"
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    if file.suffix.lower() not in ENDINGS:
        raise click.UsageError(f"{file} is none of {', '.join(ENDINGS)}, which driftd reads")
    request = Submit(submission=submission_key("", ""), trained_until=trained_until, reason=why)
    try:
        request.arguments(0.0)
    except ValueError as error:
        raise click.UsageError(f"--trained-until: {error}") from None
    who, digest = whoami(), sha256_of(file)
    with file.open("rb") as content:  # before this process becomes the owner of the state, who may not read it
        config, places = open_places(config_path, makes=True)
        name = chosen_model(config, model)
        with StateReader.read_only(places.state_db) as reader:
            in_use = reader.submissions_in_use(name)
        exchange = open_submission(places, name, request.submission, in_use)
        with ArtefactWriter(exchange, file.name, digest, file.stat().st_size, commit=commit) as writer:
            while piece := content.read(_PIECE):
                writer.add(piece)
            writer.finish()
    ask(config_path, name, request, wait=wait, as_json=as_json, who=who)
