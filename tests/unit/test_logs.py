"""What a log line looks like on a pipe and in the journal, from real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from driftd.observe.logs import is_journal

SAYS = """\
import logging, os, sys, warnings
stream = os.fstat(2)
if sys.argv[1] == "journal":
    os.environ["JOURNAL_STREAM"] = f"{stream.st_dev}:{stream.st_ino}"
from driftd.observe.logs import configure_logs
configure_logs()
import structlog
structlog.get_logger().info("check", model="demand")
structlog.get_logger().error("two_lines", reason="one\\ntwo")
logging.getLogger("library").warning("said %s", "so")
logging.getLogger("library").info("not said")
warnings.warn("deprecated", stacklevel=1)
"""


def lines(kind: str) -> list[str]:
    """What a process writes to standard error."""
    roots = os.pathsep.join(item for item in sys.path if item)
    environment = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    done = subprocess.run(
        [sys.executable, "-c", SAYS, kind],
        env={**environment, "PYTHONPATH": roots},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr.splitlines()


def test_every_line_on_a_pipe_is_json() -> None:
    """Our events, what libraries log and what Python warns of are one JSON object a line, with level and time."""
    said = [json.loads(line) for line in lines("pipe")]
    assert [item["level"] for item in said] == ["info", "error", "warning", "warning"]
    assert [item["event"] for item in said[:3]] == ["check", "two_lines", "said so"]
    assert said[1]["reason"] == "one\ntwo"
    assert said[2]["logger"] == "library"
    assert "deprecated" in said[3]["event"]
    assert all("timestamp" in item for item in said)


def test_a_line_in_the_journal_bears_its_priority() -> None:
    """Before each line stands the mark that journald takes off again and keeps as the priority."""
    said = lines("journal")
    assert [line[:3] for line in said] == ["<6>", "<3>", "<4>", "<4>"]
    assert all(json.loads(line[3:]) for line in said)


def test_only_the_stream_that_systemd_names_is_the_journal(tmp_path: Path) -> None:
    """A redirected standard error is no journal, though the variable is inherited."""
    with (tmp_path / "log").open("w") as file:
        found = os.fstat(file.fileno())
        assert is_journal(file.fileno(), {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        assert not is_journal(file.fileno(), {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"})
        assert not is_journal(file.fileno(), {})
    assert not is_journal(-1, {"JOURNAL_STREAM": "1:1"})


SHOWN = """\
from driftd.observe.logs import configure_logs
configure_logs(json_lines=False)
import structlog
evil = "\\x1b[2J\\r\\nFORGED \\x9b31m\\u202e"
structlog.get_logger().info("check", model=evil, models=[evil])
try:
    raise ValueError(evil)
except ValueError:
    structlog.get_logger().warning("failed", exc_info=True)
"""


def test_a_line_on_a_terminal_does_nothing_but_show() -> None:
    """Values, lists and tracebacks are spelled where they would act; the colours of the line itself stay."""
    roots = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-c", SHOWN]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": roots}, capture_output=True, check=True)
    text = done.stderr.decode()
    assert text.count("x1b[2J") == 3
    assert not any(sign in text for sign in ("\x1b[2J", "\r", "\x9b", "\u202e", "\nFORGED"))
