"""The checks of `driftd doctor`, in the order in which they are made and told."""

from __future__ import annotations

from driftd.doctor import daemon, machine, models, plugins, scrape, stages
from driftd.doctor.installation import Check

CHECKS: dict[str, Check] = {
    "files": machine.files,
    "disk": machine.disk,
    "capacity": machine.capacity,
    "clock": machine.clock,
    "libraries": machine.libraries,
    "databases": daemon.databases,
    "config": daemon.config,
    "secrets": daemon.secrets,
    "daemon": daemon.daemon,
    "server": daemon.server,
    "backups": daemon.backups,
    "backlog": daemon.backlog,
    "sources": models.sources,
    "trainers": models.trainers,
    "stages": stages.stages,
    "plug-ins": plugins.plugins,
    "hand-overs": models.hand_overs,
    "registries": models.registries,
    "versions": models.versions,
    "evidence": models.evidence,
    "progress": models.progress,
    "conditions": scrape.conditions,
}
