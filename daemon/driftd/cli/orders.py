"""The commands by which a person holds a model for a while: pause, silence, and resume, which ends them."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from driftd.api.requests import WEEK, Pausable, Pause, Resume, Silence
from driftd.cli.arguments import MODEL
from driftd.cli.operate import answer_options, ask, request_options, until_option, why_option


@click.command()
@click.argument("model", type=MODEL)
@click.option(
    "--what", multiple=True, type=click.Choice(get_args(Pausable)), help="What is held; all three unless given."
)
@why_option(required=True)
@until_option(default=WEEK)
@answer_options
def pause(
    config_path: Path, model: str, what: tuple[Pausable, ...], why: str, until: str, wait: float, as_json: bool
) -> None:
    """Hold checks, retraining and promotion of MODEL until a time, or some of them.

    It ends by itself, or by `driftd resume`. What `override` in the config pauses stays paused, whatever is asked here.

    \b
    Example:
      driftd pause demand --until 12h --why "INC-123 upstream outage"
      driftd pause demand --what retraining --what promotion --until 2026-12-01T00:00:00Z --why "freeze"
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    ask(config_path, model, Pause(what=what, until=until, reason=why), wait=wait, as_json=as_json)


@click.command()
@click.argument("model", type=MODEL)
@click.argument("feature")
@why_option(required=True)
@until_option(default=WEEK)
@answer_options
def silence(config_path: Path, model: str, feature: str, why: str, until: str, wait: float, as_json: bool) -> None:
    """Have FEATURE of MODEL raise no alarm until a time; all others as before.

    \b
    Example:
      driftd silence demand price --until 3d --why "price campaign until Sunday"
    """  # noqa: D301 - see above
    ask(config_path, model, Silence(feature=feature, until=until, reason=why), wait=wait, as_json=as_json)


@click.command()
@click.argument("model", type=MODEL)
@click.option("--what", multiple=True, type=click.Choice(get_args(Pausable)), help="Only these pauses.")
@click.option("--feature", help="Only the silence of this feature.")
@click.option("--alarm", type=click.IntRange(min=1), help="Only the acknowledgement of this alarm.")
@request_options
def resume(
    config_path: Path,
    model: str,
    what: tuple[Pausable, ...],
    feature: str | None,
    alarm: int | None,
    why: str,
    wait: float,
    as_json: bool,
) -> None:
    """End pauses, silences and acknowledgements of MODEL before their time: all of them, or those that are named.

    \b
    Example:
      driftd resume demand
      driftd resume demand --feature price --why "the campaign is over"
    """  # noqa: D301 - see above
    request = Resume(what=what, feature=feature, alarm=alarm, reason=why)
    ask(config_path, model, request, wait=wait, as_json=as_json)
