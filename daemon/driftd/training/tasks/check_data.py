"""The `check_data` task: whether the rows of a build are what the config expects of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from driftd.config.stage_schema import CheckData
from driftd.errors import DriftdError
from driftd.formatting import visible
from driftd.training.expectations import Outcome, check_column, check_rows
from driftd.training.job_context import JobContext
from driftd.training.snapshot_rows import MOST_ROWS, SnapshotRows
from driftd.training.tasks import TaskArguments
from driftd.training.user_functions import import_name

_LONGEST = 500  # characters of what code of the user says
_MOST_SAID = 3  # failed expectations that the sentence names


class Arguments(TaskArguments, frozen=True, kw_only=True):
    """The rows to check, by the content hash of their snapshot."""

    version: int
    snapshot: str


def run(arguments: Arguments) -> dict[str, object]:
    """Check every expectation, also after one that fails. Raises SnapshotError where the rows are gone."""
    order = JobContext.of(arguments)
    snapshot = SnapshotRows.read(order.places, order.model, arguments.snapshot)
    outcomes = []
    for outcome in check_snapshot(snapshot, order.config.stages.check_data):
        print(f"{'passed' if outcome.passed else 'FAILED'}  {outcome.sentence}", flush=True)  # noqa: T201 - the log
        outcomes.append(outcome)
    failed = [outcome for outcome in outcomes if not outcome.passed]
    return {
        "passed": not failed,
        "sentence": describe(outcomes, failed, len(snapshot)),
        "expectations": [outcome.to_dict() for outcome in [*failed, *(each for each in outcomes if each.passed)]],
    }


def describe(outcomes: list[Outcome], failed: list[Outcome], rows: int) -> str:
    """What came of all expectations, in one sentence that names the first ones that fail."""
    if not failed:
        return f"all {len(outcomes)} expectations hold for {rows:,} rows"
    more = f"; and {len(failed) - _MOST_SAID} more" if len(failed) > _MOST_SAID else ""
    named = "; ".join(outcome.sentence for outcome in failed[:_MOST_SAID])
    return f"{len(failed)} of {len(outcomes)} expectations on {rows:,} rows fail: {named}{more}"


def check_snapshot(snapshot: SnapshotRows, wanted: CheckData) -> Iterator[Outcome]:
    """The outcome of each expectation."""
    yield from check_rows(len(snapshot), wanted.rows)
    for column, expectation in wanted.columns.items():
        yield from check_column(snapshot, column, expectation)
    for reference in wanted.functions:
        yield _call(reference, snapshot)
    if wanted.pandera is not None:
        yield _validate_pandera(wanted.pandera, snapshot)
    if wanted.great_expectations is not None:
        yield _validate_suite(wanted.great_expectations, snapshot)


def _call(reference: str, snapshot: SnapshotRows) -> Outcome:
    """What a function of the user says: it raises, or returns false or a text where the rows are not as expected."""
    expected = "neither false, a text nor an exception"
    try:
        said = import_name(reference)(snapshot)
    except (MemoryError, KeyboardInterrupt):
        raise
    except SystemExit as error:
        return Outcome(reference, passed=False, expected=expected, found=f"sys.exit({error.code!r})")
    except Exception as error:  # noqa: BLE001 - it is anybody's code: whatever it raises is what is found
        return Outcome(reference, passed=False, expected=expected, found=_brief(f"{type(error).__name__}: {error}"))
    if said is None or (not isinstance(said, str) and bool(said)):
        return Outcome(reference, passed=True, expected=expected, found="none of these")
    return Outcome(reference, passed=False, expected=expected, found=_brief(repr(said)))


def _brief(text: str) -> str:
    return visible(text)[:_LONGEST]


def _newest(snapshot: SnapshotRows) -> str:
    few = len(snapshot) <= MOST_ROWS
    return f"{len(snapshot):,} rows" if few else f"the newest {MOST_ROWS:,} of {len(snapshot):,} rows"


class LibraryAbsentError(DriftdError):
    """A library that the config asks for is not installed; the message says how it is."""


def _validate_pandera(reference: str, snapshot: SnapshotRows) -> Outcome:
    try:
        from pandera.errors import SchemaError, SchemaErrors  # noqa: PLC0415 - only where a schema is configured
    except ImportError as error:
        said = f"stages.check_data.pandera needs Pandera, which is not installed: pip install pandera ({error})"
        raise LibraryAbsentError(said) from error
    name, expected = f"pandera {reference}", f"{_newest(snapshot)} that the schema takes"
    try:
        import_name(reference).validate(snapshot.frame(), lazy=True)
    except (SchemaError, SchemaErrors) as error:
        cases = getattr(error, "failure_cases", None)
        failing = 0 if cases is None else len(cases)
        return Outcome(name, passed=False, expected=expected, found=_brief(str(error)), failing=failing)
    return Outcome(name, passed=True, expected=expected, found="these")


def _validate_suite(path: str, snapshot: SnapshotRows) -> Outcome:
    try:
        import great_expectations  # noqa: PLC0415 - only where a suite is configured
    except ImportError as error:
        raise LibraryAbsentError(
            "stages.check_data.great_expectations needs Great Expectations, which is not installed: "
            f"pip install great_expectations ({error})"
        ) from error
    content: dict[str, Any] = json.loads(Path(path).read_text("utf-8"))
    context = great_expectations.get_context(mode="ephemeral")
    asset = context.data_sources.add_pandas("driftd").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": snapshot.frame()})
    named = {"name": content.get("name") or content.get("expectation_suite_name") or "suite"}
    suite = great_expectations.ExpectationSuite(**named, expectations=content.get("expectations", []))
    found = batch.validate(suite)
    failed = [str(result.expectation_config.type) for result in found.results if not result.success]
    said = "these" if found.success else _brief(f"{len(failed)} expectations fail: {', '.join(failed)}")
    expected = f"{_newest(snapshot)} of which all of {len(found.results)} expectations hold"
    return Outcome(f"great_expectations {Path(path).name}", bool(found.success), expected, said)
