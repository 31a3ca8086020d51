"""Opens pyarrow's file system for an object store: its address, and its keys from a file or the environment."""

from __future__ import annotations

import configparser
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from driftd.config.object_store_schema import ObjectStoreConfig, scheme_of
from driftd.paths import credential
from driftd.sources.file_system import StoreAwayError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem as ArrowFileSystem

_TRIES = 2  # of one request
_AWS_KEYS = {"access_key": "aws_access_key_id", "secret_key": "aws_secret_access_key"}
_AWS_TOKEN = "aws_session_token"  # noqa: S105 - the name of a key
_GOOGLE_KEYS = "GOOGLE_APPLICATION_CREDENTIALS"
_google = threading.Lock()


@dataclass(frozen=True, slots=True)
class StorePlace:
    """The bucket of a path. Within pyarrow, paths begin with the bucket; in the config, with the scheme."""

    scheme: str
    bucket: str
    account: str | None = None  # of Azure

    @classmethod
    def of(cls, path: str) -> StorePlace:
        """The place of `s3://bucket/...`, `gs://bucket/...` or `abfs://container@account/...`."""
        scheme = scheme_of(path)
        assert scheme is not None  # the config has checked it
        bucket, _, account = path.partition("://")[2].partition("/")[0].partition("@")
        return cls(scheme, bucket, account.partition(".")[0] or None)

    @property
    def root(self) -> str:
        """The bucket as it is written in a config."""
        account = "" if self.account is None else f"@{self.account}"
        return f"{self.scheme}://{self.bucket}{account}"

    def inner(self, path: str) -> str:
        """A path as pyarrow has it."""
        return f"{self.bucket}/{path.partition('://')[2].partition('/')[2]}".rstrip("/")

    def outer(self, path: str) -> str:
        """A path of pyarrow as it is written in a config."""
        return f"{self.root}{path.removeprefix(self.bucket)}"


def endpoint_of(place: StorePlace, config: ObjectStoreConfig) -> str | None:
    """The address of a store that is not the provider's own."""
    if config.endpoint is not None or place.scheme != "s3":
        return config.endpoint
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def probe_address(path: str, config: ObjectStoreConfig | None) -> str:
    """A web address that answers, whatever, where the store of a path can be reached."""
    place, config = StorePlace.of(path), config or ObjectStoreConfig()
    endpoint = endpoint_of(place, config)
    if endpoint is not None:
        return f"{endpoint}/{place.bucket}"
    region = config.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return {
        "s3": f"https://s3.{region}.amazonaws.com/{place.bucket}",
        "gs": f"https://storage.googleapis.com/{place.bucket}",
        "abfs": f"https://{place.account}.blob.core.windows.net/{place.bucket}",
    }[place.scheme]


def open_store(place: StorePlace, config: ObjectStoreConfig) -> ArrowFileSystem:
    """The file system of a store; nothing is asked of it yet. Raises StoreAwayError where its keys cannot be read."""
    return {"s3": _open_s3, "gs": _open_google, "abfs": _open_azure}[place.scheme](place, config)


def _open_s3(place: StorePlace, config: ObjectStoreConfig) -> ArrowFileSystem:
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem  # noqa: PLC0415 - only where a path is in a store

    keys = {} if config.credentials_file is None else aws_keys(config.credentials_file)
    return S3FileSystem(
        anonymous=config.anonymous,
        region=config.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
        endpoint_override=endpoint_of(place, config),
        connect_timeout=config.timeout,
        request_timeout=config.timeout,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=_TRIES),
        tls_ca_file_path=os.environ.get("AWS_CA_BUNDLE"),
        **keys,
    )


def _open_google(_place: StorePlace, config: ObjectStoreConfig) -> ArrowFileSystem:
    from pyarrow.fs import GcsFileSystem  # noqa: PLC0415 - see above

    address = urlsplit(config.endpoint or "")
    options = {
        "anonymous": config.anonymous,
        "scheme": address.scheme or None,
        "endpoint_override": address.netloc or None,
        "retry_time_limit": timedelta(seconds=config.timeout),
    }
    if config.credentials_file is None:
        return GcsFileSystem(**options)
    _read_keys(config.credentials_file)
    with _google:  # Google's client takes the name of the file from the environment alone, when it is made
        before = os.environ.get(_GOOGLE_KEYS)
        os.environ[_GOOGLE_KEYS] = str(credential(config.credentials_file))
        try:
            return GcsFileSystem(**options)
        finally:
            if before is None:
                del os.environ[_GOOGLE_KEYS]
            else:
                os.environ[_GOOGLE_KEYS] = before


def _open_azure(place: StorePlace, config: ObjectStoreConfig) -> ArrowFileSystem:
    from pyarrow.fs import AzureFileSystem  # noqa: PLC0415 - see above

    options: dict[str, str] = {}
    if config.endpoint is not None:
        address = urlsplit(config.endpoint)
        options = {f"{kind}_storage_authority": address.netloc for kind in ("blob", "dfs")}
        options |= {f"{kind}_storage_scheme": address.scheme for kind in ("blob", "dfs")}
    if config.credentials_file is not None:
        key = _read_keys(config.credentials_file).strip()
        options["sas_token" if "sig=" in key else "account_key"] = key
    return AzureFileSystem(place.account, **options)


def _read_keys(path: Path) -> str:
    try:
        return credential(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise StoreAwayError(f"credentials_file {path} cannot be read: {reason}") from None


def aws_keys(path: Path) -> Mapping[str, str]:
    """The keys of a file such as ~/.aws/credentials: of its section `default`, or of its only one."""
    parsed = configparser.ConfigParser(interpolation=None, default_section="\0")
    text = _read_keys(path)
    try:
        parsed.read_string(text)
    except configparser.Error:  # its message would show a line of the file
        raise StoreAwayError(f"credentials_file {path} cannot be read: {_AWS_FORM}") from None
    name = "default" if "default" in parsed else next(iter(parsed.sections()), "")
    section = parsed[name] if name else {}
    if missing := [key for key in _AWS_KEYS.values() if not section.get(key)]:
        raise StoreAwayError(f"credentials_file {path} has no {missing[0]}: {_AWS_FORM}")
    token = {"session_token": section[_AWS_TOKEN]} if section.get(_AWS_TOKEN) else {}
    return {**{name: section[key] for name, key in _AWS_KEYS.items()}, **token}


_AWS_FORM = "write [default], aws_access_key_id = ... and aws_secret_access_key = ... on three lines"
