"""What only the daemon itself knows, read from its metrics: its feeds, its disk, what it waits for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from driftd.config.schema import Http
from driftd.observe.metric_family import Family
from driftd.web.local_client import NoAnswerError, ask, can_be_asked

ANSWER_SECONDS = 2.0
_LINE = re.compile(r"^(driftd_\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_LONG = ("driftd_score", "driftd_quality_fault_ratio")  # a line for every feature, and nobody here asks for them


@dataclass(frozen=True, slots=True)
class Scrape:
    """The values of a daemon's metrics, as one scrape gave them."""

    values: Mapping[tuple[str, ...], float]  # by the name and the values of its labels in their order

    @classmethod
    def of(cls, text: str) -> Scrape:
        """Read a scrape."""
        return cls(
            {
                (name, *(label for _, label in _LABEL.findall(labels or ""))): float(value)
                for name, labels, value in _LINE.findall(text)
                if not name.startswith(_LONG)
            }
        )

    def value(self, family: Family, *labels: str) -> float | None:
        """The value of one series; None where there is none."""
        return self.values.get((family.name, *labels))

    def owners(self, family: Family) -> tuple[str, ...]:
        """The models or receivers that have series of a family."""
        return tuple(dict.fromkeys(key[1] for key in self.values if key[0] == family.name and len(key) > 1))


def read_scrape(http: Http) -> Scrape | None:
    """What the daemon of this config shows; None where none answers."""
    if not can_be_asked(http):
        return None
    try:
        _, text = ask(http, "/metrics", ANSWER_SECONDS)
    except NoAnswerError:
        return None
    return Scrape.of(text)
