"""Where everything stands inside `state_dir`. A contract with operators and back-up scripts: see DESIGN 6.4."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

SYSTEM_CREDENTIALS = Path("/etc/driftd/credentials")


def credential(path: Path) -> Path:
    """Where a file of secrets is.

    A bare name is one of the credentials that systemd gave to the unit (`driftd_NAME`, where it gave a whole folder).
    Outside of the unit, as for `driftd notify-test` by root, it is looked for where the unit gets them from.
    """
    if len(path.parts) != 1:
        return path
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    places = [Path(given) / path, Path(given) / f"driftd_{path}"] if given else [SYSTEM_CREDENTIALS / path, path]
    return next((place for place in places if place.exists()), places[0])


@dataclass(frozen=True, slots=True)
class Places:
    """The paths below one state directory."""

    root: Path

    @property
    def state_db(self) -> Path:
        """The daemon's own truth: states, transitions, actions, checks, requests."""
        return self.root / "state.db"

    @property
    def lock(self) -> Path:
        """Held by the daemon that works here: one at a time (store/lock.py)."""
        return self.root / "driftd.lock"

    @property
    def backups(self) -> Path:
        """One folder a backup, unless the config names another place."""
        return self.root / "backups"

    def events_db(self, model: str) -> Path:
        """The hot part of a model's event store."""
        return self.root / "events" / model / "events.db"

    def backfill_lock(self, model: str) -> Path:
        """Held by `driftd backfill` while rows of the past go into a model's event store."""
        return self.root / "events" / model / "backfill.lock"

    def segments(self, model: str) -> Path:
        """The folder of a model's sealed Parquet segments."""
        return self.root / "events" / model / "segments"

    def model(self, model: str) -> Path:
        """The registry folder of a model; holds `versions/` and the link `current`."""
        return self.root / "models" / model

    def version(self, model: str, version: int) -> Path:
        """The folder of one immutable version."""
        return self.model(model) / "versions" / str(version)

    def retired_manifest(self, model: str, version: int) -> Path:
        """The manifest of a version that retention has removed."""
        return self.model(model) / "retired" / f"{version}.json"

    def current(self, model: str) -> Path:
        """The link to the served version."""
        return self.model(model) / "current"

    def siblings(self, model: str) -> Path:
        """The folder of what the newest refreshes built by each recipe: one folder a refresh."""
        return self.model(model) / "siblings"

    def snapshot(self, model: str, digest: str) -> Path:
        """The folder of one immutable, content-addressed snapshot: `data.parquet` and `manifest.json`."""
        return self.root / "snapshots" / model / digest

    def job(self, key: str) -> Path:
        """The folder of one child process: `job.json`, `log.txt`, `result.json`."""
        return self.root / "jobs" / key

    @property
    def helper(self) -> Path:
        """The folder of the process in which the user's metrics and detectors run: `log.txt`."""
        return self.root / "helper"

    def report(self, model: str, alarm: int) -> Path:
        """The HTML second opinion of one alarm."""
        return self.root / "reports" / model / f"{alarm}.html"
