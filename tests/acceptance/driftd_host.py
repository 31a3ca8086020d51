"""A plain host with driftd on it, as its installer leaves it: a real systemd, both services, a model with version 1."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from limits import HANG
from real_systemd import Systemd

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "/etc/driftd/config.yaml"
STATE = "/var/lib/driftd"
PYTHON = "/opt/driftd/venv/bin/python"
MODEL = """\
state_dir: /var/lib/driftd
http: {listen: 127.0.0.1:9464}
serve: {listen: 127.0.0.1:9465}
models:
  orders:
    task: regression
    target: y
    features: {a: number, b: number, c: category}
    window: {rows: 50}
    retrain: {on: [performance]}
"""
LIBRARIES = "/opt/libraries"  # where the host sees the packages of the environment that runs the tests
POST = f"""\
import json, sys, urllib.request
path, body = json.load(sys.stdin)
asked = urllib.request.Request("http://127.0.0.1:" + path, json.dumps(body).encode() if body is not None else None)
print(urllib.request.urlopen(asked, timeout={HANG}).read().decode())
"""
ASK = f"""\
import json, sqlite3, sys
state = sqlite3.connect("file:{STATE}/state.db?mode=ro", uri=True, timeout=60)
print(json.dumps(state.execute(sys.stdin.read()).fetchall()))
"""


def rows(count: int, seed: int, *, shift: float = 0.0) -> pd.DataFrame:
    """Labelled rows of one stream; `shift` moves a feature."""
    rng = np.random.default_rng([11, seed])
    made = pd.DataFrame(
        {"a": rng.normal(shift, 1, count), "b": rng.normal(size=count), "c": rng.choice(["red", "green"], count)}
    )
    return made.assign(y=3 * made["a"] + np.where(made["c"] == "red", 2.0, 0.0) + rng.normal(0, 0.5, count))


def build_wheel(folder: Path) -> Path:
    """The wheel of this checkout, by its own build backend."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return next(folder.glob("driftd-*.whl"))


def write_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    """A wheel of a few files."""
    about = f"{name.replace('-', '_')}-{version}.dist-info"
    entry = "[console_scripts]\ndriftd = driftd.cli.main:main\n" if "driftd/cli/main.py" in files else ""
    content = {
        **files,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": entry,
    }
    record = [f"{about}/RECORD,,"]
    path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in content.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record.append(f"{file},sha256={digest},{len(text.encode())}")
            wheel.writestr(file, text)
        wheel.writestr(f"{about}/RECORD", "\n".join(record) + "\n")
    return path


