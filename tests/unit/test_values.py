"""The one text form of values, and the kind of a column."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftd_detectors.batches.arrow_columns import read_column, read_ids
from driftd_detectors.columns import Coded
from driftd_detectors.schema import Kind, Task, kind_of_column, kind_of_values, learn_schema
from driftd_detectors.values import ClassCodes, Vocabulary, canonical_text, class_name, id_text, learn_names

TWO = np.array([0, 1, 1, 0] * 25)
TYPED = {
    "int": pd.Series(TWO),
    "float32": pd.Series(TWO, dtype="float32"),
    "float64": pd.Series(TWO, dtype="float64"),
    "Int8 with gaps": pd.Series(TWO, dtype="Int8").where(TWO.cumsum() % 7 > 0),
    "Float32 with gaps": pd.Series(TWO, dtype="Float32").where(TWO.cumsum() % 7 > 0),
    "bool": pd.Series(TWO == 1),
    "boolean with gaps": pd.Series(TWO == 1, dtype="boolean").where(TWO.cumsum() % 7 > 0),
    "objects with gaps": pd.Series(TWO == 1, dtype=object).where(TWO.cumsum() % 7 > 0, None),
    "decimal": pd.Series([Decimal(f"{item}.00") for item in TWO]),
    "category": pd.Series(TWO).astype("category"),
    "text": pd.Series(TWO).astype(str),
    "text of floats": pd.Series(TWO.astype(float)).astype(str),
    "text of truths": pd.Series(np.where(TWO == 1, "TRUE", "FALSE")),
    "mixed": pd.Series([1, "0", 1.0, "True"] * 25, dtype=object),
}


@pytest.mark.parametrize("target", TYPED.values(), ids=TYPED)
def test_classes_of_every_type_are_named_alike(target: pd.Series) -> None:  # type: ignore[type-arg]
    """Whatever type a target of two whole numbers or truths has, its classes are 0 and 1."""
    frame = pd.DataFrame({"x": np.arange(100.0), "y": target})
    assert learn_schema(frame, task=Task.CLASSIFICATION, target="y").classes == ("0", "1")


@pytest.mark.parametrize("values", [item for name, item in TYPED.items() if name != "mixed"])
def test_arrow_columns_of_every_type_meet_the_classes(values: pd.Series) -> None:  # type: ignore[type-arg]
    """The same columns in Arrow get the codes of the classes 0 and 1, and -1 where nothing stands."""
    codes = ClassCodes(("0", "1"))
    column, faults = read_column(pa.array(values, from_pandas=True), Kind.CATEGORY)
    assert isinstance(column, Coded)
    found = [-1 if code < 0 else codes.of(column.labels[code]) for code in column.codes]
    truth = [0.0 if item in {0, "0", "0.0", "FALSE"} else 1.0 for item in values.dropna()]
    assert [item for item in found if item >= 0] == truth
    assert found.count(-1) == int(values.isna().sum())
    assert (faults, codes.unseen) == (0, ())


def test_numbers_have_the_shortest_text_of_their_own_precision() -> None:
    """A float32 of 0.1 is 0.1, not the float64 that lies nearest to it; decimals lose trailing zeros."""
    assert [class_name(item) for item in (np.float32(0.1), 0.1, Decimal("0.10"), np.float16(0.1))] == ["0.1"] * 4
    column, _ = read_column(pa.array([0.1, 0.5], pa.float32()), Kind.CATEGORY)
    assert isinstance(column, Coded)
    assert column.labels == ("0.1", "0.5")


def test_an_exact_name_wins_over_its_canonical_form() -> None:
    """Each spelling finds the one name of its form; a form that two names share finds neither."""
    assert [Vocabulary(("0", "1")).resolve(item) for item in ("1.0", " 1", "01", "true", "x")] == [
        "1",
        "1",
        "1",
        "1",
        "x",
    ]
    both = Vocabulary(("01", "1"))
    assert [both.resolve(item) for item in ("01", "1", "1.0")] == ["01", "1", "1.0"]
    assert Vocabulary(("01", "02")).resolve("2.0") == "02"


def test_codes_with_leading_zeros_stay_as_they_are_written() -> None:
    """Numbers and truths lose their spelling, codes keep it; names that are known stay, in their order."""
    assert learn_names(["1.0", "0.0", "1"]) == ("0", "1")
    assert learn_names(["01", "02"]) == ("01", "02")
    assert learn_names(["01", "1"]) == ("01", "1")
    assert learn_names(["no", "no ", "yes", " yes"]) == ("no", "yes")
    assert learn_names(["odd ", "1", " 1"]) == ("1", "odd ")
    assert learn_names(["TRUE", "perhaps"]) == ("TRUE", "perhaps")
    assert learn_names(["1.0", "0", "3.0"], ("2", "1")) == ("2", "1", "0", "3")


def test_texts_outside_the_classes_have_codes_of_their_own() -> None:
    """A stray text never moves the codes of the classes, and its text is kept."""
    codes = ClassCodes(("0", "1"))
    assert [codes.of(item) for item in ("1", "unknown", "0.0", "n/a", "unknown")] == [1, -2, 0, -3, -2]
    assert codes.unseen == ("unknown", "n/a")


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70))
def test_a_number_meets_its_own_text(number: float) -> None:
    """The canonical form of what Python writes for a number is the name of that number, and is its own form."""
    assert canonical_text(repr(number)) == class_name(number)
    assert canonical_text(class_name(number)) == class_name(number)


@given(st.text(max_size=12))
def test_a_form_is_its_own_form(text: str) -> None:
    """Canonical texts and ids do not change when they are read again."""
    assert canonical_text(canonical_text(text)) == canonical_text(text)
    assert id_text(id_text(text)) == id_text(text)


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([5, 6, None]),
        pa.array([5.0, 6.0, None]),
        pa.array([Decimal("5.0"), Decimal("6.0"), None]),
        pa.array(["5", "6", None]),
        pa.array(["5.0", "6", None]).dictionary_encode(),
        pa.array([b"5", b"6", None]),
    ],
    ids=lambda ids: str(ids.type),
)
def test_ids_of_every_type_are_one(ids: pa.Array) -> None:
    """An id is the same text as a whole number, a float, a decimal, a text and bytes."""
    assert read_ids(pa.chunked_array([ids])).to_pylist() == ["5", "6", None]


def test_uuids_as_bytes_and_as_text_are_one_id() -> None:
    """Sixteen bytes, Arrow's own type of UUIDs and their text name the same row."""
    name = "0190a1b2-0000-7000-8000-0123456789ab"
    raw = pa.array([bytes.fromhex(name.replace("-", ""))], pa.binary(16))
    for ids in (raw, pa.array([name]), pa.ExtensionArray.from_storage(pa.uuid(), raw)):
        assert read_ids(pa.chunked_array([ids])).to_pylist() == [name]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([Decimal("1.5"), None, Decimal(2)], Kind.NUMBER),
        ([1, 2.5, None], Kind.NUMBER),
        ([True, None, False], Kind.BOOLEAN),
        (["True", "false"], Kind.BOOLEAN),
        ([dt.date(2026, 1, 1), None], Kind.TIMESTAMP),
        (["2026-01-01", "2026-02-01 10:00:00+02:00"], Kind.TIMESTAMP),
        (["2026-01-01", "soon"], Kind.CATEGORY),
        (["2026-13-01"], Kind.CATEGORY),
        (["1", "2"], Kind.CATEGORY),
        (["yes", "no"], Kind.CATEGORY),
        ([[1], [2]], Kind.CATEGORY),
    ],
)
def test_the_kind_follows_from_the_values(values: list[object], kind: Kind) -> None:
    """Decimals are numbers, dates in any form are timestamps, truths with gaps are booleans."""
    assert kind_of_column(pd.Series(values, dtype=object)) is kind


def test_texts_of_an_untyped_format_may_be_numbers() -> None:
    """In CSV digits are numbers, unless leading zeros say that they are codes; one odd row of many is its own fault."""
    many = {f"{number}.5": 10 for number in range(100)}
    assert kind_of_values({"1": 1, "-2.5e3": 1}, untyped=True) is Kind.NUMBER
    assert kind_of_values({"01": 1, "10": 1}, untyped=True) is Kind.CATEGORY
    assert kind_of_values(many | {"n/k": 1}, untyped=True) is Kind.NUMBER
    assert kind_of_values(many | {"n/k": 50}, untyped=True) is Kind.CATEGORY
    assert kind_of_values({"1": 500, "2": 500, "X": 1}, untyped=True) is Kind.CATEGORY
