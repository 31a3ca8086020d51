"""The rules for names and seams that keep the code easy to enter; each exception says why it is one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (ROOT / "daemon" / "driftd", ROOT / "detectors" / "driftd_detectors")

# Lower these numbers when the code allows it; never raise them.
MOST_MODULES = 465  # with code: the markers of packages, a docstring each, are not counted (decision 015)
MOST_UNTYPED_SEAMS = 22  # dict[str, Any] and Mapping[str, Any] in signatures
MOST_PARTICIPLES = 2  # functions whose whole name is a participle

GERUNDS = {  # words of the field
    "binning": "putting numbers into the bins of a histogram",
    "betting": "testing by betting, the name of the method",
    "boosting": "gradient boosting; and trainers/ is part of every version's fingerprint",
    "formatting": "text for people, as in string formatting",
    "counting": "how rows become counts per bin",
    "scoring": "how counts become scores",
    "sealing": "hot blocks become immutable segments, the word of log-structured stores",
    "listing": "the listing of a folder",
    "parsing": "from text to values",
    "serving": "the room of that name",
    "training": "the room of that name",
}
METAPHORS = {
    "apart", "asking", "beginning", "belonging", "board", "crossing", "doorway", "eye", "fence", "guard", "hangups",
    "hearing", "lanes", "leash", "looking", "lookout", "patience", "places", "posted", "pressing", "shelf", "tally",
    "telling", "turns", "wander", "watched", "wholeness", "wording", "words",
}  # fmt: skip
BANNED_VARIABLES = {"one", "told", "heard", "shown"}

PARTICIPLE = re.compile(
    r"[a-z]{3,}(?:ed|ing)|arisen|begun|broken|built|chosen|drawn|found|given|gone|heard|held|hidden|kept|known|left|lost|"
    r"made|meant|said|seen|sent|shown|stood|taken|thrown|told|written"
)
NOUNS = {"mapping", "meaning", "standing", "wiring"}  # end like participles, and are none


@cache
def trees() -> dict[Path, ast.Module]:
    """Every module of both packages, read when the first test asks: collecting the tests costs every worker."""
    return {path: ast.parse(path.read_text("utf-8")) for package in PACKAGES for path in sorted(package.rglob("*.py"))}


def functions() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function and method of both packages."""
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def is_participle(name: str) -> bool:
    """Whether a name is a single word that a participle could be."""
    word = name.strip("_")
    return word not in NOUNS and PARTICIPLE.fullmatch(word) is not None


def is_property(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function is read as a value, which may be called by an adjective."""
    return any("property" in ast.unparse(decorator) for decorator in function.decorator_list)


def test_there_are_few_modules() -> None:
    """Both packages together have at most so many modules."""
    assert len([path for path, tree in trees().items() if len(tree.body) > 1]) <= MOST_MODULES


def test_modules_are_called_by_nouns() -> None:
    """No module's name has a gerund that is no word of the field, and none is a metaphor of old."""
    words = {path: path.stem.split("_") for path in trees()}
    gerunds = [str(path) for path, parts in words.items() if any(w.endswith("ing") and w not in GERUNDS for w in parts)]
    assert not gerunds
    assert not [str(path) for path in trees() if path.stem in METAPHORS]
    assert {word for parts in words.values() for word in parts} >= set(GERUNDS) - {"serving", "training"}


def test_functions_are_called_by_what_they_do() -> None:
    """Few functions are called by a bare participle; properties are none of them."""
    found = [
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}"
        for path, function in functions()
        if is_participle(function.name) and not is_property(function)
    ]
    assert len(found) <= MOST_PARTICIPLES, "\n".join(found)


def test_variables_say_what_they_hold() -> None:
    """No variable or parameter is called `one`, `told`, `heard` or `shown`."""
    found = []
    for path, tree in trees().items():
        for node in ast.walk(tree):
            name = node.id if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else ""
            name = node.arg if isinstance(node, ast.arg) else name
            if name in BANNED_VARIABLES:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {name}")  # type: ignore[attr-defined]
    assert not found, "\n".join(found)


def test_few_seams_are_untyped() -> None:
    """Signatures have at most so many `dict[str, Any]` and `Mapping[str, Any]`."""
    found: list[str] = []
    for path, function in functions():
        given = function.args
        arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        hints = [argument.annotation for argument in arguments if argument is not None] + [function.returns]
        text = " ".join(ast.unparse(hint) for hint in hints if hint is not None)
        number = len(re.findall(r"\b(?:dict|Mapping)\[str, Any\]", text))
        found += [f"{path.relative_to(ROOT)}:{function.lineno} {function.name}"] * number
    assert len(found) <= MOST_UNTYPED_SEAMS, "\n".join(found)
