"""The table of what each event means, held complete against the policy that makes the events."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from driftd.decisions import ALL, DEFAULT, MEANINGS, Severity, event_or_severity, is_wanted, meaning_of
from driftd.events import Event

DAEMON = Path(__file__).resolve().parents[2] / "daemon" / "driftd"
NAMES = {str(event) for event in Event}
TAKE_EVENTS = {"Transition", "Happened", "StoredTransition", "meaning_of", "is_wanted", "known_event", "end_build"}
SQL_WITH_EVENT = re.compile(r"\bevent\s*(=|<>|!=|in)\s*[('\"]")


def modules_of(*rooms: str) -> Iterator[Path]:
    """The modules of some rooms, or of the whole daemon."""
    for path in sorted(DAEMON.rglob("*.py")):
        if not rooms or path.relative_to(DAEMON).parts[0] in rooms:
            yield path


def events_made() -> set[Event]:
    """Every event that the policy, or the loop itself, writes into a transition."""
    made: set[Event] = set()
    for path in modules_of("policy", "loop"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            is_call = isinstance(node, ast.Call) and _name_of(node.func) in {"Transition", "end_build"}
            if is_call or (isinstance(node, ast.Assign) and any(_name_of(item) == "event" for item in node.targets)):
                made |= {Event[name] for name in _members_in(node)}
    return made


def _members_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _name_of(node.value) == "Event":
            yield node.attr


def _name_of(node: ast.AST) -> str | None:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None


def bare_events(source: str) -> Iterator[int]:
    """The lines of a module where a string stands for an event: as an argument, in a comparison, in a collection."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            if _name_of(node.func) in TAKE_EVENTS:
                yield from _bare(node.args)
            yield from _bare(word.value for word in node.keywords if word.arg in {"event", "happened"})
        elif isinstance(node, ast.Compare) and any(map(_is_event, [node.left, *node.comparators])):
            yield from _bare([node.left, *node.comparators])
        elif isinstance(node, ast.Match) and _is_event(node.subject):
            yield from _bare(item.value for item in ast.walk(node) if isinstance(item, ast.MatchValue))
        elif isinstance(node, ast.Dict | ast.Set | ast.Tuple | ast.List):
            members = node.keys if isinstance(node, ast.Dict) else node.elts
            found = list(_bare([item for item in members if item is not None]))
            yield from found if len(found) == len(members) and found else ()
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL_WITH_EVENT.search(node.value):
            yield node.lineno


def _is_event(node: ast.expr) -> bool:
    """Whether an expression is the event of something: `event`, `line.event`, `line["event"]`."""
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, ast.Constant) and node.slice.value == "event"
    return _name_of(node) == "event"


def _bare(nodes: Iterable[ast.AST]) -> Iterator[int]:
    for node in nodes:
        elements = node.elts if isinstance(node, ast.Tuple | ast.Set | ast.List) else [node]
        for item in elements:
            if isinstance(item, ast.Constant) and item.value in NAMES:
                yield item.lineno


def test_no_string_stands_for_an_event() -> None:
    """Every event in the daemon's code is a member of `Event`: a misspelt one is then found by the type checker."""
    found = [
        f"{path.relative_to(DAEMON)}:{line}"
        for path in modules_of()
        for line in bare_events(path.read_text("utf-8"))
        if path.name != "events.py" or path.parent != DAEMON
    ]
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        'Transition(state, reason, "promoted")',
        'Transition(state, reason, event="promoted")',
        'if line.event == "promoted": pass',
        'if line["event"] in ("promoted", "pinned"): pass',
        'match line.event:\n    case "promoted" | "pinned": pass',
        'COLOURS = {"promoted": "green", "rolled_back": "red"}',
        "query = \"select * from transitions where event = 'alarm'\"",
    ],
)
def test_a_string_that_stands_for_an_event_is_found(source: str) -> None:
    """The test above sees each of the ways in which a bare string was once used as an event."""
    assert list(bare_events(source))


def test_every_event_of_the_policy_has_its_severity() -> None:
    """Each event that a transition can bear is in the table, and the table has no other."""
    assert set(MEANINGS) == set(Event), "every event needs its line in the table"
    assert events_made() == set(Event), "an event that nothing decides is no event"


def test_every_event_is_told_in_words() -> None:
    """The table has a title and an explanation of its own for every event."""
    assert all(item.title and item.explanation.endswith(".") for item in MEANINGS.values())
    assert len({item.title for item in MEANINGS.values()}) == len(MEANINGS)


def test_the_events_that_people_want_to_know_are_told_unasked() -> None:
    """Without `on`, a receiver hears of alarms, failures, swaps, rollbacks, broken pipelines and what waits for it."""
    output = {event for event in MEANINGS if is_wanted(event, (DEFAULT,))}
    assert {Event.ALARM, Event.BUILD_FAILED, Event.PROMOTED, Event.ROLLED_BACK, Event.APPROVAL_WANTED} <= output
    assert {Event.QUALITY_FAULT, Event.QUALITY_RESTORED, Event.OVERRIDE_ENDED, Event.ROLLBACK_REFUSED} <= output
    assert {Event.BUILD_STARTED, Event.SWAP_STARTED, Event.REQUEST_REFUSED} & output == set()
    assert {event for event, item in MEANINGS.items() if item.severity is Severity.CRITICAL} <= output


@pytest.mark.parametrize(
    ("event", "on", "wanted"),
    [
        (Event.BUILD_STARTED, (Event.BUILD_STARTED,), True),
        (Event.BUILD_STARTED, ("info",), True),
        (Event.BUILD_STARTED, ("warning", "critical"), False),
        (Event.BUILD_STARTED, (ALL,), True),
        (Event.BUILD_STARTED, (DEFAULT,), False),
        (Event.BUILD_STARTED, (DEFAULT, Event.BUILD_STARTED), True),
        (Event.ALARM, ("critical",), False),
        ("of_a_newer_driftd", (DEFAULT,), True),
        ("of_a_newer_driftd", (Event.PROMOTED,), False),
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
