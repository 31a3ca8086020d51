"""A session of Spark Connect: found again by a new process, limited in time, its failures in one sentence."""

from __future__ import annotations

import contextlib
import re
import tempfile
import threading
import uuid
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from driftd.formatting import format_duration
from driftd.sources.engines.protocol import EngineError
from driftd_detectors.batches.worker import fingerprint, package_sources

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

_NAMESPACE = uuid.UUID("6f9c2a41-5a1d-4f0b-9c57-0d3f5c1b7e11")  # of the identities of sessions; it never changes
_MOST_CLOSED = 1_000  # sessions that a server remembers as closed, by its default
_CLOSED = "SESSION_CLOSED"
_OLDEST = (3, 5)  # has mapInArrow by Connect
_GRACE = 5.0  # seconds between telling a server to stop and giving up its connection
_LONGEST_DETAIL = 300


def import_pyspark() -> None:
    """Import Spark's client. Raises EngineError where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # it has not seen the newest pandas
            import pyspark.sql.connect.session  # noqa: F401, PLC0415 - it takes seconds, in the child alone
    except ImportError as error:
        raise EngineError(f"Spark's client cannot be imported ({error}): pip install 'driftd[spark]'") from error


def session_id(identity: str, number: int) -> str:
    """The identity of a session: the same in each process of a model that runs these sources."""
    return str(uuid.uuid5(_NAMESPACE, f"{identity} {fingerprint()} {number}"))


class Session:
    """One session, for one model. What its predecessor left running is cancelled before it begins."""

    def __init__(self, remote: str, token: str | None, identity: str, tag: str) -> None:
        self.tag = tag
        self._remote, self._token, self._identity = remote, token, identity
        self._spark: SparkSession | None = None
        self._has_package = False
        self._is_ended = False

    def open(self) -> SparkSession:
        """The session of Spark's client, connected by the first call."""
        if self._spark is None:
            self._spark = self._connect()
        return self._spark

    def send_package(self) -> None:
        """Send the sources that workers need, once in a session."""
        if self._has_package:
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"driftd_detectors-{fingerprint()[:12]}.zip"
            write_package(path)
            self.open().addArtifacts(str(path), pyfile=True)
        self._has_package = True

    def interrupt(self) -> None:
        """Cancel what is under way on the server. Any thread may call it."""
        if self._spark is not None and not self._is_ended:
            self._spark.interruptTag(self.tag)

    def release(self) -> None:
        """End the session on the server too: its identity is not used again."""
        if self._spark is not None and not self._is_ended:
            with contextlib.suppress(Exception):  # then the server ends it, an hour after the last call
                self._spark.client.release_session()

    def end(self) -> None:
        """Give the connection back; the session stays on the server, so that its identity can be used again."""
        self._is_ended = True
        if self._spark is not None:
            self._spark.client._channel.close()
            self._spark.client._closed = True

    def _connect(self) -> SparkSession:
        import_pyspark()
        number = 0
        while True:
            self._spark = spark = self._client(number)
            try:
                spark.conf.set("spark.sql.session.timeZone", "UTC")
                break
            except Exception as error:
                if _CLOSED not in str(error) or number == _MOST_CLOSED or self._is_ended:
                    raise
                spark.client.close()
                number += 1
        _check_version(spark.version)
        spark.interruptTag(self.tag)
        spark.addTag(self.tag)
        return spark

    def _client(self, number: int) -> SparkSession:
        from pyspark.sql.connect.client import DefaultChannelBuilder  # noqa: PLC0415 - see import_pyspark
        from pyspark.sql.connect.client.retries import DefaultPolicy  # noqa: PLC0415
        from pyspark.sql.connect.session import SparkSession  # noqa: PLC0415

        builder = DefaultChannelBuilder(self._remote)
        builder.set("session_id", session_id(self._identity, number))
        if builder.userId is None:
            builder.set("user_id", "driftd")
        if self._token is not None:
            builder.set("token", self._token)
        spark = SparkSession(builder)
        spark.release_session_on_close = False
        spark.client.set_retry_policies([DefaultPolicy(max_retries=3, max_backoff=1000)])
        return spark


