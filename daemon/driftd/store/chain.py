"""The chain over what lineage consists of: decisions and versions, each entry bound to all before it by a hash."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

EntryKind = Literal["decision", "version"]
BEGIN = "0" * 64  # what the first entry is bound to
_FIELDS = ("id", "at", "model", "event", "phase_from", "phase_to", "reason", "figures", "actor", "config_hash")


@dataclass(frozen=True, slots=True)
class ChainEntry:
    """One entry: `subject` is a decision's id or a version's number, `content` the SHA-256 of what it says."""

    id: int
    at: float
    kind: EntryKind
    model: str
    subject: int
    content: str
    hash: str

    def is_bound_to(self, before: str) -> bool:
        """Whether it follows the entry with that hash, unchanged."""
        return self.hash == link(before, self.kind, self.model, self.subject, self.content)


def content_of_decision(row: Mapping[str, object]) -> str:
    """The SHA-256 of a row of `transitions`, as it is stored."""
    return _sha256([row[name] for name in _FIELDS])


def link(before: str, kind: str, model: str, subject: int, content: str) -> str:
    """The hash of an entry after the one with the hash `before`."""
    return _sha256([before, kind, model, subject, content])


def _sha256(fields: list[object]) -> str:
    return hashlib.sha256(json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def append_entry(
    connection: sqlite3.Connection, kind: EntryKind, model: str, subject: int, content: str, at: float
) -> str:
    """Add an entry, and return its hash: the head of the chain. Call it inside a transaction."""
    last = connection.execute("select hash from chain order by id desc limit 1").fetchone()
    before = BEGIN if last is None else str(last[0])
    made = link(before, kind, model, subject, content)
    connection.execute(
        "insert into chain(at, kind, model, subject, content, hash) values (?, ?, ?, ?, ?, ?)",
        (at, kind, model, subject, content, made),
    )
    return made


def append_decisions(connection: sqlite3.Connection) -> None:
    """Add the decisions that were made before there was a chain, in their order."""
    listed = ", ".join(_FIELDS)
    rows = connection.execute(f"select {listed} from transitions order by id").fetchall()  # noqa: S608 - our own names
    for row in rows:
        decision = dict(zip(_FIELDS, tuple(row), strict=True))
        append_entry(
            connection, "decision", decision["model"], decision["id"], content_of_decision(decision), decision["at"]
        )


def entries(connection: sqlite3.Connection) -> Iterator[ChainEntry]:
    """The chain from its beginning."""
    for row in connection.execute("select id, at, kind, model, subject, content, hash from chain order by id"):
        yield ChainEntry(*row)


def broken_entries(connection: sqlite3.Connection) -> Iterator[str]:
    """What does not fit, in a sentence each: entries that were changed, taken out or added, and decisions likewise."""
    before, expected, known = BEGIN, 1, set()
    for entry in entries(connection):
        if entry.id != expected:
            yield f"chain: the entries {expected} to {entry.id - 1} are gone"
        if not entry.is_bound_to(before):
            about = f"{entry.kind} {entry.subject} of {entry.model}"
            yield f"chain: entry {entry.id} ({about}) does not follow the one before it"
        before, expected = entry.hash, entry.id + 1
        if entry.kind == "decision":
            known.add(entry.subject)
            yield from _decision_fault(connection, entry)
    for (line,) in connection.execute("select id from transitions order by id"):
        if line not in known:
            yield f"decision {line} stands in the history, but the chain has no entry of it"
    yield from _cut_off(connection)


def _cut_off(connection: sqlite3.Connection) -> Iterator[str]:
    """What other tables know of decisions at the end of the history that are gone with their entries of the chain."""
    last = int(connection.execute("select coalesce(max(id), 0) from transitions").fetchone()[0])
    followed = connection.execute("select max(transition_id) from actions").fetchone()[0]
    if followed is not None and followed > last:
        yield f"the history ends with decision {last}, but an action follows from decision {followed}"
    for receiver, until in connection.execute("select receiver, told_until from receivers order by receiver"):
        if until > last:
            yield f"the history ends with decision {last}, but the receiver {receiver} was told of decision {until}"


def _decision_fault(connection: sqlite3.Connection, entry: ChainEntry) -> Iterator[str]:
    listed = ", ".join(_FIELDS)
    found = connection.execute(
        f"select {listed} from transitions where id = ?",  # noqa: S608 - our own names
        (entry.subject,),
    ).fetchone()
    if found is None:
        yield f"decision {entry.subject} of {entry.model} is gone from the history"
    elif content_of_decision(dict(zip(_FIELDS, tuple(found), strict=True))) != entry.content:
        yield f"decision {entry.subject} of {entry.model} was changed after it was made"


def newest_content(connection: sqlite3.Connection, model: str, version: int) -> str | None:
    """What the newest entry of a version says that its lineage is; None where there is none."""
    row = connection.execute(
        "select content from chain where kind = 'version' and model = ? and subject = ? order by id desc limit 1",
        (model, version),
    ).fetchone()
    return None if row is None else str(row[0])


def all_chained_versions(connection: sqlite3.Connection, model: str) -> list[tuple[int, str]]:
    """Each version of a model that has an entry, with what its newest one says."""
    versions = sorted(chained_versions(connection, model))
    return [(version, newest_content(connection, model, version) or "") for version in versions]


def chained_versions(connection: sqlite3.Connection, model: str) -> frozenset[int]:
    """The versions of a model that have an entry."""
    rows = connection.execute("select distinct subject from chain where kind = 'version' and model = ?", (model,))
    return frozenset(int(subject) for (subject,) in rows)


def head(connection: sqlite3.Connection) -> str:
    """The hash of the newest entry: written down elsewhere, it holds all before it."""
    row = connection.execute("select hash from chain order by id desc limit 1").fetchone()
    return BEGIN if row is None else str(row[0])


def has_entry(connection: sqlite3.Connection, wanted: str) -> bool:
    """Whether some entry has this hash."""
    return connection.execute("select 1 from chain where hash = ?", (wanted,)).fetchone() is not None
