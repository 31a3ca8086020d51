"""What only the daemon itself knows, heard from its metrics: how its sources are just now."""

from __future__ import annotations

import re

from driftd.config.host import Http
from driftd.web.asking import NoAnswerError, ask, can_be_asked

ANSWER_SECONDS = 2.0
_FAULTS = re.compile(r'^driftd_source_faults\{model="([^"]*)"\} (\S+)$', re.MULTILINE)


def source_faults(http: Http) -> dict[str, int]:
    """How many files or folders of each model's source cannot be read; empty where no daemon answers."""
    if not can_be_asked(http):
        return {}
    try:
        _, text = ask(http, "/metrics", ANSWER_SECONDS)
    except NoAnswerError:
        return {}
    return {model: int(float(count)) for model, count in _FAULTS.findall(text) if float(count)}
