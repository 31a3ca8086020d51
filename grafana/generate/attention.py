"""What needs a person first: every shipped alert's condition in one query, without the waiting time before it fires."""

from __future__ import annotations

import re

from driftd.observe.alert_rule import Alert
from driftd.observe.alerts import ALERTS

KEPT = "instance, model, kind, receiver"


def needs_query() -> str:
    """PromQL: a series for each condition that holds, with `needs`, `severity` and `runbook` as labels."""
    return "\nor ".join(_line(alert) for alert in sorted(ALERTS, key=lambda alert: alert.severity))


def _line(alert: Alert) -> str:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", alert.name.removeprefix("Driftd")).capitalize()
    found = f"max by ({KEPT}) ({alert.expr})"
    for label, value in (("needs", words), ("severity", alert.severity), ("runbook", alert.section)):
        found = f'label_replace({found}, "{label}", "{value}", "", "")'
    return found
