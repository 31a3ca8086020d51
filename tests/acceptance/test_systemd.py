"""driftd as its installer leaves it, on a host with a real systemd: reloaded, killed, wedged, upgraded, removed."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.driftd_host import CONFIG, MODEL, PYTHON, ROOT, STATE, Host, write_wheel
from driftd.observe.logs import PRIORITIES
from limits import time_limit
from real_systemd import absent

pytestmark = pytest.mark.slow
UNITS = ("driftd", "driftd-serve")
SLOW = MODEL + "    trainer: {command: [/usr/bin/sleep, '600']}\n"
QUICK = "RestartSec=100ms"


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A host on which driftd was installed, and `driftd init` made version 1 of a model."""
    if (reason := absent()) is not None:
        pytest.skip(reason)
    with Host() as host:
        host.stage_program()
        host.installed = host.install()
        host.first_status = host.show("driftd", "StatusText")
        host.made = host.first_version()
        host.adopted = host.until(lambda: "orders v1" in host.show("driftd", "StatusText"))
        host.stop()
        host("cp", "-a", STATE, f"{STATE}.first")
        yield host


def test_one_command_installs_everything(host: Host) -> None:
    """After it both services run, and say what is left to do; `driftd init` is all that follows, without a restart."""
    assert "driftd init" in host.installed
    assert "demand not watched: model demand has no version yet: `driftd init`" in host.first_status
    assert "version 1 of orders is trained" in host.made
    assert host.adopted < time_limit(15)
    assert host("driftd", "--version").startswith("driftd")
    assert host("systemctl", "is-enabled", *UNITS).split() == ["enabled", "enabled"]


def test_systemd_has_nothing_to_say_of_the_units(host: Host) -> None:
    """They verify in silence, and both are exposed by at most 1.5."""
    files = [f"/usr/local/lib/systemd/system/{unit}.service" for unit in UNITS]
    assert host("systemd-analyze", "verify", "--recursive-errors=yes", *files) == ""
    for file in files:
        output = host("systemd-analyze", "security", "--offline=true", "--no-pager", file)
        exposure = float(re.search(r"exposure level for .*: ([\d.]+)", output)[1])
        assert exposure <= 1.5


def test_active_means_ready(host: Host) -> None:
    """`systemctl start` returns when the config is in force, the state open and HTTP bound, and not before."""
    host.begin()
    assert "driftd is ready" in host.post("9464/-/ready")
    assert "driftd_config_last_reload_successful 1.0" in host.post("9464/metrics")
    assert host.show("driftd", "StatusText") == "orders v1 steady not checked yet"
    assert host.show("driftd-serve", "StatusText") == "answers on 127.0.0.1:9465 for orders"
    host.live(50, 1)
    host.until(lambda: host.show("driftd", "StatusText") == "orders v1 steady inconclusive")  # it learns yet


def test_it_is_not_active_before_it_is_ready(host: Host) -> None:
    """While the start is held up (somebody has the state locked) the unit is `activating`, and a start waits."""
    host.begin(server=False)
    host.stop()
    begin = "import sqlite3, time; held = sqlite3.connect('state.db'); held.execute('begin exclusive')"
    hold = f"{begin}; open('/run/held', 'w'); time.sleep(600)"
    host("systemd-run", "--quiet", "--unit=hold", f"--working-directory={STATE}", "/usr/bin/python3", "-c", hold)
    host.until(host.path("/run/held").exists)
    host("systemctl", "start", "--no-block", "driftd")
    time.sleep(1.5)
    assert host.show("driftd", "ActiveState") == "activating"
    host("systemctl", "kill", "--signal=KILL", "hold")
    host.until(lambda: host.show("driftd", "ActiveState") == "active")


def test_kill_9_brings_it_back_to_the_same_place(host: Host) -> None:
    """Killed in the middle of its work it comes back by itself: same version, every window checked once."""
    host.begin(drop_in=QUICK)
    for seed in range(1, 5):
        host.live(100, seed)
        before = host.main_pid()
        host("systemctl", "kill", "--signal=KILL", "--kill-whom=main", "driftd")
        host.until(lambda before=before: host.main_pid() not in ("0", before))
    host.until(lambda: host.show("driftd", "ActiveState") == "active")
    host.until(lambda: len(host.windows()) == 8)
    assert host.windows() == list(range(8))
    assert host.show("driftd", "NRestarts") == "4"
    assert host.show("driftd", "StatusText").startswith("orders v1 steady")
    assert host.post("9465/-/ready").startswith("driftd")  # the server went on all the while
    assert host.show("driftd-serve", "NRestarts") == "0"


