"""One form of a record of policy, and the sentences that it becomes. Pure."""

from __future__ import annotations

from typing import NamedTuple

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"
GATE = r"gain \S+ \(bounds \S+ to \S+\) on (?P<rows>\d+) later rows in .*"
BETTER = rf"(?P<detail>the challenger is better: {GATE})"
TOLERATED = rf"(?P<detail>the challenger is not worse by more than the tolerated \S+: {GATE})"
WORSE = rf"(?P<detail>the challenger is worse: {GATE})"
SURE_ROWS = "Sure: on {rows} labelled rows later than its training, chance does not explain the difference."
TOLERANCE = "Sure enough: on {rows} labelled rows later than its training, it is not worse by more than is tolerated."


class Wording(NamedTuple):
    """The sentences that one form of a record becomes. Groups of `pattern` may stand in them; `detail` is figures.

    `why`, what a person gave as the reason, stands in `what` as a sentence of its own, or not at all.
    """

    pattern: str
    what: str
    next: str = ""  # where the event's own (`driftd.sentences.decisions.NEXT`) is not true of it
    sure: str = ""
