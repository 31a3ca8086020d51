"""`driftd replay`: what a changed config would have decided otherwise over the daemon's own record."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from driftd.cli.arguments import MODEL
from driftd.cli.table import print_table
from driftd.cli.terminal import chosen_model, config_option, console, json_option, print_json, say
from driftd.config.load import load
from driftd.formatting import format_minute
from driftd.paths import Places
from driftd.registry import Registry
from driftd.rehearsal.child_process import RehearsalError
from driftd.rehearsal.config_changes import FOLLOWED, changed_keys, not_followed
from driftd.rehearsal.history import read_history
from driftd.rehearsal.policy_replay import PolicyReplay, ReplayReport
from driftd.rehearsal.recorded import copy_untouched
from driftd.store.ownership import rather_as_owner
from driftd.store.state.reader import StateAbsentError, StateReader


@click.command()
@click.argument("model", required=False, type=MODEL)
@config_option
@json_option
def replay(config_path: Path, model: str | None, as_json: bool) -> None:
    """Say what this config would have decided otherwise over what the daemon has on record of MODEL.

    The pure policy goes over the stored checks, results of jobs and decisions, once under the configs that were in
    force and once under this one. No row is read and nothing is built: where the two part, so that nobody knows what
    would have followed, it ends and says why. `driftd rehearse` builds.

    \b
    Example:
      driftd replay demand --config changed.yaml
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    config = load(config_path)
    name, places = chosen_model(config, model), Places(config.state_dir)
    click.get_current_context().with_resource(rather_as_owner(places))
    settings = config.models[name]
    if settings.is_external:
        raise RehearsalError(f"{name} is served elsewhere: what its hand-overs met with is not on record")
    if not places.state_db.exists():
        raise StateAbsentError(f"no state database at {places.state_db}: start `driftd run` first")
    with tempfile.TemporaryDirectory(prefix="driftd-replay-") as folder:
        copy = Path(folder) / "state.db"
        copy_untouched(places.state_db, copy)  # the daemon goes on writing its own
        with StateReader.read_only(copy) as reader:
            history = read_history(reader, Registry(places), name)
    keys = changed_keys(history.configs[-1][1], settings)
    plain = [key for key in keys if key.partition(".")[0] not in ("source", "deploy", "registry")]
    followed = [key for key in plain if key in FOLLOWED]
    differences, end, decisions, ends = PolicyReplay(history, settings).run()
    report = ReplayReport(
        model=name,
        start=history.moments[0].at,
        end=end,
        decisions=decisions,
        differences=differences,
        changes=followed,
        not_followed=[not_followed(key) for key in plain if key not in FOLLOWED],
        ends=ends,
    )
    if as_json:
        print_json(report)
    else:
        _print(report)


def _print(report: ReplayReport) -> None:
    to = console()
    span = f"{format_minute(report.start)} to {format_minute(report.end)}"
    say(to, f"{report.model}: {report.decisions} decisions on record from {span}")
    say(to, f"this config differs in {', '.join(report.changes) or 'nothing that the policy goes by'}")
    for sentence in report.not_followed:
        say(to, f"  not followed: {sentence}", "yellow")
    rows = [[format_minute(each.at), each.recorded, each.changed, each.sentence] for each in report.differences]
    if rows:
        print_table(to, ["when (UTC)", "on record", "this config", "why"], rows, long="why")
    count = len(rows)
    say(to, f"{count} decision{'' if count == 1 else 's'} would have been otherwise", "bold")
    if report.ends is not None:
        say(to, f"the replay ends at {format_minute(report.end)}: {report.ends}", "yellow")
