"""Paths in object stores, and how the store is reached."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from driftd.config.types import Duration, Flag, Section

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