def test_the_server_comes_back_too(host: Host) -> None:
    """Killed, it answers again within seconds, and what it had acknowledged is there."""
    host.begin()
    host.live(50, 1)
    before = host.main_pid("driftd-serve")
    host("systemctl", "kill", "--signal=KILL", "driftd-serve")
    host.until(lambda: host.main_pid("driftd-serve") not in ("0", before))
    host.until(lambda: host.show("driftd-serve", "ActiveState") == "active")
    host.live(50, 2)
    host.until(lambda: host.windows() == [0, 1])


def is_read(pipe: Path, writers: list[int]) -> bool:
    """Whether somebody reads from a named pipe; then it is held open for writing, so that the read does not end."""
    try:
        writers.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return False
    return True


def test_a_wedged_main_loop_is_ended_by_the_watchdog(host: Host) -> None:
    """A loop that hangs in a read is killed although its other threads go on; the journal shows where it hung."""
    host.begin(drop_in=QUICK + "\nWatchdogSec=6")
    host.live(50, 1)
    host.until(lambda: host.windows() == [0])
    before = host.main_pid()
    time.sleep(8)
    assert host.main_pid() == before  # a loop that turns is left alone, however long it has nothing to do
    host("bash", "-ec", f"cp -p {CONFIG} /etc/driftd/good; rm {CONFIG}; mkfifo -m 644 {CONFIG}")  # a read of it hangs
    host("systemctl", "kill", "--signal=HUP", "--kill-whom=main", "driftd")
    writers: list[int] = []
    host.until(lambda: is_read(host.path(CONFIG), writers))
    assert host.post("9464/-/healthy") == "driftd is healthy\n\n"  # a thread beside the loop would have fed it
    host("mv", "/etc/driftd/good", CONFIG)
    host.until(lambda: host.main_pid() not in ("0", before))
    os.close(writers.pop())
    host.until(lambda: host.show("driftd", "StatusText") == "orders v1 steady inconclusive")  # it learns yet
    journal = "\n".join(host.journal("driftd"))
    assert "Watchdog timeout" in journal
    assert re.search(r'Fatal Python error: Aborted(.|\n)*File ".*driftd/loop/daemon.py", line \d+ in run', journal)
    host.live(50, 2)
    host.until(lambda: host.windows() == [0, 1])


def test_reload_with_a_good_and_with_a_bad_config(host: Host) -> None:
    """`systemctl reload` takes a good file up, and fails with a bad one: that is told, and the one before goes on."""
    host.begin(server=False)
    before, good = host.main_pid(), MODEL + "    promote: {approval: manual}\n"
    host.configure(good)
    host("systemctl", "reload", "driftd")
    host.until(lambda: any('"config_applied"' in line for line in host.journal("driftd")))
    assert host.show("driftd", "ActiveState") == "active"
    host.configure(good + "nonsense: 1\n")
    output = host("systemctl", "reload", "driftd", check=False)
    assert host.exit_code != 0, output
    host.until(lambda: host.show("driftd", "StatusText").startswith("config refused"))
    assert "nonsense" in host.show("driftd", "StatusText")
    assert host.show("driftd", "ActiveState") == "active"
    assert host.main_pid() == before
    journal = host.journal("driftd")
    assert any('"config_refused"' in line and "nonsense" in line for line in journal)
    assert any(
        line.startswith(f"{CONFIG}:") and "nonsense" in line for line in journal
    )  # in plain words, with its line
    host.configure(good.replace(":9464", ":9999"))
    host("systemctl", "reload", "driftd", check=False)
    assert host.exit_code != 0
    host.until(lambda: any("change only with a restart of driftd" in line for line in host.journal("driftd")))
    host.configure(good)
    host("systemctl", "reload", "driftd")
    host.until(lambda: host.show("driftd", "StatusText") == "orders v1 steady not checked yet")


def test_a_bad_config_is_no_loop_of_restarts(host: Host) -> None:
    """A start with a config that is refused fails once, with exit code 2 and its reasons in the journal."""
    host.begin(server=False)
    host.stop()
    host.configure("nonsense: 1\n")
    for unit in UNITS:
        host("systemctl", "start", unit, check=False)
        assert host.exit_code != 0
        time.sleep(1.5)
        assert host.show(unit, "ActiveState") == "failed"
        assert host.show(unit, "ExecMainStatus") == "2"
        assert host.show(unit, "NRestarts") == "0"
        assert any(line.startswith(f"{CONFIG}:1: nonsense") for line in host.journal(unit))


