"""docs/architecture.md names only what is there: modules, classes, functions, and the parameters of its signatures."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
PICTURE = PAGE[PAGE.index("## The loop") : PAGE.index("## If you want to ...")].split("```")[1]
ROOMS = {path.name for path in (ROOT / "daemon" / "driftd").iterdir() if (path / "__init__.py").exists()}


def named(dotted: str) -> Any:
    """The module, class, function or attribute of a dotted name. Raises ImportError or AttributeError."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError as error:
            if not dotted.startswith(str(error.name)):
                raise
            continue
        for name in parts[length:]:
            found = getattr(found, name)
        return found
    raise ImportError(dotted)


def names_of_the_page() -> list[str]:
    """Every name of ours between backticks, and the short ones of the picture, which leave `driftd.` away."""
    full = re.findall(r"`(driftd(?:_detectors)?(?:\.\w+)+)`", PAGE) + re.findall(r"driftd_detectors(?:\.\w+)+", PICTURE)
    rest = re.sub(r"driftd_detectors[.\w]*", "", PICTURE)
    short = [f"driftd.{name}" for name in re.findall(r"\b[a-z_]+(?:\.[a-z_]+)+", rest) if name.split(".")[0] in ROOMS]
    return sorted(set(full + short))


def signatures_of_the_page() -> list[tuple[str, str]]:
    """Module and signature of each line of the blocks of Python."""
    found, module = [], ""
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        for line in block.splitlines():
            heading = re.match(r"# (driftd[\w.]*)", line)
            if heading:
                module = heading[1]
            else:
                found.append((module, line.split("#")[0].strip()))
    return found


def test_the_page_has_its_parts() -> None:
    """The picture names the stations of the loop, and there are enough names and signatures to be checked."""
    names = set(names_of_the_page())
    assert names >= {
        "driftd.loop.model_runner",
        "driftd.policy.advance",
        "driftd.loop.resume",
        "driftd_detectors.monitor",
    }
    assert len(names) > 60
    assert len(signatures_of_the_page()) > 40


@pytest.mark.parametrize("name", names_of_the_page())
def test_what_the_page_names_is_there(name: str) -> None:
    """A dotted name on the page can be imported."""
    assert named(name) is not None


@pytest.mark.parametrize(("module", "signature"), signatures_of_the_page())
def test_the_signatures_of_the_page_are_true(module: str, signature: str) -> None:
    """A function has the parameters that the page says, in their order and of their kind; more may follow them."""
    name = signature.split("(", maxsplit=1)[0]
    said = ast.parse(f"def f({signature.split('(', 1)[1].rsplit(')', 1)[0]}): ...").body[0]
    assert isinstance(said, ast.FunctionDef)
    own = inspect.signature(named(f"{module}.{name}")).parameters
    positional = [parameter.name for parameter in own.values() if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    given = [argument.arg for argument in said.args.args]
    assert positional[: len(given)] == given
    assert {argument.arg for argument in said.args.kwonlyargs} <= set(own)
    required = {key for key, parameter in own.items() if parameter.default is parameter.empty}
    variadic = {
        key for key, parameter in own.items() if parameter.kind in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL}
    }
    assert required - variadic <= {*given, *(argument.arg for argument in said.args.kwonlyargs)}
