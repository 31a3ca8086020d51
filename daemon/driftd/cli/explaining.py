"""`driftd explain`: what was seen, against which threshold, and why that followed."""

from __future__ import annotations

from pathlib import Path

import click

from driftd.cli.explanation import print_explanation
from driftd.cli.options import AbsentError, chosen_model, config_option, json_option, opened
from driftd.cli.printing import console, print_json
from driftd.config.model import Config
from driftd.page.decision import explained
from driftd.store.state_reader import StateReader
from driftd.store.state_records import StoredAlarm, StoredTransition


@click.command()
@click.argument("what", default="last")
@click.option("--model", "-m", help="Which model `last` is about; all by default.")
@click.option("--alarm", "is_alarm", is_flag=True, help="WHAT is the number of an alarm, not of a decision.")
@config_option
@json_option
def explain(config_path: Path, what: str, model: str | None, is_alarm: bool, as_json: bool) -> None:
    """Tell one decision whole: WHAT is its id in `driftd history`, or `last`.

    \b
    Example:
      driftd explain last
      driftd explain 17
      driftd explain --alarm 3
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    config, places = opened(config_path)
    name = chosen_model(config, model) if model is not None else None
    with StateReader.read_only(places.state_db) as reader:
        line = None if is_alarm else _line(reader, what, name)
        alarm = _alarm(reader, what if is_alarm else line)
        told = explained(reader, lambda model: _by_rows(config, model), places, line, alarm)
    if as_json:
        print_json(told)
    else:
        print_explanation(told, console())


def _line(reader: StateReader, what: str, model: str | None) -> StoredTransition:
    if what == "last":
        lines = reader.history(model, 1)
        if not lines:
            raise AbsentError("nothing was decided yet")
        return lines[0]
    if not what.isdecimal():
        raise click.UsageError(f"{what!r} is neither `last` nor an id of `driftd history`")
    line = reader.transition(_id(what))
    if line is None or (model is not None and line.model != model):
        raise AbsentError(f"there is no decision {what}; `driftd history` lists them")
    return line


def _by_rows(config: Config, model: str) -> bool:
    return model in config.models and config.models[model].window.rows is not None


def _id(digits: str) -> int:
    """An id as SQLite can look it up; beyond that there is none, so the greatest will do."""
    return min(int(digits[:20]), 2**63 - 1)


def _alarm(reader: StateReader, of: StoredTransition | str | None) -> StoredAlarm | None:
    number = of.figures.get("alarm") if isinstance(of, StoredTransition) else of
    if number is None:
        return None
    if number == "last":
        alarm = next(iter(reader.alarms(limit=1)), None)
    elif str(number).isdecimal():
        alarm = reader.alarm(_id(str(number)))
    else:
        raise click.UsageError(f"{number!r} is no number of an alarm")
    if alarm is None:
        raise AbsentError("there is no such alarm; `driftd history` lists what was decided on each")
    return alarm
