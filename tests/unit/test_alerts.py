"""The alert rules: one definition, checked and run by Prometheus' own tool."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from driftd.observe import alert_document
from driftd.observe.alert_rule import Alert
from driftd.observe.alerts import ALERTS
from driftd.observe.families import ALL
from driftd.observe.metric_family import SERVED

ROOT = Path(__file__).parents[2]
RULES = ROOT / "grafana" / "prometheus"
CASES = ("driftd.rules.test.yml", "driftd.rules.days.test.yml")


def tool(name: str, package: str = "prometheus") -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}, of the Debian package {package}")
    return found


def run(*command: str) -> tuple[int, str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=RULES)
    return done.returncode, done.stdout + done.stderr


def families() -> dict[str, tuple[str, ...]]:
    """Every metric that a rule may use, with its labels."""
    return {item.name: item.labels for item in (*ALL, *SERVED)} | {"up": ("job",)}


def expressions() -> Iterator[tuple[Alert, str]]:
    for alert in ALERTS:
        yield alert, alert.expr
        yield from ((alert, figure.expr) for figure in alert.figures.values())


@pytest.mark.parametrize(
    ("place", "what"),
    [("prometheus/driftd.rules.yml", "prometheus"), ("provisioning/alerting/driftd.yaml", "grafana")],
)
def test_the_rule_files_are_those_of_the_definition(place: str, what: str) -> None:
    """Both rule files are what the generator makes of `alerts`."""
    assert (ROOT / "grafana" / place).read_text() == alert_document.as_yaml(what)


def test_the_list_of_alerts_is_that_of_the_definition() -> None:
    """docs/alerts.md is what the generator makes of `alerts`."""
    assert (ROOT / "docs" / "alerts.md").read_text() == alert_document.table()


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_every_alert_has_its_section_in_the_runbook(alert: Alert) -> None:
    """Whoever is woken up by an alert finds a section under its name, with steps to take."""
    sections = (ROOT / "docs" / "runbook.md").read_text().split("\n### ")
    found = [item for item in sections if item.startswith(f"{alert.section}\n")]
    assert len(found) == 1
    assert "What it means" in found[0]
    assert "\n1. " in found[0] or "`driftd " in found[0]


def test_promtool_accepts_the_rules_and_the_scrape_config() -> None:
    """Prometheus and Alertmanager read the files as they are shipped."""
    assert run(tool("promtool"), "check", "rules", "driftd.rules.yml")[0] == 0
    assert run(tool("promtool"), "check", "config", "prometheus.yml")[0] == 0
    assert run(tool("amtool", "prometheus-alertmanager"), "check-config", "alertmanager.yml")[0] == 0


@pytest.mark.slow
def test_every_rule_fires_and_keeps_quiet_as_its_case_says() -> None:
    """`promtool test rules` runs every case, with the whole text of every message."""
    code, output = run(tool("promtool"), "test", "rules", *CASES)
    assert code == 0, output


def test_every_rule_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    """No rule is shipped that was never seen to fire, or never seen to be quiet."""
    seen: dict[str, set[bool]] = {}
    for case in (case for name in CASES for case in yaml.safe_load((RULES / name).read_text())["tests"]):
        for item in case["alert_rule_test"]:
            seen.setdefault(item["alertname"], set()).add(bool(item["exp_alerts"]))
    assert seen == {alert.name: {True, False} for alert in ALERTS}


def test_rules_use_only_metrics_and_labels_that_there_are() -> None:
    """Every name in every expression is a family of the daemon or of the server, and every label one of its own."""
    known = families()
    for alert, expression in expressions():
        bare = re.sub(r'"[^"]*"', '""', expression)
        for name, matchers in re.findall(r"\b(driftd_\w+|up)\b(?:\{([^}]*)\})?", bare):
            assert name in known, f"{alert.name}: there is no metric {name}"
            labels = re.findall(r"(\w+)\s*=", matchers)
            assert set(labels) <= set(known[name]), f"{alert.name}: {name} has no label {labels}"


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    """Names, sections and summaries: unique, readable, with the model in front where there is one."""
    assert len({alert.name for alert in ALERTS}) == len({alert.section for alert in ALERTS}) == len(ALERTS)
    for alert in ALERTS:
        assert re.fullmatch(r"Driftd([A-Z][a-z]+)+", alert.name)
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", alert.section)
        assert alert.summary.startswith("{model}: ") == ("model" in alert.labels)
        assert alert.meaning.endswith(".")


def test_a_shorter_hold_leaves_the_expressions_alone() -> None:
    """The generator can shorten how long a rule waits, for a test; it never touches when a rule holds."""
    real, short = alert_document.prometheus(), alert_document.prometheus(hold="1s")
    rules = [content["groups"][0]["rules"] for content in (real, short)]
    assert [item["expr"] for item in rules[0]] == [item["expr"] for item in rules[1]]
    assert {item["for"] for item in rules[1]} == {"1s"}


def test_grafana_gets_the_same_rules() -> None:
    """Each rule of Grafana asks what that of Prometheus asks, and refers only to queries that it has."""
    rules: list[dict[str, Any]] = alert_document.grafana()["groups"][0]["rules"]
    same = {rule["alert"]: rule for rule in alert_document.prometheus()["groups"][0]["rules"]}
    assert len({rule["uid"] for rule in rules}) == len(rules) == len(ALERTS)
    for rule in rules:
        queries = {item["refId"]: item for item in rule["data"]}
        twin = same[rule["title"]]
        assert queries["A"]["model"]["expr"] == twin["expr"]
        assert queries[rule["condition"]]["datasourceUid"] == "__expr__"
        assert (rule["for"], rule["labels"]) == (twin["for"], twin["labels"])
        assert rule["annotations"]["runbook_url"] == twin["annotations"]["runbook_url"]
        assert set(re.findall(r"\$values\.(\w+)", rule["annotations"]["summary"])) <= set(queries)
        assert all("$only" not in item["model"].get("expr", "") for item in rule["data"])


def test_a_figure_of_grafana_is_there_whenever_its_alert_fires_and_has_no_label_beyond() -> None:
    """A query without data would keep the whole rule calm, and a label that the alert lacks would hide the figure."""
    for rule in alert_document.grafana()["groups"][0]["rules"]:
        (alert,) = (item for item in ALERTS if item.name == rule["title"])
        fires, *figures = [item["model"]["expr"] for item in rule["data"] if item["datasourceUid"] != "__expr__"]
        by = f"max by ({', '.join((*alert.labels, 'instance'))})"
        assert all(item.startswith(f"{by} (") and item.endswith(f" or NaN * {by} ({fires})") for item in figures)


def test_an_alert_on_a_state_outlives_a_restart() -> None:
    """Only whether a process answers is told at once: all else goes on while its series are gone for minutes."""
    at_once = {alert.name for alert in ALERTS if alert.keep == "0m"}
    assert at_once == {"DriftdDown", "DriftdServeDown"}
