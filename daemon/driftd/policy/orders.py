"""Orders of people that stand until a time, beside the config's override: pauses and silences of one model."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from driftd.formatting import format_time
from driftd.policy.inputs import THE_OVERRIDE, Facts, OperatorRequest, Override
from driftd.records import PAUSABLE, DecisionFigures, Event, ModelState, OpenAlarm, Order, OrderKind, Transition

MOST_ORDERS = 200  # of one model; more are a mistake of a program


def describe_order(order: Order) -> str:
    """What an order asks, in one clause: `checks paused until ...`, `price silent until ...`."""
    how = "paused" if order.kind is OrderKind.PAUSE else "silent"
    until = "" if order.until is None else f" until {format_time(order.until)}"
    return f"{order.subject} {how}{until}"


def describe_pause(order: Order) -> str:
    """Who pauses something, and why: as it stands in the sentences of what waits for it."""
    until = "" if order.until is None or order.who == THE_OVERRIDE else f" until {format_time(order.until)}"
    return f"{order.who}{until}: {order.reason}"


def give_orders(
    state: ModelState, finding: OperatorRequest, facts: Facts, override: Override, now: float
) -> Transition:
    """Pause a model, or silence one of its features, because a person says so; a later order replaces an earlier one.

    `override` is what the config asks for now: where it asks for the same, it counts, and the answer says so.
    """
    refusal = _refusal(state, finding, facts, now)
    if refusal is not None:
        return Transition(state, refusal, Event.REQUEST_REFUSED)
    is_pause = finding.kind == "pause"
    kind = OrderKind.PAUSE if is_pause else OrderKind.SILENCE
    subjects = (finding.what or PAUSABLE) if is_pause else (finding.feature or "",)
    given = [
        Order(kind, subject, finding.who, finding.text.strip(), finding.until) for subject in dict.fromkeys(subjects)
    ]
    kept = [order for order in state.orders if (order.kind, order.subject) not in _names(given)]
    asks = "; ".join(map(describe_order, given))
    configured = _held_by_config(override, given)
    beside = f"; the config's override holds {', '.join(configured)} too, and counts" if configured else ""
    return Transition(
        replace(state, orders=_in_order([*kept, *given])),
        f"{finding.who} orders: {asks} ({finding.text.strip()}){beside}",
        Event.ORDER_GIVEN,
        (),
        DecisionFigures(who=finding.who, until=finding.until, asks=asks),
    )


def _refusal(state: ModelState, finding: OperatorRequest, facts: Facts, now: float) -> str | None:
    if not finding.text.strip():
        return "an order needs a reason (--why)"
    if finding.until is None or finding.until <= now:
        return "an order needs a time in the future (--until)"
    unknown = [what for what in finding.what if what not in PAUSABLE]
    if unknown:
        return f"{unknown[0]!r} cannot be paused; there are {', '.join(PAUSABLE)}"
    if finding.kind == "silence" and facts.features is not None and finding.feature not in facts.features:
        return f"there is no feature {finding.feature!r} (there are: {', '.join(sorted(facts.features))})"
    if len(state.orders) >= MOST_ORDERS:
        return f"{len(state.orders)} orders stand already: end some of them first (driftd resume)"
    return None


def end_orders(state: ModelState, finding: OperatorRequest, override: Override) -> Transition:
    """End the orders that a person names, and acknowledgements; all of them where none is named."""
    is_all = not finding.what and finding.feature is None and finding.alarm is None
    ended = [order for order in state.orders if is_all or _is_named(order, finding)]
    alarms = [alarm for alarm in state.open_alarms if alarm.acknowledged is not None]
    known = [alarm for alarm in alarms if is_all or alarm.number == finding.alarm]
    if not ended and not known:
        return Transition(state, _nothing_ends(state, override), Event.REQUEST_REFUSED)
    said = [describe_order(order) for order in ended]
    said += [f"alarm {alarm.number} acknowledged" for alarm in known]
    why = f" ({finding.text.strip()})" if finding.text.strip() else ""
    held = _held_by_config(override, ended)
    beside = f"; the config's override still holds {', '.join(held)}: change it there" if held else ""
    reason = f"{finding.who} ends what was ordered: {'; '.join(said)}{why}{beside}"
    return Transition(_without(state, ended, known), reason, Event.ORDER_ENDED, (), DecisionFigures(who=finding.who))


def _nothing_ends(state: ModelState, override: Override) -> str:
    orders = "; ".join(map(describe_order, state.orders)) or "none"
    held = sorted({*override.pause, *override.silenced, *(order.subject for order in override.orders)})
    config = f"; the config's override holds {', '.join(held)}: change it there" if held else ""
    return f"there is no such order of a person (standing: {orders}){config}"


def lapse_orders(state: ModelState, now: float) -> Transition | None:
    """End the orders and the acknowledgements whose time is over; None while there is none."""
    over = [order for order in state.orders if not order.stands(now)]
    known = [alarm for alarm in state.open_alarms if alarm.acknowledged is not None and alarm.acknowledged.until <= now]
    if not over and not known:
        return None
    said = [f"{describe_order(order)}, ordered by {order.who} ({order.reason})" for order in over]
    said += [
        f"alarm {alarm.number} acknowledged by {alarm.acknowledged.who} ({alarm.acknowledged.reason})"
        for alarm in known
        if alarm.acknowledged is not None
    ]
    reason = f"the time of an order is over: {'; '.join(said)}"
    return Transition(_without(state, over, known), reason, Event.ORDER_ENDED)


def _without(state: ModelState, orders: Collection[Order], alarms: Collection[OpenAlarm]) -> ModelState:
    """The state without these orders, and with these alarms acknowledged no more."""
    return replace(
        state,
        orders=tuple(order for order in state.orders if order not in orders),
        open_alarms=tuple(
            replace(alarm, acknowledged=None) if alarm in alarms else alarm for alarm in state.open_alarms
        ),
    )


def _is_named(order: Order, finding: OperatorRequest) -> bool:
    if order.kind is OrderKind.SILENCE:
        return order.subject == finding.feature
    return order.subject in finding.what


def _names(orders: Iterable[Order]) -> set[tuple[OrderKind, str]]:
    return {(order.kind, order.subject) for order in orders}


def _held_by_config(override: Override, orders: Iterable[Order]) -> list[str]:
    """Which of the orders the config gives too."""
    pauses = {(OrderKind.PAUSE, what) for what in override.pause}
    silences = {(OrderKind.SILENCE, feature) for feature in override.silence}
    held = pauses | silences | _names(override.orders)
    return [order.subject for order in orders if (order.kind, order.subject) in held]


def _in_order(orders: Iterable[Order]) -> tuple[Order, ...]:
    return tuple(sorted(orders, key=lambda order: (order.kind, order.subject)))
