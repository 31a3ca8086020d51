"""How the features that a request brings differ from those of the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from driftd_detectors.schema import Schema

MOST_NAMES = 20  # are named; a stranger may send any number
LONGEST_NAME = 100  # characters of one


@dataclass(frozen=True, slots=True)
class Differences:
    """Names, bounded in number and length. A feature that is null is brought: it says that there is no value."""

    unknown: tuple[str, ...]
    missing: tuple[str, ...]

    def to_dict(self) -> dict[str, list[str]]:
        """The JSON form: the keys that have something to say."""
        named = {"unknown_features": list(self.unknown), "missing_features": list(self.missing)}
        return {key: names for key, names in named.items() if names}


def differences_of(events: Iterable[object], schema: Schema) -> dict[int, Differences]:
    """The differences of those events that have any, by their place."""
    known = frozenset(schema.names)
    found = {}
    for place, event in enumerate(events):
        features = event.get("features") if type(event) is dict or isinstance(event, Mapping) else None
        if (type(features) is dict or isinstance(features, Mapping)) and features.keys() != known:
            found[place] = _difference(features, known, schema.names)
    return found


def merge_differences(differences: Iterable[Differences]) -> Differences:
    """All names of several rows, each once."""
    listed = list(differences)
    unknown = dict.fromkeys(name for row in listed for name in row.unknown)
    missing = dict.fromkeys(name for row in listed for name in row.missing)
    return Differences(tuple(unknown)[:MOST_NAMES], tuple(missing)[:MOST_NAMES])


def _difference(features: Mapping[object, object], known: frozenset[str], names: tuple[str, ...]) -> Differences:
    unknown = [str(name)[:LONGEST_NAME] for name in features if name not in known]
    missing = [name[:LONGEST_NAME] for name in names if name not in features]
    return Differences(tuple(unknown[:MOST_NAMES]), tuple(missing[:MOST_NAMES]))
