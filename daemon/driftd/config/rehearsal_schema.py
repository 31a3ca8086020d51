"""The section of what things cost, in the user's own units: `driftd rehearse` adds them up."""

from __future__ import annotations

from pydantic import Field

from driftd.config.types import Number, Section


class CostsConfig(Section):
    """What things cost, all in one unit of your choice. `driftd rehearse --cost` says it for one rehearsal."""

    build: Number = Field(0.0, ge=0, description="one build: machines, and whoever looks at it")
    page: Number = Field(0.0, ge=0, description="one notification that a receiver without `on` gets")
    error: Number = Field(0.0, ge=0, description="one unit of the loss, on each of a thousand predictions")


class RehearsalConfig(Section):
    """What `driftd rehearse` goes by; the daemon reads none of it."""

    costs: CostsConfig | None = Field(None, description="what things cost; nothing is added up unless set")
