"""What systemd is told, over a real datagram socket."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftd.loop.supervision import Service, StopAskedError, TimeoutWorker, status_line
from driftd.observe.systemd import LONGEST_STATUS, ServiceManager
from driftd.records import ModelState, Phase, Verdict
from driftd_detectors.assessment import LatestVerdicts
from limits import HANG


@pytest.fixture(params=["path", "abstract"])
def manager_socket(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's end of both kinds of address, as $NOTIFY_SOCKET names them."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@driftd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + address[1:] if address.startswith("@") else address)
        listening.settimeout(HANG)
        yield listening, address


def test_it_says_each_thing_in_one_datagram(manager_socket: tuple[socket.socket, str]) -> None:
    """READY, STATUS, RELOADING with its monotonic time, and STOPPING arrive as sd_notify(3) writes them."""
    listening, address = manager_socket
    manager = ServiceManager(address)
    manager.ready()
    assert listening.recv(1000) == b"READY=1"
    manager.status("demand v7 steady ok\n  two lines")
    assert listening.recv(1000) == b"STATUS=demand v7 steady ok two lines"
    manager.announce_reload()
    assert listening.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    manager.announce_stop()
    assert listening.recv(1000) == b"STOPPING=1"


def test_a_status_is_sent_when_it_changes_and_is_short(manager_socket: tuple[socket.socket, str]) -> None:
    """The same line is not sent twice, and none is longer than systemctl can show."""
    listening, address = manager_socket
    manager = ServiceManager(address)
    for text in ("one", "one", "x" * 10_000):
        manager.status(text)
    assert listening.recv(100_000) == b"STATUS=one"
    assert len(listening.recv(100_000)) == LONGEST_STATUS + len("STATUS=")


def test_signs_of_life_keep_a_quarter_of_the_span(manager_socket: tuple[socket.socket, str]) -> None:
    """However often the loop turns, one sign goes out in each quarter of the watchdog's span; else none."""
    listening, address = manager_socket
    manager = ServiceManager.from_environment({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "4000000000"})
    assert manager.cadence == 1000.0
    for _ in range(100):
        manager.alive()
    ServiceManager(address).alive()
    assert listening.recv(1000) == b"WATCHDOG=1"
    listening.setblocking(False)
    with pytest.raises(BlockingIOError):
        listening.recv(1000)


def test_no_child_inherits_the_manager() -> None:
    """The variables are gone once they were read, and a watchdog that is meant for another process is not fed."""
    environment = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1", "KEPT": "1"}
    manager = ServiceManager.from_environment(environment)
    assert environment == {"KEPT": "1"}
    assert manager.cadence == 5.0


def test_a_manager_that_is_gone_is_no_failure(tmp_path: Path) -> None:
    """Nobody at the address, or no address at all: the daemon goes on."""
    for manager in (ServiceManager(str(tmp_path / "nobody")), ServiceManager()):
        manager.ready()
        manager.status("ok")
        manager.alive()


def test_a_full_queue_never_blocks_the_loop(manager_socket: tuple[socket.socket, str]) -> None:
    """A manager that reads nothing costs the loop nothing, and is told the status again once it has room."""
    listening, address = manager_socket
    manager = ServiceManager(address)
    for number in range(2000):
        manager.status(f"status {number}")
    listening.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while listening.recv(1000):
            pass
    manager.status("status 1999")
    assert listening.recv(1000) == b"STATUS=status 1999"


def test_the_status_line_tells_every_model_shortly() -> None:
    """Phase and worst last verdict of each model, after what needs a person."""
    demand = ModelState("demand", champion=7)
    churn = ModelState("churn", phase=Phase.PROBATION, champion=2, blocked="price is missing")
    states = [
        (demand, LatestVerdicts(Verdict.OK)),
        (churn, LatestVerdicts(Verdict.INCONCLUSIVE, Verdict.SUSPECTED)),
    ]
    output = status_line(states, {}, None)
    assert output == "demand v7 steady ok; churn v2 probation suspected blocked"
    output = status_line([(demand, LatestVerdicts())], {"churn": "it has no version yet"}, "line 3: nonsense")
    assert output == (
        "config refused, the one before is in force: line 3: nonsense; "
        "churn not watched: it has no version yet; demand v7 steady not checked yet"
    )
    assert status_line([], {}, None) == "no models in the config"


def test_the_status_line_of_a_fleet_has_counts() -> None:
    """Of many models the line says how many stand how, and names a few of those that are not watched."""
    states = [(ModelState(f"model_{number}", champion=1), LatestVerdicts(Verdict.OK)) for number in range(500)]
    states.append((ModelState("odd", phase=Phase.PROBATION, champion=2), LatestVerdicts(Verdict.OK)))
    said = status_line(states, {f"lost_{number}": "it has no version yet" for number in range(40)}, None)
    assert said.endswith("28 more are not watched; 500 of 501 models steady ok; 1 of 501 models probation ok")
    assert len(said) < 1000


@pytest.mark.slow
def test_a_loop_that_waits_for_a_source_stops_when_told() -> None:
    """A stop that comes while a source hangs ends the wait at once, long before the check's own limit."""
    service, hanging = Service(), threading.Event()
    guard = TimeoutWorker("demand", 300.0, service.alive)

    def hang() -> None:
        service.stop_asked = "SIGTERM"
        hanging.wait(30)

    with pytest.raises(StopAskedError, match="SIGTERM"):
        guard.run(hang)
    hanging.set()


def test_a_stop_is_seen_between_two_reads() -> None:
    """A loop that catches up many windows stops before the next one is read."""
    service = Service(stop_asked="SIGTERM")
    read: list[int] = []
    with pytest.raises(StopAskedError):
        TimeoutWorker("demand", 5.0, service.alive).run(lambda: read.append(1))
    assert read == []
