"""Keeps responses until the state changes: many open pages cost the daemon no more than one."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from driftd.store.state.chart_queries import SeriesReader
from driftd.store.state.reader import StateAbsentError

MOST_KEPT = 64  # answers


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """A JSON body and the tag by which a browser says that it has it already. `body` is empty for "there is none"."""

    tag: str
    body: bytes


NOTHING = CachedResponse("", b"")


@dataclass(slots=True)
class ResponseCache:
    """Reads the state database by a connection of its own, one question at a time, and never writes."""

    path: Path
    beside: Callable[[], object] = lambda: None  # what answers depend on besides the database
    _reader: SeriesReader | None = None
    _file: tuple[int, int] = (0, 0)
    _kept: OrderedDict[str, tuple[object, CachedResponse]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, question: str, ask: Callable[[SeriesReader], msgspec.Struct | None]) -> CachedResponse:
        """What `ask` finds, from the shelf while nothing changed. Raises StateAbsentError, StateUnreadableError."""
        with self._lock, self._open().at_one_moment() as commit:
            mark = (commit, self.beside())
            kept = self._kept.get(question)
            if kept is not None and kept[0] == mark:
                self._kept.move_to_end(question)
                return kept[1]
            found = ask(self._open())
            answer = NOTHING if found is None else _answer(found)
            self._kept[question] = (mark, answer)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            return answer

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._forget()

    def _open(self) -> SeriesReader:
        """The connection; a new one when another file stands in the place of the old (a backup was restored)."""
        try:
            stat = os.stat(self.path)  # noqa: PTH116 - one call gives both
        except FileNotFoundError:
            self._forget()
            raise StateAbsentError(f"no state database at {self.path}: the daemon makes it when it starts") from None
        if self._reader is None or self._file != (stat.st_dev, stat.st_ino):
            self._forget()
            self._reader = SeriesReader.read_only(self.path)
            self._file = (stat.st_dev, stat.st_ino)
        return self._reader

    def _forget(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = None
        self._kept.clear()


def _answer(found: msgspec.Struct) -> CachedResponse:
    body = msgspec.json.encode(found)  # NaN and the infinities as null
    return CachedResponse(f'"{hashlib.sha256(body).hexdigest()[:24]}"', body)
