"""The year of the demonstration in plain sentences, with where driftd was wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from driftd.demonstration.report import Keeper
from driftd.events import Event
from driftd.rehearsal.curves import Curve, monthly_means
from driftd.store.state.records import StoredTransition
from driftd.views.fleet import what_of

MISTAKES_TOLD = 4
REFUSED = (Event.CHALLENGER_REJECTED, Event.CHALLENGER_INCONCLUSIVE, Event.CHAMPION_KEPT, Event.REFIT_REFUSED)


def tell_year(
    curves: Sequence[Curve], history: Sequence[StoredTransition], mistakes: Sequence[str]
) -> Iterator[tuple[str, list[str]]]:
    """Paragraphs, each with the lines of a list below it; `history` is oldest first, `mistakes` the costliest first."""
    by_name = {curve.name: curve for curve in curves}
    served, static = by_name[Keeper.DRIFTD], by_name[Keeper.STATIC]
    yield _outcome(served, static, [curve for curve in curves if curve not in (served, static)]), []
    yield (
        "What happened, month by month (minutes of error; in brackets those of the first model left alone):",
        [*_months(served, static, history)],
    )
    yield _tell_decisions(history), []
    if mistakes:
        wrong = "was wrong once" if len(mistakes) == 1 else f"was wrong {len(mistakes)} times"
        costliest = " The costliest:" if len(mistakes) > MISTAKES_TOLD else ""
        yield f"With what is known now, driftd {wrong}.{costliest}", list(mistakes[:MISTAKES_TOLD])
    else:
        yield "With what is known now, no decision and no month was wrong.", []


def _outcome(served: Curve, static: Curve, rivals: Sequence[Curve]) -> str:
    share = 1.0 - served.mean / static.mean
    less = f"{share:.0%} less" if share >= 0 else f"{-share:.0%} more"
    months = [month for month, _ in monthly_means(served)]
    beside = " ".join(f"{rival.name.capitalize()} it would have been {rival.mean:.2f}." for rival in rivals)
    return (
        f"From {_month(months[0])} to {_month(months[-1])} the model that driftd kept was off by "
        f"{served.mean:.2f} minutes a flight, {less} "
        f"than the {static.mean:.2f} of the first model left alone. {beside}"
    ).rstrip()


def _months(served: Curve, static: Curve, history: Sequence[StoredTransition]) -> Iterator[str]:
    left_alone = dict(monthly_means(static))
    for month, mean in monthly_means(served):
        inside = [line for line in history if f"{datetime.fromtimestamp(line.at, UTC):%Y-%m}" == month]
        said = _and([*_count_words(inside)]) or "nothing had to be done"
        worse = "; worse than left alone" if mean > left_alone[month] else ""
        yield f"{_month(month):<10} {mean:5.2f} ({left_alone[month]:.2f}): {said}{worse}"


def _month(month: str) -> str:
    """`2013-03` as `March`."""
    return f"{datetime.strptime(month, '%Y-%m').replace(tzinfo=UTC):%B}"


def _count_words(lines: Sequence[StoredTransition]) -> Iterator[str]:
    count = Counter(line.event for line in lines)
    if alarms := count[Event.ALARM]:
        yield _several(alarms, "alarm")
    if swaps := count[Event.PROMOTED]:
        yield f"{_several(swaps, 'new version')} put into service"
    if kept := sum(count[event] for event in REFUSED):
        yield f"{_several(kept, 'new version')} not taken"
    if back := count[Event.ROLLED_BACK]:
        yield f"{_several(back, 'version')} taken back"


def _tell_decisions(history: Sequence[StoredTransition]) -> str:
    builds = sum(line.event == Event.BUILD_STARTED for line in history)
    first = next((line for line in history if line.event == Event.ALARM), None)
    sentence = (
        f"In all, driftd built {_several(builds, 'version')}: {_and([*_count_words(history)]) or 'none was needed'}."
    )
    if first is None:
        return f"{sentence} It raised no alarm."
    day = f"{datetime.fromtimestamp(first.at, UTC):%-d %B}"
    return f"{sentence} The first alarm came on {day}: {what_of(first)}"


def _several(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _and(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
