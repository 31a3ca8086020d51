"""The pages "Your trainer", "Your model", "Your log files", "HTTP and SDK", ... do what they say, block by block."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from textwrap import indent

import numpy as np
import pandas as pd
import pytest
import yaml

from document_examples import DOCS, ask, blocks, run_block, same_shape
from driftd.cli.check_config import source_warnings
from driftd.config.load import load, parse
from driftd.events import HandOverAction
from driftd.paths import Places
from driftd.records import Window
from driftd.registry import Registry
from driftd.registry.features import feature_frame
from driftd.sources import open_source
from driftd.trainers import TrainingContext
from driftd.training.bootstrap import FileColumns
from driftd.training.call_trainer import TrainerSpec, fit
from driftd.training.rows_in_place import RowsInPlace
from driftd.training.tasks.hand_over import Arguments, message_of, variables_of
from driftd.training.training_rows import TrainingRows
from driftd_processes import driftd, environment, serve
from first_versions import first_version_of

pytestmark = pytest.mark.slow


def test_the_page_of_trainers_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its function, its LightGBM and its program each train on the page's file, and the first two serve."""
    pytest.importorskip("lightgbm")
    monkeypatch.syspath_prepend(tmp_path)
    command: tuple[str, ...] = ()
    for block in blocks("your-trainer.md"):
        if block.language == "yaml" and "source" in yaml.safe_load(block.text):
            model = indent(f"task: classification\ntarget: late\n{block.text}", "    ")
            assert parse(f"models:\n  lake:\n{model}".encode()).models["lake"].retrain.data.keep == "in_place"
            continue
        if block.language == "yaml":
            command = tuple(yaml.safe_load(block.text)["trainer"]["command"])
        run_block(block, tmp_path)
    for name, config in (("orders", "config.yaml"), ("boosted", "boosted.yaml")):
        places = Places(load(tmp_path / config).state_dir)
        assert Registry(places).manifest(name, 1).artefact == "model.skops"
        assert Registry(places).manifest(name, 1).metrics["loss"] < 0.2
    schema = Registry(Places(tmp_path / "driftd-state")).manifest("orders", 1).schema
    data = pd.read_csv(tmp_path / "orders.csv").dropna()
    at = np.arange(len(data), dtype=np.float64)
    target = data["late"].to_numpy(dtype=object)
    rows = TrainingRows(schema, feature_frame(data, schema), target, at, at, np.zeros(len(data), dtype=np.int64))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # as a service has it: the program's `python` is driftd's all the same
    estimator = fit(TrainerSpec(command, seed=1), rows)
    assert np.mean(estimator.predict(rows.frame) == target) > 0.9


def test_the_page_of_trainers_names_every_field_and_variable() -> None:
    """Each field of the context and each DRIFTD_ variable of a program is on the page, and no other."""
    text = (DOCS / "your-trainer.md").read_text()
    own, _, in_place = text.partition("## Rows that stay where they are")
    named = set(re.findall(r"^\| `(\w+)` \|", own, re.MULTILINE))
    assert {field.name for field in dataclasses.fields(TrainingContext)} == {item for item in named if item.islower()}
    rows = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", in_place, re.MULTILINE)))
    assert set(rows) == set(RowsInPlace.__struct_fields__)
    source = (DOCS.parent / "daemon" / "driftd" / "training" / "call_trainer.py").read_text()
    assert set(re.findall(r'"(DRIFTD_\w+)"', source)) == set(re.findall(r"DRIFTD_\w+", text))


