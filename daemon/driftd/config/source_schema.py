"""Where the events of a model are read from: the embedded store, log files, or an engine that holds them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from driftd.config.credential_files import read_token
from driftd.config.database_address import sql_address
from driftd.config.object_store_schema import ObjectStoreConfig, SourcePath, scheme_of
from driftd.config.plugin_schema import PluginSourceConfig
from driftd.config.types import DAY, Duration, Flag, Section, Whole, text_encoding


class StoreSourceConfig(Section):
    """`kind: store`: the embedded event store, fed by the SDK and `driftd serve`."""

    kind: Literal["store"] = Field("store", description="where events are read from")


class Dialect(Section):
    """How the text of log files is written. Parquet says so itself, all but the order in dates that are text."""

    separator: Annotated[str, Field(min_length=1, max_length=1)] | None = Field(
        None, description='between the fields of CSV, such as `";"`; a tab in `.tsv`, else a comma, unless set'
    )
    decimal: Literal[".", ","] = Field(".", description="the decimal sign of numbers in CSV")
    encoding: Annotated[str, AfterValidator(text_encoding)] = Field(
        "utf-8", description="the encoding of text, such as `utf-16` or `latin-1`"
    )
    compression: Literal["auto", "none", "gzip", "bz2", "zstd", "lz4"] = Field(
        "auto", description="of text files; `auto` goes by the suffix: `.gz`, `.bz2`, `.zst`, `.lz4`"
    )

    day_first: Flag | None = Field(
        None,
        description="how dates such as `03/04/2026` begin: `true` with the day, `false` with the month; "
        "unless set they are no times",
    )

    @model_validator(mode="after")
    def _two_signs(self) -> Dialect:
        if self.decimal == self.separator or (self.decimal == "," and self.separator is None):
            raise ValueError('a decimal comma needs another separator: separator: ";"')
        return self


class FilesSourceConfig(Section):
    """`kind: files`: log files that an application writes."""

    kind: Literal["files"] = Field(description="where events are read from")
    path: SourcePath = Field(
        description="a folder, a file or a pattern such as `/var/log/app/*.jsonl` or `s3://bucket/prefix` "
        "(docs/your-object-store.md)"
    )
    format: Literal[
        "auto",
        "parquet",
        "csv",
        "jsonl",
        "sagemaker_capture",
        "v2_inference",
        "cloudevents",
        "bentoml",
        "mlflow_inference",
    ] = Field("auto", description="`auto` goes by the file's suffix; the last five are JSON lines of other systems")
    dialect: Dialect = Field(Dialect(), description="how the text of the files is written")
    columns: dict[Literal["id", "at", "prediction", "score", "version", "label", "label_at", "features"], str] = Field(
        default_factory=dict,
        description="which column holds what, where the names differ from `prediction_id`, `at`, `prediction`, "
        "`score`, `version`, `label`, `label_at`; `features` names the object that holds the features (`features`, "
        "if there is one); a name with dots is a path into JSON objects or structs",
    )
    feedback: SourcePath | None = Field(None, description="path of separate files that hold the labels")
    feedback_columns: dict[Literal["id", "label", "label_at"], str] = Field(
        default_factory=dict, description="which column of the feedback files holds what"
    )
    object_store: ObjectStoreConfig | None = Field(
        None, description="how the object store of `path` and `feedback` is reached"
    )

    @model_validator(mode="after")
    def _one_store(self) -> FilesSourceConfig:
        schemes = {scheme for path in (self.path, self.feedback) if path and (scheme := scheme_of(path)) is not None}
        if self.object_store is not None and not schemes:
            raise ValueError("object_store is for a path such as s3://bucket/prefix; this one is of this host")
        if len(schemes) > 1:
            raise ValueError("path and feedback lie in two kinds of object stores: one of them must be of this host")
        if self.object_store is not None and self.object_store.region is not None and "s3" not in schemes:
            raise ValueError("object_store.region is for s3:// alone")
        return self


class ProfilesSourceConfig(Section):
    """`kind: profiles`: windows that a job of yours has counted, as files in a folder; docs/profile-format.md."""

    kind: Literal["profiles"] = Field(description="where events are read from")
    path: str = Field(min_length=1, description="the folder that the job drops its files into, of this model alone")
    columns: dict[Literal["id", "at", "prediction", "score", "version", "label", "label_at"], str] = Field(
        default_factory=dict,
        description="which column of the job's rows holds what, where the names differ from `prediction_id`, `at`, "
        "`prediction`, `score`, `version`, `label`, `label_at`",
    )


class Partition(Section):
    """The partition key of a table, so that a window reads few of its partitions."""

    key: str = Field(min_length=1, description="the column that the table is partitioned by, such as `day`")
    slack: Duration = Field(
        DAY, description="rows may lie in a partition so much earlier or later than their time: keys of a local zone"
    )


class LabelledTables(Section):
    """What all engines have in common: which tables, which of their columns mean what, and how much may be read."""

    predictions: str = Field(min_length=1, description="the table or view of predictions, with schema where it has one")
    labels: str | None = Field(
        None, description="the table of labels, one row each time a label is learned; beside the predictions unless set"
    )
    columns: dict[Literal["id", "at", "prediction", "score", "version", "label", "label_at"], str] = Field(
        default_factory=dict,
        description="which column of the predictions holds what, where the names differ from `prediction_id`, `at`, "
        "`prediction`, `score`, `version`, `label`, `label_at`",
    )
    label_columns: dict[Literal["id", "label", "label_at", "received_at"], str] = Field(
        default_factory=dict, description="which column of the labels holds what, where the names differ"
    )
    timeout: Duration = Field(600.0, ge=1, description="a query takes at most so long; then it is cancelled")


class EngineTables(LabelledTables):
    """The same where a window may be a filter on a partition key."""

    partition: Partition | None = Field(None, description="how the table of predictions is partitioned")


class SqlSourceConfig(EngineTables):
    """`kind: sql`: tables of a database, read by SELECT alone."""

    kind: Literal["sql"] = Field(description="where events are read from")
    url: Annotated[str, AfterValidator(sql_address)] = Field(
        description="the database: `duckdb:///srv/events.duckdb` or `postgresql://host:5432/database`; no password here"
    )
    credentials_file: Path | None = Field(
        None,
        description="a file with lines `user: ...` and `password: ...`, or with the whole address, read at each "
        "connection; a bare name is a credential of systemd",
    )
    count: Literal["here", "there"] = Field(
        "here", description="where rows are counted: `here` moves the columns of the model, `there` sends GROUP BYs"
    )
    most_rows: Whole | None = Field(
        None, ge=1, description="so many rows are read in a day (UTC) at most; what would read more is refused"
    )
    most_bytes: Whole | None = Field(
        None, ge=1, description="so many bytes are read in a day (UTC) at most; a query that passes it is ended"
    )


_PARTS = re.compile("[;/?#&]")  # a parameter that stands in a wrong place is none for Spark, and yet shown
_SECRET_NAME = re.compile("token|password|secret|authorization|api.?key|credential")  # each becomes a header


def spark_address(text: str) -> str:
    """An address of Spark Connect that holds no secret. Raises ValueError."""
    parts = urlsplit(text)
    if parts.scheme != "sc" or not parts.hostname:
        raise ValueError("the address of Spark Connect is sc://host:port")
    named = {pair.partition("=")[0].strip().lower() for pair in _PARTS.split(text) if "=" in pair}
    if parts.username is not None or any(map(_SECRET_NAME.search, named)):
        raise ValueError("a token does not stand in the address: set token_file")
    if "session_id" in named:
        raise ValueError("session_id is driftd's own: leave it out")
    return text


class SparkSourceConfig(EngineTables):
    """`kind: spark`: tables that a Spark cluster reads, by Spark Connect."""

    kind: Literal["spark"] = Field(description="where events are read from")
    remote: Annotated[str, AfterValidator(spark_address)] = Field(
        description="the address of Spark Connect: `sc://host:15002`, with parameters such as `/;use_ssl=true`"
    )
    token_file: Path | None = Field(
        None, description="a file with the token of the server; a bare name is a systemd credential"
    )

    count: Literal["there", "here"] = Field(
        "there",
        description="where rows are counted: `there` runs driftd's functions inside the executors, `here` moves the "
        "columns of the model, for clusters that run no Python of their users",
    )

    def token(self) -> str | None:
        """The token, if there is one. Raises CredentialFileError."""
        return None if self.token_file is None else read_token(self.token_file)


class DeltaSourceConfig(EngineTables):
    """`kind: delta`: Delta tables in folders of this host or of an object store, read by their own library."""

    kind: Literal["delta"] = Field(description="where events are read from")
    predictions: SourcePath = Field(
        description="the folder of the table of predictions, such as `/srv/lake/orders` or `s3://bucket/lake/orders`"
    )
    labels: SourcePath | None = Field(
        None,
        description="the folder of the table of labels, one row each time a label is learned; beside the predictions "
        "unless set",
    )
    object_store: ObjectStoreConfig | None = Field(None, description="how the object store of the tables is reached")

    @model_validator(mode="after")
    def _one_store(self) -> DeltaSourceConfig:
        schemes = {scheme_of(path) for path in (self.predictions, self.labels) if path is not None} - {None}
        if self.object_store is not None and not schemes:
            raise ValueError("object_store is for a path such as s3://bucket/prefix; these are of this host")
        if schemes - {"s3"}:
            raise ValueError("Delta tables are read on this host and at s3://; source: {kind: spark} reads others")
        return self


def catalog_address(text: str) -> str:
    """An address of an Iceberg catalog that holds no secret. Raises ValueError."""
    parts = urlsplit(text)
    if "@" in parts.netloc:
        raise ValueError("no password stands in the address of a catalog: set token_file")
    if not ((parts.scheme in {"http", "https"} and parts.hostname) or text.startswith("sqlite:////")):
        raise ValueError("the address of a catalog is https://host:port (REST) or sqlite:////path/of/catalog.db")
    return text


class IcebergCatalog(Section):
    """Where Iceberg keeps which snapshot of a table is the current one."""

    uri: Annotated[str, AfterValidator(catalog_address)] = Field(
        description="the catalog: `https://host:port` (REST) or a file, `sqlite:////srv/lake/catalog.db`"
    )
    name: str = Field(
        "default", min_length=1, description="the name of the catalog, under which its file may hold several"
    )
    warehouse: str | None = Field(None, min_length=1, description="the warehouse, where the catalog has several")
    token_file: Path | None = Field(
        None, description="a file with the token of the catalog; a bare name is a systemd credential"
    )


class IcebergSourceConfig(LabelledTables):
    """`kind: iceberg`: Iceberg tables of a catalog, read by their own library."""

    kind: Literal["iceberg"] = Field(description="where events are read from")
    catalog: IcebergCatalog = Field(description="how the catalog of the tables is reached")
    object_store: ObjectStoreConfig | None = Field(
        None, description="how the object store that the files of the tables lie in is reached"
    )


SourceConfig = (
    StoreSourceConfig
    | FilesSourceConfig
    | SqlSourceConfig
    | SparkSourceConfig
    | DeltaSourceConfig
    | IcebergSourceConfig
    | ProfilesSourceConfig
    | PluginSourceConfig
)
