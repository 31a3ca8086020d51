"""Imports a trainer in its own process: `python -m driftd.doctor.import_trainer package.module:function`."""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    """Raises what the import raises, which is the last line that the parent reads."""
    module, _, function = sys.argv[1].partition(":")
    if not callable(getattr(importlib.import_module(module), function)):
        raise TypeError(f"{function} in {module} is no function")


if __name__ == "__main__":
    main()