def test_stop_within_ten_seconds_during_a_training(host: Host) -> None:
    """The training and all that it started end at once; at the next start it is begun again, as the same build."""
    host.begin(SLOW, server=False)
    host("driftd", "retrain", "orders", "--why", "a build that takes long")
    host.until(lambda: any("sleep 600" in line for line in host.processes()))
    assert host.show("driftd", "StatusText").startswith("orders v1 retraining")
    began = time.monotonic()
    host("systemctl", "stop", "driftd")
    assert time.monotonic() - began < time_limit(10)
    assert host.show("driftd", "Result") == "success"
    assert host.show("driftd", "ExecMainStatus") == "0"
    assert host("pgrep", "-f", "sleep 600", check=False) == ""
    host("systemctl", "start", "driftd")
    host.until(lambda: any("sleep 600" in line for line in host.processes()))
    assert host.events().count("build_started") == 1
    assert not any("failed" in event for event in host.events())


def test_a_whole_build_and_a_report_work_in_the_sandbox(host: Host) -> None:
    """Snapshot, training, judging and the second opinion's report all run under everything that the unit forbids."""
    host.begin(MODEL.replace("window: {rows: 50}", "window: {rows: 50}\n    promote: {min_labels: 50}"))
    for seed in range(1, 7):
        host.live(100, seed)
    host.until(lambda: len(host.windows()) == 12)
    host("driftd", "retrain", "orders", "--why", "to see it work")
    host.until(lambda: {"promoted", "rejected", "inconclusive"} & set(host.events()) or len(host.events()) > 2)
    for seed in range(7, 11):
        host.live(100, seed, shift=4.0)
    reports = host.path(STATE)
    host.until(lambda: list(reports.rglob("*.html")), why="a report")
    logs = {path.parent.name: path.read_text() for path in reports.glob("jobs/*/log.txt")}
    assert {"snapshot", "train", "judge", "report"} <= {name.rpartition("-")[2] for name in logs}
    for name, log in logs.items():
        assert "the limit" not in log, (name, log)  # memory, files and cores are bounded in the sandbox too
        assert "oom_score" not in log
    assert host.ask("select result from actions where status = 'failed'") == []


def test_a_training_that_eats_memory_dies_alone(host: Host) -> None:
    """`limits.memory` bounds a training inside the sandbox; the daemon goes on and tells why the build failed."""
    eats = (
        "limits: {memory: 1073741824}\n" + MODEL + f"    trainer: {{command: [{PYTHON}, -c, 'bytearray(3 << 30)']}}\n"
    )
    host.begin(eats, server=False)
    before = host.main_pid()
    host("driftd", "retrain", "orders", "--why", "too much")
    host.until(lambda: "build_failed" in host.events())
    log = "\n".join(path.read_text() for path in host.path(STATE).glob("jobs/*-train/log.txt"))
    assert "MemoryError" in log, host.ask("select result from actions where status = 'failed'")
    assert host.main_pid() == before
    assert host.show("driftd", "ActiveState") == "active"


def test_the_journal_is_structured_and_keeps_levels(host: Host) -> None:
    """Every line of both services is one JSON object with event, level and time, at its own priority."""
    host.begin(server=False)
    host("journalctl", "--rotate", "--vacuum-time=1s", check=False)
    host("systemctl", "restart", *UNITS)
    host.live(50, 1)
    host.until(lambda: host.windows() == [0])
    host.configure("nonsense: 1\n")
    host.until(lambda: host.show("driftd", "StatusText").startswith("config refused"))
    host("journalctl", "--sync")
    shown = host(
        "journalctl", "-u", "driftd", "-u", "driftd-serve", "-o", "json", "--no-pager", "-t", "driftd"
    ).splitlines()
    seen = set()
    for line in shown:
        entry = json.loads(line)
        said = json.loads(entry["MESSAGE"])
        assert {"event", "level", "timestamp"} <= said.keys()
        assert re.fullmatch(r"[a-z][a-z_]+", said["event"])
        assert int(entry["PRIORITY"]) == PRIORITIES[said["level"]]
        seen.add(said["event"])
    assert {"started", "serving", "check", "config_refused", "stopped"} <= seen
    loud = host("journalctl", "-u", "driftd", "-p", "err", "-o", "cat", "--no-pager", "-t", "driftd").splitlines()
    assert loud
    assert all('"level": "error"' in line for line in loud)


