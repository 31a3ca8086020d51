"""Prints the JSON schema of model cards, which is `docs/model-card.schema.json`."""

from __future__ import annotations

import json

import msgspec

from driftd.views.model_card import FORMAT, ModelCard


def card_schema() -> dict[str, object]:
    """The schema, as JSON Schema 2020-12."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:{FORMAT.replace('/', ':')}"}
    return {**head, **msgspec.json.schema(ModelCard, schema_hook=_any_value)}


def _any_value(kind: type) -> dict[str, object]:
    """A parameter or a figure may be any JSON. Raises NotImplementedError for a type that has no schema."""
    if kind is object:
        return {"description": "any JSON"}
    raise NotImplementedError(kind)


def main() -> None:
    """Print it."""
    print(json.dumps(card_schema(), indent=2))  # noqa: T201 - the document


if __name__ == "__main__":
    main()
