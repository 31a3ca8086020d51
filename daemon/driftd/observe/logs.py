"""Log lines: readable on a terminal, one JSON object a line on a pipe, the same with its priority in the journal."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping

import structlog

from driftd.formatting import visible

# sd-daemon(3): journald takes the mark off and keeps the level, so that `journalctl -p warning` shows what matters.
PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "exception": 3, "critical": 2}


class _CurrentStderr:
    """Standard error as it is when a line is written: loggers are cached, and the stream may be replaced meanwhile."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure_logs(*, level: str = "info", json_lines: bool | None = None) -> None:
    """Set structlog up for this process; JSON unless standard error is a terminal.

    What libraries log by `logging` becomes lines of the same form, from warnings on.
    """
    as_json = not sys.stderr.isatty() if json_lines is None else json_lines
    before: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering: list[structlog.typing.Processor]
    if not as_json:
        plain = structlog.dev.plain_traceback  # as text, so that what it quotes can be made visible
        rendering = [
            structlog.processors.format_exc_info,
            _make_visible,
            structlog.dev.ConsoleRenderer(exception_formatter=plain),
        ]
    else:
        render = _mark_priority if is_journal(_number_of_stderr(), os.environ) else _plain
        rendering = [structlog.processors.format_exc_info, render]
    structlog.configure(
        processors=[*before, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(_CurrentStderr()),  # type: ignore[arg-type]  # it writes and flushes
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    removed = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    named = structlog.stdlib.add_logger_name
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=[*before, named], processors=[removed, *rendering])
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.captureWarnings(True)  # noqa: FBT003 - the one argument that it has


def _make_visible(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Let no value act on the terminal that shows the line; JSON, and Python of all but texts, spell by themselves."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = _indent(value) if key == "exception" else visible(value)
    return event


def _indent(traceback: str) -> str:
    """Its lines, none of which can be taken for a line of the log: what an exception quotes may have several."""
    return "\n".join(f"    {visible(line)}" for line in traceback.split("\n"))


def is_journal(descriptor: int, environment: Mapping[str, str]) -> bool:
    """Whether a file descriptor is the stream to the journal that systemd names in $JOURNAL_STREAM."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _number_of_stderr() -> int:
    """The descriptor of standard error; -1 where something else than a file was put in its place."""
    try:
        return sys.stderr.fileno()
    except (OSError, AttributeError, ValueError):
        return -1


_json = structlog.processors.JSONRenderer()


def _plain(logger: object, name: str, event: structlog.typing.EventDict) -> str:
    line = _json(logger, name, event)
    return line if isinstance(line, str) else line.decode()


def _mark_priority(logger: object, name: str, event: structlog.typing.EventDict) -> str:
    return f"<{PRIORITIES.get(str(event.get('level')), 6)}>{_plain(logger, name, event)}"