def test_the_state_belongs_to_the_service_and_its_group(host: Host) -> None:
    """Others may read nothing, also of what root made by init; the group may look and ask; secrets are root's."""
    host.begin()
    host.live(50, 1)
    host.until(lambda: host.windows() == [0])
    assert host("stat", "-c", "%a %U %G", STATE).strip() == "2770 driftd driftd"
    assert set(host("find", STATE, "-printf", "%u %g\n").splitlines()) == {"driftd driftd"}
    for name in ("state.db", "state.db-wal", "state.db-shm", "events/orders/events.db"):
        assert host("stat", "-c", "%a", f"{STATE}/{name}").strip() == "660", name
    assert host("stat", "-c", "%a %U %G", CONFIG).strip() == "640 root driftd"
    assert host("stat", "-c", "%a %U %G", "/etc/driftd/credentials").strip() == "700 root root"
    host("bash", "-ec", "id alice || useradd -G driftd alice; id mallory || useradd mallory")
    assert "orders" in host("runuser", "-u", "alice", "--", "driftd", "status")
    assert "build" in host("runuser", "-u", "alice", "--", "driftd", "retrain", "orders", "--why", "asked by the group")
    refused = host("runuser", "-u", "mallory", "--", "driftd", "status", check=False)
    assert host.exit_code != 0
    assert "Permission denied" in refused
    assert "Traceback" not in refused
    made = ["driftd", "init", "/run/stage/orders.parquet", "--target", "y", "--name", "other", "--state-dir", STATE]
    refused = host("runuser", "-u", "alice", "--", *made, "--output", "/tmp/other.yaml", check=False)
    assert f"{STATE} belongs to driftd" in refused


def test_secrets_reach_their_service_alone(host: Host) -> None:
    """A file in /etc/driftd/credentials is a credential of both services, which only they can read."""
    host("bash", "-ec", "umask 077; echo hush > /etc/driftd/credentials/token")
    host.begin()
    for unit in UNITS:
        seen = f"/run/credentials/{unit}.service/driftd_token"
        assert host("nsenter", "-t", host.main_pid(unit), "-m", "cat", seen) == "hush\n"
        assert host("runuser", "-u", "driftd", "--", "cat", "/etc/driftd/credentials/token", check=False).count(
            "denied"
        )
    host("rm", "/etc/driftd/credentials/token")


def test_an_upgrade_keeps_state_and_config(host: Host) -> None:
    """Installing again replaces the program and restarts the services; version, history, config and libraries stay."""
    config = MODEL + "    promote: {approval: manual}\n"
    host.begin(config)
    host.live(100, 1)
    host.until(lambda: host.windows() == [0, 1])
    program, pid = host("readlink", "/opt/driftd/venv"), host.main_pid()
    assert f"in place of {program.strip()}" in host.install()
    assert host("readlink", "/opt/driftd/venv") != program
    assert host.main_pid() != pid
    assert host.path(CONFIG).read_text() == config
    host.live(50, 2)
    host.until(lambda: host.windows() == [0, 1, 2])
    assert host.events() == ["adopted"]


def test_a_package_that_is_not_the_locked_one_is_refused(host: Host) -> None:
    """A file whose hash is not in the lock is not installed, and the version before goes on."""
    program = host("readlink", "/opt/driftd/venv")
    good = host.lock("driftd-libraries==1.0 --hash=sha256:" + "0" * 64 + "\n")
    try:
        output = host.install(check=False)
    finally:
        host.lock(good)
    assert host.exit_code == 1
    assert "DO NOT MATCH THE HASHES" in output
    assert "goes on as before" in output
    assert host("readlink", "/opt/driftd/venv") == program


def test_the_packages_of_trainers_are_installed_beside_driftd(host: Host) -> None:
    """What /etc/driftd/requirements.txt names is there; what driftd cannot work with is refused before any switch."""
    program = host("readlink", "/opt/driftd/venv")
    assert host(PYTHON, "-c", "import own_trainer; print(own_trainer.__file__)").startswith("/opt/driftd/venv")
    host("bash", "-ec", "echo 'numpy<2' >> /etc/driftd/requirements.txt")
    output = host.install(check=False)
    assert host.exit_code == 1
    host("rm", "/etc/driftd/requirements.txt")  # the installations that follow need no such packages
    assert "could not install /etc/driftd/requirements.txt beside driftd" in output
    assert host("readlink", "/opt/driftd/venv") == program


