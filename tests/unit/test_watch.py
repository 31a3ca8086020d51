"""`driftd status --watch`: what the picture shows of a fleet and of one model, and how a real terminal takes it."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, ConsoleDimensions

from driftd.cli.picture import Pen, picture
from driftd.cli.watch import snapshot
from driftd.events import Event
from driftd.paths import Places
from driftd.records import Build, BuildStep, ModelState, Phase, Transition, Trigger, Window
from driftd.store.state.writer import StateStore
from driftd_detectors.assessment import Assessment, EvidenceKind, KindAssessment, Verdict, share_of_limit
from limits import HANG

HOUR = 3600.0
NOW = 500_000 * HOUR
MODELS = tuple(f"model-{number:02d}" for number in range(30))
LIMIT = 21_915.0


def evidence(kind: EvidenceKind, found: float, verdict: Verdict = Verdict.OK) -> KindAssessment:
    return KindAssessment(kind, verdict, found, LIMIT, f"{kind} evidence {found:g} against {LIMIT:g}", ())


def check(store: StateStore, model: str, number: int, loss: float, found: float = 2.0) -> None:
    """One window and its labels, `number` hours before NOW."""
    window = Window(500_000 - number, NOW - number * HOUR, NOW - (number - 1) * HOUR)
    seen = Assessment(Verdict.OK, "looked at the window", 200, (evidence(EvidenceKind.DATA, found),))
    store.save_check(model, "window", window, seen, at=window.end, version=1)
    figures = {"loss": loss, "baseline": 0.4, "tolerated": 0.44, "coverage": 0.97}
    labels = Assessment(Verdict.OK, "mae", 200, (evidence(EvidenceKind.PERFORMANCE, 1.0),), figures=figures)
    store.save_check(model, "labels", window, labels, at=window.end, version=1)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config of thirty models, of which one waits for approval, one is near an alarm and one was never begun."""
    folder = tmp_path_factory.mktemp("fleet")
    config = folder / "config.yaml"
    models = "".join(f"  {name}: {{task: regression, target: y}}\n" for name in (*MODELS, "unborn"))
    config.write_text(f"state_dir: {folder / 'state'}\nhttp: {{listen: '127.0.0.1:1'}}\nmodels:\n{models}")
    with StateStore.open(Places(folder / "state").state_db) as store:
        for position, name in enumerate(MODELS):
            state = ModelState(name, Phase.STEADY, champion=1)
            if position == 17:
                build = Build(2, Trigger.PERFORMANCE, "mae rose", BuildStep.JUDGE, NOW)
                state = replace(state, phase=Phase.AWAITING_APPROVAL, build=build)
            with store.transaction():
                made = Transition(state, f"{name} is under watch [bold]", Event.ADOPTED)
                store.save_transition(state, made, at=NOW, actor="driftd", config_hash="c0ffee")
            for number in (3, 2, 1):
                loss = 0.5 if position == 5 and number == 1 else 0.4
                check(store, name, number, loss, found=9000.0 if position == 21 else 1.0)
    return config


def drawn(
    config: Path, model: str | None, width: int, height: int, *, now: float = NOW, ascii_only: bool = False
) -> str:
    """The picture as lines of text."""
    to = Console(width=width, height=height, markup=False, highlight=False, file=io.StringIO(), record=True)
    to.print(picture(snapshot(config, model, now), model, ConsoleDimensions(width, height), ascii_only=ascii_only))
    return to.export_text()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 12), (120, 50), (200, 60)])
def test_a_fleet_fits_the_terminal_and_begins_with_what_needs_a_person(fleet: Path, width: int, height: int) -> None:
    """No line is wider and no picture higher than the terminal; the model that waits for a person is first."""
    lines = drawn(fleet, None, width, height).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= height
    assert "30 models, 1 needs a person" in lines[0]
    assert "NO DAEMON ANSWERS" in lines[0]
    assert lines[1].startswith("! model-17: version 2 won its gate: `driftd approve model-17 2`"[: width - 2])
    rows = [line for line in lines if re.match(r"model-\d\d ", line)]
    assert rows[0].startswith("model-17")
    assert rows[1].startswith("model-21")
    assert "█████████░ data" in rows[1]


def test_what_does_not_fit_is_counted(fleet: Path) -> None:
    """A small terminal shows the first models and says how many more there are."""
    text = drawn(fleet, None, 80, 24)
    rows = re.findall(r"^model-\d\d ", text, re.MULTILINE)
    assert f"and {30 - len(rows)} more that need less attention" in text
    assert "last decisions" in text
    assert "is under watch [bold]" in text  # what comes from data is never markup
    assert "unborn: it has no version yet" in text


def test_one_model_is_shown_in_detail(fleet: Path) -> None:
    """Each kind of evidence against its limit, the loss against its baseline, and only the model's own decisions."""
    text = drawn(fleet, "model-05", 80, 24)
    assert re.search(r"data +[█░]{20} +1 of 21,915", text)
    assert "loss 0.5, baseline 0.4, tolerated up to 0.44" in text
    assert re.search(r"performance ▁▁█", text)
    assert "model-06" not in text


def test_a_silent_daemon_is_told_by_what_is_overdue(fleet: Path) -> None:
    """When the last check is older than two windows, the picture asks whether the daemon runs."""
    assert "is the daemon running?" not in drawn(fleet, None, 80, 24)
    late = drawn(fleet, "model-05", 80, 24, now=NOW + 5 * HOUR)
    assert "no check of model-05 for 5 h: is the daemon running?" in late


