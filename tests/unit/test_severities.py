"""The table of what each event means, held complete against the policy that makes the events."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftd.decisions import ALL, DEFAULT, MEANINGS, Severity, event_or_severity, is_wanted, meaning_of
from driftd.records import ActionKind

DAEMON = Path(__file__).resolve().parents[2] / "daemon" / "driftd"
# Events whose name is put together: what the braces may hold, by the text as it stands in the source.
PUT_TOGETHER = {
    "{purpose}_refused": ("rollback", "pin"),
    "{failed.kind}_failed": (ActionKind.REPORT, ActionKind.SHADOW),
}
EVENT_POSITION = {"Transition": 2, "_ended": 4}  # of the calls that name an event


def events_made() -> Iterator[str]:
    """Every event that the policy, or the loop itself, writes into a transition."""
    for room in ("policy", "loop"):
        for path in (DAEMON / room).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in EVENT_POSITION:
                    yield from _event_of(node, EVENT_POSITION[node.func.id], path)


def _event_of(call: ast.Call, position: int, path: Path) -> Iterator[str]:
    named = [keyword.value for keyword in call.keywords if keyword.arg == "event"]
    found = named or call.args[position : position + 1]
    for value in found:
        yield from _texts(value, f"{path.name}:{call.lineno}", {}, path)


def _texts(value: ast.expr, where: str, seen: dict[str, bool], path: Path) -> Iterator[str]:
    if isinstance(value, ast.Constant):
        if value.value is not None:
            yield value.value
    elif isinstance(value, ast.JoinedStr):
        template = ast.unparse(value)[2:-1]
        assert template in PUT_TOGETHER, f"{where}: what does {template} stand for? Say so in this test"
        for part in PUT_TOGETHER[template]:
            yield f"{part}_{template.rpartition('_')[2]}"
    elif isinstance(value, ast.IfExp):
        yield from _texts(value.body, where, seen, path)
        yield from _texts(value.orelse, where, seen, path)
    elif isinstance(value, ast.Name):
        yield from _assigned(value.id, where, seen, path)
    else:
        pytest.fail(f"{where}: this test cannot read the event {ast.unparse(value)}")


def _assigned(name: str, where: str, seen: dict[str, bool], path: Path) -> Iterator[str]:
    """The texts that a name gets in its module; a parameter is followed at the calls of its function instead."""
    if name in seen:
        return
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == name for one in node.targets):
            yield from _texts(node.value, where, {**seen, name: True}, path)


def test_every_event_of_the_policy_has_its_severity() -> None:
    """Each event that a transition can bear is in the table, and the table has no other."""
    made = set(events_made())
    assert len(made) > 20
    assert made - MEANINGS.keys() == set(), "new events need a line in driftd/decisions.py"
    assert MEANINGS.keys() - made == set(), "these events are never made"


def test_the_events_that_people_want_to_know_are_told_unasked() -> None:
    """Without `on`, a receiver hears of alarms, failures, swaps, rollbacks, broken pipelines and what waits for it."""
    told = {event for event in MEANINGS if is_wanted(event, (DEFAULT,))}
    assert {"alarm", "build_failed", "promoted", "rolled_back", "approval_wanted"} <= told
    assert {"quality_fault", "quality_restored", "override_ended", "rollback_refused"} <= told
    assert {"build_started", "swap_started", "request_refused"} & told == set()
    assert {event for event, one in MEANINGS.items() if one.severity is Severity.CRITICAL} <= told


@pytest.mark.parametrize(
    ("event", "on", "wanted"),
    [
        ("build_started", ("build_started",), True),
        ("build_started", ("info",), True),
        ("build_started", ("warning", "critical"), False),
        ("build_started", (ALL,), True),
        ("build_started", (DEFAULT,), False),
        ("build_started", (DEFAULT, "build_started"), True),
        ("alarm", ("critical",), False),
        ("of_a_newer_driftd", (DEFAULT,), True),
        ("of_a_newer_driftd", ("promoted",), False),
    ],
)
def test_events_are_chosen_by_name_and_by_severity(event: str, on: tuple[str, ...], wanted: bool) -> None:
    """`on` names events, severities, `default` and `all`; an event that this program does not know is a warning."""
    assert is_wanted(event, on) is wanted
    assert meaning_of("of_a_newer_driftd").severity is Severity.WARNING


def test_a_misspelt_event_is_told_with_the_one_that_was_meant() -> None:
    """A word that names nothing is refused with its nearest neighbour and where all are listed."""
    with pytest.raises(ValueError, match=r"did you mean 'promoted'\?.*critical.*docs/notifications.md"):
        event_or_severity("promotd")
