"""Files of models that are not what skops wrote: whatever is wrong in them is told in one sentence."""

from __future__ import annotations

import contextlib
import io
import json
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from driftd.registry.artefact import ArtefactError, load_skops

pytestmark = pytest.mark.filterwarnings("ignore")  # scikit-learn warns of odd versions
ODD = (None, 1, -1, "x", "builtins", [], {})


def parts_of_a_model() -> dict[str, bytes]:
    """The files in the archive of a small classifier."""
    rows = np.random.default_rng(3).normal(size=(50, 3))
    content = skops.io.dumps(LogisticRegression().fit(rows, np.arange(50) % 2))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


PARTS = parts_of_a_model()


def places_in(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each value of nested JSON."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [way for key, value in items for way in ((*path, key), *places_in(value, (*path, key)))]


def with_odd_schema(draw: random.Random) -> bytes:
    """The description of the model, in which one value is another, or gone."""
    schema = json.loads(PARTS["schema.json"])
    *before, last = draw.choice(places_in(schema))
    node = schema
    for key in before:
        node = node[key]
    if draw.random() < 0.3:
        del node[last]
    else:
        node[last] = draw.choice(ODD)
    return json.dumps(schema).encode()


def with_odd_bytes(content: bytes, draw: random.Random) -> bytes:
    """A part in which some bytes are others; perhaps it ends early."""
    odd = bytearray(content)
    for _ in range(draw.randint(1, 8)):
        odd[draw.randrange(len(odd))] = draw.randrange(256)
    return bytes(odd[: draw.randint(1, len(odd))] if draw.random() < 0.3 else odd)


@given(draw=st.randoms(use_true_random=False), in_schema=st.booleans())
@settings(max_examples=60, suppress_health_check=[*HealthCheck])
def test_a_damaged_file_is_told_and_never_breaks_what_reads_it(
    tmp_path: Path, draw: random.Random, in_schema: bool
) -> None:
    """It loads, or is an ArtefactError or a library that is missing: nothing else gets through."""
    name = "schema.json" if in_schema else draw.choice(sorted(PARTS))
    odd = with_odd_schema(draw) if in_schema else with_odd_bytes(PARTS[name], draw)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for part, held in {**PARTS, name: odd}.items():
            archive.writestr(part, held)
    path = tmp_path / "model.skops"
    path.write_bytes(content.getvalue())
    with contextlib.suppress(ArtefactError, ImportError):
        load_skops(path)
