"""The picture of `driftd status --watch`: the fleet or one model, drawn for a terminal. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from rich.console import ConsoleDimensions, Group, RenderableType
from rich.table import Table
from rich.text import Text

from driftd.cli.terminal import VERDICT_STYLES, number
from driftd.formatting import format_duration
from driftd.sentences.alarms import kind_name
from driftd.store.state.records import StoredTransition
from driftd.views.config import format_override
from driftd.views.fleet import what_of
from driftd.views.status import FleetStatus, ServedStatus, format_condition, not_watched, sentences
from driftd_detectors.assessment import number as format_evidence

BAR, SPARK = 10, 12  # characters
WIDE = 100  # columns from which on the last check is shown for every model
ROOM_FOR_DECISIONS = 5  # lines, at least
NAMED = 5  # of the models that are overdue
_FULL, _REST, _LEVELS = "█", "░", "▁▂▃▄▅▆▇█"
_PLAIN_FULL, _PLAIN_REST, _PLAIN_LEVELS = "#", ".", "_.-=+*#@"
ATTENTION = "bold red"


class Unreadable(msgspec.Struct, frozen=True):
    """A first look that found nothing to show; `trouble` says why."""

    trouble: str


class WatchedStatus(ServedStatus, frozen=True, kw_only=True):
    """A model's status, with how it came there."""

    losses: list[float]  # of the last cohorts of labels, oldest first
    overdue: bool  # whether a window should have been checked and was not


class WatchedFleet(FleetStatus, frozen=True, kw_only=True):
    """What is shown at one moment."""

    models: Sequence[WatchedStatus]
    at: float  # epoch seconds
    trouble: str | None  # why this is not the newest
    daemon: bool | None  # whether one answers; None where that cannot be told
    decisions: list[StoredTransition]


def picture(
    found: WatchedFleet | Unreadable, model: str | None, size: ConsoleDimensions, *, ascii_only: bool = False
) -> RenderableType:
    """One screen: what is found (`watch.snapshot`), cut to the terminal's size."""
    lines: list[RenderableType] = [_head(found, size.width)]
    if found.trouble:
        lines.append(_line(found.trouble, ATTENTION))
    if isinstance(found, WatchedFleet):
        draw = _one if model is not None else _fleet
        lines += draw(found, size, Pen(ascii_only))
    lines.append(_line("Ctrl-C ends this", "dim"))
    return Group(*lines)


class Pen:
    """Bars and sparklines, in characters that the terminal has."""

    def __init__(self, ascii_only: bool) -> None:
        self._full, self._rest = (_PLAIN_FULL, _PLAIN_REST) if ascii_only else (_FULL, _REST)
        self._levels = _PLAIN_LEVELS if ascii_only else _LEVELS

    def bar(self, share: float, width: int = BAR) -> str:
        """A bar of a share in 0 .. 1."""
        full = min(width, max(0, round(share * width)))
        return self._full * full + self._rest * (width - full)

    def spark(self, values: Sequence[float], baseline: float | None, width: int = SPARK) -> str:
        """The last values as a line of blocks, scaled so that the baseline is always in sight."""
        drawn = [value for value in values if math.isfinite(value)][-width:]
        if not drawn:
            return ""
        scale = [*drawn, baseline] if baseline is not None and math.isfinite(baseline) else drawn
        low, high = min(scale), max(scale)
        step = (high - low) / (len(self._levels) - 1) or 1.0
        return "".join(self._levels[round((value - low) / step)] for value in drawn)


