"""The daemon itself and `driftd serve`: does it live, does it keep up, has it room."""

from __future__ import annotations

from grafana.generate.boards import INSTANCE, MODELS, Board, Links
from grafana.generate.panels import BLUE, GREEN, ORANGE, RED, YELLOW, figure, listing, series
from grafana.generate.server import SERVERS, quantile, serve

YES_BAD = {"0": ("no", GREEN), "1": ("YES", RED)}
GOOD_YES = {"0": ("REFUSED", RED), "1": ("in force", GREEN)}


def board(links: Links) -> Board:
    """The board with the uid `driftd-daemon`."""
    description = "The daemon itself and driftd serve: is it alive, does it keep up, has it room."
    made = Board("daemon", "driftd: daemon health", description, links)
    query = "label_values(driftd_last_step_timestamp_seconds, instance)"
    made.chooses("instance", "Daemon", query, several=True, description="The daemon(s)")
    query = 'label_values(driftd_model_watched{instance=~"$instance"}, model)'
    made.chooses("model", "Model", query, several=True, description="The models; only where a panel is about models")
    _now(made)
    _loop(made)
    _room(made)
    _outside(made)
    serve(made)
    return made


def _now(made: Board) -> None:
    made.part(
        "Now",
        (
            4,
            (
                (
                    figure(
                        "Since the last round",
                        "Time since the main loop last ended a round over all models. Over 15 minutes: the daemon hangs, "
                        "see the runbook, hangs. No data: it is down.",
                        f"max(time() - driftd_last_step_timestamp_seconds{{{INSTANCE}}})",
                        unit="s",
                        limits=((None, GREEN), (180, YELLOW), (900, RED)),
                        none="DOWN, or not scraped",
                    ),
                    4,
                ),
                (
                    figure(
                        "Started",
                        "When the daemon started.",
                        f"min(driftd_started_timestamp_seconds{{{INSTANCE}}}) * 1000",
                        unit="dateTimeFromNow",
                    ),
                    4,
                ),
                (
                    figure(
                        "Config file",
                        "Refused: the file that was read last has an error, the config before it stays in force. "
                        "`driftd check-config` says what is wrong.",
                        f"min(driftd_config_last_reload_successful{{{INSTANCE}}})",
                        words=GOOD_YES,
                    ),
                    4,
                ),
                (
                    figure(
                        "Override",
                        "Parts of the operator's override that are in effect, and orders of people beside it: pauses, pins, "
                        "silence. The list below has the override, `driftd status` has both.",
                        f"sum(driftd_override_active{{{INSTANCE}}}) + (sum(driftd_model_orders{{{INSTANCE}}}) or vector(0))",
                        limits=((None, GREEN), (1, ORANGE)),
                    ),
                    4,
                ),
                (
                    figure(
                        "State damaged",
                        "Yes: state.db is broken. The daemon ends and starts again only after `driftd restore`.",
                        f"max(driftd_state_damaged{{{INSTANCE}}})",
                        words=YES_BAD,
                    ),
                    4,
                ),
                (
                    figure(
                        "Free disk",
                        "Free share of the file system of state_dir. Under 5 % events may soon not be kept.",
                        f"min(driftd_disk_free_bytes{{{INSTANCE}}} / driftd_disk_size_bytes{{{INSTANCE}}})",
                        unit="percentunit",
                        limits=((None, RED), (0.05, ORANGE), (0.15, GREEN)),
                    ),
                    4,
                ),
            ),
        ),
    )


