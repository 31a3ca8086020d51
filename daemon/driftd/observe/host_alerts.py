"""The alerts on what a host does to the daemon, as data: backups, receivers of notifications, clocks, disks."""

from __future__ import annotations

from driftd.observe import alert_rule
from driftd.observe.alert_rule import Alert, Figure

HOST_ALERTS = (
    Alert(
        "DriftdBackupFails",
        "increase(driftd_backup_failures_total[30m]) > 5",
        "warning",
        "no backup can be made, the newest is {age} old",
        "Each try fails, every two minutes: the place for backups is full, or cannot be written.",
        labels=(),
        figures={"age": Figure("time() - driftd_backup_last_success_timestamp_seconds{$only}", "span")},
    ),
    Alert(
        "DriftdNotificationsFail",
        "driftd_notifications_pending > 0 and increase(driftd_notifications_failed_total[30m]) > 2",
        "warning",
        "{receiver}: {value} decisions could not be told to it, {failed} tries have failed",
        "A receiver of notifications does not answer, or refuses. Everything is told in one digest when it is back.",
        labels=("receiver",),
        value="count",
        figures={"failed": Figure("driftd_notifications_failed_total{$only}", "count")},
    ),
    Alert(
        "DriftdWindowsAhead",
        "driftd_windows_ahead > 0",
        "critical",
        "{model}: {value} windows that cannot have been yet were passed over; none is checked until then",
        "The clock was ahead, or is behind now. Set it; then `driftd reset-cursor` has them checked in their time.",
        value="count",
        hold="10m",
    ),
    Alert(
        "DriftdClockDoubted",
        "driftd_clock_doubted == 1",
        "critical",
        "{model}: the clock is months ahead of the newest prediction; no window after that is checked",
        "The clock of the host is wrong, or the feed has ended. Nothing is deleted by its age meanwhile.",
    ),
    Alert(
        "DriftdDeletionHeld",
        "driftd_deletion_held == 1",
        "warning",
        "{model}: {rows} over their age are kept, because deleting them might be a mistake",
        "The clock disagrees with them by months, or more than `retention.share` of them would go at once.",
        labels=("model", "rows"),
        hold="1h",
    ),
    Alert(
        "DriftdDiskFillsUp",
        f"driftd_disk_full_timestamp_seconds - time() < {alert_rule.DISK_SOON:.0f}",
        "warning",
        "state_dir has room for {value} more, {free} are free",
        "So it is at the rate of the last day; `driftd_store_growth_bytes` says which part grows. "
        "Lower `retention`, set `retention.disk`, or make room.",
        labels=(),
        value="span",
        figures={"free": Figure("driftd_disk_free_bytes{$only}", "bytes")},
        hold="15m",
    ),
    Alert(
        "DriftdDiskAlmostFull",
        f"driftd_disk_free_bytes < {alert_rule.DISK_SHARE:g} * driftd_disk_size_bytes"
        f" or driftd_disk_free_bytes < {alert_rule.DISK_BYTES}",
        "critical",
        "{value} are free for state_dir, {events} are taken by events",
        "When the disk is full, no event, check or build can be kept. Lower `retention`, or make room.",
        labels=(),
        value="bytes",
        figures={"events": Figure('sum without (part) (driftd_store_size_bytes{part="events",$only})', "bytes")},
    ),
)