def test_the_page_of_metrics_and_detectors_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its functions keep driftd's rules, a version is judged by each of its metrics, and doctor can import them."""
    monkeypatch.syspath_prepend(tmp_path)
    found = list(blocks("your-metric.md"))
    for block in found:
        run_block(block, tmp_path)
    rows = pd.read_csv(tmp_path / "orders.csv")
    for number, block in enumerate(block for block in found if block.language == "yaml"):
        model = indent(f"task: classification\ntarget: late\n{block.text}", "    ")
        (tmp_path / "config.yaml").write_text(f"state_dir: {tmp_path / 'state'}\nmodels:\n  m{number}:\n{model}")
        chosen = load(tmp_path / "config.yaml")
        places = Places(chosen.state_dir)
        columns = FileColumns(time="ts")
        first_version_of(f"m{number}", chosen.models[f"m{number}"], rows, columns, places, now=1_780_000_000.0)
        gate = Registry(places).manifest(f"m{number}", 1).gate
        assert gate is not None
        assert gate["metric"] == chosen.models[f"m{number}"].detect.performance.metric_name
    done = driftd(tmp_path, "doctor")
    assert "order_functions:late_cost can be imported" in done.stdout
    assert "order_functions:price_gap can be imported" in done.stdout


def test_the_page_of_models_runs(tmp_path: Path) -> None:
    """Its model is adopted as it is, and its pickle with permission."""
    for block in blocks("your-model.md"):
        run_block(block, tmp_path)
    registry = Registry(Places(tmp_path / "driftd-state"))
    for name in ("orders", "pickled"):
        manifest = registry.manifest(name, 1)
        assert (manifest.artefact, manifest.schema.names) == ("model.skops", ("region", "price"))
        assert manifest.adopted is not None
    refused = driftd(
        tmp_path, "init", "orders.csv", "--target", "late", "--model", "model.joblib", "--output", "x.yaml"
    )
    assert (refused.returncode, "--allow-pickle" in refused.stderr) == (1, True)


def test_the_page_of_log_files_runs(tmp_path: Path) -> None:
    """Each `source` of the page reads every row of its files without a fault, labels join, and the past is loaded."""
    sources = 0
    for block in blocks("your-log-files.md"):
        if block.language != "yaml":
            run_block(block, tmp_path)
            continue
        sources += 1
        config = tmp_path / f"source{sources}.yaml"
        section = yaml.safe_load(block.text)["source"]
        section |= {key: str(tmp_path / section[key]) for key in ("path", "feedback") if key in section}
        text = (tmp_path / "config.yaml").read_text()
        config.write_text(re.sub(r"source: .*", f"source: {json.dumps(section)}", text))
        assert list(source_warnings(load(config))) == []
        schema = Registry(Places(tmp_path / "driftd-state")).manifest("orders", 1).schema
        source = open_source("orders", load(config).models["orders"], schema, Places(tmp_path / f"state{sources}"))
        extent = source.refresh(time.time())
        assert (extent.rows, extent.faults, extent.counts["unjoined"]) == (7200, (), 0)
        window = Window(0, 0.0, time.time())
        pieces = list(source.chunks(window))
        assert sum(columns.rows for columns, _ in pieces) == 7200
        assert all(not columns.unreadable and len(columns.values) == 2 for columns, _ in pieces)
        labelled = int(source.outcomes(window, time.time()).labelled.sum())
        assert labelled > 6900 if "feedback" in section else labelled == 0
        source.close()
    assert sources == 3
    names = [word for pair in ("id=order_id", "at=booked_at", "prediction=answer") for word in ("--column", pair)]
    dialect = ["--separator", ";", "--decimal", ",", "--day-first"]
    done = driftd(tmp_path, "backfill", "orders", "export", *dialect, *names, "--json")
    counts = json.loads(done.stdout)["predictions"]
    assert (counts["rows"], counts["repeated"], counts["kept"]) == (7200, 7200, 0)