def _loop(made: Board) -> None:
    made.part(
        "Keeping up",
        (
            7,
            (
                (
                    series(
                        "Time since the last round",
                        "A saw-tooth of up to about a minute is normal. Climbing: the main loop hangs on something.",
                        {"{{instance}}": f"time() - driftd_last_step_timestamp_seconds{{{INSTANCE}}}"},
                        unit="s",
                    ),
                    8,
                ),
                (
                    series(
                        "Duration of a round",
                        "Half of the rounds, and 95 % of them, took at most this long.",
                        {
                            "median": quantile(0.5, "driftd_round_duration_seconds", INSTANCE),
                            "95 %": quantile(0.95, "driftd_round_duration_seconds", INSTANCE),
                        },
                        unit="s",
                        none="No round in this time",
                    ),
                    8,
                ),
                (
                    series(
                        "Duration of a check, 95 %",
                        "How long checks took, by kind: windows of predictions, cohorts of labels.",
                        {"{{kind}}": quantile(0.95, "driftd_check_duration_seconds", MODELS, "kind")},
                        unit="s",
                        none="No check in this time",
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
                        "Windows behind",
                        "Complete windows that wait for their check. After an outage it falls step by step; growing is bad.",
                        {"{{model}}": f"max by (model) (driftd_windows_behind{{{MODELS}}})"},
                        steplike=True,
                    ),
                    6,
                ),
                (
                    series(
                        "Checks",
                        "Checks by verdict. error: a check could not be done, its reason is in the log and in `driftd history`.",
                        {
                            "{{verdict}}": f"sum by (verdict) (increase(driftd_checks_total{{{MODELS}}}[$__rate_interval]))"
                        },
                        bars=True,
                        styles={"error": {"color": {"mode": "fixed", "fixedColor": RED}}},
                    ),
                    6,
                ),
                (
                    series(
                        "Missed ticks, failed steps and messages",
                        "Ticks that came too late (they are made up for), rounds in which a model failed as a whole, "
                        "messages that wait for the main loop or that it could not act on, and leaps of the wall clock. "
                        "All should be near 0.",
                        {
                            "missed: {{job}}": "sum by (job) "
                            f"(increase(driftd_ticks_missed_total{{{INSTANCE}}}[$__rate_interval]))",
                            "failed: {{model}}": "sum by (model) "
                            f"(increase(driftd_model_step_errors_total{{{MODELS}}}[$__rate_interval]))",
                            "messages": f"sum(driftd_messages_waiting{{{INSTANCE}}})",
                            "messages failed": f"sum(increase(driftd_messages_failed_total{{{INSTANCE}}}[$__rate_interval]))",
                            "clock leaps": f"sum(increase(driftd_clock_jumps_total{{{INSTANCE}}}[$__rate_interval]))",
                        },
                    ),
                    6,
                ),
                (
                    series(
                        "Child processes",
                        "Training, judging, reports and the like: at work, and waiting for a free place.",
                        {
                            "running: {{kind}}": f"sum by (kind) (driftd_actions_running{{{MODELS}}})",
                            "waiting: {{kind}}": f"sum by (kind) (driftd_actions_waiting{{{MODELS}}})",
                        },
                        steplike=True,
                    ),
                    6,
                ),
            ),
        ),
        (
            7,
            (
                (
                    series(
                        "Duration of actions, 95 %",
                        "How long the steps of builds and other actions took, by kind.",
                        {"{{kind}}": quantile(0.95, "driftd_action_duration_seconds", MODELS, "kind")},
                        unit="s",
                        none="No action in this time",
                    ),
                    8,
                ),
                (
                    series(
                        "Failed actions",
                        "Actions that failed, by kind. They are tried again with growing pauses; the log has the reason.",
                        {
                            "{{kind}}": f"sum by (kind) (increase(driftd_action_failures_total{{{MODELS}}}[$__rate_interval]))"
                        },
                        bars=True,
                        none="None",
                    ),
                    8,
                ),
                (
                    series(
                        "Config reads",
                        "Reloads by outcome: applied, unchanged, refused.",
                        {
                            "{{outcome}}": "sum by (outcome) "
                            f"(increase(driftd_config_reloads_total{{{INSTANCE}}}[$__rate_interval]))"
                        },
                        bars=True,
                    ),
                    8,
                ),
            ),
        ),
    )


