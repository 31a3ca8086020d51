"""The clients of object stores: which one a path gets, where it asks, its keys, and what its errors mean."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pyarrow.fs import AzureFileSystem, S3FileSystem

from driftd.config.load import parse
from driftd.config.object_store_schema import ObjectStoreConfig
from driftd.paths import Places
from driftd.sources.file_system import StoreAwayError, absolute_path
from driftd.sources.object_store import describe_error
from driftd.sources.open import config_for_children, paths_of
from driftd.sources.store_client import StorePlace, open_store, probe_address
from driftd.web.secrets import fault_of, secrets_of

AZURE = "abfs://logs@acme.dfs.core.windows.net/orders"


@pytest.mark.parametrize(
    ("path", "inner", "root"),
    [
        ("s3://bucket/a/b", "bucket/a/b", "s3://bucket"),
        ("s3://bucket", "bucket", "s3://bucket"),
        ("gs://bucket/a/", "bucket/a", "gs://bucket"),
        (AZURE, "logs/orders", "abfs://logs@acme"),
    ],
)
def test_a_path_is_spelled_for_the_client_and_back(path: str, inner: str, root: str) -> None:
    """Within pyarrow a path begins with its bucket; in messages and in the catalogue as in the config."""
    place = StorePlace.of(path)
    assert (place.inner(path), place.root) == (inner, root)
    assert place.outer(f"{inner}/x") == f"{root}{inner.removeprefix(place.bucket)}/x"


def test_a_child_asks_where_the_client_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider's own address, of the region that is set, or the endpoint."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    assert probe_address("s3://b/x", None) == "https://s3.us-east-1.amazonaws.com/b"
    assert probe_address("s3://b/x", ObjectStoreConfig(region="eu-west-3")) == "https://s3.eu-west-3.amazonaws.com/b"
    assert probe_address("gs://b/x", None) == "https://storage.googleapis.com/b"
    assert probe_address(AZURE, None) == "https://acme.blob.core.windows.net/logs"
    assert probe_address("s3://b/x", ObjectStoreConfig(endpoint="http://minio:9000/")) == "http://minio:9000/b"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://elsewhere:1")
    assert probe_address("s3://b/x", None) == "http://elsewhere:1/b"
    assert probe_address("gs://b/x", None) == "https://storage.googleapis.com/b"


def test_each_scheme_has_its_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys come from the file of each; Google's is named in the environment only while the client is made."""
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    (tmp_path / "aws").write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    (tmp_path / "azure").write_text("a2V5\n")
    (tmp_path / "google").write_text(json.dumps({"type": "authorized_user"}))
    s3 = open_store(StorePlace.of("s3://b"), ObjectStoreConfig(region="x", credentials_file=tmp_path / "aws"))
    azure = open_store(StorePlace.of(AZURE), ObjectStoreConfig(credentials_file=tmp_path / "azure"))
    assert (type(s3), type(azure)) == (S3FileSystem, AzureFileSystem)
    assert open_store(StorePlace.of("gs://b"), ObjectStoreConfig(anonymous=True)).type_name == "gcs"
    assert "GOOGLE_APPLICATION_CREDENTIALS" not in os.environ
    for path in ("s3://b", "gs://b", AZURE):
        with pytest.raises(StoreAwayError, match=r"credentials_file .*absent cannot be read: No such file"):
            open_store(StorePlace.of(path), ObjectStoreConfig(credentials_file=tmp_path / "absent"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("AWS Error NO_SUCH_BUCKET during ListObjectsV2 operation", "there is no such bucket"),
        ("AWS Error ACCESS_DENIED during HeadObject operation: No response body.", "it denies access"),
        ("AWS Error INVALID_ACCESS_KEY_ID during ListObjectsV2 operation", "it does not take the keys"),
        (
            "AWS Error UNKNOWN (HTTP status 400): ExceptionName: ExpiredToken",
            "it does not take the keys",
        ),
        ("AWS Error NETWORK_CONNECTION: curlCode: 28, Timeout was reached", "it does not answer in time"),
        ("AWS Error NETWORK_CONNECTION: curlCode: 6, Could not resolve hostname", "it cannot be reached"),
        ("AWS Error NETWORK_CONNECTION: curlCode: 60, SSL peer certificate", "its certificate is not trusted"),
        ("AWS Error UNKNOWN (HTTP status 301) during HeadBucket", "its bucket is in another region"),
        ("AWS Error SLOW_DOWN during GetObject operation", "it asks to be asked less"),
        (
            "Unknown error: Check for Hierarchical Namespace support on 'https://a.blob.core.windows.net/c' failed: "
            "N5Azure4Core11Credentials23AuthenticationExceptionE: Failed to get token from DefaultAzureCredential.",
            "it finds no credentials that open it",
        ),
        ("something else (Request ID: abc)\nmore of it", "something else"),
    ],
)
def test_an_error_is_one_sentence_that_says_what_to_do(error: str, said: str) -> None:
    """What a client says is sorted by what helps; what nobody foresaw is told in its first line."""
    sentence = describe_error("s3://bucket", OSError(error))
    assert sentence.startswith(f"s3://bucket cannot be read: {said}")
    assert "\n" not in sentence
    assert "Request ID" not in sentence


def test_a_path_in_a_store_is_no_path_of_this_host() -> None:
    """It stays as it is where a path is made absolute; another scheme is refused with what is allowed."""
    assert absolute_path("s3://bucket/a") == "s3://bucket/a"
    assert absolute_path("logs") == str(Path("logs").absolute())
    with pytest.raises(ValueError, match=r"driftd does not read s4://; allowed: .*s3://BUCKET/PREFIX"):
        absolute_path("s4://bucket/a")


def test_keys_that_systemd_brings_are_found_by_jobs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child process gets the whole path of the file; doctor and check-config say where it cannot be read."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    text = """\
models:
  demand:
    task: regression
    target: y
    source: {kind: files, path: "s3://bucket/logs", object_store: {credentials_file: store-keys}}
"""
    config = parse(text.encode())
    (secret,) = secrets_of(config)
    assert fault_of(secret) == "credentials_file store-keys cannot be read: No such file or directory"
    (tmp_path / "store-keys").write_text("x")
    assert fault_of(secret) is None
    content = json.loads(json.dumps(config_for_children(config.models["demand"])))
    assert content["source"]["object_store"]["credentials_file"] == str(tmp_path / "store-keys")
    assert paths_of("demand", config.models["demand"], Places(tmp_path))[0].startswith("http")
