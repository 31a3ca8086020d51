"""The benchmarks still run: each imports, tells its arguments, and those that are quick on few rows end well."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from limits import HANG

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SCRIPTS = sorted(path.stem for path in BENCHMARKS.glob("*.py"))
# What imports quickly and ends within a second on so little: its arguments, and constants in place of its own.
SMALL: dict[str, tuple[list[str], dict[str, int]]] = {
    "counting": (["2000", "7"], {"PASSES": 1}),
    "evidence_cost": ([], {"FEATURES": 20}),
    "false_alarms": (["--windows", "2", "--runs", "1", "--jobs", "1", "--only", "iid, n = 100"], {}),
    "gate": ([], {"REPEATS": 1}),
    "late_labels": (["--cohorts", "2"], {}),
    "performance": (["--lives", "1", "--only", "AR(.9) "], {}),
    "probation": ([], {"REPEATS": 1}),
}
# Imports scripts in one process, since each would import the same libraries, and says what became of each.
HARNESS = """
import contextlib, importlib, io, json, sys, traceback

sys.path.insert(0, sys.argv[1])
outputs = {}
for name, (arguments, constants) in json.loads(sys.argv[2]).items():
    output = io.StringIO()
    try:
        module = importlib.import_module(name)
        sys.argv = [f"{name}.py", *arguments]
        if arguments != ["--help"] or hasattr(module, "argparse"):
            vars(module).update(constants)
            with contextlib.redirect_stdout(output):
                module.main()
        else:
            output.write(f"usage: {name}.py takes no option")
    except SystemExit as ended:
        output.write(f" ended with {ended.code}" if ended.code else "")
    except BaseException:
        output.write(traceback.format_exc())
    outputs[name] = output.getvalue()
print(json.dumps(outputs))
"""


def outputs_of(runs: dict[str, tuple[list[str], dict[str, int]]]) -> dict[str, str]:
    """What each script printed when it was run with these arguments and constants; a traceback where it failed."""
    command = [sys.executable, "-c", HARNESS, str(BENCHMARKS), json.dumps(runs)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANG)
    assert ran.returncode == 0, ran.stderr[-3000:]
    found: dict[str, str] = json.loads(ran.stdout.splitlines()[-1])
    return found


def test_every_benchmark_imports_and_tells_its_arguments() -> None:
    """Each script imports what there is today, and prints what it can be given where it takes options."""
    assert SCRIPTS
    outputs = outputs_of({name: (["--help"], {}) for name in SCRIPTS})
    assert {name: text for name, text in outputs.items() if not text.startswith(f"usage: {name}.py")} == {}


def test_the_list_of_benchmarks_names_each_script_once() -> None:
    """The table in benchmarks/README.md has one row for each script, and no row for one that is gone."""
    rows = (BENCHMARKS / "README.md").read_text().splitlines()
    listed = [row.partition("python benchmarks/")[2].partition(".py")[0] for row in rows if row.startswith("| ")]
    assert sorted(name for name in listed if name) == SCRIPTS


@pytest.mark.slow
def test_the_quick_benchmarks_run_to_their_end() -> None:
    """The scripts that need no daemon print their figures on a few windows, and none of them a traceback."""
    outputs = outputs_of(SMALL)
    assert {name: text for name, text in outputs.items() if "Traceback" in text or "ended with" in text} == {}
    assert all(len(text.splitlines()) > 1 for text in outputs.values()), outputs
