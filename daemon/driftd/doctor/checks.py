"""The checks of `driftd doctor`, in the order in which they are made and told."""

from __future__ import annotations

from driftd.doctor import machine, models, running, stored
from driftd.doctor.installation import Check

CHECKS: dict[str, Check] = {
    "files": machine.files,
    "disk": machine.disk,
    "clock": machine.clock,
    "libraries": machine.libraries,
    "databases": stored.databases,
    "config": running.config,
    "daemon": running.daemon,
    "backups": stored.backups,
    "backlog": stored.backlog,
    "sources": models.sources,
    "trainers": models.trainers,
    "versions": models.versions,
    "progress": models.progress,
}
