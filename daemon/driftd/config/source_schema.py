"""The section `source` of a model: the event store, or files of this host and of object stores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from driftd.config.types import Duration, Flag, Section, text_encoding


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


STORES = {"s3": "s3://BUCKET/PREFIX", "gs": "gs://BUCKET/PREFIX", "abfs": "abfs://CONTAINER@ACCOUNT/PREFIX"}
_SPELLED = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfss": "abfs", "az": "abfs", "azure": "abfs"}
_ALLOWED = f"a path of this host, {', '.join(STORES.values())}"


def scheme_of(path: str) -> str | None:
    """The scheme of a path in an object store; None of a path of this host."""
    scheme, found, _ = path.partition("://")
    return scheme if found and scheme in STORES else None


def source_path(text: str) -> str:
    """A path of this host, or one in an object store whose scheme driftd reads. Secrets in it are not repeated."""
    scheme, found, rest = text.partition(":/")
    if not found or "/" in scheme or not scheme:
        return text
    if scheme not in STORES:
        meant = _SPELLED.get(scheme.lower(), scheme.lower())
        hint = f"did you mean {meant}://? Allowed" if meant in STORES else "allowed"
        raise ValueError(f"driftd does not read {scheme}://; {hint}: {_ALLOWED}")
    place = rest.partition("/")[2] if rest.startswith("/") else ""
    bucket = place.partition("/")[0]
    if scheme != "abfs" and "@" in bucket:
        raise ValueError("keys do not stand in a path: set object_store: {credentials_file: ...}, or the environment")
    if not bucket or any(sign in bucket for sign in "*?["):
        raise ValueError(f"a path in an object store names its bucket: {STORES[scheme]}")
    if scheme == "abfs" and not all(bucket.partition("@")):
        raise ValueError(f"a path in Azure names its container and its account: {STORES[scheme]}")
    return text


SourcePath = Annotated[str, Field(min_length=1), AfterValidator(source_path)]


def store_endpoint(text: str) -> str:
    """`https://host:port`, without a path, and without keys."""
    parts = urlsplit(text)
    is_whole = parts.scheme in {"http", "https"} and parts.hostname and not parts.path.strip("/") and not parts.query
    if "@" in text:
        raise ValueError("keys do not stand in an endpoint: set credentials_file, or the environment")
    if not is_whole:
        raise ValueError(f"an endpoint is https://host:port, such as https://minio.example.org:9000, not {text!r:.80}")
    return text.rstrip("/")


class ObjectStoreConfig(Section):
    """How an object store is reached. Without keys here, they come from the environment or from the host's own role."""

    endpoint: Annotated[str, AfterValidator(store_endpoint)] | None = Field(
        None,
        description="`https://host:port` of a store that is not the provider's own, such as MinIO; "
        "for `s3://` AWS_ENDPOINT_URL unless set",
    )
    region: str | None = Field(None, min_length=1, description="of `s3://`; AWS_REGION, or `us-east-1`, unless set")
    credentials_file: Path | None = Field(
        None,
        description="a file of keys, read when the store is opened: the file of AWS (`[default]`), the JSON of a "
        "service account for `gs://`, an account key or SAS token for `abfs://`; a bare name is a credential of "
        "systemd",
    )
    anonymous: Flag = Field(default=False, description="ask without keys, for public buckets")
    timeout: Duration = Field(10.0, ge=1, description="connecting takes at most so long, and so does each answer")

    @model_validator(mode="after")
    def _with_or_without_keys(self) -> ObjectStoreConfig:
        if self.anonymous and self.credentials_file is not None:
            raise ValueError("anonymous asks without keys: leave credentials_file out, or anonymous")
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
