"""What every section of the config shares: strict keys, frozen values, and the types of several of them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Strict

from driftd.config.rules import folder, moment, no_number, reason

HOUR, DAY = 3600.0, 86400.0
Flag = Annotated[bool, Strict()]  # `yes`, "true" and 1 are no answers to a question of this weight
Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Moment = Annotated[datetime, AfterValidator(moment), BeforeValidator(no_number)]
Reason = Annotated[str, AfterValidator(reason)]
Folder = Annotated[Path, BeforeValidator(folder)]


class Section(BaseModel):
    """Strict keys, frozen values, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
