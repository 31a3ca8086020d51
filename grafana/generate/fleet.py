"""All models at once: what needs a person first, how each model stands, what was built and swapped."""

from __future__ import annotations

from grafana.generate.attention import needs_query
from grafana.generate.boards import MODELS, Board, Links, to_model, to_status_page
from grafana.generate.panels import GREEN, GREY, ORANGE, RED, figure, lanes, listing, meanings, series
from grafana.generate.states import PHASES, VERDICTS, number, words

ROW = "${__data.fields.Model:percentencode}"
VERDICT = number("driftd_verdict", "verdict", VERDICTS, MODELS, "model")
PHASE = number("driftd_phase", "phase", PHASES, MODELS, "model")
VERDICT_WORDS = words(VERDICTS, "not checked yet")
PHASE_WORDS = words(PHASES, "unknown")
NOTHING = "None in this time"


def board(links: Links) -> Board:
    """The board with the uid `driftd-fleet`."""
    made = Board("fleet", "driftd: fleet", "Every model under watch, and what needs a person first.", links)
    made.chooses(
        "instance", "Daemon", "label_values(driftd_model_watched, instance)", several=True, description="The daemon(s)"
    )
    made.chooses(
        "model",
        "Model",
        'label_values(driftd_model_watched{instance=~"$instance"}, model)',
        several=True,
        description="The models on this board; the list of what needs a person always shows all",
    )
    runbook = f"{links.runbook}#" if links.runbook else "docs/runbook.md#"
    _now(made, runbook)
    _status_panels(made)
    _history_panels(made)
    return made


def _now(made: Board, runbook: str) -> None:
    bad = ((None, GREEN), (1, RED))
    waiting = ((None, GREEN), (1, ORANGE))
    made.part(
        "Now",
        (
            8,
            (
                (
                    listing(
                        "What needs a person first",
                        "Each line is a condition of a shipped alert that holds at this moment, critical ones first, of all "
                        "daemons and models whatever is chosen above. It does not wait as the alert does. "
                        f"The runbook column names the section of {runbook} that says what to do.",
                        {"Figure": needs_query()},
                        by="needs",
                        none="Nothing needs a person.",
                        names={
                            "severity": "Severity",
                            "needs": "What",
                            "model": "Model",
                            "kind": "Kind",
                            "receiver": "Receiver",
                            "instance": "Daemon",
                            "runbook": "Runbook",
                        },
                        styles={
                            "Severity": {
                                "custom.cellOptions": {"type": "color-text"},
                                "mappings": meanings({"critical": ("critical", RED), "warning": ("warning", ORANGE)}),
                                "custom.width": 90,
                            },
                            "Model": {"links": [to_model(ROW).build(), to_status_page(ROW).build()]},
                            "Figure": {"decimals": 2, "custom.width": 110},
                        },
                    ),
                    16,
                ),
                (
                    figure(
                        "Models under watch",
                        "Models that are checked. Models of the config that cannot be watched are in the list on the left.",
                        f"sum(driftd_model_watched{{{MODELS}}})",
                    ),
                    4,
                ),
                (
                    figure(
                        "Models in drift",
                        "Models whose last check on any kind of evidence says drift. Above 0: open the model below.",
                        f'count(max by (model) (driftd_verdict{{{MODELS},verdict="drift"}}) == 1) or vector(0)',
                        limits=bad,
                    ),
                    4,
                ),
            ),
        ),
        (
            4,
            (
                (
                    figure(
                        "Approvals waiting",
                        "Challengers that won their gate and wait for `driftd approve` or `driftd reject`.",
                        f"sum(driftd_approval_waiting{{{MODELS}}})",
                        limits=waiting,
                    ),
                    6,
                ),
                (
                    figure(
                        "Pipelines broken",
                        "Models for which a data-quality fault blocks builds. Repair the feed; nothing is trained on garbage.",
                        f"sum(driftd_builds_blocked{{{MODELS}}})",
                        limits=bad,
                    ),
                    6,
                ),
                (
                    figure(
                        "Builds under way",
                        "Models with a build that is requested, waits or runs.",
                        f"count(max by (model) (driftd_build_wanted{{{MODELS}}}) == 1) or vector(0)",
                    ),
                    6,
                ),
                (
                    figure(
                        "Oldest check of all",
                        "When the model that has waited longest was last checked. Compare with the length of its windows.",
                        f'min(driftd_last_check_timestamp_seconds{{{MODELS},kind="window"}}) * 1000',
                        unit="dateTimeFromNow",
                        none="No check yet",
                    ),
                    6,
                ),
            ),
        ),
    )