def test_the_page_of_http_and_sdk_runs(tmp_path: Path) -> None:
    """Each request gets an answer of the shape that stands below it, and the program of the SDK ends well."""
    rng = np.random.default_rng(1)
    rows = pd.DataFrame({"price": rng.normal(20, 5, 1200), "region": rng.choice(["north", "south"], 1200)})
    rows["late"] = np.where((rows["price"] - 20) / 5 + rng.normal(size=1200) / 2 > 0, "yes", "no")
    rows.to_csv(tmp_path / "orders.csv", index=False)
    assert driftd(tmp_path, "init", "orders.csv", "--target", "late").returncode == 0
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text().replace("127.0.0.1:9465", '"127.0.0.1:0"'))
    with serve(config) as (http, _):
        answers = []
        for block in blocks("http-and-sdk.md"):
            if block.language == "http":
                answers.append(ask(block, http))
            elif block.language == "json":
                same_shape(block, answers[-1])
            else:
                run_block(block, tmp_path)
    assert len(answers) == 8


def test_the_page_of_external_models_runs(tmp_path: Path) -> None:
    """Its log is watched by both sources, its requests get their answers, and its program hears what driftd tells."""
    found = list(blocks("external.md"))
    for block in (block for block in found if block.language in ("python", "sh")):
        run_block(block, tmp_path)
    config = tmp_path / "config.yaml"
    for name, path in (("orders", config), ("orders-by-files", tmp_path / "files.yaml")):
        manifest = Registry(Places(load(path).state_dir)).manifest(name, 1)
        assert (manifest.is_logged, manifest.schema.classes) == (True, ("late", "on time"))
    way, kserve, rules = [yaml.safe_load(block.text) for block in found if block.language == "yaml"]
    assert rules["rules"][0]["verbs"] == ["get", "patch"]
    text = config.read_text().replace("127.0.0.1:9465", '"127.0.0.1:0"')
    text = re.sub(r"    trainer: .*", f"    trainer: {way['trainer']}", text)
    config.write_text(re.sub(r"    # deploy: .*", lambda _: f"    deploy: {json.dumps(way['deploy'])}", text))
    assert load(config).models["orders"].deploy.command == tuple(way["deploy"]["command"])
    (tmp_path / "kserve.yaml").write_text(text.replace("# deploy: ", f"deploy: {json.dumps(kserve['deploy'])} # "))
    assert load(tmp_path / "kserve.yaml").models["orders"].deploy.way == "kserve"
    (message,) = [json.loads(block.text) for block in found if block.language == "json" and "artefact" in block.text]
    with serve(config) as (http, _):
        answers = []
        for block in found:
            if block.language == "http":
                answers.append(ask(block, http))
            elif block.language == "json" and "artefact" not in block.text:
                same_shape(block, answers[-1])
    assert [answer.status_code for answer in answers] == [200, 200, 409]
    artefact = Registry(Places(tmp_path / "driftd-state")).file("orders", 1, "logged.parquet")
    digest = hashlib.sha256(artefact.read_bytes()).hexdigest()
    for action, path, sha256, code in (
        ("deploy", str(artefact), digest, 0),
        ("deploy", str(artefact), "0" * 64, 1),
        ("take_back", None, None, 0),
        ("ask", None, None, 0),
    ):
        output = {**message, "action": action, "artefact": path, "sha256": sha256}
        variables = {**environment(), **variables_of(output)}
        program = [sys.executable, *way["deploy"]["command"][1:]]
        done = subprocess.run(program, cwd=tmp_path, env=variables, capture_output=True, check=False)
        assert done.returncode == code, done.stderr
    assert (tmp_path / "serving-5.parquet").is_file()


def test_the_page_of_external_models_names_every_field_and_action() -> None:
    """What another system is told stands on the page, field by field, and so does every action."""
    text = (DOCS / "external.md").read_text()
    output = message_of(Arguments(model="m", state_dir=".", action=HandOverAction.ASK, reason="", timeout=1), None)
    (message,) = [json.loads(block.text) for block in blocks("external.md") if '"artefact"' in block.text]
    assert set(message) == set(output)
    assert {f"| `{action}` |" in text for action in HandOverAction} == {True}
    assert set(re.findall(r"DRIFTD_[A-Z0-9]+", text)) <= set(variables_of(output))
