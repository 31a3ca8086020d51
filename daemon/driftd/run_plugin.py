"""Calls a receiver or a deployer in a process of its own, or only imports a plug-in.

`python -m driftd.run_plugin KIND NAME` reads JSON from standard input, `{"message": {...}, "options": {...}}`, and
prints the clause that comes back; a failure is the last line on standard error, and exit code 1. With `--import` it is
imported and no more.
"""

from __future__ import annotations

import json
import os
import sys
import traceback

from driftd.entry_points import PluginError, blame, find_plugin, load_plugin


def main(arguments: list[str]) -> int:
    """Call it; 0 where it took what it was given."""
    *flags, kind, name = arguments
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the plug-in prints is no answer
    try:
        plugin, function = find_plugin(kind, name), load_plugin(kind, name)
        if "--import" in flags:
            return 0
        given = json.load(sys.stdin)
        with blame(plugin):
            said = function(given["message"], given["options"])
    except PluginError as error:
        traceback.print_exception(error.__cause__) if error.__cause__ is not None else None
        print(error, file=sys.stderr, flush=True)  # noqa: T201 - the last line is what is told
        return 1
    if isinstance(said, str):
        print(" ".join(said.split()), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
