"""The `await` task: waits for a build outside, for hours where need be, in a process that holds nothing else.

A task that was killed runs again, and waits on: the build is not started a second time.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec

from driftd.outside.exchange import Exchange
from driftd.outside.poll import BuildPoll
from driftd.outside.start import OutsideError, Way


class Arguments(msgspec.Struct, frozen=True, kw_only=True):
    """The folder of the exchange, and how the builder is asked."""

    folder: str
    way: Way
    poll: float


def run(arguments: Arguments) -> dict[str, object]:
    """Wait. Raises OutsideError where nothing came back that can be judged."""
    say = partial(print, flush=True)
    outcome = BuildPoll(Exchange(Path(arguments.folder)), arguments.way, arguments.poll, say).wait()
    if outcome.state != "received":
        raise OutsideError(outcome.sentence)
    return {"sentence": outcome.sentence}
