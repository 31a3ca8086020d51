"""What all our SQL keeps to, wherever it stands."""

from __future__ import annotations

import re
import tokenize
from pathlib import Path

DAEMON = Path(__file__).resolve().parents[2] / "daemon" / "driftd"
NUMBERED = re.compile(r"\?\d")


def _is_part_of_f_string(token: tokenize.TokenInfo) -> bool:
    return tokenize.tok_name[token.type] == "FSTRING_MIDDLE"  # from Python 3.12 on


def test_no_placeholder_is_numbered() -> None:
    """Placeholders are `?` or `:name`: from Python 3.14 on, sqlite3 refuses values in a sequence for `?1`."""
    found = []
    for path in DAEMON.rglob("*.py"):
        with tokenize.open(path) as source:
            tokens = tokenize.generate_tokens(source.readline)
            strings = [token for token in tokens if token.type == tokenize.STRING or _is_part_of_f_string(token)]
        found += [f"{path.name}:{item.start[0]}" for item in strings if NUMBERED.search(item.string)]
    assert NUMBERED.search("where id = ?1")
    assert found == []
