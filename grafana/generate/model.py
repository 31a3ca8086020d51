"""One model: how well it does, why it was or was not rebuilt, and which version serves."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from grafana.generate.boards import MODEL, SOURCE, Board, Links, to_status_page
from grafana.generate.panels import (
    BAND,
    BLUE,
    GREEN,
    GREY,
    LIMIT,
    ORANGE,
    PURPLE,
    RED,
    YELLOW,
    colour,
    figure,
    heat,
    lanes,
    listing,
    series,
)
from grafana.generate.states import PHASES, VERDICTS, number, words
from grafana.generate.versions import NO_LABEL, labels, versions

MOST_FEATURES = 40
MARKS = (  # name, colour, metric, label that tells more
    ("Alarms", RED, "driftd_alarms_total", "kind"),
    ("Builds started", PURPLE, "driftd_builds_started_total", "trigger"),
    ("Swaps", GREEN, 'driftd_swaps_total{purpose!="rollback"}', "purpose"),
    ("Rollbacks", ORANGE, "driftd_rollbacks_total", "trigger"),
)


def board(links: Links) -> Board:
    """The board with the uid `driftd-model`."""
    description = "One model: performance, evidence, features, labels, versions, builds."
    made = Board("model", "driftd: one model", description, links)
    made.chooses(
        "model", "Model", "label_values(driftd_model_watched, model)", several=False, description="The model shown"
    )
    query = 'label_values(driftd_model_watched{model="$model"}, instance)'
    made.chooses(
        "instance",
        "Daemon",
        query,
        several=True,
        description="Where daemons of several places watch a model of this name",
    )
    for name, shade, metric, label in MARKS:
        made.annotation(_mark(name, shade, metric, label))
    _now(made)
    _performance(made)
    _evidence(made)
    _features(made)
    labels(made)
    versions(made)
    return made


def _mark(name: str, shade: str, metric: str, label: str) -> dashboard.AnnotationQuery:
    metric, _, only = metric.removesuffix("}").partition("{")
    chosen = f"{metric}{{{MODEL}{',' if only else ''}{only}}}"
    made = dashboard.AnnotationQuery().name(name).datasource(SOURCE).enable(True).icon_color(shade)
    made.expr(f"sum by (model, {label}) (increase({chosen}[$__rate_interval])) > 0")
    made._internal.step = "60s"
    return made.title_format(f"{name}: {{{{{label}}}}}").text_format("{{model}}").tag_keys(label)


def _now(made: Board) -> None:
    page = [to_status_page("${model:percentencode}")]
    made.part(
        "Now",
        (
            4,
            (
                (
                    figure(
                        "Verdict",
                        "The worst verdict over all kinds of evidence. Inconclusive is not ok: too little data to say.",
                        number("driftd_verdict", "verdict", VERDICTS, MODEL, "model"),
                        words=words(VERDICTS, "not checked yet"),
                        links=page,
                    ),
                    4,
                ),
                (
                    figure(
                        "Phase",
                        "Where the model stands in the loop: steady, retraining, awaiting approval, probation or paused.",
                        number("driftd_phase", "phase", PHASES, MODEL, "model"),
                        words=words(PHASES, "unknown"),
                        links=page,
                    ),
                    4,
                ),
                (
                    figure(
                        "In this phase since",
                        "When the model entered its phase.",
                        f"max(driftd_phase_since_timestamp_seconds{{{MODEL}}}) * 1000",
                        unit="dateTimeFromNow",
                    ),
                    4,
                ),
                (
                    figure(
                        "Serves version",
                        "The version that applications load.",
                        f"max(driftd_served_version{{{MODEL}}})",
                        unit="none",
                    ),
                    3,
                ),
                (
                    figure(
                        "Serves since",
                        "When this version began to serve.",
                        f"max(driftd_last_swap_timestamp_seconds{{{MODEL}}}) * 1000",
                        unit="dateTimeFromNow",
                    ),
                    3,
                ),
                (
                    figure(
                        "Last window checked",
                        "When a window of predictions was last checked. Older than a few windows: see the runbook, no-check-succeeded.",
                        f'max(driftd_last_check_timestamp_seconds{{{MODEL},kind="window"}}) * 1000',
                        unit="dateTimeFromNow",
                        none="No check yet",
                    ),
                    3,
                ),
                (
                    figure(
                        "Learning",
                        "While the checks still learn what is normal (after a new version) they see less, or nothing.",
                        f"max(driftd_learning{{{MODEL}}})",
                        words={"0": ("no", GREEN), "1": ("yes", YELLOW)},
                    ),
                    3,
                ),
            ),
        ),
    )


def _performance(made: Board) -> None:
    def of(name: str) -> str:
        return f"max by (metric) (driftd_performance{name}{{{MODEL}}})"

    lines = {"95 % band, .*": BAND, ".* tolerated": LIMIT, ".* baseline": {**colour(GREY), **_dashed_style()}}
    filled = {
        **BAND,
        "custom.fillBelowTo": "95 % band, lower",
        "custom.fillOpacity": 15,
        "color": colour(BLUE)["color"],
    }
    lines["95 % band, upper"] = filled
    made.part(
        "Performance",
        (
            10,
            (
                (
                    series(
                        "Realised performance",
                        "The watched metric on each cohort whose labels came, with its 95 % band. An alarm needs evidence over "
                        "several cohorts that the red dashed line is passed, on the side that is worse for this metric: "
                        "one point past it proves nothing. Marks: alarms, builds, swaps, rollbacks.",
                        {
                            "{{metric}}": of(""),
                            "95 % band, lower": of("_lower"),
                            "95 % band, upper": of("_upper"),
                            "{{metric}} baseline": of("_baseline"),
                            "{{metric}} tolerated": of("_tolerated"),
                        },
                        lowest=None,
                        styles=lines,
                        none=NO_LABEL,
                    ),
                    12,
                ),
                (
                    series(
                        "Estimated performance, without labels",
                        "What the metric would be if the model errs on today's inputs as it did on its reference: a hint before the "
                        "labels come, blind to a change of what is right. It raises no alarm while the figure below says it is off.",
                        {
                            "{{metric}}, estimated": of("_estimated"),
                            "95 % band, lower": of("_estimated_lower"),
                            "95 % band, upper": of("_estimated_upper"),
                            "{{metric}} baseline": of("_estimated_baseline"),
                            "{{metric}} tolerated": of("_estimated_tolerated"),
                        },
                        lowest=None,
                        styles=lines,
                        none="There is no estimate for this model",
                    ),
                    12,
                ),
            ),
        ),
        (
            6,
            (
                (
                    series(
                        "Loss",
                        "Lower is always better, whatever the metric. Above the dashed line: worse than is tolerated.",
                        {
                            "realised": f"max(driftd_performance_loss{{{MODEL}}})",
                            "estimated": f"max(driftd_performance_estimated_loss{{{MODEL}}})",
                            "tolerated": f"max(driftd_performance_loss_tolerated{{{MODEL}}})",
                        },
                        styles={"tolerated": LIMIT},
                        none=NO_LABEL,
                    ),
                    12,
                ),
                (
                    figure(
                        "Estimate may raise alarms",
                        "Off: labels have shown that the estimate cannot be believed for this model.",
                        f"max(driftd_performance_estimate_off{{{MODEL}}})",
                        words={"0": ("on", GREEN), "1": ("off", YELLOW)},
                        none="There is no estimate for this model",
                    ),
                    6,
                ),
                (
                    figure(
                        "Estimate was right",
                        "Share of the last windows with labels whose loss lay within the estimate's band.",
                        f"min(driftd_performance_estimate_held_ratio{{{MODEL}}})",
                        unit="percentunit",
                        limits=((None, RED), (0.5, ORANGE), (0.8, GREEN)),
                        none="Too few windows with labels yet",
                    ),
                    6,
                ),
            ),
        ),
    )


def _dashed_style() -> dict[str, object]:
    return {"custom.lineStyle": {"fill": "dash", "dash": [2, 6]}, "custom.fillOpacity": 0}


def _evidence(made: Board) -> None:
    share = f"max by (kind) (driftd_evidence{{{MODEL}}} / driftd_evidence_threshold{{{MODEL}}})"
    verdicts = number("driftd_verdict", "verdict", VERDICTS, MODEL, "kind")
    made.part(
        "Evidence",
        (
            9,
            (
                (
                    series(
                        "Evidence against its limit",
                        "Evidence that has accumulated over windows, as a share of the limit that follows from the false-alarm "
                        "budget. At 100 % (dashed) it is an alarm. It falls to 0 when a new version begins to serve.",
                        {"{{kind}}": share},
                        unit="percentunit",
                        limits=((None, "transparent"), (1, RED)),
                        none="No evidence yet",
                    ),
                    12,
                ),
                (
                    lanes(
                        "Verdict by kind of evidence",
                        "data: the inputs. prediction: the outputs. performance: the labels. harm: estimated performance, without labels. "
                        "quality: the pipeline. Grey is not ok: too little data to say.",
                        {"{{kind}}": verdicts},
                        words(VERDICTS, "not checked yet"),
                    ),
                    12,
                ),
            ),
        ),
    )


def _features(made: Board) -> None:
    strongest = f"topk({MOST_FEATURES}, max by (feature) (max_over_time(driftd_score{{{MODEL}}}[$__range] @ end())))"
    tolerated = f"(driftd_score_threshold{{{MODEL}}} > 0)"
    made.part(
        "Features",
        (
            12,
            (
                (
                    heat(
                        f"Scores of the {MOST_FEATURES} features that moved most",
                        "How far each feature has moved beyond what its windows normally do, in standard deviations; of its components the largest. "
                        "Dark and lasting matters; a dark cell alone is one window. The decision is made on the evidence, not on this.",
                        {"{{feature}}": f"max by (feature) (driftd_score{{{MODEL}}}) and on (feature) {strongest}"},
                        unit="short",
                        none="No score yet: the model serves less than a window, or still learns",
                        hottest=3,
                    ),
                    16,
                ),
                (
                    listing(
                        "Scores now",
                        "The last window's scores. Of tolerance: the score as a share of the shift that does not matter "
                        "(detect.data.tolerance); over 100 % it counts as evidence.",
                        {
                            "Score": f"max by (feature) (driftd_score{{{MODEL}}})",
                            "Of tolerance": f"max by (feature) (driftd_score{{{MODEL}}} / {tolerated})",
                        },
                        by="feature",
                        sort="Score",
                        none="No score yet",
                        styles={"Score": {"decimals": 2}, "Of tolerance": {"unit": "percentunit", "decimals": 0}},
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
                        "Data quality: columns with a fault",
                        "Columns by fault in the last window. A fault beyond doubt blocks builds until the pipeline is whole.",
                        {"{{fault}}": f"max by (fault) (driftd_quality_faults{{{MODEL}}})"},
                        steplike=True,
                    ),
                    8,
                ),
                (
                    series(
                        "Data quality: share of rows by feature",
                        "Share of the last window's rows in which a feature has a fault. Empty is good.",
                        {"{{feature}}: {{fault}}": f"max by (feature, fault) (driftd_quality_fault_ratio{{{MODEL}}})"},
                        unit="percentunit",
                        highest=1,
                        none="No feature has a fault",
                    ),
                    8,
                ),
                (
                    figure(
                        "Builds blocked",
                        "Yes: a broken pipeline blocks builds. Repair the feed; see the runbook, data-quality-broken.",
                        f"max(driftd_builds_blocked{{{MODEL}}})",
                        words={"0": ("no", GREEN), "1": ("yes", RED)},
                    ),
                    4,
                ),
                (
                    figure(
                        "Features not shown",
                        "Features beyond the cap that have no series of their own. They are checked all the same.",
                        f"max(driftd_features_hidden{{{MODEL}}})",
                        limits=((None, GREEN), (1, YELLOW)),
                    ),
                    4,
                ),
            ),
        ),
    )
