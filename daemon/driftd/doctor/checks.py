"""The checks of `driftd doctor`, in the order in which they are made and told."""

from __future__ import annotations

from driftd.doctor import machine, models, running, secrets, stored, versions
from driftd.doctor.installation import Check

CHECKS: dict[str, Check] = {
    "files": machine.files,
    "disk": machine.disk,
    "clock": machine.clock,
    "libraries": machine.libraries,
    "databases": stored.databases,
    "config": running.config,
    "secrets": secrets.secrets,
    "daemon": running.daemon,
    "backups": stored.backups,
    "backlog": stored.backlog,
    "sources": models.sources,
    "trainers": models.trainers,
    "versions": versions.versions,
    "progress": models.progress,
}
