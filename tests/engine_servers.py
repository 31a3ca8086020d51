"""Real servers on loopback: PostgreSQL, Spark Connect, MLflow, an object store. What is not installed is skipped."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from limits import HANG

ROOT = Path(__file__).resolve().parents[1]
POSTGRES = Path("/usr/lib/postgresql/15/bin")  # Debian's
SERVERS = Path(os.environ.get("DRIFTD_SERVERS", ROOT / ".venv-servers"))  # `make test` installs it
_POLL_SECONDS = 0.1
_COMPILE_ONCE = {"PYTHONDONTWRITEBYTECODE": ""}  # set-up compiles nothing of theirs: their first start does


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def server_program(name: str) -> Path:
    """A program of the servers' environment."""
    program = SERVERS / "bin" / name
    if not program.exists():
        pytest.skip(f"{name} is not installed in {SERVERS} (`make test` does it)")
    return program


@contextmanager
def running(command: Sequence[str | Path], port: int, log: Path, environment: Mapping[str, str] = {}) -> Iterator[None]:
    """A server until the end of the block; it begins once the port answers."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(map(str, command)),
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            cwd=log.parent,
            start_new_session=True,
        )
    try:
        _await_port(process, port, log)
        yield
    finally:
        _end(process)


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + HANG
    while time.monotonic() < deadline:
        assert process.poll() is None, f"it ended: {log.read_text()[-2000:]}"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(_POLL_SECONDS)
    raise AssertionError(f"nobody listens on {port}: {log.read_text()[-2000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server with all that it started: they are one session."""
    try:
        os.killpg(process.pid, 15)
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()
    except ProcessLookupError:
        process.wait()


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A PostgreSQL server with an empty database; gives its address, which needs no password."""
    if not (POSTGRES / "initdb").exists():
        pytest.skip("PostgreSQL 15 is not installed (Debian's `postgresql`)")
    port, data = free_port(), folder / "data"
    folder.mkdir(parents=True, exist_ok=True)
    as_user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres")
        _let_through(folder)
        as_user = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
    subprocess.run(
        [*as_user, POSTGRES / "initdb", "-D", data, "-U", "app", "-A", "trust", "--no-sync", "-E", "UTF8"],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": str(folder),
        "fsync": "off",
        "autovacuum": "off",
    }
    settings = [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
    log = folder / "log.txt"
    log.touch()
    with running([*as_user, POSTGRES / "postgres", "-D", data, *settings], port, log):
        deadline = time.monotonic() + HANG
        while subprocess.run(
            [POSTGRES / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], check=False
        ).returncode:
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(_POLL_SECONDS)  # it listens before it lets anybody in
        yield f"postgresql://app@127.0.0.1:{port}/postgres"


def _let_through(folder: Path) -> None:
    """Let another user reach a folder of pytest, which only its owner may pass."""
    for parent in folder.parents:
        if parent.owner() == "root" and parent.stat().st_mode & 0o001 == 0:
            parent.chmod(parent.stat().st_mode | 0o011)


@contextmanager
def spark_connect(folder: Path, python: Path = Path(sys.executable), memory: str = "1g") -> Iterator[str]:
    """A Spark Connect server on two local cores; gives its address. Its workers run with `python`."""
    home = next(SERVERS.glob("lib/python3.*/site-packages/pyspark"), None)
    java = shutil.which("java")
    if home is None or java is None:
        pytest.skip(f"Spark is not installed in {SERVERS}, or there is no Java")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",  # it lives too short to optimise
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.local.dir": str(folder / "scratch"),
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
    }
    environment = {
        "SPARK_HOME": str(home),
        "JAVA_HOME": str(Path(java).resolve().parents[1]),
        "PYSPARK_PYTHON": str(python),
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    options = [argument for name, value in settings.items() for argument in ("--conf", f"{name}={value}")]
    server = "org.apache.spark.sql.connect.service.SparkConnectServer"
    command: list[str | Path] = [
        home / "bin" / "spark-submit",
        "--master",
        "local[2]",
        "--driver-memory",
        memory,
        *options,
    ]
    with running([*command, "--class", server, "spark-internal"], port, folder / "log.txt", environment):
        yield f"sc://127.0.0.1:{port}"


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """An MLflow server with an empty registry; gives its address."""
    program = server_program("mlflow")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command: list[str | Path] = [program, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    store: list[str | Path] = [
        "--backend-store-uri",
        f"sqlite:///{folder}/ml.db",
        "--artifacts-destination",
        folder / "artefacts",
    ]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    alone = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # else eight more processes, which load MLflow each
    with running([*command, *store], port, folder / "log.txt", {**quiet, **alone, **_COMPILE_ONCE}):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def object_store(folder: Path) -> Iterator[str]:
    """A server that speaks S3, with no bucket yet; gives its address. Any credentials will do."""
    program = server_program("moto_server")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    with running([program, "-H", "127.0.0.1", "-p", str(port)], port, folder / "log.txt", _COMPILE_ONCE):
        yield f"http://127.0.0.1:{port}"
