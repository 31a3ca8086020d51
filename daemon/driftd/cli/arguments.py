"""The types of arguments: names of models and files, which the shell completes, and moments."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])  # without a zone: UTC


class ModelName(click.ParamType[str]):
    """The name of a model; the shell completes those of the config."""

    name = "model"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The models of the config that the command line so far names, that begin like this."""
        del param
        names = model_names(ctx.params.get("config_path"))
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class FileName(click.ParamType[str]):
    """A file, a folder, a pattern or an address; the shell completes files."""

    name = "text"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """What the shell knows of files."""
        del ctx, param
        return [CompletionItem(incomplete, type="file")]


MODEL = ModelName()
FILE = FileName()


def model_names(config_path: Path | None) -> list[str]:
    """The models of a config, read without being checked; none where it cannot be read."""
    from driftd.cli.terminal import default_config  # noqa: PLC0415 - that module has options of this one's types
    from driftd.config.included import Included, included_files, join_models  # noqa: PLC0415 - only for completion
    from driftd.config.yaml_reader import read  # noqa: PLC0415 - see above

    path = config_path or default_config()
    try:
        content = path.read_bytes()
        included = tuple(Included(file, file.read_bytes()) for file in included_files(path, content))
        models = (join_models(read(content), str(path), included).document.data or {}).get("models")
    except (OSError, ValueError):  # the shell has no place for a complaint; the command will have it
        return []
    return [str(name) for name in models] if isinstance(models, dict) else []
