"""The options that say how the rows of a user's files are written: of every command that is given files."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, get_args

import click

from driftd.config.types import text_encoding
from driftd.sources.dialects import Dialect
from driftd.sources.formats import FileFormat


def file_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--format`, and those that are given to the command as one `dialect`."""

    @functools.wraps(command)
    def with_dialect(
        *arguments: Any, separator: str | None, decimal: str, encoding: str, day_first: bool | None, **others: Any
    ) -> Any:
        return command(*arguments, dialect=Dialect(separator, decimal, encoding, day_first=day_first), **others)

    for option in reversed(_OPTIONS):
        with_dialect = option(with_dialect)
    return with_dialect


def _encoding_of(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    try:
        return text_encoding(name)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


_OPTIONS: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    click.option(
        "--format",
        "file_format",
        type=click.Choice(get_args(FileFormat)),
        default="auto",
        show_default=True,
        help="How the rows are written; by the suffix of the file by default.",
    ),
    click.option("--separator", help="Between the fields of CSV; a tab in .tsv, else a comma by default."),
    click.option("--decimal", default=".", show_default=True, help="The decimal sign of CSV."),
    click.option(
        "--encoding", default="utf-8", show_default=True, callback=_encoding_of, help="Of CSV and JSON lines."
    ),
    click.option(
        "--day-first/--month-first",
        default=None,
        help="How dates such as 03/04/2026 begin; read off the dates by default.",
    ),
)
