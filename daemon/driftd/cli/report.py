"""`driftd report`: the report of an alarm or a decision that people forward, as one HTML file."""

from __future__ import annotations

import time
from pathlib import Path

import click

from driftd.cli.terminal import AbsentError, config_option, console, open_places, say
from driftd.fsutil import write_durably
from driftd.store.state.chart_queries import SeriesReader
from driftd.store.state.reader import StateReader
from driftd.views.decision_report import decision_report
from driftd.views.decision_report_page import ReportLinks, links_under, report_page

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
    # Of a host's own address nobody else has anything: only one that the config names goes into the file.
    links = ReportLinks() if config.http.url is None else links_under(config.http.url, found, name.replace("-", "/"))
    write_durably(path, report_page(found, links).encode("utf-8", "backslashreplace"))
    say(console(), f"{path}: the report of {name.replace('-', ' ')} of {found.model}")
