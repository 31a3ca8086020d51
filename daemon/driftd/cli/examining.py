"""The command that looks over a whole installation: doctor."""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from driftd.cli.options import config_option, json_option
from driftd.cli.printing import console, print_json, say

FAULTY = 1
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command()
@config_option
@json_option
def doctor(config_path: Path, as_json: bool) -> None:
    """Look over a whole installation, and say what to do about each finding.

    Files, disk, clock, libraries, databases, config, secrets, daemon, backups, sources, trainers, versions, progress.
    Changes nothing. Ends with 0 when nothing fails (warnings do not count), else with 1.

    \b
    Example:
      sudo driftd doctor --config /etc/driftd/config.yaml
      driftd doctor --json | jq '.findings[] | select(.level == "fail")'
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    from driftd.doctor.checks import CHECKS  # noqa: PLC0415 - sources and their like only when examined
    from driftd.doctor.installation import examine_all  # noqa: PLC0415 - see above

    with Console(stderr=True).status("looking") as status:
        found = list(examine_all(config_path, time.time(), CHECKS, lambda name: status.update(f"looking at {name}")))
    count = {level: sum(one.level == level for one in found) for level in _STYLES}
    if as_json:
        print_json({"config": str(config_path), "count": count, "findings": found})
    else:
        out = console()
        for one in found:
            head = Text(f"{one.level:<6}", style=_STYLES[one.level])
            out.print(head.append(f"{one.check}: {one.subject}: {one.said}", style="default"), soft_wrap=True)
            if one.todo:
                say(out, f"      -> {one.todo}")
        say(out, f"{count['fail']} fail, {count['warn']} warn, {count['ok']} ok")
    raise SystemExit(FAULTY if count["fail"] else 0)
