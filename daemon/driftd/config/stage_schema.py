"""The section `stages` of a model: what its rows must be, the tests of its versions, and who reviews them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from driftd.config.types import (
    Duration,
    Flag,
    Number,
    Section,
    Whole,
    code_reference,
    distinct,
    share_or_none,
    spell_share,
)
from driftd_detectors.schema import Kind

Reference = Annotated[str, AfterValidator(code_reference)]
ShareOrNone = Annotated[
    float, BeforeValidator(share_or_none), PlainSerializer(spell_share, return_type=str, when_used="json")
]


class RowCount(Section):
    """How many labelled rows a build needs, and may have."""

    min: Whole | None = Field(None, ge=1, description="at least so many")
    max: Whole | None = Field(None, ge=1, description="at most so many")

    @model_validator(mode="after")
    def _in_order(self) -> RowCount:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min}) is more than max ({self.max}): no number of rows is both")
        return self


class ColumnExpectation(Section):
    """What the values of a feature, or of the target, are expected to be. Values that are missing count in `nulls`."""

    min: Number | None = Field(None, description="no value is below; of times, epoch seconds")
    max: Number | None = Field(None, description="no value is above")
    nulls: ShareOrNone | None = Field(None, description="at most this share of the values is missing: 0, 1%, 0.01")
    unique: Flag = Field(default=False, description="no value is there twice")
    values: tuple[str | int | float | bool, ...] | None = Field(
        None, min_length=1, description="every value is one of these, written as driftd spells them"
    )
    dtype: Kind | None = Field(None, description="the column is of this kind")

    @model_validator(mode="after")
    def _says_something(self) -> ColumnExpectation:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min:g}) is more than max ({self.max:g}): no value is both")
        if self == ColumnExpectation.model_construct():
            raise ValueError("nothing is expected of this column: give min, max, nulls, unique, values or dtype")
        return self


class CheckData(Section):
    """What is expected of the rows of a build, before anything is trained on them."""

    rows: RowCount = Field(RowCount(), description="how many labelled rows there are")
    columns: dict[str, ColumnExpectation] = Field(
        default_factory=dict, description="what the values of a column are, by its name: a feature, or the target"
    )
    functions: Annotated[tuple[Reference, ...], AfterValidator(distinct)] = Field(
        (), description="functions of yours, `package.module:function`; each gets the rows, and raises or returns false"
    )
    pandera: Reference | None = Field(
        None, description="`package.module:schema` of Pandera, which must be installed; looks at the newest rows alone"
    )
    great_expectations: str | None = Field(
        None, description="a suite of Great Expectations as JSON, which must be installed; looks at the newest rows"
    )
    timeout: Duration | None = Field(
        None, description="the check is ended after so long, and has failed; `limits.timeout` unless set"
    )

    @property
    def is_set(self) -> bool:
        """Whether anything is expected."""
        return self.rows != RowCount() or bool(
            self.columns or self.functions or self.pandera or self.great_expectations
        )


class ModelTests(Section):
    """Tests of yours that each new version must pass before it may serve."""

    tests: str | None = Field(
        None, description="a file or folder of pytest, which must be installed: `model`, `champion` and `snapshot` are "
        "its fixtures; relative to where driftd runs"
    )  # fmt: skip
    functions: Annotated[tuple[Reference, ...], AfterValidator(distinct)] = Field(
        (), description="functions of yours, `package.module:function`, with parameters of those names"
    )
    timeout: Duration = Field(1800.0, description="the tests are ended after so long, and have failed")

    @property
    def is_set(self) -> bool:
        """Whether there is any test."""
        return self.tests is not None or bool(self.functions)


class Review(Section):
    """How people review a challenger that waits for approval (`promote.approval: manual`)."""

    people: Whole = Field(
        1, ge=1, le=10, description="so many different people must approve it; one turns it down. With two or more, "
        "who asked for the build by hand is none of them"
    )  # fmt: skip
    expires: Duration | None = Field(
        None, description="a challenger that nobody decided on for so long is put aside; it waits for ever unless set"
    )


class Stages(Section):
    """What a build passes besides its training and its gate. Nothing of it costs anything unless it is set."""

    check_data: CheckData = Field(CheckData(), description="what the rows of a build must be")
    test: ModelTests = Field(ModelTests(), description="tests that a new version must pass")
    review: Review = Field(Review(), description="how people review a challenger")

    def libraries(self) -> Iterator[tuple[str, str, str]]:
        """What must be installed for it: the key, the name of the package's module, how it is installed."""
        if self.check_data.pandera is not None:
            yield "check_data.pandera", "pandera", "pip install pandera"
        if self.check_data.great_expectations is not None:
            yield "check_data.great_expectations", "great_expectations", "pip install great_expectations"
        if self.test.tests is not None:
            yield "test.tests", "pytest", "pip install 'driftd[tests]'"