def _room(made: Board) -> None:
    made.part(
        "Room",
        (
            7,
            (
                (
                    series(
                        "Store by part",
                        "What each part of state_dir takes. events is bounded by retention, versions and snapshots by housekeeping.",
                        {"{{part}}": f"sum by (part) (driftd_store_size_bytes{{{INSTANCE}}})"},
                        unit="bytes",
                    ),
                    6,
                ),
                (
                    series(
                        "Free disk",
                        "Free room for driftd on the file system of state_dir.",
                        {"{{instance}}": f"driftd_disk_free_bytes{{{INSTANCE}}}"},
                        unit="bytes",
                    ),
                    6,
                ),
                (
                    series(
                        "Memory",
                        "Resident memory of the daemon and of driftd serve. The daemon at rest takes about 85 MB; training is "
                        "done in child processes and not in here.",
                        {
                            "daemon {{instance}}": f"process_resident_memory_bytes{{{INSTANCE}}} and on (instance, job) driftd_info",
                            "serve {{instance}}": f"process_resident_memory_bytes and on (instance, job) {SERVERS}",
                        },
                        unit="bytes",
                    ),
                    6,
                ),
                (
                    series(
                        "CPU",
                        "Cores that the daemon and driftd serve use.",
                        {
                            "daemon {{instance}}": f"rate(process_cpu_seconds_total{{{INSTANCE}}}[$__rate_interval]) "
                            "and on (instance, job) driftd_info",
                            "serve {{instance}}": "rate(process_cpu_seconds_total[$__rate_interval]) "
                            f"and on (instance, job) {SERVERS}",
                        },
                        unit="none",
                    ),
                    6,
                ),
            ),
        ),
    )


def _outside(made: Board) -> None:
    made.part(
        "Version, override, backups, notifications",
        (
            6,
            (
                (
                    listing(
                        "Daemons",
                        "Version of driftd and of Python, and the hash of the config in force.",
                        {"Running": f"max by (instance, version, python) (driftd_info{{{INSTANCE}}})"},
                        by="instance",
                        names={"instance": "Daemon", "version": "driftd", "python": "Python"},
                    ),
                    6,
                ),
                (
                    figure(
                        "Override in effect",
                        "What the override of the config asks for now.",
                        f"max by (kind) (driftd_override_active{{{INSTANCE}}}) == 1",
                        label="kind",
                        limits=((None, ORANGE),),
                        none="No override",
                    ),
                    4,
                ),
                (
                    figure(
                        "Override lapses",
                        "When the override lapses by itself.",
                        f"min(driftd_override_expires_timestamp_seconds{{{INSTANCE}}}) * 1000",
                        unit="dateTimeFromNow",
                        none="Never, or there is none",
                    ),
                    4,
                ),
                (
                    figure(
                        "Newest good backup",
                        "When state was last backed up without an error.",
                        f"max(driftd_backup_last_success_timestamp_seconds{{{INSTANCE}}}) * 1000",
                        unit="dateTimeFromNow",
                        none="No backup yet",
                    ),
                    4,
                ),
                (
                    series(
                        "Notifications",
                        "Decisions a receiver was not told yet, and tries that failed. Pending and failing: the receiver is gone.",
                        {
                            "pending: {{receiver}}": f"sum by (receiver) (driftd_notifications_pending{{{INSTANCE}}})",
                            "failed: {{receiver}}": "sum by (receiver) "
                            f"(increase(driftd_notifications_failed_total{{{INSTANCE}}}[$__rate_interval]))",
                        },
                        none="No receiver is configured",
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
                        "Config in force since",
                        "When a config was last read and found in order or applied.",
                        f"max(driftd_config_last_reload_success_timestamp_seconds{{{INSTANCE}}}) * 1000",
                        unit="dateTimeFromNow",
                    ),
                    6,
                ),
                (
                    figure(
                        "Config hash",
                        "The hash of the config in force, as `driftd check-config` prints it.",
                        f"max by (hash) (driftd_config_info{{{INSTANCE}}})",
                        label="hash",
                        limits=((None, BLUE),),
                    ),
                    6,
                ),
                (
                    figure(
                        "Failures of upkeep and backups",
                        "Runs of sealing, pruning and backing up that failed in the time shown.",
                        f"round(sum(increase(driftd_upkeep_failures_total{{{MODELS}}}[$__range])) "
                        f"+ sum(increase(driftd_backup_failures_total{{{INSTANCE}}}[$__range])))",
                        limits=((None, GREEN), (1, ORANGE)),
                    ),
                    6,
                ),
                (
                    figure(
                        "Events set aside",
                        "Events and rows that are in no window in the time shown: sent before, refused, malformed, without a usable time.",
                        f"round(sum(increase(driftd_events_set_aside_total{{{MODELS}}}[$__range])))",
                        limits=((None, GREEN), (1, YELLOW)),
                    ),
                    6,
                ),
            ),
        ),
    )
