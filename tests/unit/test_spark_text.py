"""What is asked of Spark, and what its workers are sent, without a Spark."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from driftd.config.credential_files import CredentialFileError, read_token
from driftd.config.source_schema import Partition, SparkSourceConfig, spark_address
from driftd.sources.engines.protocol import EngineError, Query
from driftd.sources.engines.spark_session import session_id, write_package
from driftd.sources.engines.spark_text import Keys, Names, Statements, Table, number, quote
from driftd_detectors.batches.worker import check_code, fingerprint, package_sources, sign_job
from driftd_detectors.errors import DetectorError

NOON = 1_700_049_600.0  # 2023-11-15 12:00 UTC
TABLE = Table("`t`", {"at": "timestamp", "day": "string", "hour": "int", "prediction_id": "string", "price": "double"})


@pytest.mark.parametrize(
    ("example", "kind", "first"),
    [
        ("2023-11-14", "string", "'2023-11-13'"),
        ("20231114", "int", "20231113"),
        (20231114, "int", "20231113"),
        ("2023-11", "string", "'2023-10'"),
        ("2023-11-14-23", "string", "'2023-11-14-11'"),
        ("2023-11-14T23", "string", "'2023-11-14T11'"),
        (2023111423, "bigint", "2023111411"),
    ],
)
def test_a_partition_key_is_recognised_by_a_value(example: object, kind: str, first: str) -> None:
    """Days, hours and months as text or numbers bound the partitions of a window, a span and the slack earlier."""
    keys = Keys.read(Partition(key="day", slack=86_400.0), Table("`t`", {"day": kind}), example)
    assert keys.near(NOON, NOON + 60).startswith(f"(`day` >= {first} AND `day` <= ")
    assert keys.near(NOON, NOON + 60).endswith(" OR `day` IS NULL)")
    assert keys.near(-math.inf, math.inf) == "true"
    assert keys.time(example) <= NOON


def test_a_key_that_is_a_date_is_compared_as_one() -> None:
    """A date needs no example, and its time is the midnight that it begins with."""
    keys = Keys.read(Partition(key="day", slack=3600.0), Table("`t`", {"day": "date"}), None)
    assert "`day` >= date_from_unix_date(" in keys.near(NOON, NOON + 60)
    assert keys.time(date(2023, 11, 15)) == NOON - 43_200


def test_a_key_that_is_no_time_is_refused() -> None:
    """The sentence names the key, its value, and what would do."""
    with pytest.raises(EngineError, match=r"holds 'north', which is no day, hour or month such as 2026-01-31"):
        Keys.read(Partition(key="day"), TABLE, "north")


def test_names_cannot_leave_their_quotes() -> None:
    """A backtick in a name is doubled, and infinities are literals."""
    assert quote("a`b; DROP") == "`a``b; DROP`"
    assert (number(0.1), number(-math.inf)) == ("0.1D", "double('-Infinity')")


def test_a_live_window_reads_no_label_and_a_cohort_no_feature() -> None:
    """Two narrow queries: only what was asked for and is there, and labels only where a time of knowing is given."""
    settings = SparkSourceConfig(kind="spark", remote="sc://host", predictions="t", labels="l")
    labels = Table("`l`", {"prediction_id": "string", "label": "string", "label_at": "timestamp"})
    statements = Statements(TABLE, labels, Names.of(settings), None)
    live = statements.rows(Query(("price", "gone"), NOON, NOON + 60))
    assert live.startswith("SELECT `price` FROM `t` WHERE ")
    assert "`l`" not in live
    cohort = statements.rows(Query(("at",), NOON, NOON + 60, NOON + 90))
    assert "price" not in cohort
    assert f"<= {NOON + 90!r}D" in cohort
    assert cohort.count("JOIN") == cohort.count("LEFT JOIN") == 1


def test_the_package_needs_numpy_and_pyarrow_alone(tmp_path: Path) -> None:
    """The same sources make the same zip; imported from it, a partition is counted and nothing else is loaded."""
    first, second = tmp_path / "a.zip", tmp_path / "b.zip"
    write_package(first)
    write_package(second)
    assert first.read_bytes() == second.read_bytes()
    program = (
        "import sys; import driftd_detectors.batches.worker as worker; print(worker.fingerprint()); "
        "print(worker.__file__.startswith(sys.argv[1])); "
        "loaded = {name.split('.')[0] for name in sys.modules}; "
        "print(sorted(loaded & {'pandas', 'msgspec', 'pydantic', 'driftd', 'scipy'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(first)],
        env={"PYTHONPATH": str(first)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[:3] == [fingerprint(), "True", "[]"]
    assert "driftd_detectors/batches/worker.py" in package_sources()


def test_a_job_of_other_sources_is_refused() -> None:
    """A signed job is done by the sources that signed it; one without a signature by any."""
    job = json.dumps({"batches": 1})
    check_code(job)
    check_code(sign_job(job))
    with pytest.raises(DetectorError, match="the worker has other sources of driftd"):
        check_code(json.dumps({"batches": 1, "code": "0" * 64}))


def test_a_session_is_that_of_its_model_and_number() -> None:
    """The identity of a session is the same in each process, and another for another model or after a closed one."""
    assert session_id("a", 0) == session_id("a", 0)
    assert len({session_id("a", 0), session_id("a", 1), session_id("b", 0)}) == 3


@pytest.mark.parametrize("content", ["", "two words", None])
def test_a_file_without_a_token_is_told(tmp_path: Path, content: str | None) -> None:
    """The sentence names the file and what to do, and nothing of what is in it."""
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    with pytest.raises(CredentialFileError, match=r"token_file .*token (cannot be read|holds no token)") as refused:
        read_token(file)
    assert "words" not in str(refused.value)


@pytest.mark.parametrize(
    "rest", [":15002/;token=x", ":15002;token=x", "/?access_token=x", "/;authorization=Bearer x", "/;X-Api-Key=x"]
)
def test_an_address_with_a_secret_is_refused_wherever_it_stands(rest: str) -> None:
    """Parameters become headers, and those in a wrong place are shown all the same."""
    with pytest.raises(ValueError, match="set token_file"):
        spark_address(f"sc://spark.example.com{rest}")
    assert spark_address("sc://h:15002/;use_ssl=true;x-databricks-cluster-id=1").endswith("=1")
