"""Every metric of the daemon as data: names, labels and what an operator should know. docs/metrics.md is made from it.

Names are a contract with dashboards and rules (DESIGN 6.6): change one only with a reason in docs/decisions.
"""

from __future__ import annotations

from driftd.observe import model_families
from driftd.observe.metric_family import MetricCatalogue
from driftd.records import ActionKind

CHECK_KINDS = ("window", "labels")
ACTION_SECONDS = (0.1, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0)
ROUND_SECONDS = (0.01, 0.05, 0.25, 1.0, 5.0, 30.0, 120.0)
RELOADS = ("applied", "unchanged", "refused")
PAUSES = ("pause_checks", "pause_retraining", "pause_promotion")
OVERRIDES = (*PAUSES, "pin", "silence", "retrain", "approve", "reject", "acknowledge")
PARTS = ("state", "events", "versions", "snapshots", "jobs", "reports", "backups")


_catalogue = MetricCatalogue()
_gauge, _counter, _histogram = _catalogue.gauge, _catalogue.counter, _catalogue.histogram


# --- the daemon ------------------------------------------------------------------------------------------------------
INFO = _gauge("info", "The version of driftd and of Python (always 1).", "version", "python")
STARTED = _gauge("started_timestamp_seconds", "When this daemon started.")
LAST_STEP = _gauge(
    "last_step_timestamp_seconds",
    "When the main loop last ended a round over the models that were due. Standing still: the daemon hangs.",
)
ROUND_TIME = _histogram(
    "round", "How long one round over the models that were due took; it ends after about a second.", ROUND_SECONDS
)
MESSAGES = _gauge("messages_waiting", "Messages that wait for the main loop. Growing: it is stuck or overloaded.")
TICKS_MISSED = _counter(
    "ticks_missed", "Scheduled runs that came too late or while one ran; they are made up for.", "job"
)

MESSAGE_KINDS = ("tick", "reload", "told")
MESSAGES_FAILED = _counter(
    "messages_failed", "Messages that the main loop could not act on; it goes on and tries again.", "message"
)
CLOCK_JUMPS = _counter("clock_jumps", "How often the wall clock was found set; what is scheduled was run at once.")

# --- config and override ---------------------------------------------------------------------------------------------
RELOAD_OK = _gauge(
    "config_last_reload_successful",
    "1 when the config that was read last is in force, 0 when it was refused and the one before it stays.",
)
RELOAD_AT = _gauge(
    "config_last_reload_success_timestamp_seconds", "When a config was last read and found in order or applied."
)
RELOADS_DONE = _counter(
    "config_reloads", f"Config reads while the daemon ran, by outcome: {', '.join(RELOADS)}.", "outcome"
)
CONFIG = _gauge("config_info", "The hash of the config in force (always 1).", "hash")
OVERRIDE = _gauge(
    "override_active",
    f"1 while the config's override asks for this and has not expired, else 0: {', '.join(OVERRIDES)}.",
    "kind",
)
OVERRIDE_SINCE = _gauge(
    "override_since_timestamp_seconds",
    "Since when every config that was applied has asked for this; absent for what is not asked for.",
    "kind",
)
OVERRIDE_EXPIRES = _gauge(
    "override_expires_timestamp_seconds", "When the override lapses by itself; absent when it never does."
)

# --- disk ------------------------------------------------------------------------------------------------------------
DISK_FREE = _gauge("disk_free_bytes", "Free room for driftd on the file system of state_dir.")
DISK_SIZE = _gauge("disk_size_bytes", "Size of the file system of state_dir.")
STORE_SIZE = _gauge("store_size_bytes", f"What each part of state_dir takes: {', '.join(PARTS)}.", "part")
DISK_FULL_AT = _gauge(
    "disk_full_timestamp_seconds",
    "When the file system of state_dir is full at the rate of the last day; absent while it does not fill.",
)
GROWTH = _gauge(
    "store_growth_bytes",
    f"By how much each part of state_dir grew within a day, at the rate of the last day: {', '.join(PARTS)}.",
    "part",
)
MEASURED = _gauge("disk_measured_timestamp_seconds", "When free room was last measured.")
UPKEEP_AT = _gauge(
    "upkeep_last_success_timestamp_seconds",
    "When a model's event store was last sealed and pruned without an error.",
    "model",
)
UPKEEP_FAILURES = _counter(
    "upkeep_failures", "Runs of sealing and pruning that failed; the next run goes on from there.", "model"
)

KEPT_ROWS = ("events", "checks")
DELETION_HELD = _gauge(
    "deletion_held",
    "1 while rows over their age are kept, because the clock disagrees with them or too many would go at once: "
    f"{', '.join(KEPT_ROWS)}.",
    "model",
    "rows",
)

# --- backups and damage ----------------------------------------------------------------------------------------------
BACKED_UP_AT = _gauge(
    "backup_last_success_timestamp_seconds", "When the newest good backup was made; absent while there is none."
)
BACKUP_SIZE = _gauge("backup_size_bytes", "What the newest good backup takes.")
BACKUP_FAILURES = _counter("backup_failures", "Backups that could not be made; each is tried again in two minutes.")
STATE_DAMAGED = _gauge(
    "state_damaged", "1 once state.db was found broken: the daemon ends, and starts again only after `driftd restore`."
)
EVENTS_DAMAGED = _gauge(
    "events_damaged",
    "1 while a model's events.db is broken: it is not watched and takes no events in until it is restored.",
    "model",
)

VERSION_DAMAGED = _gauge(
    "version_damaged",
    "1 while the files of the version that serves do not match their hashes: it serves only where it is in memory.",
    "model",
)

# --- child processes -------------------------------------------------------------------------------------------------
RUNNING = _gauge(
    "actions_running", f"Child processes at work, by kind of action: {', '.join(ActionKind)}.", "model", "kind"
)
WAITING = _gauge("actions_waiting", "Intended actions that wait for a free child process.", "model", "kind")
ACTION_TIME = _histogram(
    "action", "How long an action took, from its start to its result.", ACTION_SECONDS, "model", "kind"
)
ACTION_FAILURES = _counter("action_failures", "Actions that failed.", "model", "kind")

# --- requests --------------------------------------------------------------------------------------------------------
REFUSALS_OF_REQUESTS = ("token", "origin", "host", "address")
REQUESTS_REFUSED = _counter(
    "http_refused",
    "Requests that were not let in: without a token, by one that may not operate, from a page of another origin, by a "
    "name that points here, or with too long an address.",
    "reason",
)

# --- notifications ---------------------------------------------------------------------------------------------------
NOTIFIED = _counter("notifications_sent", "Notifications that a receiver took.", "receiver")
NOTIFICATIONS_FAILED = _counter("notifications_failed", "Tries that failed; each is made again.", "receiver")
NOTIFIED_AT = _gauge("notification_last_success_timestamp_seconds", "When a receiver last took one.", "receiver")
NOTIFICATIONS_PENDING = _gauge(
    "notifications_pending", "Decisions that a receiver wants to know and was not told yet.", "receiver"
)

ALL = (*_catalogue.families, *model_families.ALL)
