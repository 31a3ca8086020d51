"""Hand-overs to KServe: patched and read back through a server that plays the API server of Kubernetes, over TLS."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from driftd.outside.kserve import BEFORE, VERSION, InferenceService, KServeError, KServePlace, progress_of, serve_uri
from driftd.outside.storage import StorageError, StoragePlace, copy_files

Json = dict[str, Any]
READY = [{"type": "PredictorReady", "status": "True"}, {"type": "Ready", "status": "True"}]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 127.0.0.1, signed by itself; the key lies beside it."""
    folder = tmp_path_factory.mktemp("tls")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / "key"), "-out", str(folder / "ca")]
    subprocess.run([*made, *files], check=True, capture_output=True)
    return folder / "ca"


@dataclass
class Cluster:
    """An InferenceService and its controller: `follow` sets its status after each look, with how often was looked."""

    follow: Callable[[Json, int], None]
    refuse: int = 0  # the status that every request gets instead
    conflicts: int = 0  # so many patches meet another change
    hangs: bool = False
    url: str = ""
    looks: int = 0
    patches: list[Json] = field(default_factory=list)
    service: Json = field(
        default_factory=lambda: {
            "metadata": {"name": "orders", "generation": 1, "resourceVersion": "1", "annotations": {}},
            "spec": {"predictor": {"minReplicas": 1, "model": {"storageUri": "s3://own/model", "runtime": "r"}}},
            "status": {"observedGeneration": 1, "conditions": READY},
        }
    )

    @property
    def loaded(self) -> str:
        """What the service is to load."""
        return str(self.service["spec"]["predictor"]["model"]["storageUri"])

    def patch(self, change: Json) -> int:
        """Merge a patch as the API server does; a resourceVersion that is not the newest is a conflict."""
        metadata = self.service["metadata"]
        if self.conflicts or change["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
            self.conflicts = max(0, self.conflicts - 1)
            metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
            return 409
        self.patches.append(change)
        self.service["spec"]["predictor"]["model"] |= change["spec"]["predictor"]["model"]
        given = {**metadata["annotations"], **change["metadata"]["annotations"]}
        metadata["annotations"] = {name: value for name, value in given.items() if value is not None}
        metadata["generation"] += 1
        metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
        self.looks = 0
        return 200


def observe(service: Json, **status: Any) -> None:
    """The controller has seen the newest spec."""
    service["status"] = {"observedGeneration": service["metadata"]["generation"], "conditions": READY, **status}


@contextmanager
def cluster(certificate: Path, **options: Any) -> Iterator[Cluster]:
    """Serve it over TLS while the block runs."""
    found, over = Cluster(**options), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if found.patches:
                found.looks += 1
                found.follow(found.service, found.looks)
            self.give(200)

        def do_PATCH(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            assert self.headers["content-type"] == "application/merge-patch+json"
            self.give(found.patch(body))

        def give(self, status: int) -> None:
            assert self.path == "/apis/serving.kserve.io/v1beta1/namespaces/shop/inferenceservices/orders"
            if found.hangs:
                over.wait(60)
            allowed = self.headers["authorization"] == "Bearer t0ken"
            status = (found.refuse or status) if allowed else 401
            content = json.dumps(found.service if status == 200 else {"message": "no"}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                return  # the other side went away

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    found.url = f"https://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield found
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def place_of(found: Cluster, certificate: Path, **changes: Any) -> KServePlace:
    """The service as a config names it."""
    (certificate.with_name("token")).write_text("t0ken\n")
    usual: Json = {
        "name": "orders",
        "namespace": "shop",
        "storage": StoragePlace(path="s3://models/driftd"),
        "server": found.url,
        "token_file": str(certificate.with_name("token")),
        "ca_file": str(certificate),
        "poll": 0.01,
    }
    return KServePlace(**{**usual, **changes})


def go_ready_late(service: Json, looks: int) -> None:
    """First the controller sees nothing, then the new revision is made, then it is not ready, then it serves."""
    if looks == 2:
        observe(service, conditions=[{"type": "Ready", "status": "False", "message": "RevisionMissing"}])
    if looks == 3:
        observe(service, modelStatus={"transitionStatus": "InProgress"})
    if looks == 4:
        predictor = {"latestCreatedRevision": "orders-2", "latestReadyRevision": "orders-1"}
        observe(service, components={"predictor": predictor})
    if looks >= 5:
        predictor = {"latestCreatedRevision": "orders-2", "latestReadyRevision": "orders-2"}
        observe(service, components={"predictor": predictor}, modelStatus={"transitionStatus": "UpToDate"})


def test_a_version_is_loaded_read_back_and_taken_back(certificate: Path) -> None:
    """The service is ready late and serves the version; what it loaded before driftd is noted, and loaded again."""
    with cluster(certificate, follow=go_ready_late) as found:
        place = place_of(found, certificate)
        sentence = serve_uri(place, "s3://models/driftd/demand/5", 5, 30.0)
        assert sentence == (
            "the InferenceService shop/orders serves s3://models/driftd/demand/5 (ready, revision orders-2)"
        )
        assert found.looks == 5
        assert found.service["metadata"]["annotations"] == {VERSION: "5", BEFORE: "s3://own/model"}
        assert found.service["spec"]["predictor"]["model"]["runtime"] == "r"
        serve_uri(place, "s3://models/driftd/demand/5", 5, 30.0)
        assert len(found.patches) == 1
        serve_uri(place, "s3://models/driftd/demand/6", 6, 30.0)
        serve_uri(place, None, 1, 30.0)
        assert found.loaded == "s3://own/model"


def test_a_conflict_is_read_anew_and_tried_again(certificate: Path) -> None:
    """Somebody else's change meanwhile is kept; where each try meets one, that is said."""
    with cluster(certificate, follow=lambda service, _: observe(service), conflicts=2) as found:
        assert "serves s3://b/5" in serve_uri(place_of(found, certificate), "s3://b/5", 5, 30.0)
        assert len(found.patches) == 1
        found.conflicts = 99
        with pytest.raises(KServeError, match=r"changed by somebody else at each of 5 tries \(409\)"):
            serve_uri(place_of(found, certificate), "s3://b/6", 6, 30.0)


@pytest.mark.parametrize(
    ("status", "words"), [(403, "get and patch on inferenceservices"), (404, "there is no such"), (500, "message")]
)
def test_a_refusal_says_what_to_do(certificate: Path, status: int, words: str) -> None:
    """The sentence names the service and the right that is lacking, and holds no token."""
    with (
        cluster(certificate, follow=lambda *_: None, refuse=status) as found,
        pytest.raises(KServeError, match=words) as failed,
    ):
        serve_uri(place_of(found, certificate), "s3://b/5", 5, 30.0)
    assert f"answers {status} for the InferenceService shop/orders" in str(failed.value)
    assert "t0ken" not in str(failed.value)


def test_a_server_that_hangs_or_is_not_trusted_ends_in_time(certificate: Path) -> None:
    """The whole of it takes no longer than deploy.timeout, and an unknown authority is refused."""
    with cluster(certificate, follow=lambda *_: None, hangs=True) as found:
        with pytest.raises(KServeError, match=r"does not serve it within 0\.3 s \(deploy\.timeout\)"):
            serve_uri(place_of(found, certificate), "s3://b/5", 5, 0.3)
        with pytest.raises(KServeError, match=r"cannot be asked.*CERTIFICATE"):
            serve_uri(place_of(found, certificate, ca_file=None), "s3://b/5", 5, 30.0)
    with pytest.raises(KServeError, match=r"token_file .* cannot be read"):
        serve_uri(place_of(found, certificate, token_file="/nonexistent/token"), "s3://b/5", 5, 1.0)


def test_a_service_that_never_goes_ready_is_told_with_its_words(certificate: Path) -> None:
    """The version stays what it is to load: a later try may find it ready."""
    not_ready = [{"type": "Ready", "status": "False", "reason": "Unschedulable"}]
    with cluster(certificate, follow=lambda service, _: observe(service, conditions=not_ready)) as found:
        with pytest.raises(KServeError, match=r"within 0\.4 s \(deploy\.timeout\): not ready: Unschedulable"):
            serve_uri(place_of(found, certificate), "s3://b/5", 5, 0.4)
        assert found.loaded == "s3://b/5"


def test_a_version_that_cannot_be_loaded_is_set_back_at_once(certificate: Path) -> None:
    """The words of KServe are told, and the service loads what it loaded before."""

    def fail(service: Json, _: int) -> None:
        states = {"states": {"targetModelState": "FailedToLoad"}, "lastFailureInfo": {"message": "no model.pkl"}}
        observe(service, modelStatus=states)

    with cluster(certificate, follow=fail) as found:
        with pytest.raises(KServeError, match=r"cannot serve s3://b/5: no model\.pkl; it loads s3://own/model again"):
            serve_uri(place_of(found, certificate), "s3://b/5", 5, 30.0)
        assert found.loaded == "s3://own/model"


def test_a_change_by_somebody_else_is_told(certificate: Path) -> None:
    """What is loaded is read back, and not only that the service is ready."""

    def meddle(service: Json, _: int) -> None:
        observe(service)
        service["spec"]["predictor"]["model"]["storageUri"] = "s3://other/model"

    with cluster(certificate, follow=meddle) as found, pytest.raises(KServeError, match="had it load s3://other/model"):
        serve_uri(place_of(found, certificate), "s3://b/5", 5, 30.0)


def test_a_status_of_before_the_change_is_no_proof() -> None:
    """Ready counts only once the controller has taken the newest spec up."""
    service = {"metadata": {"generation": 4}, "status": {"observedGeneration": 3, "conditions": READY}}
    assert progress_of(msgspec.convert(service, InferenceService)).state == "waiting"
    older = {**service, "metadata": {"generation": 3}}
    assert progress_of(msgspec.convert(older, InferenceService)).state == "ready"


def test_a_version_is_copied_to_a_folder_once(tmp_path: Path) -> None:
    """A copy that is whole stays as it is, another one is replaced, and a folder that cannot be written is told."""
    (tmp_path / "model.skops").write_bytes(b"one")
    place = StoragePlace(path=str(tmp_path / "shared"))
    found = copy_files(place, [tmp_path / "model.skops"], "demand", "5")
    assert found == str(tmp_path / "shared/demand/5")
    written = (Path(found) / "model.skops").stat().st_ino
    copy_files(place, [tmp_path / "model.skops"], "demand", "5")
    assert (Path(found) / "model.skops").stat().st_ino == written
    (tmp_path / "model.skops").write_bytes(b"two")
    copy_files(place, [tmp_path / "model.skops"], "demand", "5")
    assert (Path(found) / "model.skops").read_bytes() == b"two"
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        copy_files(StoragePlace(path=str(tmp_path / "file")), [tmp_path / "model.skops"], "demand", "5")
    uri = place_of(Cluster(follow=lambda *_: None), tmp_path / "x", storage=place, uri="pvc://models/").uri_of(found)
    assert uri == "pvc://models/demand/5"
