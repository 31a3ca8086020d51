"""The commands of driftd as a user runs them: those that end in this process, the servers as processes of their own."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import httpx
from starlette.testclient import TestClient

from driftd.cli.main import main
from driftd.config.load import load
from driftd.serving.http import Serving
from driftd.serving.metrics import ServingMetrics
from driftd.serving.requests import RequestLimits
from driftd.serving.run import endpoints_of
from limits import HANG


def environment() -> dict[str, str]:
    """The environment of a user's process that imports what this one does."""
    clean = {key: value for key, value in os.environ.items() if key != "DRIFTD_CONFIG"}
    return {**clean, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def driftd(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, as a user would, but in this process: nothing has to be loaded again."""
    output, errors = io.StringIO(), io.StringIO()
    code = 0
    with in_folder(folder), redirect_stdout(output), redirect_stderr(errors):
        sys.argv = ["driftd", *arguments]
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(arguments, code, output.getvalue(), errors.getvalue())


@contextmanager
def in_folder(folder: Path) -> Iterator[None]:
    """Work in a folder whose modules can be imported; afterwards this process is as it was."""
    argv, paths, loaded = sys.argv, list(sys.path), set(sys.modules)
    variables = dict(os.environ)
    os.environ.pop("DRIFTD_CONFIG", None)
    sys.path.insert(0, str(folder))
    try:
        with chdir(folder):
            yield
    finally:
        sys.argv, sys.path[:] = argv, paths
        os.environ.clear()
        os.environ.update(variables)
        for name in set(sys.modules) - loaded:
            if str(getattr(sys.modules[name], "__file__", None)).startswith(f"{folder}/"):
                del sys.modules[name]


@contextmanager
def serve_here(path: Path) -> Iterator[TestClient]:
    """The routes of `driftd serve` in this process, where its own process is not what is tested."""
    config = load(path)
    endpoints = endpoints_of(config)
    limits = RequestLimits(config.serve.max_body, config.serve.max_batch)
    app = Serving(endpoints, limits, ServingMetrics(sorted(endpoints)))
    try:
        yield TestClient(app)
    finally:
        app.close()
        for endpoint in endpoints.values():
            endpoint.close()


@contextmanager
def serve(path: Path) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    """A real server on a free port."""
    roots = os.pathsep.join(item for item in sys.path if item)
    process = subprocess.Popen(
        [sys.executable, "-m", "driftd.cli.main", "serve", "--config", str(path)],
        env={**os.environ, "PYTHONPATH": roots},
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(rb"127\.0\.0\.1:(\d+)", line):
                with httpx.Client(base_url=f"http://127.0.0.1:{found[1].decode()}", timeout=HANG) as client:
                    yield client, process
                break
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
