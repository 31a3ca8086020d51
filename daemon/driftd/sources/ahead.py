"""Reading one step ahead in a thread: Arrow decodes without the interpreter's lock while NumPy counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
_END = object()


def read_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items; the next one is made while the caller works on this one. At most two exist at once."""
    source = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as thread:
        waiting = thread.submit(next, source, _END)
        while (item := waiting.result()) is not _END:
            waiting = thread.submit(next, source, _END)
            yield item  # type: ignore[misc]  # everything but _END is an Item