def write_package(path: Path) -> None:
    """The sources that run on workers, as a zip that Python imports from; the same sources give the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        for name, source in package_sources().items():
            package.writestr(zipfile.ZipInfo(name), source, zipfile.ZIP_DEFLATED)


def _check_version(version: str) -> None:
    found = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if found < _OLDEST:
        raise EngineError(f"the server is Spark {version}: driftd needs Spark 3.5 or newer")


class Limit:
    """Cancels what a session does when it takes too long; then `is_over` says so."""

    def __init__(self, session: Session, seconds: float) -> None:
        self.is_over = False
        self._session = session
        self._done = threading.Event()
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._timer.cancel()

    def _end(self) -> None:
        self.is_over = True
        threading.Thread(target=self._interrupt, daemon=True).start()
        if not self._done.wait(_GRACE):
            self._session.end()  # the server hangs: what waits for it fails now

    def _interrupt(self) -> None:
        with contextlib.suppress(Exception):  # then the connection is given up
            self._session.interrupt()


_CAUSES: tuple[tuple[str, str], ...] = (  # what a failure holds, and what it means; the first that is found counts
    (
        r"TABLE_OR_VIEW_NOT_FOUND|TABLE_NOT_FOUND|SCHEMA_NOT_FOUND|NO_SUCH_CATALOG",
        "a table is not there, or hidden: "
        "check source.predictions and source.labels, and that the user may SELECT from them",
    ),
    (r"UNRESOLVED_COLUMN", "a column is not there: check source.columns and source.label_columns"),
    (
        r"PERMISSION_DENIED|INSUFFICIENT_P(ERM|RIV)|AccessControlException|AccessDenied|not authorized",
        "rights are missing: the user of the session needs SELECT on the tables (docs/your-spark-cluster.md)",
    ),
    (
        r"UNAUTHENTICATED|Invalid token|AuthenticationException",
        "the server does not accept the token: check source.token_file",
    ),
    (
        r"PYTHON_VERSION_MISMATCH",
        "the workers have another minor version of Python than driftd: set PYSPARK_PYTHON "
        "there to the same one, or source.count: here",
    ),
    (
        r"No module named '?(numpy|pyarrow)",
        "the workers lack a library: install numpy and pyarrow in their Python, or set source.count: here",
    ),
    (
        r"No module named '?driftd_detectors",
        "the workers did not get driftd's package: allow artifacts on the server, or set source.count: here",
    ),
    (
        r"StatusCode.UNAVAILABLE|failed to connect|Connection refused",
        "it cannot be reached: is Spark Connect running there, and is the port open?",
    ),
    (
        r"SESSION_CHANGED|SESSION_NOT_FOUND|SESSION_CLOSED|OPERATION_NOT_FOUND|RESPONSE_ALREADY_RECEIVED",
        "the server was started again, or has ended the session; it is asked again in the next round",
    ),
    (r"OutOfMemory|FetchFailed|Job aborted due to stage failure", "a job failed on the cluster"),
)
_OUR_SENTENCE = re.compile(r"DetectorError: ([^\n]+)")
LASTING = re.compile(r"TABLE_OR_VIEW_NOT_FOUND|TABLE_NOT_FOUND|SCHEMA_NOT_FOUND|UNRESOLVED_COLUMN")


def sentence_of(error: BaseException, limit: Limit, seconds: float) -> str:
    """What a failure of Spark's client means, and what to do."""
    text = f"{type(error).__name__}: {error}"
    if limit.is_over:
        return f"no answer within {format_duration(seconds)}: raise source.timeout, or set source.partition"
    if "OPERATION_CANCELED" in text or "cancelled" in text.casefold():
        return "the query was cancelled"
    ours = _OUR_SENTENCE.search(text)
    if ours is not None:
        return ours.group(1)
    detail = _detail_of(error)
    for pattern, meaning in _CAUSES:
        if re.search(pattern, text):
            return f"{meaning} ({detail})"
    return detail


def _detail_of(error: Any) -> str:
    details = error.details() if hasattr(error, "details") and callable(error.details) else str(error)
    lines = [line.strip() for line in str(details).splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    return line if len(line) <= _LONGEST_DETAIL else f"{line[:_LONGEST_DETAIL]}..."
