"""What is said of a stream that moved: how far, in the units of its component, and how often rows show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from driftd_detectors.assessment import format_windows, number
from driftd_detectors.columns import Numbers
from driftd_detectors.evidence.change_sentences import format_day
from driftd_detectors.evidence.evidence import Evidence
from driftd_detectors.profile.layout import Layout
from driftd_detectors.scores.comparison import odd_bins
from driftd_detectors.scores.components import share_of
from driftd_detectors.scores.scoring import SHARES, Stream

_SHARE_SAID = {"missing": "is missing", "outside": "has values that the reference never held"}


@dataclass(frozen=True, slots=True)
class StreamSentences:
    """What the sentences on the streams of one kind are made of besides the evidence."""

    streams: tuple[Stream, ...]
    seconds: Mapping[str, str]  # of columns with two labels: the one whose share is followed
    usual: Numbers  # per stream: the share of rows in the reference, for components that are shares; else NaN
    rows: int  # of the reference

    @classmethod
    def of(cls, streams: tuple[Stream, ...], layout: Layout) -> Self:
        """For some streams of a layout."""
        usual: dict[tuple[str, str], float] = {}
        for column, outside in zip(layout.columns, odd_bins(layout).usual, strict=True):
            usual[column.name, "missing"] = column.counts[-1] / max(1, layout.rows)
            usual[column.name, "outside"] = float(outside)
        shares = np.array([usual.get((stream.subject, stream.component), np.nan) for stream in streams])
        seconds = {column.name: column.labels[1] for column in layout.columns if len(column.labels) == 2}  # noqa: PLR2004
        return cls(streams, seconds, shares, layout.rows)

    def move(self, at: int, evidence: Evidence, windows: int) -> str:
        """How the stream at a place moved in the last windows."""
        stream, amount = self.streams[at], evidence.recent_mean(at, windows)
        if stream.component in SHARES:
            level = evidence.recent_mean(at, windows, absolute=True)
            share, before = (self.share(at, level - moved, evidence) for moved in (0.0, amount))
            return f"{stream.subject} {_SHARE_SAID[stream.component]} in {share:.1%} of rows, was {before:.1%}"
        return _describe_move(stream, amount, self.seconds.get(stream.subject, "its second value"))

    def offset(self, at: int, amount: float, evidence: Evidence) -> str:
        """How far the level of the stream at a place still lies off the reference."""
        stream = self.streams[at]
        if stream.component in SHARES:
            share = self.share(at, amount, evidence)
            return f"{stream.subject} still {_SHARE_SAID[stream.component]} in {share:.1%} of rows"
        return f"{stream.subject} still {abs(amount):.2f} sd off the reference"

    def share(self, at: int, change: float, evidence: Evidence) -> float:
        """The share of rows that a change of a share's stream stands for, at the rows of the newest window with it."""
        sds = evidence.history.sampling_sd[:, at]
        known = sds[np.isfinite(sds)]
        variance = float(known[-1]) ** 2 - 1 / max(1, self.rows) if len(known) else 0.0
        rows = np.array([1 / variance if variance > 0 else float(self.rows)])
        return float(share_of(np.array([change]), rows, self.usual[[at]])[0])


def describe_stream(stream: Stream) -> str:
    """What moved, where no Profile says by how much in the reader's units; one sentence."""
    said = {
        "global": "All features together differ from the reference.",
        "largest": "Two features no longer depend on each other as they did.",
        "together": "Features no longer depend on each other as they did.",
        "missing": f"{stream.subject}: the share of missing values changed.",
        "outside": f"{stream.subject}: values that the reference never held.",
    }
    return said.get(stream.component, f"{stream.subject}: other values than in the reference.")


def describe_evidence(moved: str, others: Sequence[str], evidence: Evidence, windows: int) -> str:
    """A stream's move with the names of the others, the evidence and its threshold, over so many windows."""
    more = f" (and {', '.join(others[:2])}{' and others' if len(others) > 2 else ''})" if others else ""  # noqa: PLR2004
    return (
        f"{moved}{more}: evidence {number(evidence.value)} against a threshold of {number(evidence.threshold)}, over "
        f"{format_windows(windows)}"
    )


def describe_earlier(change_at: float | None) -> str:
    """That the alarm on an earlier change stands; empty where none does."""
    return "" if change_at is None else f"The alarm on the change of {format_day(change_at)} stands beside it."


def _describe_move(stream: Stream, amount: float, second: str) -> str:
    up = amount > 0
    said = {
        "location": f"{stream.subject} moved {'up' if up else 'down'} by {abs(amount):.2f} sd",
        "proportion": f"{stream.subject} is {second} {'more' if up else 'less'} often (by {abs(amount):.2f} sd)",
        "spread": f"{stream.subject} spreads {'wider' if up else 'less wide'} (by {abs(amount):.2f} sd)",
        "rest": f"{stream.subject} changed its shape ({amount:.1f} sds beyond chance)",
        "chi_square": f"{stream.subject} has other shares of its values ({amount:.1f} sds beyond chance)",
        "global": f"all features together moved ({amount:.1f} sds beyond chance)",
        "largest": f"the correlation of a pair of features changed ({amount:.1f} sds beyond chance)",
        "together": f"the correlations of features changed ({amount:.1f} sds beyond chance)",
    }
    return said[stream.component]
