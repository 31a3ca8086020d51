"""`driftd report`: the report of an alarm or a decision that people forward, as one HTML file."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from driftd.cli.page import page_address
from driftd.cli.terminal import AbsentError, config_option, console, open_places, say
from driftd.config.schema import Access
from driftd.fsutil import write_durably
from driftd.paths import Places
from driftd.store.state.chart_queries import SeriesReader
from driftd.store.state.reader import StateReader
from driftd.views.decision_report import DecisionReport, decision_report
from driftd.views.decision_report_page import ReportLinks, report_page
from driftd.web.local_client import can_be_asked

LARGEST_ID = 2**63 - 1  # that SQLite can look up
NUMBER = click.IntRange(min=1)


@click.command()
@click.argument("alarm", required=False, type=NUMBER)
@click.option("--decision", type=NUMBER, help="A decision of `driftd history`, in place of an alarm.")
@click.option(
    "--to",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file; alarm-N.html or decision-N.html here, unless given.",
)
@config_option
def report(config_path: Path, alarm: int | None, decision: int | None, file: Path | None) -> None:
    """A page of one screen about ALARM, or a decision: what changed, since when, where, its cost, and what was done.

    One HTML file without scripts, to forward and to print. The daemon serves the same at /alarms/ALARM/report and
    /decisions/N/report. The state is only read.

    \b
    Example:
      driftd report 3
      driftd report --decision 17 --to swap.html
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    if (alarm is None) == (decision is None):
        raise click.UsageError("name an alarm or a decision, one of them: `driftd history` lists both")
    alarm, decision = (None if number is None else min(number, LARGEST_ID) for number in (alarm, decision))
    config, places = open_places(config_path)
    StateReader.read_only(places.state_db).close()  # it says what is wrong with a database of another driftd
    reader = SeriesReader.read_only(places.state_db, lasts=False)
    try:
        found = decision_report(reader, places, decision=decision, alarm=alarm, now=time.time())
    finally:
        reader.close()
    name = f"alarm-{alarm}" if decision is None else f"decision-{decision}"
    if found is None:
        raise AbsentError(f"there is no {name.replace('-', ' ')}; `driftd history` lists what was decided")
    path = Path(f"{name}.html") if file is None else file
    links = _links(config.http, places, found, name, path)
    write_durably(path, report_page(found, links).encode("utf-8", "backslashreplace"))
    say(console(), f"{path}: the report of {name.replace('-', ' ')} of {found.model}")


def _links(access: Access, places: Places, found: DecisionReport, name: str, path: Path) -> ReportLinks:
    """The page where the daemon's address is known, and Evidently's page as it lies from the file."""
    page = f"{page_address(access)}#/{name.replace('-', '/')}" if can_be_asked(access) else ""
    if found.alarm is None:
        return ReportLinks(page, "")
    opinion = os.path.relpath(places.report(found.model, found.alarm).resolve(), path.parent.resolve())
    return ReportLinks(page, Path(opinion).as_posix())
