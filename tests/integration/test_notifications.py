"""Telling real receivers: servers that fail, hang, redirect and come back."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from driftd.config.schema import Receiver
from driftd.events import Event
from driftd.notify.channels import RetryPace
from limits import time_limit
from notify_samples import NOW, QUICK, endpoint, eventually, program, run_notifier, running, webhook

SECRET = "secret-token"


def test_a_webhook_is_told_of_what_it_wants_and_of_nothing_before_it_was_configured(tmp_path: Path) -> None:
    """Only wanted events of wanted models come, in order, each once; what was decided before is not told."""
    with endpoint() as team, run_notifier(tmp_path / "state.db") as output:
        output.decide(Event.ALARM)
        output.apply(team=webhook(team.url, models=["demand"]))
        first = output.decide(Event.ALARM)
        output.decide(Event.BUILD_STARTED)
        output.decide(Event.ALARM, "fares")
        last = output.decide(Event.PROMOTED)
        eventually(lambda: team.ids == [first, last])
        next_step = "`driftd status --model demand` says what is done about it."
        assert team.got[0]["text"] == f"[WARNING] demand: Drift confirmed: alarm of demand. {next_step}"
        assert team.headers[0]["content-type"].startswith("application/json")
        eventually(lambda: ("team", last) in output.confirmed)
        assert output.sample("driftd_notifications_sent_total", "team") == 2
        assert output.sample("driftd_notification_last_success_timestamp_seconds", "team") == NOW
        eventually(lambda: output.sample("driftd_notifications_pending", "team") == 0)
        output.land()
        later = output.decide(Event.BUILD_STARTED)
        eventually(lambda: ("team", later) in output.confirmed)  # the cursor passes over what is not wanted


def test_a_failing_webhook_is_tried_until_it_takes_the_message(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Errors of the server are retried, counted and logged without the secret address; then the message comes once."""

    def from_the_fourth(tries: int) -> tuple[int, dict[str, str], float]:
        return 500 if tries < 4 else 200, {}, 0.0

    with endpoint(answer=from_the_fourth) as team, run_notifier(tmp_path / "state.db") as output:
        output.apply(team=webhook(team.url))
        number = output.decide()
        eventually(lambda: team.ids == [number])
        assert output.sample("driftd_notifications_failed_total", "team") == 3
    said = "".join(capfd.readouterr())
    assert "it answers 500: no_thanks" in said
    assert SECRET not in said


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(tmp_path: Path, status: int) -> None:
    """A redirect counts as a failure, and the place that it leads to gets nothing."""
    with (
        endpoint() as elsewhere,
        endpoint(answer=lambda _: (status, {"location": elsewhere.url}, 0.0)) as team,
        run_notifier(tmp_path / "state.db") as output,
    ):
        output.apply(team=webhook(team.url))
        output.decide()
        eventually(lambda: output.sample("driftd_notifications_failed_total", "team") >= 2)
        assert elsewhere.tries == 0


def test_a_dead_or_hanging_receiver_delays_no_other(tmp_path: Path) -> None:
    """One receiver hangs, one refuses connections, one is a program that hangs: the fourth is told at once."""
    with (
        endpoint() as team,
        endpoint(answer=lambda _: (200, {}, 60.0)) as hanging,
        run_notifier(tmp_path / "state.db") as output,
    ):
        output.apply(
            hangs=webhook(hanging.url, timeout=0.5),
            refuses=webhook("http://127.0.0.1:9/"),
            sleeps=program(tmp_path, "sleep 60", timeout=0.5),
            team=webhook(team.url),
        )
        began = time.monotonic()
        output.decide()
        eventually(lambda: team.ids)
        assert time.monotonic() - began < time_limit(2.0)
        for name in ("hangs", "refuses", "sleeps"):
            eventually(lambda name=name: output.sample("driftd_notifications_failed_total", name) >= 1)  # type: ignore[misc]
        assert output.sample("driftd_notifications_pending", "hangs") == 1


