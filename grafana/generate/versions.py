"""The lower half of one model's board: rows and labels, versions, builds and gates."""

from __future__ import annotations

from grafana.generate.boards import MODEL, Board
from grafana.generate.panels import BAND, BLUE, GREEN, RED, YELLOW, colour, figure, lanes, series
from grafana.generate.states import OUTCOMES, PHASES, number, words

NO_LABEL = "No label was evaluated yet"


def labels(made: Board) -> None:
    """How many rows and labels come, and how late."""
    made.part(
        "Rows and labels",
        (
            7,
            (
                (
                    series(
                        "Rows in a window",
                        "Predictions in the last window that was checked. Too few make a verdict inconclusive.",
                        {"rows": f"sum(driftd_window_rows{{{MODEL}}})"},
                        steplike=True,
                    ),
                    6,
                ),
                (
                    series(
                        "Label coverage",
                        "Share of the last evaluated cohort's predictions that had their label. Falling: the feed of labels is thin.",
                        {"coverage": f"min(driftd_label_coverage_ratio{{{MODEL}}})"},
                        unit="percentunit",
                        highest=1,
                        none=NO_LABEL,
                    ),
                    6,
                ),
                (
                    series(
                        "Label delay",
                        "Median time from a prediction to its label, and how long a window's labels are waited for.",
                        {
                            "median delay": f"max(driftd_label_delay_seconds{{{MODEL}}})",
                            "waited for": f"max(driftd_label_wait_seconds{{{MODEL}}})",
                        },
                        unit="s",
                        none=NO_LABEL,
                    ),
                    6,
                ),
                (
                    series(
                        "Waiting",
                        "Windows whose check waits (catching up), and checked windows whose labels are not evaluated yet. "
                        "Growing: the daemon cannot keep up, or the labels do not come.",
                        {
                            "windows behind": f"max(driftd_windows_behind{{{MODEL}}})",
                            "cohorts without labels": f"max(driftd_cohorts_waiting{{{MODEL}}})",
                            "not evaluated in a row": f"max(driftd_cohorts_not_evaluated{{{MODEL}}})",
                        },
                        steplike=True,
                    ),
                    6,
                ),
            ),
        ),
        (
            4,
            (
                (
                    figure(
                        "Newest prediction",
                        "Event time of the newest prediction. Standing still: the feed of predictions is silent.",
                        f"max(driftd_newest_prediction_timestamp_seconds{{{MODEL}}}) * 1000",
                        unit="dateTimeFromNow",
                        none="No prediction yet",
                    ),
                    6,
                ),
                (
                    figure(
                        "Newest label",
                        "Time of the newest label that is known. Standing still: the feed of labels is silent.",
                        f"max(driftd_newest_feedback_timestamp_seconds{{{MODEL}}}) * 1000",
                        unit="dateTimeFromNow",
                        none="No label yet",
                    ),
                    6,
                ),
                (
                    figure(
                        "Delay of labels",
                        "Unknown or changed: it is learned from live labels, and until then windows wait for nearly all of theirs.",
                        f"max(1 - driftd_label_delay_known{{{MODEL}}}) + max(driftd_label_delay_changed{{{MODEL}}} or 0 * driftd_label_delay_known{{{MODEL}}})",
                        words={"0": ("known", GREEN), "1": ("unknown", YELLOW), "2": ("changed", YELLOW)},
                    ),
                    6,
                ),
                (
                    figure(
                        "Late predictions",
                        "Predictions that came after the check of their window, in the time shown. Many: raise window.lateness.",
                        f"round(sum(increase(driftd_late_predictions_total{{{MODEL}}}[$__range])))",
                    ),
                    3,
                ),
                (
                    figure(
                        "Labels of nobody",
                        "Share of the labelled identities that no prediction has. Nearly all: labels come under other ids.",
                        f"max(driftd_label_ids_unjoined{{{MODEL}}}) / clamp_min(max(driftd_label_ids{{{MODEL}}}), 1)",
                        unit="percentunit",
                    ),
                    3,
                ),
            ),
        ),
    )


