"""The section `card` of a model: what only people know of it, for its model cards."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from driftd.config.types import Section

Words = Annotated[str, Field(max_length=20_000)]


class CardConfig(Section):
    """What people say of a model; `driftd model-card` prints it, and nothing else reads it."""

    description: Words = Field("", description="what the model is")
    intended_use: Words = Field("", description="what it is for, and who uses it")
    out_of_scope: Words = Field("", description="what it must not be used for")
    ethical_considerations: Words = Field("", description="whom it may harm, and what was done about that")
    owners: tuple[Words, ...] = Field((), description="who answers for it")
    caveats: tuple[Words, ...] = Field((), description="limitations that driftd cannot know")
