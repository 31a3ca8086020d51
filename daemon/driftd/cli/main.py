"""`driftd`: the entry of every command."""

from __future__ import annotations

import errno
import importlib
import os
import sys

import click

from driftd.observe.systemd import hangups

# name: where the command is, what it does in one line. The commands are loaded when they are called.
COMMANDS = {
    "demo": ("driftd.cli.run:demo", "Show the whole loop on a real year of flights."),
    "init": ("driftd.cli.init:init", "Write a config from a file and train version 1."),
    "check-config": ("driftd.cli.run:check_config", "Say whether a config is good, and what it means."),
    "run": ("driftd.cli.run:run", "Watch the models of a config: the daemon."),
    "serve": ("driftd.cli.run:serve", "Answer predictions and take events over HTTP."),
    "status": ("driftd.cli.status:status", "Where every model stands, what needs a person first."),
    "history": ("driftd.cli.status:history", "What was decided, newest first."),
    "explain": ("driftd.cli.explain:explain", "Why: any alarm, build, refusal or swap."),
    "versions": ("driftd.cli.status:versions", "The versions of a model and where they come from."),
    "retrain": ("driftd.cli.operate:retrain", "Ask for a build."),
    "approve": ("driftd.cli.operate:approve", "Let the waiting challenger serve."),
    "reject": ("driftd.cli.operate:reject", "Turn the waiting challenger down."),
    "rollback": ("driftd.cli.operate:rollback", "Go back to an earlier version."),
    "doctor": ("driftd.cli.doctor:doctor", "Look over a whole installation, and say what to do."),
    "backup": ("driftd.cli.backup:backup", "Make a backup now."),
    "restore": ("driftd.cli.backup:restore", "Put a backup in a broken database's place."),
    "backtest": ("driftd.cli.backtest:backtest", "The alarms that a config would have raised."),
    "reproduce": ("driftd.cli.reproduce:reproduce", "Build a version again and compare."),
    "notify-test": ("driftd.cli.doctor:notify_test", "Send every receiver a test."),
}
STAYING = ("run", "serve")  # until they are told to end, which SIGHUP does not tell them
EXIT_CODES = {
    0: "done",
    1: "failed: the message says why (doctor: something fails)",
    2: "the command line or the config is wrong",
    3: "asked, but no daemon has answered yet",
    4: "there is no such thing (no state, model, version, alarm)",
    5: "the daemon refused: the message says why",
    6: "a database is damaged and must be restored first: systemd does not start driftd again by itself",
    7: "compared, and not the same",
}
# Errors that are a sentence for people, by module and class: nothing is imported to know them.
_EXITS = {
    "driftd.config.load.ConfigError": 2,
    "driftd.web.security.TokenFileError": 2,
    "driftd.web.server.TlsError": 2,
    "driftd.store.state.reader.StateAbsentError": 4,
    "driftd.registry.manifest.ManifestError": 4,
    "driftd.registry.versions.RegistryError": 1,
    "driftd.registry.artefact.ArtefactError": 1,
    "driftd.store.schema_versions.DatabaseError": 1,
    "driftd.store.integrity.DamagedError": 6,
    "driftd.store.ownership.StateInUseError": 1,
    "driftd.store.backups.BackupError": 1,
    "driftd.store.subprocesses.ChildError": 1,
    "driftd.store.ownership.ForeignStateError": 1,
    "driftd.training.bootstrap.FirstVersionError": 1,
    "driftd.training.snapshots.SnapshotError": 1,
    "driftd.demonstration.run.NotOursError": 1,
}
_EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code}  {meaning}" for code, meaning in EXIT_CODES.items())


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
    from driftd.store.ownership import closed_to_others  # noqa: PLC0415 - `driftd --help` loads click alone

    context.with_resource(closed_to_others())


def main() -> None:
    """Run the command line; a user's mistake is one clear sentence and an exit code, never a traceback."""
    try:
        cli(prog_name="driftd")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `driftd history | head` is no failure
        sys.exit(0)
    except Exception as error:
        told = _told(error)
        if told is None:
            raise  # a fault of driftd's own: its traceback is what a bug report needs
        sentence, code = told
        click.echo(sentence, err=True)
        sys.exit(code)


def _told(error: Exception) -> tuple[str, int] | None:
    """What a person is told of an error, and the exit code; None for a fault of the program."""
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    if kind == "driftd.config.load.ConfigError":
        return str(error), _EXITS[kind]  # the report names the file and the lines itself
    if kind in _EXITS:
        return f"driftd: {error}", _EXITS[kind]
    if kind == "sqlite3.DatabaseError":
        return f"driftd: the state database is damaged ({error}): `driftd doctor` says how to restore it", 1
    if kind == "sqlite3.OperationalError":
        return f"driftd: the state database cannot be used ({error}); is state_dir right, and may you write there?", 1
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"driftd: {where}{error.strerror or error}{_advice(error)}", 1
    return None


def _advice(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return ": another program listens there (another driftd?); change `listen` in the config or stop the other"
    if error.errno in {errno.EACCES, errno.EPERM} and error.filename:
        return ": `driftd doctor` says what is not as it should be, and for whom"
    if error.errno == errno.EROFS:
        return ": mount it for writing, or name another place (state_dir in the config)"
    return ""


if __name__ == "__main__":
    main()