def versions(made: Board) -> None:
    """Which version serves, and how builds and gates came to it."""
    outcomes = number("driftd_last_build_outcome", "outcome", OUTCOMES, MODEL, "model")
    lines = {
        "serves": f"max(driftd_served_version{{{MODEL}}})",
        "should serve": f"max(driftd_asked_version{{{MODEL}}})",
        "pinned (0: none)": f"max(driftd_pinned_version{{{MODEL}}})",
    }
    made.part(
        "Versions, builds and gates",
        (
            7,
            (
                (
                    lanes(
                        "Versions",
                        "Which version serves, which should, and which the override pins. Serves and should serve differ only "
                        "for the moment of a swap; for longer, see the runbook, served-version-not-asked.",
                        lines,
                        {},
                    ),
                    12,
                ),
                (
                    lanes(
                        "Phase",
                        "Where the model stands in the loop. Orange waits for a person.",
                        {"phase": number("driftd_phase", "phase", PHASES, MODEL, "model")},
                        words(PHASES, "unknown"),
                    ),
                    12,
                ),
            ),
        ),
        (
            7,
            (
                (
                    series(
                        "Builds ended, in all",
                        "Builds since the daemon's store began, by outcome and trigger.",
                        {
                            "{{outcome}} ({{trigger}})": "sum by (outcome, trigger) "
                            f"(driftd_builds_ended_total{{{MODEL}}}) > 0"
                        },
                        steplike=True,
                        none="No build has ended yet",
                    ),
                    8,
                ),
                (
                    series(
                        "Gain at the gate",
                        "How much lower the challenger's loss was than the champion's at the last judgement, with its confidence "
                        "band. It is promoted when the whole band is above the margin that the config asks for.",
                        {
                            "gain": f"max(driftd_gate_gain{{{MODEL}}})",
                            "band, lower": f"max(driftd_gate_gain_lower{{{MODEL}}})",
                            "band, upper": f"max(driftd_gate_gain_upper{{{MODEL}}})",
                        },
                        lowest=0,
                        steplike=True,
                        styles={
                            "band, .*": BAND,
                            "band, upper": {
                                **BAND,
                                "custom.fillBelowTo": "band, lower",
                                "custom.fillOpacity": 15,
                                "color": colour(BLUE)["color"],
                            },
                        },
                        none="The gate has not judged yet",
                    ),
                    8,
                ),
                (
                    series(
                        "Decisions of the gate",
                        "Judgements since the store began, by decision.",
                        {"{{decision}}": f"sum by (decision) (driftd_gate_decisions_total{{{MODEL}}})"},
                        steplike=True,
                    ),
                    8,
                ),
            ),
        ),
        (
            4,
            (
                (
                    figure(
                        "Last build",
                        "How the last build ended.",
                        outcomes,
                        words=words(OUTCOMES, "no build yet"),
                        none="No build yet",
                    ),
                    5,
                ),
                (
                    figure(
                        "Ended",
                        "When the last build ended, whatever its outcome.",
                        f"max(driftd_last_build_timestamp_seconds{{{MODEL}}}) * 1000",
                        unit="dateTimeFromNow",
                        none="No build yet",
                    ),
                    5,
                ),
                (
                    figure(
                        "Build requested because of",
                        "The trigger of a build that is requested and waits (cooldown, budget, block) or is under way.",
                        f"max by (trigger) (driftd_build_wanted{{{MODEL}}}) == 1",
                        label="trigger",
                        none="No build is requested",
                    ),
                    5,
                ),
                (
                    figure(
                        "Refusals in a row",
                        "Builds that did not get through the gate since the last one that did. At 3: retraining does not help.",
                        f"max(driftd_gate_refusals_in_a_row{{{MODEL}}})",
                        limits=((None, GREEN), (1, YELLOW), (3, RED)),
                    ),
                    4,
                ),
                (
                    figure(
                        "Served version built",
                        "When the version that serves now was built.",
                        f"max(driftd_served_version_built_timestamp_seconds{{{MODEL}}}) * 1000",
                        unit="dateTimeFromNow",
                    ),
                    5,
                ),
            ),
        ),
    )