@pytest.mark.parametrize(
    ("fault", "files"),
    [
        ("does not work here", {"driftd/__init__.py": "raise ImportError('broken')\n"}),
        (
            "did not start with the new version",
            {
                "driftd/cli/main.py": "import sys\ndef main(): sys.exit(sys.argv[1] in ('run', 'serve'))\n",
                **dict.fromkeys(
                    ("driftd/__init__.py", "driftd/cli/__init__.py", "driftd/loop/run.py", "driftd/loop/__init__.py"),
                    "",
                ),
                **dict.fromkeys(
                    ("driftd/serving/run.py", "driftd/serving/__init__.py", "driftd/training/tasks/train.py"), ""
                ),
                **dict.fromkeys(("driftd/training/__init__.py", "driftd/training/tasks/__init__.py"), ""),
            },
        ),
    ],
)
def test_a_broken_upgrade_leaves_the_version_before(host: Host, fault: str, files: dict[str, str]) -> None:
    """A version that cannot be imported never takes over; one that cannot start gives back to the one before."""
    host.begin()
    program = host("readlink", "/opt/driftd/venv")
    wheel = write_wheel(host.stage, "driftd", "99.0", files)
    output = host.install(f"/run/stage/{wheel.name}", check=False)
    assert host.exit_code == 1
    assert fault in output
    assert "goes on as before" in output
    assert host("readlink", "/opt/driftd/venv") == program
    assert host("systemctl", "is-active", *UNITS).split() == ["active", "active"]
    assert host.show("driftd", "StatusText") == "orders v1 steady not checked yet"


def test_remove_keeps_what_cannot_be_made_again(host: Host) -> None:
    """Removing takes the program away and keeps state and config; purging takes all, and leaves no trace."""
    host.begin(server=False)
    host("/run/stage/systemd/remove")
    assert host("systemctl", "list-unit-files", "driftd*", "--no-legend", check=False) == ""
    assert not host.path("/opt/driftd").exists()
    assert not host.path("/usr/local/bin/driftd").is_symlink()
    assert host.path(f"{STATE}/state.db").exists()
    assert host.path(CONFIG).exists()
    host.install()
    assert host.show("driftd", "StatusText") == "orders v1 steady not checked yet"
    host("/run/stage/systemd/remove", "--purge")
    left = host("find", "/etc", "/var/lib", "/var/cache", "/opt", "/usr/local", "-name", "driftd*", "-print", "-prune")
    kept = {f"{STATE}.first"}  # the test's own copy
    assert {line for line in left.splitlines() if not line.startswith("/opt/libraries")} == kept
    assert host("getent", "passwd", "driftd", check=False) == ""


@pytest.mark.soak
def test_the_lock_installs_from_a_folder_of_wheels() -> None:
    """As docs/install.md says: the checkout is built and installed without a network, in the locked versions alone."""
    if (reason := absent()) is not None:
        pytest.skip(reason)
    with Host() as host:
        checkout, wheels = host.stage / "checkout", host.stage / "wheels"
        for folder in ("daemon", "detectors", "docs", "requirements", "systemd"):
            shutil.copytree(ROOT / folder, checkout / folder, ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("LICENSE", "README.md", "config.yaml", "pyproject.toml"):
            shutil.copy(ROOT / file, checkout)
        python = host("/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps"]
        download += ["--only-binary", ":all:", "--python-version", python, "--dest", str(wheels)]
        for lock in ("runtime", "build"):
            subprocess.run([*download, "--requirement", str(ROOT / "requirements" / f"{lock}.txt")], check=True)
        assert "is installed" in host("/run/stage/checkout/systemd/install", "--find-links", "/run/stage/wheels")
        installed = set(host(PYTHON, "-m", "pip", "freeze").splitlines())
        locked = (ROOT / "requirements" / "runtime.txt").read_text()
        pinned = {line.lower().replace("_", "-") for line in installed if not line.startswith("driftd @")}
        assert pinned <= set(re.findall(r"^[a-z0-9][^ ]*==[^ ]+", locked, re.MULTILINE))
        assert len(pinned) > 50
        assert host("systemctl", "is-active", *UNITS).split() == ["active", "active"]


def test_the_scripts_are_clean_shell() -> None:
    """The linter of shell scripts has nothing to say."""
    if shutil.which("shellcheck") is None:
        pytest.skip("the Debian package shellcheck is needed")
    subprocess.run(["shellcheck", *map(str, (ROOT / "systemd" / "install", ROOT / "systemd" / "remove"))], check=True)


def test_both_services_live_in_the_same_sandbox() -> None:
    """What one of the two units is forbidden, the other is too."""

    def sandbox(unit: str) -> list[str]:
        lines = (ROOT / "systemd" / f"{unit}.service").read_text().partition("# The sandbox")[2].splitlines()[1:]
        return [line for line in lines if line and not line.startswith("#")]

    assert sandbox("driftd") == sandbox("driftd-serve")
    assert len(sandbox("driftd")) > 30