def test_a_daemon_that_listens_is_told(fleet: Path, tmp_path: Path) -> None:
    """Whether something answers where the config says that the daemon listens is the first thing in the picture."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = tmp_path / "config.yaml"
        config.write_text(fleet.read_text().replace("127.0.0.1:1", f"127.0.0.1:{server.getsockname()[1]}"))
        assert "a daemon answers" in drawn(config, None, 80, 24).splitlines()[0]
    assert "NO DAEMON ANSWERS" in drawn(config, None, 80, 24).splitlines()[0]


def test_a_terminal_without_unicode_gets_plain_bars(fleet: Path) -> None:
    """Bars and sparklines are drawn in ASCII where there is no more."""
    text = drawn(fleet, "model-21", 80, 24, ascii_only=True)
    assert "##################.." in text
    assert not re.search("[█░▁-▇]", text)


@pytest.mark.parametrize(
    ("found", "threshold", "share"),
    [
        (0.0, 100.0, 0.0),
        (1.0, 100.0, 0.0),
        (10.0, 100.0, 0.5),
        (100.0, 100.0, 1.0),
        (1e300, 100.0, 1.0),
        (5.0, 1.0, 0.0),
    ],
)
def test_evidence_is_measured_by_its_logarithm(found: float, threshold: float, share: float) -> None:
    """Evidence multiplies, so a bar is half full at the root of the threshold; it never overflows."""
    assert share_of_limit(found, threshold) == pytest.approx(share)


def test_a_sparkline_is_scaled_with_its_baseline() -> None:
    """The baseline is always within the scale; equal values are a flat line; what is not finite is left out."""
    pen = Pen(ascii_only=False)
    assert pen.spark([1.0, 2.0], 0.0) == "▅█"
    assert pen.spark([1.0, 1.0], 1.0) == "▁▁"
    assert pen.spark([1.0, float("nan"), 2.0], None) == "▁█"
    assert pen.spark([], 1.0) == ""
    assert len(pen.spark([float(item) for item in range(100)], None, width=12)) == 12


@contextmanager
def terminal(config: Path, *options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`driftd status --watch` on a pseudo-terminal of 80 by 24."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(item for item in sys.path if item), "TERM": "xterm-256color"}
    env = {name: value for name, value in env.items() if name not in {"NO_COLOR", "COLUMNS", "LINES"}}
    process = subprocess.Popen(
        [sys.executable, "-m", "driftd.cli.main", "status", "--watch", "--every", "200ms", "-c", str(config), *options],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**env, **environment},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no thread here holds a lock
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(ours: int, wanted: str, seconds: float = HANG) -> str:
    """What the terminal was sent, up to and with a text."""
    said, deadline = b"", time.monotonic() + seconds
    while wanted not in said.decode("utf-8", "replace"):
        assert time.monotonic() < deadline, said.decode("utf-8", "replace")[-2000:]
        if select.select([ours], [], [], 0.2)[0]:
            said += os.read(ours, 65536)
    return said.decode("utf-8", "replace")


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment", [{}, {"NO_COLOR": "1"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_on_a_terminal_it_changes_in_place_and_ends_on_ctrl_c(fleet: Path, environment: dict[str, str]) -> None:
    """It draws again and again on the alternate screen, and Ctrl-C restores the terminal and ends with 0."""
    with terminal(fleet, **environment) as (process, ours):
        said = read_until(ours, "Ctrl-C ends this")
        said += read_until(ours, "Ctrl-C ends this")
        assert "\x1b[?1049h" in said
        assert bool(re.search(r"\x1b\[(?:\d+;)*3[0-7]", said)) is ("NO_COLOR" not in environment)
        os.write(ours, b"\x03")
        read_until(ours, "\x1b[?1049l")
        assert process.wait(HANG) == 0


@pytest.mark.slow
def test_it_outlives_a_state_that_cannot_be_read_for_a_while(fleet: Path, tmp_path: Path) -> None:
    """A bad config and an absent database are told in the picture, which goes on when they are mended."""
    config = tmp_path / "config.yaml"
    good = fleet.read_text()
    config.write_text(good)
    with terminal(config) as (process, ours):
        read_until(ours, "30 models")
        config.write_text("nonsense: 1\n")
        read_until(ours, "cannot be read now")
        config.write_text(good.replace("/state\n", "/elsewhere\n"))
        read_until(ours, "no state database")
        config.write_text(good)
        read_until(ours, "last decisions")
        process.send_signal(signal.SIGINT)
        assert process.wait(HANG) == 0


@pytest.mark.slow
@pytest.mark.parametrize("as_json", [False, True])
def test_in_a_pipe_it_prints_one_status_after_the_other(fleet: Path, as_json: bool) -> None:
    """Without a terminal there are whole lines: plain ones, or one JSON object for each look; SIGINT ends it with 0."""
    options = ["--json"] if as_json else []
    process = subprocess.Popen(
        [sys.executable, "-m", "driftd.cli.main", "status", "-w", "--every", "100ms", "-c", str(fleet), *options],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(item for item in sys.path if item)},
    )
    assert process.stdout is not None
    try:
        if as_json:
            looks = [json.loads(process.stdout.readline()) for _ in range(2)]
            assert [item["models"][0]["model"] for item in looks] == ["model-00", "model-00"]
            assert looks[0]["models"][0]["losses"] == [0.4, 0.4, 0.4]
        else:
            heads = 0
            for line in process.stdout:
                assert "\x1b" not in line
                heads += line.startswith("--- ")
                if heads == 2:
                    break
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(HANG) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
