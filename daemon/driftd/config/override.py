"""The operator's hand in the config."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from driftd.config.section import Moment, Reason, Section, Whole


class Override(Section):
    """The operator's hand. A reason is required when anything else is set."""

    reason: Reason | None = Field(None, description="why; it is told wherever the override has an effect")
    expires: Moment | None = Field(None, description="when it lapses by itself, with its zone: `2026-12-01T00:00:00Z`")
    pause: tuple[Literal["checks", "retraining", "promotion"], ...] = Field(
        (), description="what is held, on all models"
    )
    pin: dict[str, Annotated[Whole, Field(ge=1)]] = Field(
        default_factory=dict, description="serve exactly this version of a model, swap nothing"
    )
    silence: dict[str, dict[str, Moment]] = Field(
        default_factory=dict,
        description="features that raise no alarm, each until a time: `{demand: {price: 2026-12-01T00:00:00Z}}`",
    )
    retrain: dict[str, str] = Field(default_factory=dict, description="each new text is one build of the model")
    approve: dict[str, Annotated[Whole, Field(ge=1)]] = Field(
        default_factory=dict, description="let this waiting version of a model serve"
    )
    reject: dict[str, Annotated[Whole, Field(ge=1)]] = Field(
        default_factory=dict, description="turn this waiting version of a model down"
    )