def _head(found: WatchedFleet | Unreadable, width: int) -> RenderableType:
    head = Table.grid(expand=True)
    head.add_column()
    head.add_column(justify="right")
    head.width = width
    if isinstance(found, Unreadable):
        head.add_row(Text("driftd", style="bold"), Text())
        return head
    at = datetime.fromtimestamp(found.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    daemon = {True: "a daemon answers", False: "NO DAEMON ANSWERS", None: ""}[found.daemon]
    watched, needing = len(found.models), sum(bool(status.needs) for status in found.models)
    counted = f"{watched} model{'' if watched == 1 else 's'}, "
    counted += f"{needing} need{'s' if needing == 1 else ''} a person  " if needing else "none needs a person  "
    style = ATTENTION if found.daemon is False else "green"
    head.add_row(Text.assemble(("driftd ", "bold"), counted, (daemon, style)), Text(at, style="dim"))
    return head


def _fleet(found: WatchedFleet, size: ConsoleDimensions, pen: Pen) -> list[RenderableType]:
    models = sorted(found.models, key=_attention)
    needs = [_short_line(f"! {status.model}: {status.needs}", ATTENTION) for status in models if status.needs]
    if len(needs) > (most := max(2, size.height // 4)):
        needs = [*needs[:most], _short_line(f"! and {len(needs) - most} more models need a person", ATTENTION)]
    notes = [*_unwatched_lines(found), *_notes(found)]
    room = max(3, size.height - 5 - len(needs) - len(notes) - ROOM_FOR_DECISIONS)
    lines: list[RenderableType] = [*needs, *notes, _table(models[:room], found, size.width, pen)]
    if len(models) > room:
        lines.append(_line(f"and {len(models) - room} more that need less attention (--model NAME shows one)", "dim"))
    left = size.height - len(lines) - min(len(models), room) - 3
    return [*lines, *_decisions(found.decisions, left, with_model=True)]


def _table(models: Sequence[WatchedStatus], found: WatchedFleet, width: int, pen: Pen) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0), width=width)
    table.add_column("model", no_wrap=True, overflow="ellipsis", ratio=1, min_width=8)
    table.add_column("phase", no_wrap=True)
    table.add_column("ver", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("evidence to its limit", no_wrap=True)
    table.add_column("loss / its baseline", no_wrap=True)
    if width >= WIDE:
        table.add_column("last check", no_wrap=True)
    for status in models:
        row = [
            Text(status.model, style="bold" if status.needs else ""),
            Text(status.phase.partition("_")[0]),
            Text(str(status.version or "-")),
            _verdict(status),
            _nearest(status, pen),
            _loss(status, pen),
        ]
        table.add_row(*(row if width < WIDE else [*row, _last_check(status, found.at)]))
    return table


def _one(found: WatchedFleet, size: ConsoleDimensions, pen: Pen) -> list[RenderableType]:
    lines: list[RenderableType] = [
        _line(f"! {absent.model}: {not_watched(absent)}", "yellow") for absent in found.not_watched
    ]
    for status in found.models:
        title = f"{status.model}  {status.phase.replace('_', ' ')}  version {status.version or '-'}  "
        lines.append(Text.assemble((title, "bold"), _verdict(status), "  ", _last_check(status, found.at)))
        if status.needs:
            lines.append(_line(f"! {status.needs}", ATTENTION))
        lines += [*_notes(found), Text(""), _evidence(status, size.width, pen), Text("")]
        lines += _performance(status, size.width, pen)
        lines += [_line(f"{sentence}") for sentence in sentences(status)]
    used = len(lines) + sum(len(status.evidence) for status in found.models) + 4
    return [*lines, Text(""), *_decisions(found.decisions, size.height - used, with_model=False)]


def _evidence(status: WatchedStatus, width: int, pen: Pen) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_header=False, width=width)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for kind, seen in status.evidence.items():
        style = VERDICT_STYLES.get(seen.verdict, "")
        figures = f"{format_evidence(seen.evidence)} of {format_evidence(seen.threshold)}"
        table.add_row(
            Text(kind_name(kind)), Text(pen.bar(seen.share, 20), style=style), Text(figures), Text(seen.sentence, "dim")
        )
    return table


def _performance(status: WatchedStatus, width: int, pen: Pen) -> list[RenderableType]:
    figures = status.label_figures
    if not status.losses:
        return [_line("no labels were evaluated yet", "dim"), Text("")]
    spark = pen.spark(status.losses, figures.baseline, width=max(SPARK, min(60, width - 20)))
    parts = [f"loss {number(status.losses[-1])}"]
    if figures.baseline is not None:
        parts.append(f"baseline {number(figures.baseline)}")
    if figures.tolerated is not None:
        parts.append(f"tolerated up to {number(figures.tolerated)}")
    if figures.coverage is not None:
        parts.append(f"labels of {figures.coverage:.0%} of the last window")
    return [Text.assemble("performance ", (spark, _loss_style(status))), _line(", ".join(parts), "dim"), Text("")]


def _notes(found: WatchedFleet) -> list[RenderableType]:
    notes: list[RenderableType] = []
    if found.override is not None:
        notes.append(_line(f"override in force: {format_override(found.override)}", "bold yellow"))
    notes += [_line(format_condition(condition), ATTENTION) for condition in found.host]
    if found.lapsed:
        notes.append(_line(found.lapsed, "yellow"))
    config = found.config
    if config is not None and config.refused:
        notes.append(_line(config.sentence, ATTENTION))
    elif config is not None and config.file != config.in_force:
        notes.append(_line(config.sentence, "yellow"))
    late = {status.model: status.last_check for status in found.models if status.overdue and status.last_check}
    if late:
        names = ", ".join([*late][:NAMED]) + (f" and {len(late) - NAMED} more" if len(late) > NAMED else "")
        since = format_duration(found.at - max(late.values()))
        notes.append(_line(f"no check of {names} for {since}: is the daemon running?", ATTENTION))
    return notes


def _unwatched_lines(found: WatchedFleet) -> list[RenderableType]:
    """One line for all models without a version, and for each version that no daemon has watched."""
    by_reason: dict[str, list[str]] = {}
    for absent in found.not_watched:
        by_reason.setdefault(not_watched(absent), []).append(absent.model)
    return [_short_line(f"{', '.join(names)}: {why}", "yellow") for why, names in by_reason.items()]


def _decisions(decisions: Sequence[StoredTransition], room: int, *, with_model: bool) -> list[RenderableType]:
    if room < 2 or not decisions:  # noqa: PLR2004 - a heading and one line
        return []
    lines = [_short_line("last decisions", "bold")]
    for decision in decisions[: room - 1]:
        at = datetime.fromtimestamp(decision.at, UTC).strftime("%m-%d %H:%M")
        model = f" {decision.model}" if with_model else ""
        event = (decision.event.replace("_", " "), "bold")
        lines.append(
            Text.assemble((at, "dim"), f"{model} ", event, f" {what_of(decision)}", no_wrap=True, overflow="ellipsis")
        )
    return [*lines]


def _attention(status: WatchedStatus) -> tuple[int, int, float, str]:
    """What needs a person first, then by the verdict, then by how near an alarm is."""
    nearest = status.evidence[status.nearest].share if status.nearest is not None else 0.0
    return (0 if status.needs else 1, -status.loudness, -nearest, status.model)


def _nearest(status: WatchedStatus, pen: Pen) -> Text:
    kind = status.nearest
    if kind is None:
        return Text("-", style="dim")
    found = status.evidence[kind]
    bar = (pen.bar(found.share), VERDICT_STYLES.get(found.verdict, ""))
    return Text.assemble(bar, f" {kind if found.share else ''}")


def _loss(status: WatchedStatus, pen: Pen) -> Text:
    if not status.losses:
        return Text("no labels yet", style="dim")
    baseline = status.label_figures.baseline
    spark = pen.spark(status.losses, baseline)
    beside = f"/{baseline:.3g}" if baseline is not None else ""
    return Text.assemble((spark, _loss_style(status)), f" {status.losses[-1]:.3g}{beside}")


def _loss_style(status: WatchedStatus) -> str:
    """Red beyond what is tolerated, yellow beyond the baseline's upper half of the way there."""
    last, tolerated, baseline = status.losses[-1], status.label_figures.tolerated, status.label_figures.baseline
    if tolerated is not None and last > tolerated:
        return "red"
    if tolerated is not None and baseline is not None and last > (baseline + tolerated) / 2:
        return "yellow"
    return "green"


def _verdict(status: WatchedStatus) -> Text:
    return Text(status.worst, style=VERDICT_STYLES.get(status.worst, ""))


def _last_check(status: WatchedStatus, now: float) -> Text:
    if status.last_check is None:
        return Text("never checked", style="dim")
    return Text(
        f"checked {format_duration(max(0.0, now - status.last_check))} ago",
        style=ATTENTION if status.overdue else "dim",
    )


def _short_line(text: str, style: str = "") -> Text:
    """A line that is cut rather than folded."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style)