def test_a_name_server_that_hangs_delays_neither_others_nor_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve receivers whose names nobody resolves: another is told all the same, and the daemon ends in time."""
    answers, resolve = threading.Event(), socket.getaddrinfo

    def hanging(host: str | bytes, *arguments: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name.endswith(".invalid"):
            answers.wait()
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    with (
        endpoint() as team,
        run_notifier(tmp_path / "state.db", RetryPace(poll=0.02, settle=0.02, first_pause=20, stop=1.0)) as output,
    ):
        lost = {f"lost-{number}": webhook(f"http://host-{number}.invalid/", timeout=0.5) for number in range(12)}
        output.apply(**lost, team=webhook(team.url))
        number = output.decide()
        eventually(lambda: team.ids == [number])
        eventually(lambda: output.sample("driftd_notifications_failed_total", "lost-11") >= 1)
        began = time.monotonic()
        output.notifier.stop()
        assert time.monotonic() - began < time_limit(QUICK.stop + 1.5)
        left = [item for item in threading.enumerate() if item.name.startswith("notifier-name")]
        assert left
        assert all(item.daemon for item in left)
        answers.set()


def test_a_server_that_answers_a_byte_at_a_time_is_given_up_in_time(tmp_path: Path) -> None:
    """The deadline is for the whole delivery, not for each byte of it."""
    with socket.create_server(("127.0.0.1", 0)) as server, run_notifier(tmp_path / "state.db") as output:
        output.apply(slow=webhook(f"http://127.0.0.1:{server.getsockname()[1]}/", timeout=0.6))
        output.decide()
        connection, _ = server.accept()
        began = time.monotonic()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
            while output.sample("driftd_notifications_failed_total", "slow") < 1:
                try:
                    connection.sendall(b"y")
                except OSError:
                    break
                assert time.monotonic() - began < time_limit(5)
                time.sleep(0.05)
        eventually(lambda: output.sample("driftd_notifications_failed_total", "slow") >= 1)
        assert time.monotonic() - began < time_limit(3)


def test_after_an_outage_everything_is_told_in_one_digest(tmp_path: Path) -> None:
    """What was decided while a receiver was away comes as one message when it is back, complete."""
    down = [True]
    with (
        endpoint(answer=lambda _: (503 if down[0] else 200, {}, 0.0)) as team,
        run_notifier(tmp_path / "state.db") as output,
    ):
        output.apply(team=webhook(team.url))
        numbers = [output.decide(Event.ALARM, f"model-{item}") for item in range(30)]
        eventually(lambda: team.tries >= 3)
        assert output.sample("driftd_notifications_pending", "team") == 30
        down[0] = False
        eventually(lambda: team.ids)
        assert sorted(team.ids) == numbers
        assert len(team.got) <= 2  # the few that were there at the first look, and the rest
        assert "decisions of" in team.got[-1]["text"]


def test_nothing_is_lost_over_a_restart_in_the_middle(tmp_path: Path) -> None:
    """A receiver that did not answer is told after the next start; what was confirmed is not repeated."""
    path, down = tmp_path / "state.db", [False]
    with endpoint(answer=lambda _: (500 if down[0] else 200, {}, 0.0)) as team:
        with run_notifier(path) as output:
            output.apply(team=webhook(team.url))
            first = output.decide()
            eventually(lambda: ("team", first) in output.confirmed)
            output.land()
            down[0] = True
            second = output.decide()
            tried = team.tries
            eventually(lambda: team.tries > tried)
        down[0] = False
        with run_notifier(path) as output:
            output.apply(team=webhook(team.url))
            third = output.decide()
            eventually(lambda: team.ids[-1:] == [third])
    assert team.ids == [first, second, third]


def test_a_delivery_that_was_not_confirmed_is_made_again(tmp_path: Path) -> None:
    """When the confirmation never landed, the same decision is told twice rather than never."""
    path = tmp_path / "state.db"
    with endpoint() as team:
        for _ in range(2):
            with run_notifier(path) as output:  # nobody lands the confirmations: a crash between the two
                output.apply(team=webhook(team.url))
                if not team.ids:
                    output.decide()
                before = len(team.ids)
                eventually(lambda before=before: len(team.ids) > before)  # type: ignore[misc]
    assert team.ids == [1, 1]


def test_a_delivery_under_way_may_end_when_the_daemon_does(tmp_path: Path) -> None:
    """Stopping waits a moment for an answer that is on its way, so that nothing is told twice for nothing."""
    with endpoint(answer=lambda _: (200, {}, 0.4)) as team, run_notifier(tmp_path / "state.db") as output:
        output.apply(team=webhook(team.url))
        number = output.decide()
        eventually(lambda: team.tries)
        output.notifier.stop()
        assert output.confirmed == [("team", number)]


def test_stopping_does_not_wait_for_a_receiver_that_hangs(tmp_path: Path) -> None:
    """The daemon ends within seconds whatever its receivers do, and leaves no program behind."""
    marker = f"hang-{os.getpid()}"
    with endpoint(answer=lambda _: (200, {}, 60.0)) as team, run_notifier(tmp_path / "state.db") as output:
        output.apply(team=webhook(team.url), page=program(tmp_path, f"exec sleep 60.{os.getpid()} # {marker}"))
        output.decide()
        eventually(lambda: team.tries and running(f"60.{os.getpid()}"))
        began = time.monotonic()
        output.notifier.stop()
        assert time.monotonic() - began < time_limit(QUICK.stop + 1.5)
        eventually(lambda: not running(f"60.{os.getpid()}"))


def test_a_changed_receiver_goes_on_where_it_was_and_a_removed_one_is_silent(tmp_path: Path) -> None:
    """A reload moves a receiver to its new address without repeating; one that is gone gets and shows nothing."""
    with endpoint() as old, endpoint() as new, run_notifier(tmp_path / "state.db") as output:
        output.apply(team=webhook(old.url), other=webhook(old.url, on=["paused"]))
        first = output.decide()
        eventually(lambda: ("team", first) in output.confirmed)  # a delivery that a reload interrupts is repeated
        output.apply(team=webhook(new.url))
        eventually(lambda: output.metrics.receivers() == {"team"})  # the change has come into force
        second = output.decide()
        eventually(lambda: new.ids == [second])
        output.apply()
        eventually(lambda: output.metrics.receivers() == set())
        output.decide()
        time.sleep(0.2)
        assert (old.ids, new.ids) == ([first], [second])
        assert output.store.told_until("team") is None


def test_an_address_from_a_file_is_read_at_each_delivery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing file is a failure that mends itself; a bare name is found among systemd's credentials."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with endpoint() as team, run_notifier(tmp_path / "state.db") as output:
        output.apply(team=Receiver.model_validate({"webhook_file": "team-url"}))
        number = output.decide()
        eventually(lambda: output.sample("driftd_notifications_failed_total", "team") >= 1)
        (tmp_path / "team-url").write_text("not an address")
        failed = output.sample("driftd_notifications_failed_total", "team")
        eventually(lambda: output.sample("driftd_notifications_failed_total", "team") > failed + 1)
        (tmp_path / "team-url").unlink()
        (tmp_path / "driftd_team-url").write_text(f"{team.url}\n")  # as systemd names one of a folder
        eventually(lambda: team.ids == [number])


def test_a_receiver_that_the_store_does_not_know_yet_is_not_told_of_the_past(tmp_path: Path) -> None:
    """When a new receiver could not be put into the store (a full disk), it waits rather than hear of all history."""
    with endpoint() as team, run_notifier(tmp_path / "state.db") as output:
        output.decide()
        output.notifier.apply({"team": webhook(team.url)})
        time.sleep(0.3)
        assert team.tries == 0
        output.apply(team=webhook(team.url))
        number = output.decide()
        eventually(lambda: team.ids == [number])


def test_a_broken_store_is_told_and_outlived(tmp_path: Path) -> None:
    """When the database cannot be read for a while, telling goes on once it can."""
    path = tmp_path / "state.db"
    with endpoint() as team, run_notifier(path) as output:
        output.apply(team=webhook(team.url))
        eventually(lambda: output.sample("driftd_notifications_pending", "team") == 0)
        output.store._db.execute("alter table transitions rename to hidden")
        eventually(lambda: output.sample("driftd_notifications_failed_total", "team") >= 1)
        output.store._db.execute("alter table hidden rename to transitions")
        number = output.decide()
        eventually(lambda: team.ids == [number])


def test_a_certificate_that_nobody_signed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS is verified: a server for whose certificate no authority vouches gets nothing, until one is named."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the package openssl")
    certificate, own = tmp_path / "both.pem", tmp_path / "own.pem"
    made = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run([*made.split(), "-keyout", certificate, "-out", own], check=True, capture_output=True)
    certificate.write_text(certificate.read_text() + own.read_text())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with endpoint(tls=context) as team, run_notifier(tmp_path / "state.db") as output:
        output.apply(team=webhook(team.url))
        number = output.decide()
        eventually(lambda: output.sample("driftd_notifications_failed_total", "team") >= 2)
        assert team.tries == 0
        monkeypatch.setenv("SSL_CERT_FILE", str(own))
        eventually(lambda: team.ids == [number])


def test_nobody_to_tell_means_no_thread_and_no_http_client(tmp_path: Path) -> None:
    """Without receivers nothing is started and nothing is loaded."""
    code = (
        "import sys, threading\nfrom pathlib import Path\nfrom driftd.notify import Notifier\n"
        "from driftd.observe.metrics import Metrics\nimport driftd.loop.run\n"
        f"n = Notifier(Path({str(tmp_path)!r}), print, Metrics(), float); n.apply({{}}); n.stop()\n"
        "print(threading.active_count(), 'httpx' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(item for item in sys.path if item)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]
