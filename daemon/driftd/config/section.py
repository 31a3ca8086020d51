"""What every section of the config shares: strict keys, frozen values, and the types of several of them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from driftd.config.rules import moment

HOUR, DAY = 3600.0, 86400.0
Moment = Annotated[datetime, AfterValidator(moment)]
Folder = Annotated[Path, BeforeValidator(lambda given: given.strip() if isinstance(given, str) else given)]


class Section(BaseModel):
    """Strict keys, frozen values, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
