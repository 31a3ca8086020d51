"""Ten thousand malformed requests, as bytes on real sockets, to both real servers: none does harm."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from real_servers import MODEL, ROW, Server, make_state, message, run_server

pytestmark = pytest.mark.slow

REQUESTS = 10_000
GOOD_EVERY = 100  # at least
CLIENTS = 8
GROWTH = 60 << 20  # bytes: caches and pools that fill once
SEED = 20_261_123
PATHS = (
    "/",
    "/metrics",
    "/-/ready",
    "/-/reload",
    "/api/status",
    "/reports/demand/1",
    "/api/models/demand",
    "/api/decisions/1",
    *(f"/v1/models/{MODEL}/{route}" for route in ("predict", "predictions", "feedback")),
)
WORTHLESS = (None, True, -1, 0, 1e308, 10**30, "", "x" * 70_000, "\x00", "\ud800", [], {}, [[]], {"a": {"b": []}})
HEADS = (
    "Content-Length: -1",
    "Content-Length: 99999999999999999999",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Content-Encoding: gzip",
    "Origin: http://[",
    "Origin: null",
    "Host: evil.example",
    "Host: [",
    "Authorization: Bearer \xff\xfe",
    "Authorization: Basic",
    "Expect: 100-continue",
    "Upgrade: websocket\r\nConnection: Upgrade",
    "Range: bytes=9-1,-5",
    "Accept: " + "application/openmetrics-text;version=" * 50,
    "If-None-Match: " + '"' * 99,
    "X: " + "y" * 60_000,
    "X: " + "y" * 90_000,
    ": no name",
    " folded",
)


def rubbish(some: random.Random) -> bytes:
    """Bytes that were never a request."""
    return some.randbytes(some.randrange(1, 400))


def bent_line(some: random.Random) -> bytes:
    """A request line with a method, a path or a protocol that nobody has."""
    path = some.choice(PATHS)
    worse = (
        *(path + "?" + "&" * 3000, path + "/" + "9" * some.choice((20, 300, 5000)), "//" + path, path + "%00"),
        *("/reports/../../../../etc/passwd", "/reports/%2e%2e%2f%2e%2e/1", "/v1/models/%2e%2e/predict", "*", ""),
        *(
            f"/reports/demand/{'9' * 5000}",
            f"/reports/demand/{'9' * 300}",
            "/reports/\u00b2/\u00b2",
            "/page/..%2f..%2fhttp.py",
        ),
        *("http://evil.example" + path, path[:-1] + "%ff%fe", "/" + "a/" * 2000, path.replace("demand", "x" * 5000)),
    )
    method = some.choice(("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "get", "BREW"))
    line = f"{method} {some.choice(worse)} {some.choice(('HTTP/1.1', 'HTTP/1.0', 'HTTP/9.9', 'SMTP', ''))}"
    return (line + "\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").encode("latin-1", "replace")


def bent_head(some: random.Random) -> bytes:
    """Sound but for some headers."""
    headers = some.sample(HEADS, some.randrange(1, 4))
    return message(some.choice(("GET", "POST")), some.choice(PATHS), some.choice((b"", b"{}", b"5\r\n{")), *headers)


def bent_body(some: random.Random) -> bytes:
    """An event of which a value, a key, or the JSON itself is wrong."""
    event: dict[str, object] = {"prediction_id": "p", "features": dict(ROW), "prediction": 1.0, "at": 1.7e9, "label": 1}
    inside = event if some.random() < 0.5 else event["features"]
    assert isinstance(inside, dict)
    inside[some.choice([*inside, "unknown"])] = some.choice(WORTHLESS)
    batch: object = event if some.random() < 0.5 else [event] * some.choice((1, 3, 600))
    body = json.dumps(batch).encode()
    match some.randrange(8):
        case 0:
            body = body[: some.randrange(len(body) + 1)]
        case 1:
            body = b"[" * some.choice((100, 5_000, 190_000))
        case 2:
            at = some.randrange(len(body))
            body = body[:at] + some.randbytes(3) + body[at:]
        case 3:
            body = b'{"a":' * 30_000
        case 4:
            body = body * (210_000 // len(body) + 1)
        case _:
            pass
    return message("POST", some.choice(PATHS[-3:]), body)


def cut_short(some: random.Random) -> bytes:
    """A request whose client goes away in the middle."""
    whole = bent_body(some)
    return whole[: some.randrange(min(len(whole), 3000))]


WHOLE = (bent_line, bent_head, bent_body)  # of these the answer is waited for
KINDS: tuple[Callable[[random.Random], bytes], ...] = (rubbish, bent_line, bent_head, bent_body, cut_short)


def malformed(server: Server, count: int, seed: int) -> Counter[str]:
    """Send so many requests, one after the other; what was answered, counted by status."""
    some, counts = random.Random(seed), Counter[str]()
    for _ in range(count):
        kind = some.choice(KINDS)
        request = kind(some)
        status, came = server.ask(request, whole=kind in WHOLE, patience=2.0 if kind is bent_body else 0.1)
        counts[str(status)] += 1
        sound = status < 500 or (status == 503 and b"retry-after" in came.lower())
        assert sound, (kind.__name__, request[:300], came)
        assert b"Traceback" not in came
    return counts


def mixed(server: Server, good: Callable[[], None], count: int, seed: int) -> Counter[str]:
    """The malformed requests of several clients, with a good one's in between; what was answered, counted."""
    begun, counts = server.resident, Counter[str]()
    with ThreadPoolExecutor(CLIENTS) as clients:
        work = [clients.submit(malformed, server, count // CLIENTS, seed + number) for number in range(CLIENTS)]
        while not all(item.done() for item in work):
            good()
            counts["good"] += 1
        for item in work:
            counts += item.result()
    assert server.process.poll() is None, server.log.read_text()[-3000:]
    grown = server.resident - begun
    log = server.log.read_text()
    assert "Traceback" not in log, log[-3000:]
    assert "request_failed" not in log
    assert grown < GROWTH, f"{grown >> 10} KiB more memory"
    assert sum(counts.values()) - counts["good"] == count
    assert counts["good"] >= count // GOOD_EVERY
    counts["grown_kib"] = grown >> 10
    return counts


def test_malformed_requests_to_driftd_serve(tmp_path: Path) -> None:
    """No 5xx, no crash, no growth; each good prediction is answered, each good event of a bad batch kept."""
    kept = 0
    with run_server("serve", make_state(tmp_path)) as server:

        def good() -> None:
            nonlocal kept
            status, came = server.post(f"/v1/models/{MODEL}/predict", json.dumps({"features": ROW}).encode())
            assert status == 200, came
            assert b'"logged":true' in came
            kept += 1
            sound = {"prediction_id": f"good-{kept}", "features": ROW, "prediction": 1.0}
            spoilt = [{**sound, "prediction_id": []}, sound, {"features": ROW}, None]
            status, came = server.post(f"/v1/models/{MODEL}/predictions", json.dumps(spoilt).encode())
            assert json.loads(came.partition(b"\r\n\r\n")[2])["accepted"] == 1, came

        good()  # the version is loaded before memory is measured
        counts = mixed(server, good, REQUESTS * 3 // 5, SEED)
    print(f"driftd serve: {REQUESTS * 3 // 5} malformed, {dict(counts)}")  # noqa: T201 - the counts are the proof


def test_malformed_requests_to_the_daemon(tmp_path: Path) -> None:
    """No 5xx, no crash, no growth; metrics and health are answered in between."""
    with run_server("run", make_state(tmp_path, version=False)) as server:

        def good() -> None:
            status, came = server.get("/metrics")
            assert status == 200
            assert b"driftd_info" in came
            assert server.get("/-/healthy")[0] == 200

        good()
        counts = mixed(server, good, REQUESTS * 2 // 5, SEED + 1)
    print(f"driftd run: {REQUESTS * 2 // 5} malformed, {dict(counts)}")  # noqa: T201 - the counts are the proof
