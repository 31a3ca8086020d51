"""`driftd`: the entry of every command."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from driftd.errors import DriftdError, ExitCode
from driftd.observe.systemd import hangups
from driftd_detectors.errors import DetectorError

# name: where the command is, what it does in one line. The commands are loaded when they are called.
COMMANDS = {
    "demo": ("driftd.cli.run:demo", "Show the whole loop on a real year of flights."),
    "init": ("driftd.cli.init:init", "Write a config from a file and train version 1."),
    "check-config": ("driftd.cli.run:check_config", "Say whether a config is good, and what it means."),
    "run": ("driftd.cli.run:run", "Watch the models of a config: the daemon."),
    "serve": ("driftd.cli.run:serve", "Answer predictions and take events over HTTP."),
    "open": ("driftd.cli.page:open_page", "Open the daemon's page in the browser."),
    "status": ("driftd.cli.status:status", "Where every model stands, what needs a person first."),
    "history": ("driftd.cli.status:history", "What was decided, newest first."),
    "explain": ("driftd.cli.explain:explain", "Why: any alarm, build, refusal or swap."),
    "report": ("driftd.cli.report:report", "An alarm or a decision on one page, to forward."),
    "versions": ("driftd.cli.status:versions", "The versions of a model and where they come from."),
    "at": ("driftd.cli.lineage:at", "Which version served at a time."),
    "diff": ("driftd.cli.version_diff:diff", "How two versions differ, by segment too."),
    "prediction": ("driftd.cli.lineage:prediction", "What became of one prediction."),
    "verify": ("driftd.cli.verify:verify", "Whether history, versions and snapshots are what they were."),
    "export": ("driftd.cli.export:export", "Write what is known as CSV or Parquet."),
    "openlineage": ("driftd.cli.openlineage:openlineage", "The builds as OpenLineage events."),
    "model-card": ("driftd.cli.model_card:model_card", "A model card of a version, as HTML or JSON."),
    "plan": ("driftd.cli.plan:plan", "What would be built now, why, from what, at what cost."),
    "label-requests": ("driftd.cli.label_requests:label_requests", "Which predictions to label next."),
    "retrain": ("driftd.cli.operate:retrain", "Ask for a build."),
    "retry": ("driftd.cli.operate:retry", "Begin a failed build again from a stage."),
    "submit": ("driftd.cli.submit:submit", "Hand a version in that was made elsewhere."),
    "approve": ("driftd.cli.operate:approve", "Let the waiting challenger serve."),
    "reject": ("driftd.cli.operate:reject", "Turn the waiting challenger down."),
    "confirm": ("driftd.cli.operate:confirm", "Say which version the other system serves."),
    "rollback": ("driftd.cli.operate:rollback", "Go back to an earlier version."),
    "acknowledge": ("driftd.cli.operate:acknowledge", "Do nothing about a standing alarm for a while."),
    "pause": ("driftd.cli.orders:pause", "Hold a model for a while."),
    "silence": ("driftd.cli.orders:silence", "Have a feature raise no alarm for a while."),
    "resume": ("driftd.cli.orders:resume", "End pauses, silences and acknowledgements before their time."),
    "reset-evidence": ("driftd.cli.operate:reset_evidence", "Begin the evidence of a model anew."),
    "reset-cursor": ("driftd.cli.operate:reset_cursor", "Check windows that a clock ahead of time passed over."),
    "prune": ("driftd.cli.operate:prune", "Delete the events over their age that the daemon keeps back."),
    "doctor": ("driftd.cli.doctor:doctor", "Look over a whole installation, and say what to do."),
    "backup": ("driftd.cli.backup:backup", "Make a backup now."),
    "restore": ("driftd.cli.backup:restore", "Put a backup in a broken database's place."),
    "profile-job": ("driftd.cli.profile_job:profile_job", "Write what a job of yours has to count."),
    "backfill": ("driftd.cli.backfill:backfill", "Load predictions and labels of the past from files."),
    "rehearse": ("driftd.cli.rehearse:rehearse", "What a config, and others, would have done and cost."),
    "replay": ("driftd.cli.replay:replay", "What a changed config would have decided otherwise."),
    "backtest": ("driftd.cli.backtest:backtest", "The alarms that a config would have raised."),
    "reproduce": ("driftd.cli.reproduce:reproduce", "Build a version again and compare."),
    "notify-test": ("driftd.cli.doctor:notify_test", "Send every receiver a test."),
    "completion": ("driftd.cli.completion:completion", "The script by which a shell completes driftd."),
}
STAYING = ("run", "serve")  # until they are told to end, which SIGHUP does not tell them
_EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:d}  {code.meaning}" for code in ExitCode)


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, so that `driftd --help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which a user meets them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command; None when there is none of this name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        if cmd_name in STAYING:
            hangups.catch()  # before what takes long: its imports
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands that begin like this, without loading them, and the options of `driftd` itself."""
        commands = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items()]
        return [item for item in commands if item.value.startswith(incomplete)] + click.Command.shell_complete(
            self, ctx, incomplete
        )

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a complaint that quotes data does nothing to the terminal."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            from driftd.formatting import visible  # noqa: PLC0415 - `driftd --help` loads click alone

            error.message = visible(error.message)  # type: ignore[misc]  # no other way leads to what click shows
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="driftd")
@click.pass_context
def cli(context: click.Context) -> None:
    """Watch deployed tabular models for drift; retrain, judge, swap and roll back by evidence.

    \b
    Example:
      driftd demo
      driftd init bookings.parquet --target cancelled
      driftd run --config config.yaml
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    from driftd.store.ownership import close_to_others  # noqa: PLC0415 - `driftd --help` loads click alone

    context.with_resource(close_to_others())


def main() -> None:
    """Run the command line; a user's mistake is one clear sentence and an exit code, never a traceback."""
    try:
        cli(prog_name="driftd")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `driftd history | head` is no failure
        sys.exit(0)
    except DriftdError as error:
        _end(error.report, error.exit_code)
    except DetectorError as error:
        _end(f"driftd: {error}")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _end(f"driftd: {where}{error.strerror or error}{_advice(error)}")
    except Exception as error:
        from driftd.store.integrity import describe_sqlite_error  # noqa: PLC0415 - `driftd --help` loads click alone

        fault = describe_sqlite_error(error)
        if fault is None:
            raise  # a fault of driftd's own: its traceback is what a bug report needs
        _end(f"driftd: {fault}")


def _end(report: str, code: int = ExitCode.FAILED) -> NoReturn:
    from driftd.formatting import visible_lines  # noqa: PLC0415 - `driftd --help` loads click alone

    click.echo(visible_lines(report), err=True)
    sys.exit(code)


def _advice(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return ": another program listens there (another driftd?); change `listen` in the config or stop the other"
    if error.errno in {errno.EACCES, errno.EPERM} and error.filename:
        return ": `driftd doctor` says what is not as it should be, and for whom"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL}:
        return ": a port below 1024 needs rights, an address has to be one of this host; change `listen` in the config"
    if error.errno == errno.ENOENT and error.filename:
        return ": name a place that is there, or make its folder first"
    if error.errno == errno.EROFS:
        return ": mount it for writing, or name another place (state_dir in the config)"
    return ""


if __name__ == "__main__":
    main()