class Host(Systemd):
    """The host. Everything in it is as an operator would do it."""

    def __init__(self) -> None:
        super().__init__({Path(sysconfig.get_paths()["purelib"]): LIBRARIES})

    def stage_program(self) -> None:
        """Put the checkout's installer, and a folder of wheels, where the host can reach them.

        The lock that is staged has one entry, with its hash: a wheel that names the packages of the environment that
        runs the tests, so that an installation takes seconds.
        """
        for folder in ("systemd", "docs"):
            shutil.copytree(ROOT / folder, self.stage / folder)
        shutil.copy(ROOT / "config.yaml", self.stage)
        wheels = self.stage / "wheels"
        wheels.mkdir()
        build_wheel(wheels)
        libraries = write_wheel(wheels, "driftd-libraries", "1.0", {"driftd_libraries.pth": LIBRARIES + "\n"})
        digest = hashlib.sha256(libraries.read_bytes()).hexdigest()
        (self.stage / "requirements").mkdir()
        self.lock(f"driftd-libraries==1.0 --hash=sha256:{digest}\n")
        write_wheel(wheels, "own-trainer", "2.0", {"own_trainer.py": ""})
        self("bash", "-ec", "mkdir -p /etc/driftd; echo own-trainer > /etc/driftd/requirements.txt")

    def lock(self, text: str) -> str:
        """Replace the lock of the checkout that is installed; returns the one before."""
        path = self.stage / "requirements" / "runtime.txt"
        before = path.read_text() if path.exists() else ""
        path.write_text(text)
        return before

    def install(self, *arguments: str, check: bool = True) -> str:
        """Run the installer offline."""
        command = ["/run/stage/systemd/install", "--find-links", "/run/stage/wheels", *(arguments or ("driftd",))]
        return self(*command, check=check)

    def first_version(self) -> str:
        """`driftd init` as an operator runs it: with sudo, from a folder that the service user cannot enter."""
        rows(2000, 0).to_parquet(self.stage / "orders.parquet")
        self("install", "-D", "-m", "600", "/run/stage/orders.parquet", "/srv/rows/orders.parquet")
        made = f"driftd init orders.parquet --target y --window 50 --state-dir {STATE} --output {CONFIG} --force"
        return self("bash", "-ec", f"cd /srv/rows; chmod 700 /srv/rows; {made}")

    def begin(self, config: str = MODEL, drop_in: str = "", *, server: bool = True) -> None:
        """Both services, or the daemon alone, from version 1 and nothing else, with this config."""
        self.stop()
        self("bash", "-ec", f"rm -rf {STATE}; cp -a {STATE}.first {STATE}; rm -rf /etc/systemd/system/driftd.service.d")
        self.configure(config)
        self.drop_in(drop_in)
        self("systemctl", "start", *(["driftd-serve"] if server else []), "driftd")

    def stop(self) -> None:
        """End both services."""
        self("systemctl", "stop", "driftd", "driftd-serve")
        self("systemctl", "reset-failed", "driftd", "driftd-serve", check=False)

    def drop_in(self, settings: str) -> None:
        """As `systemctl edit driftd` does."""
        folder = self.path("/etc/systemd/system/driftd.service.d")
        folder.mkdir(exist_ok=True)
        (folder / "test.conf").write_text(f"[Service]\n{settings}\n")
        self("systemctl", "daemon-reload")

    def configure(self, text: str) -> None:
        """Save the config as an editor does: by rename, with its modes kept."""
        config = self.path(CONFIG)
        new = config.with_name("new.yaml")
        new.write_text(text)
        self("bash", "-ec", "cd /etc/driftd; chown root:driftd new.yaml; chmod 640 new.yaml; mv new.yaml config.yaml")

    def post(self, path: str, body: Any = None) -> Any:
        """One request from the host itself: `path` begins with the port."""
        answer = self("/usr/bin/python3", "-c", POST, given=json.dumps([path, body]))
        return json.loads(answer) if answer.lstrip().startswith(("{", "[")) else answer

    def live(self, count: int, seed: int, *, shift: float = 0.0, labelled: bool = True) -> None:
        """The application predicts so many rows through the server, and later learns the truth."""
        stream = rows(count, seed, shift=shift)
        features = stream.drop(columns="y").to_dict("records")
        answer = self.post(
            "9465/v1/models/orders/predict",
            [{"prediction_id": f"{seed}-{row}", "features": item} for row, item in enumerate(features)],
        )
        assert len(answer) == count
        assert all(item["logged"] for item in answer)
        if labelled:
            labels = [{"prediction_id": f"{seed}-{row}", "label": label} for row, label in enumerate(stream["y"])]
            self.post("9465/v1/models/orders/feedback", labels)

    def main_pid(self, unit: str = "driftd") -> str:
        """The process that systemd watches."""
        return self.show(unit, "MainPID")

    def processes(self, unit: str = "driftd") -> list[str]:
        """The command lines of every process of a unit."""
        group = self.show(unit, "ControlGroup")
        listed = self("bash", "-c", f"cat /sys/fs/cgroup/unified{group}/cgroup.procs", check=False).split()
        return [line for pid in listed if pid.isdecimal() for line in [self._command(pid)] if line]

    def _command(self, pid: str) -> str:
        return self("bash", "-c", f"tr '\\0' ' ' </proc/{pid}/cmdline", check=False)

    def ask(self, sql: str) -> list[Any]:
        """The first column of what the daemon's database answers, read beside it."""
        return [row[0] for row in json.loads(self("/usr/bin/python3", "-c", ASK, given=sql))]

    def windows(self) -> list[int]:
        """The index of every checked window, oldest first."""
        return self.ask("select window_index from checks where kind = 'window' order by id")

    def events(self) -> list[str]:
        """What was decided, oldest first."""
        return self.ask("select event from transitions order by id")