def _status_panels(made: Board) -> None:
    coloured = {"custom.cellOptions": {"type": "color-text"}}
    ago = {"unit": "dateTimeFromNow"}
    made.part(
        "Each model",
        (
            9,
            (
                (
                    listing(
                        "How each model stands",
                        "A line for each model; click its name for its board or its status page. Verdict is the worst over "
                        "all kinds of evidence. Loss used: the last cohort's loss as a share of the highest tolerated; "
                        "over 100 % is worse than tolerated. Evidence: the strongest as a share of what raises an alarm.",
                        {
                            "Verdict": VERDICT,
                            "Phase": PHASE,
                            "Evidence": f"max by (model) (driftd_evidence{{{MODELS}}} / driftd_evidence_threshold{{{MODELS}}})",
                            "Loss used": f"max by (model) (driftd_performance_loss{{{MODELS}}} "
                            f"/ driftd_performance_loss_tolerated{{{MODELS}}})",
                            "Serves": f"max by (model) (driftd_served_version{{{MODELS}}})",
                            "Since": f"max by (model) (driftd_last_swap_timestamp_seconds{{{MODELS}}}) * 1000",
                            "Labels": f"min by (model) (driftd_label_coverage_ratio{{{MODELS}}})",
                            "Windows behind": f"max by (model) (driftd_windows_behind{{{MODELS}}})",
                            "Last check": f'max by (model) (driftd_last_check_timestamp_seconds{{{MODELS},kind="window"}})'
                            " * 1000",
                        },
                        by="model",
                        sort="Verdict",
                        none="No model is under watch.",
                        styles={
                            "Model": {"links": [to_model(ROW).build(), to_status_page(ROW).build()]},
                            "Verdict": {**coloured, "mappings": meanings(VERDICT_WORDS)},
                            "Phase": {**coloured, "mappings": meanings(PHASE_WORDS)},
                            "Evidence": {"unit": "percentunit", "decimals": 0, **_gauge()},
                            "Loss used": {"unit": "percentunit", "decimals": 0, **_gauge()},
                            "Labels": {"unit": "percentunit", "decimals": 0},
                            "Since": ago,
                            "Last check": ago,
                        },
                    ),
                    24,
                ),
            ),
        ),
        (
            7,
            (
                (
                    lanes(
                        "Verdict",
                        "The worst verdict over all kinds of evidence, a lane for each model. Grey is not ok: too little data "
                        "to say. Orange: the check itself failed.",
                        {"{{model}}": VERDICT},
                        VERDICT_WORDS,
                    ),
                    12,
                ),
                (
                    lanes(
                        "Phase",
                        "Where each model stands in the loop. Orange waits for a person.",
                        {"{{model}}": PHASE},
                        PHASE_WORDS,
                    ),
                    12,
                ),
            ),
        ),
    )


def _gauge() -> dict[str, object]:
    limits = [{"value": None, "color": GREEN}, {"value": 0.7, "color": ORANGE}, {"value": 1, "color": RED}]
    return {
        "custom.cellOptions": {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"},
        "min": 0,
        "max": 1.5,
        "thresholds": {"mode": "absolute", "steps": limits},
    }


def _history_panels(made: Board) -> None:
    made.part(
        "What happened",
        (
            8,
            (
                (
                    series(
                        "Alarms",
                        "Alarms by kind of evidence in each step of the graph. The budget of false alarms is in the config.",
                        {
                            "{{kind}}": f"round(sum by (kind) (increase(driftd_alarms_total{{{MODELS}}}[$__rate_interval])))"
                        },
                        bars=True,
                        none=NOTHING,
                    ),
                    8,
                ),
                (
                    series(
                        "Builds ended",
                        "Builds by outcome. Promoted ones serve; rejected and inconclusive ones did not get through the gate.",
                        {
                            "{{outcome}}": "round(sum by (outcome) "
                            f"(increase(driftd_builds_ended_total{{{MODELS}}}[$__rate_interval])))"
                        },
                        bars=True,
                        none=NOTHING,
                        styles={"failed": {"color": {"mode": "fixed", "fixedColor": RED}}},
                    ),
                    8,
                ),
                (
                    series(
                        "Changes of the served version",
                        "By purpose: promote, rollback (the new version was worse), pin (the operator's override).",
                        {
                            "{{purpose}}": f"round(sum by (purpose) (increase(driftd_swaps_total{{{MODELS}}}[$__rate_interval])))"
                        },
                        bars=True,
                        none=NOTHING,
                        styles={"rollback": {"color": {"mode": "fixed", "fixedColor": RED}}},
                    ),
                    8,
                ),
            ),
        ),
        (
            7,
            (
                (
                    series(
                        "Served version",
                        "The number of the version that applications load, for each model. A step down is a rollback or a pin.",
                        {"{{model}}": f"max by (model) (driftd_served_version{{{MODELS}}})"},
                        unit="none",
                        steplike=True,
                    ),
                    8,
                ),
                (
                    series(
                        "Predictions",
                        "Predictions that arrive from each model's source. Flat at 0: its feed is silent.",
                        {"{{model}}": f"sum by (model) (rate(driftd_predictions_total{{{MODELS}}}[$__rate_interval]))"},
                        unit="cps",
                    ),
                    8,
                ),
                (
                    series(
                        "Decisions",
                        "Transitions by event, as in `driftd history`.",
                        {
                            "{{event}}": "round(sum by (event) "
                            f"(increase(driftd_transitions_total{{{MODELS}}}[$__rate_interval])) > 0)"
                        },
                        bars=True,
                        none=NOTHING,
                        styles={"adopted": {"color": {"mode": "fixed", "fixedColor": GREY}}},
                    ),
                    8,
                ),
            ),
        ),
    )
