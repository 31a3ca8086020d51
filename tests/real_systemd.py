"""A real systemd as PID 1 in throw-away namespaces over an overlay of `/`: root is needed, nothing is left behind.

Files put into `.stage` appear at /run/stage. Only what is on the root file system is seen inside; other folders are
given as `binds`. There is no network but an own loopback.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from limits import HANG

CONTROLLERS = ("", "name=systemd", "memory", "pids")  # as /proc/self/cgroup calls them; "" is the unified tree
FOLDERS = ("unified", "systemd", "memory", "pids")
PATH = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOT = r"""set -e; ROOT=$1; STAGE=$2; NEW=$ROOT/new; shift 2; mount --make-rprivate /
mount -t tmpfs -o size=4g tmpfs $ROOT; mkdir $ROOT/upper $ROOT/work $NEW
mount -t overlay overlay -o lowerdir=/,upperdir=$ROOT/upper,workdir=$ROOT/work $NEW
mount -t proc proc $NEW/proc; mount -t sysfs -o ro sysfs $NEW/sys
C=$NEW/sys/fs/cgroup; mount -t tmpfs -o mode=755 tmpfs $C; mkdir $C/unified $C/systemd $C/memory $C/pids
mount -t cgroup2 cgroup2 $C/unified; mount -t cgroup -o none,name=systemd cgroup $C/systemd
mount -t cgroup -o memory cgroup $C/memory; mount -t cgroup -o pids cgroup $C/pids
mount -t tmpfs -o mode=755 tmpfs $NEW/dev; mkdir $NEW/dev/pts $NEW/dev/shm
for d in null zero full random urandom tty; do touch $NEW/dev/$d; mount --bind /dev/$d $NEW/dev/$d; done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts $NEW/dev/pts; ln -s pts/ptmx $NEW/dev/ptmx
ln -s /proc/self/fd $NEW/dev/fd; mount -t tmpfs -o mode=1777 tmpfs $NEW/dev/shm
mount -t tmpfs -o mode=755 tmpfs $NEW/run; mount -t tmpfs -o mode=1777 tmpfs $NEW/tmp
mkdir $NEW/run/stage; mount --bind $STAGE $NEW/run/stage
while [ $# -gt 0 ]; do mkdir -p $NEW$2; mount --bind $1 $NEW$2; mount -o remount,bind,ro $NEW$2; shift 2; done
rm -f $NEW/etc/systemd/system/*.wants/*
head -c16 /dev/urandom | od -An -tx1 | tr -d ' \n' >$NEW/etc/machine-id
ip link set lo up; cd $NEW; mkdir run/old; pivot_root . run/old; umount -l /run/old
mount --make-rshared /  # else credentials, which are mounted in another namespace, never arrive
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=basic.target"""


def absent() -> str | None:
    """Why no systemd can be booted here; None when one can."""
    if os.geteuid() != 0:
        return "root is needed to boot a systemd in namespaces"
    for program, package in (("/lib/systemd/systemd", "systemd"), ("/usr/bin/unshare", "util-linux")):
        if not Path(program).exists():
            return f"the Debian package {package} is needed"
    if subprocess.run(["unshare", "-m", "-p", "-f", "true"], capture_output=True, check=False).returncode:
        return "CAP_SYS_ADMIN is needed to boot a systemd in namespaces"
    if set(CONTROLLERS) - _own_groups().keys():
        return "the hybrid cgroup layout is needed to boot a systemd in namespaces"
    return None


def _own_groups() -> dict[str, str]:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    return {fields[1]: fields[2] for fields in (line.split(":", 2) for line in lines)}


class Systemd:
    """A running manager. Call it like a shell: `systemd("systemctl", "start", "driftd")` gives the output."""

    def __init__(self, binds: Mapping[Path, str] | None = None) -> None:
        own, tag = _own_groups(), f"driftd-test.{os.getpid()}"
        groups = Path("/sys/fs/cgroup")
        self._groups = [
            groups / folder / own[controller].lstrip("/") / tag
            for controller, folder in zip(CONTROLLERS, FOLDERS, strict=True)
        ]
        self._binds = binds or {}
        self._pid = ""

    def __enter__(self) -> Self:
        for group in self._groups:
            group.mkdir()
        self._root, self.stage = (Path(tempfile.mkdtemp(prefix=name)) for name in ("sd-root.", "sd-stage."))
        self.stage.chmod(0o755)
        binds = [str(item) for pair in self._binds.items() for item in pair]
        flags = ["-m", "-p", "-f", "-C", "-n", "-u", "-i", "--kill-child"]
        self._unshare = subprocess.Popen(
            ["unshare", *flags, "bash", "-c", BOOT, "boot", str(self._root), str(self.stage), *binds],
            preexec_fn=self._join,  # noqa: PLW1509 - it only writes its process id into files
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + HANG
        while time.monotonic() < deadline and self._unshare.poll() is None:
            children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children").read_text().split()
            if children:
                self._pid = children[0]
                if self("systemctl", "is-active", "basic.target", check=False).strip() == "active":
                    return self
            time.sleep(0.1)
        self._unshare.kill()
        assert self._unshare.stderr is not None
        output = self._unshare.stderr.read().decode()
        self.__exit__(None, None, None)
        raise RuntimeError(f"systemd did not boot: {output}")

    def __call__(self, *command: object, check: bool = True, given: str | None = None) -> str:
        """Run a command inside, as root, and return what it printed (and what it complained of, unless checked)."""
        done = subprocess.run(
            ["nsenter", "-t", self._pid, "-m", "-p", "-n", "-u", "-i", "-C", "-r", "-w", *map(str, command)],
            env={"PATH": PATH, "LANG": "C.UTF-8"},
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        self.exit_code = done.returncode
        return done.stdout if check else done.stdout + done.stderr

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unshare.kill()  # --kill-child: the whole pid namespace ends
        self._unshare.wait()
        for group in self._groups:
            for _ in range(200):
                try:
                    for folder, _names, _files in os.walk(group, topdown=False):
                        Path(folder).rmdir()
                    break
                except OSError:
                    time.sleep(0.02)
        for folder in (self._root, self.stage):
            with contextlib.suppress(OSError):
                shutil.rmtree(folder)

    def path(self, inside: str) -> Path:
        """A file inside, as it is reached from outside: to read and write it without a child process."""
        return Path(f"/proc/{self._pid}/root{inside}")

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self("systemctl", "show", unit, "--property", name, "--value").strip()

    def journal(self, unit: str, since: str = "") -> list[str]:
        """The messages of a unit, and of the manager about it; `since` is a cursor."""
        self("journalctl", "--sync", check=False)
        after = [f"--after-cursor={since}"] if since else []
        return self("journalctl", "-u", unit, "-o", "cat", "--no-pager", "--quiet", *after).splitlines()

    def until(self, condition: Callable[[], object], seconds: float = HANG, why: str = "") -> float:
        """Wait until something is so; returns how long that took."""
        began = asked = time.monotonic()
        while not condition():
            if time.monotonic() - began > seconds:
                last = self("journalctl", "--no-pager", "-o", "cat", "-n", "60", check=False)
                raise AssertionError(f"{why or condition} was not so within {seconds} s\n{last}")
            time.sleep(max(0.05, 2 * (time.monotonic() - asked)))  # asking starts a process inside
            asked = time.monotonic()
        return time.monotonic() - began

    def _join(self) -> None:
        for group in self._groups:
            (group / "cgroup.procs").write_text(str(os.getpid()))
