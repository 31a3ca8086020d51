"""The text forms of values: what different writers mean by one class, category, boolean or id. Pure.

Writers disagree about one value: 1, 1.0, "1", "1.0", True and " 1". A value that has a type gets its text from
`class_name`. A text that came from a file is resolved against the names that the schema knows (`Vocabulary`): an exact
match wins, then the one name of the same canonical form. So "1.0" is the class 1, but "01" stays apart from "1" where
the schema has both.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import lru_cache
from numbers import Integral, Real
from uuid import UUID

MOST_NAMES = 10_000  # of one feature; beyond, its texts are compared as they are
TRUTH = {
    **dict.fromkeys(("1", "true", "t", "yes", "y"), 1),
    **dict.fromkeys(("0", "false", "f", "no", "n"), 0),
}
_NUMBER = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)(?:[eE]([+-]?\d{1,4}))?", re.ASCII)
_PLAIN = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d{1,4})?", re.ASCII)
_WHOLE = re.compile(r"-?(?:0|[1-9]\d*)\.0*", re.ASCII)
_LARGE = re.compile(r"-?[1-9](?:\.\d+)?[eE]\+?\d{1,3}", re.ASCII)
_UTC_NAMES = ("UTC", "GMT")
_SLASHES = re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})(?=$|[T ])", re.ASCII)
_ZONE_NAME = re.compile(r".*\d:\d\d(?::\d\d(?:[.,]\d+)?)?\s*(?:[AP]M\s*)?([A-Z]{2,5})", re.ASCII | re.DOTALL)
_NO_ZONES = ("AM", "PM", *_UTC_NAMES)
_UUID_BYTES = 16


def class_name(value: object) -> str:
    """The one text form of a value that has a type, so that 1, 1.0, True, np.float32(1) and Decimal("1.00") meet.

    Booleans become "0" and "1"; whole numbers of any type lose their point; other numbers have the shortest text of
    their own precision; bytes are text, or a UUID where they are none; everything else is its `str`.
    """
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return "1" if value else "0"
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Decimal):
        return _decimal_name(value)
    if isinstance(value, Real):
        return str(int(value)) if float(value).is_integer() else str(value)  # type: ignore[call-overload]
    return _bytes_name(value) if isinstance(value, bytes) else str(value)


def _decimal_name(value: Decimal) -> str:
    if not value.is_finite():
        return str(float(value))
    return str(int(value)) if value == value.to_integral_value() else str(float(value))


def _bytes_name(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return str(UUID(bytes=value)) if len(value) == _UUID_BYTES else value.hex()


def canonical_text(text: str) -> str:
    """The form under which texts of one value meet: "1.0", " 1", "01", "1e0" and "True" are "1"."""
    plain = text.strip()
    truth = {"true": "1", "false": "0"}.get(plain.lower())
    if truth is not None:
        return truth
    number = _NUMBER.fullmatch(plain)
    if number is None:
        return plain
    sign, digits, exponent = number.groups()
    whole, _, fraction = digits.partition(".")
    if exponent is None and not fraction.strip("0"):
        kept = whole.lstrip("0") or "0"
        return f"-{kept}" if sign == "-" and kept != "0" else kept
    value = float(plain)
    return class_name(value) if math.isfinite(value) else plain


def iso_text(text: str) -> str:
    """A date that is written nearly as ISO 8601 has it ("2026/01/31 10:00", "2026-01-31 10:00:00 UTC") in its form."""
    plain = text.strip()
    if plain.endswith(_UTC_NAMES):
        plain = f"{plain[:-3].rstrip()}Z" if ":" in plain else plain
    found = _SLASHES.match(plain)
    return plain if found is None else f"{found[1]}-{int(found[2]):02d}-{int(found[3]):02d}{plain[found.end() :]}"


def zone_remedy(text: str) -> str:
    """That a date ends with the short name of a zone, which is not read, and what to write; empty where it does not.

    Short names mean different zones to different people: IST, CST, BST.
    """
    found = _ZONE_NAME.fullmatch(text.strip())
    if found is None or found[1] in _NO_ZONES:
        return ""
    return (
        f": zone abbreviations such as {found[1]} are not read, because they name no one zone; "
        "write the offset (+01:00), or UTC"
    )


def number_of_text(text: str) -> float:
    """The number that a text of an untyped format (CSV) says; true and false are 1 and 0.

    Raises ValueError when it says none.
    """
    plain = text.strip()
    truth = {"true": 1.0, "false": 0.0}.get(plain.lower())
    if truth is not None:
        return truth
    if "_" in plain or not plain.isascii():
        raise ValueError(f"{text[:40]!r} is no number")
    return float(plain)


def truth_of_text(text: str) -> int | None:
    """1 or 0 of a text that stands for a truth (1, 1.0, true, TRUE, yes, t, ...); None for every other one."""
    return TRUTH.get(canonical_text(text).lower())


def id_text(text: str) -> str:
    """The one form of an id: "5.0", as pandas writes a column with gaps, is 5; "05" is another id."""
    plain = text.strip()
    if _WHOLE.fullmatch(plain):
        return plain.partition(".")[0]
    return class_name(float(plain)) if _LARGE.fullmatch(plain) else plain


def is_plain(text: str) -> bool:
    """Whether a text is a number or a truth as a machine writes it: without leading zeros, signs or spaces."""
    return text.lower() in {"true", "false"} or _PLAIN.fullmatch(text) is not None


def learn_names(texts: Iterable[str], known: Sequence[str] = ()) -> tuple[str, ...]:
    """The names of the values that these texts stand for: those that are known, then new ones in sorted order.

    Where all are plain numbers and truths, "1.0", "1" and "True" are one name, "1". Otherwise every text that differs
    in more than the spaces around it is a name of its own: codes such as "01" and "1" stay apart.
    """
    vocabulary = vocabulary_of(tuple(known))
    new = {text for text in map(vocabulary.resolve, texts) if text not in vocabulary}
    new -= {text for text in new if text != text.strip() and text.strip() in {*known, *new}}
    if all(map(is_plain, (*known, *new))):
        new = {vocabulary.resolve(canonical_text(text)) for text in new} - set(known)
    return (*known, *sorted(new))


class Vocabulary:
    """The names that values of one column have, and the name that any text stands for."""

    def __init__(self, names: Sequence[str]) -> None:
        """The names in their order."""
        self.names = tuple(names)
        self._exact = frozenset(names)
        self._as_they_are = frozenset({*names, None})
        forms: dict[str, str | None] = {}
        for name in names:
            form = canonical_text(name)
            forms[form] = None if form in forms else name  # ambiguous: only an exact match counts
        self._forms = forms

    def __contains__(self, text: object) -> bool:
        """Whether a text is one of the names."""
        return text in self._exact

    def resolve(self, text: str) -> str:
        """The name that a text stands for; a text that stands for none is given back as it is."""
        if text in self._exact or not self._exact:
            return text
        return self._forms.get(canonical_text(text)) or text

    def resolve_all(self, texts: list[str | None]) -> list[str | None]:
        """The same of many; missing stays missing."""
        if not self._exact or self._as_they_are.issuperset(texts):
            return texts
        table: dict[str | None, str | None] = {
            text: None if text is None else self.resolve(text) for text in set(texts)
        }
        return [table[text] for text in texts]


@lru_cache(maxsize=4096)
def vocabulary_of(names: tuple[str, ...]) -> Vocabulary:
    """The vocabulary of some names, made once."""
    return Vocabulary(names)


class ClassCodes:
    """The codes of class texts: places in the version's classes, and -2, -3, ... for texts outside them.

    A stray label never changes what the codes of the classes mean; its text is kept in `unseen`.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        """The classes in the order of their codes."""
        self._vocabulary = vocabulary_of(tuple(classes))
        self._codes = {name: code for code, name in enumerate(classes)}
        self._unseen: dict[str, int] = {}

    @property
    def unseen(self) -> tuple[str, ...]:
        """The texts outside the classes: code -2 is the first of them."""
        return tuple(self._unseen)

    def of(self, text: str) -> int:
        """The code of a text."""
        name = self._vocabulary.resolve(text)
        code = self._codes.get(name)
        return -2 - self._unseen.setdefault(name, len(self._unseen)) if code is None else code
