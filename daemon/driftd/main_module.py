"""A name for the program that runs, where it has none: some libraries take such a program for their own tests."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def main_with_file() -> Iterator[None]:
    """Let `__main__` have a file while a library is imported that pulls Spark in.

    Spark's client takes a program without a file, as of `python -c` or of a fork server, for its own documentation
    tests, and ends the process where no Spark is installed. MLflow imports it where it is there.
    """
    main = sys.modules["__main__"]
    if hasattr(main, "__file__") or main.__spec__ is not None:
        yield
        return
    main.__file__ = __file__
    try:
        yield
    finally:
        del main.__file__
