"""The shipped pipelines: their files are what their systems read, and each hands over what the README says."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from driftd.config.load import parse
from driftd.config.trainer_schema import OutsideTrainer
from driftd.outside.start import Way, start_build
from outside_world import EXAMPLES, find_order, pipelines

SYSTEMS = ("gitlab", "github", "jenkins", "airflow")
ORDER = {"key": "demand-7-ab", "id": "demand-7", "token": "t0ken", "snapshot": {"rows": 9}, "reason": 'mae "rose"'}


def read_yaml(path: Path) -> dict[str, Any]:
    """As YAML 1.2 has it, in which `on` is a word."""
    content = yaml.safe_load(path.read_text("utf-8"))
    return {"on" if key is True else key: value for key, value in content.items()}


def trainer_of(system: str) -> OutsideTrainer:
    """The config that the README of an example shows."""
    (block,) = re.findall(r"```yaml\n(.*?)```", (EXAMPLES / system / "README.md").read_text("utf-8"), re.DOTALL)
    lines = "".join(f"    {line}\n" for line in re.sub(r"^   ", "", block, flags=re.MULTILINE).splitlines())
    trainer = (
        parse(f"models:\n  demand:\n    task: regression\n    target: y\n{lines}".encode()).models["demand"].trainer
    )
    assert isinstance(trainer, OutsideTrainer)
    return trainer


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_config_of_an_example_hands_the_order_over(system: str) -> None:
    """What is posted holds the order whole, and is JSON or a form as the system takes it."""
    trainer = trainer_of(system)
    with pipelines() as found:
        start_build(
            Way(place=system, webhook=f"{found.url}/start", body=trainer.body, form=trainer.form, timeout=20.0), ORDER
        )
        (posted,) = found.bodies
    assert find_order(posted) == ORDER
    expected: dict[str, Any] = {
        "gitlab": {"variables": {"DRIFTD_ORDER": json.dumps(ORDER)}},
        "github": {"event_type": "driftd", "client_payload": {"order": ORDER}},
        "jenkins": {"DRIFTD_ORDER": json.dumps(ORDER)},
        "airflow": {"dag_run_id": "demand-7-ab", "conf": {"order": ORDER}},
    }
    assert posted == expected[system]


def test_the_pipeline_of_gitlab_runs_for_the_order_alone() -> None:
    """One job, which a trigger with an order starts, and which runs the script."""
    content = read_yaml(EXAMPLES / "gitlab" / ".gitlab-ci.yml")
    (job,) = content.values()
    assert job["rules"] == [{"if": '$CI_PIPELINE_SOURCE == "trigger" && $DRIFTD_ORDER'}]
    assert job["script"][-1] == "python build.py"


def test_the_workflow_of_github_has_few_rights_and_masks_the_token() -> None:
    """It listens to the event that the config names, reads the repository, and puts nothing into a shell's text."""
    content = read_yaml(EXAMPLES / "github" / "workflow.yml")
    assert content["on"] == {"repository_dispatch": {"types": ["driftd"]}}
    assert content["permissions"] == {}
    (job,) = content["jobs"].values()
    assert job["permissions"] == {"contents": "read"}
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert not any("${{" in command for command in commands)
    assert "::add-mask::" in commands[-1]


@pytest.mark.parametrize(
    ("name", "path"), [("github-workflows", "github/workflow.yml"), ("gitlab-ci", "gitlab/.gitlab-ci.yml")]
)
def test_the_files_are_valid_by_the_public_schemas(name: str, path: str) -> None:
    """The schemas of SchemaStore and GitLab accept them, where the package that brings them is installed."""
    if (found := importlib.util.find_spec("check_jsonschema")) is None or found.origin is None:
        pytest.skip("check-jsonschema, which brings the schemas, is not installed")
    schema = json.loads((Path(found.origin).parent / "builtin_schemas" / "vendor" / f"{name}.json").read_text("utf-8"))
    jsonschema.validators.validator_for(schema)(schema).validate(read_yaml(EXAMPLES / path))


def test_the_pipeline_of_jenkins_is_balanced_and_hides_the_order() -> None:
    """Declarative: its brackets close, it has what such a pipeline must have, and the order is a password."""
    text = re.sub(r"^//.*|(?<=\s)// .*|'[^'\n]*'|\"[^\"\n]*\"", "''", (EXAMPLES / "jenkins/Jenkinsfile").read_text())
    depth: list[str] = []
    for sign in re.findall(r"[{}()]", text):
        if sign in "{(":
            depth.append(sign)
        else:
            assert depth.pop() == {"}": "{", ")": "("}[sign]
    assert depth == []
    assert re.fullmatch(r"\s*''\s*pipeline \{.*\}\s*", text, re.DOTALL)
    assert all(re.search(rf"\b{section} \{{", text) for section in ("agent", "stages", "steps", "parameters"))
    assert "password(name: 'DRIFTD_ORDER'" in (EXAMPLES / "jenkins/Jenkinsfile").read_text()


def test_the_dag_of_airflow_parses_and_runs_by_nothing_but_an_order() -> None:
    """It has no schedule, catches nothing up, tries nothing again, and runs the shipped script."""
    tree = ast.parse((EXAMPLES / "airflow/dag.py").read_text("utf-8"))
    calls = {
        ast.unparse(node.func): {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    }
    assert calls["dag"] | {"tags": ""} == {
        "dag_id": "'driftd_build'", "schedule": "None", "catchup": "False", "max_active_runs": "4", "tags": "",
    }  # fmt: skip
    assert calls["task"]["retries"] == "0"
    assert "driftd_build" in str(trainer_of("airflow").webhook and trainer_of("airflow").webhook.get_secret_value())
