"""The command `completion`: the script by which a shell completes commands, options, models and files of driftd."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import click
from click.shell_completion import ShellComplete, get_completion_class

from driftd.cli.terminal import echo
from driftd.errors import ExitCode

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_DRIFTD_COMPLETE"  # by which the script asks driftd
BEGIN, END = "# >>> driftd completion >>>", "# <<< driftd completion <<<"
ZSH_LINES = """\
{begin}
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit }}
source {script}
{end}
"""


@dataclass(frozen=True, slots=True)
class Installation:
    """Where the script of a shell goes, and the file of the user that has to name it, if any."""

    script: Path
    startup: Path | None
    remark: str


@click.command()
@click.argument("shell", required=False, type=click.Choice(SHELLS))
@click.option("--install", is_flag=True, help="Write the script to where the shell looks for it.")
def completion(shell: str | None, install: bool) -> None:
    """Print the script by which SHELL completes commands, options, models and files; by default for $SHELL.

    With --install it is written below your home; a second time changes nothing.

    \b
    Example:
      driftd completion --install
      driftd completion zsh > _driftd
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    name = shell or _own_shell()
    script = script_of(name)
    if not install:
        click.echo(script, nl=False)
        return
    home = Path.home()
    places = installation_of(name, home, os.environ)
    changed = [path for path in (_write_script(places, script), _name_script(places)) if path is not None]
    for path in changed:
        echo(f"written: {path}")
    if not changed:
        echo(f"{places.script} is there already: nothing is changed")
    echo(places.remark)
    named = f", and the lines from `{BEGIN}` to `{END}` in {places.startup}" if places.startup else ""
    echo(f"to undo it, remove {places.script}{named}")


def _own_shell() -> str:
    name = Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        raise click.UsageError(f"which shell? $SHELL is {name or 'not set'}; name one of {', '.join(SHELLS)}")
    return name


def script_of(shell: str) -> str:
    """The script of a shell: click's own, for `driftd`."""
    from driftd.cli.main import cli  # noqa: PLC0415 - that module names this one

    kind = get_completion_class(shell)
    assert kind is not None
    script = ShellComplete.source(kind(cli, {}, "driftd", VARIABLE))  # bash's own would start bash for its version
    return script.rstrip("\n") + "\n"


def installation_of(shell: str, home: Path, environment: os._Environ[str] | dict[str, str]) -> Installation:
    """Where the script of a shell belongs for one user."""
    data = Path(environment.get("XDG_DATA_HOME") or home / ".local" / "share")
    settings = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    if shell == "fish":
        return Installation(
            (settings / "fish" / "completions" / "driftd").with_suffix(".fish"), None, "fish takes it up at once"
        )
    if shell == "zsh":
        startup = Path(environment.get("ZDOTDIR") or home) / ".zshrc"
        return Installation(data / "driftd" / "completion.zsh", startup, "the next zsh takes it up")
    own = environment.get("BASH_COMPLETION_USER_DIR")
    script = (Path(own) if own else data / "bash-completion") / "completions" / "driftd"
    without = f"without the package bash-completion, put `source {script}` into ~/.bashrc"
    return Installation(script, None, f"the next bash (4.4 or newer) takes it up; {without}")


def _write_script(places: Installation, script: str) -> Path | None:
    """Write the script; None where it is there as it should be."""
    if places.script.exists() and places.script.read_text("utf-8") == script:
        return None
    places.script.parent.mkdir(parents=True, exist_ok=True)
    places.script.write_text(script, "utf-8")
    return places.script


def _name_script(places: Installation) -> Path | None:
    """Have the user's file name the script; None where it does, or where no file has to."""
    if places.startup is None:
        return None
    text = places.startup.read_text("utf-8") if places.startup.exists() else ""
    lines = ZSH_LINES.format(begin=BEGIN, script=places.script, end=END)
    if lines in text:
        return None
    if BEGIN in text:  # of another place: whoever moved it may have changed the lines
        echo(f"{places.startup} has other lines for driftd: remove them, and call this again", err=True)
        raise SystemExit(ExitCode.FAILED)
    places.startup.write_text(text + ("" if text.endswith("\n") or not text else "\n") + lines, "utf-8")
    return places.startup
