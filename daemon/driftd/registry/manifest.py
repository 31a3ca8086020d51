"""The lineage of one version: everything needed to say where it comes from, and to build it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from driftd.errors import DriftdError, ExitCode
from driftd.fsutil import sha256_of, write_durably
from driftd_detectors.schema import Schema

MANIFEST = "manifest.json"
LOGGED = "logged.parquet"  # in the place of an artefact: the predictions that a version made elsewhere, as logged
PROBE = "probe.parquet"  # rows with the predictions that the version made of them at its training
FORMAT = 1


class ManifestError(DriftdError):
    """A manifest that cannot be read, or files that do not match it; the message says which and what to do."""

    exit_code: ClassVar[int] = ExitCode.ABSENT


@dataclass(frozen=True, slots=True)
class Trainer:
    """The code that made a version."""

    reference: str  # "package.module:function", or the command
    fingerprint: str  # SHA-256 of its source
    commit: str | None = None  # of the git work tree that holds it
    dirty: bool = False  # whether that work tree had uncommitted changes
    lock: str | None = None  # SHA-256 of the lock file of its project; None: there was none

    def to_dict(self) -> dict[str, object]:
        """The JSON form, without a lock file where there was none: so it was written before there was the key."""
        stored = asdict(self)
        return {name: value for name, value in stored.items() if name != "lock" or value is not None}


@dataclass(frozen=True, slots=True)
class Adopted:
    """Where a version comes from that driftd did not train."""

    source: str  # the file or address that `driftd init --model` was given
    sha256: str  # of the original: the file, or the archive of an MLflow model's folder
    version: str | None = None  # in the registry of models that it came from
    classes: tuple[str, ...] = ()  # names of the artefact's classes, in the order of its probabilities, if it has none
    run_id: str | None = None  # of the run of MLflow that made it

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Adopted:
        """Read what `Manifest.to_dict` wrote."""
        classes = tuple(stored["classes"])
        return cls(stored["source"], stored["sha256"], stored["version"], classes, stored.get("run_id"))


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `manifest.json` holds. `files` maps every other file of the folder to its SHA-256.

    `status` is `candidate`, then what the gate said: `promote`, `reject` or `inconclusive`; the loop may add
    `rolled_back`. It informs people: the truth of what serves is the daemon's store.
    """

    model: str
    version: int
    created_at: float  # epoch seconds; ISO 8601 in the file
    schema: Schema
    snapshot: str  # content hash; empty where a logged version came without labels
    trainer: Trainer
    seed: int
    trigger: str
    reason: str
    artefact: str  # one of registry.artefact.ARTEFACTS, or LOGGED
    parent: int | None = None
    status: str = "candidate"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)  # which rows were trained on, and what was tried
    metrics: Mapping[str, float] = field(default_factory=dict)  # on the gate's hold-out rows
    gate: Mapping[str, Any] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    adopted: Adopted | None = None  # None: driftd trained it

    @property
    def is_logged(self) -> bool:
        """Whether there are only logged predictions of this version, and no model that could predict here."""
        return self.artefact == LOGGED

    @property
    def identity(self) -> str:
        """The SHA-256 of what never changes after publication: which version, of what, by whom, and its artefact."""
        fixed = {
            "model": self.model,
            "version": self.version,
            "created_at": self.created_at,
            "artefact": self.files.get(self.artefact),
            "snapshot": self.snapshot,
            "trainer": self.trainer.fingerprint,
            "seed": self.seed,
            "parent": self.parent,
        }
        return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, object]:
        """The JSON form."""
        stored: dict[str, Any] = {"format": FORMAT}
        stored |= {field.name: getattr(self, field.name) for field in fields(self)}
        stored["created_at"] = datetime.fromtimestamp(self.created_at, UTC).isoformat()
        stored["schema"] = self.schema.to_dict()
        stored["trainer"] = self.trainer.to_dict()
        stored["adopted"] = None if self.adopted is None else asdict(self.adopted)
        return stored

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Manifest:
        """Read what `to_dict` wrote. Raises KeyError, ValueError.

        Unknown keys of later programs are passed over, and earlier programs did not write `adopted`.
        """
        values = {field.name: stored[field.name] for field in fields(cls) if field.name != "adopted"}
        values["created_at"] = datetime.fromisoformat(stored["created_at"]).timestamp()
        values["schema"] = Schema.from_dict(stored["schema"])
        trainer = {"lock": None, **stored["trainer"]}
        values["trainer"] = Trainer(**{field.name: trainer[field.name] for field in fields(Trainer)})
        values["adopted"] = Adopted.from_dict(stored["adopted"]) if stored.get("adopted") else None
        return cls(**values)


def read_manifest(folder: Path) -> Manifest:
    """Read a version folder's manifest.

    Raises ManifestError when it is absent, is not JSON or lacks a key.
    """
    path = folder / MANIFEST
    try:
        stored = json.loads(path.read_bytes())
        if stored["format"] > FORMAT:
            raise ManifestError(f"{path} has format {stored['format']}; this driftd reads up to {FORMAT}: upgrade it")
        return Manifest.from_dict(stored)
    except FileNotFoundError as error:
        raise ManifestError(
            f"{path} does not exist: the version was never published, or was removed by hand"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{path} cannot be read ({error!r}): restore the folder from a backup") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest of a folder, durably and in one step."""
    text = json.dumps(manifest.to_dict(), indent=2, allow_nan=False)
    write_durably(folder / MANIFEST, (text + "\n").encode())


def content_of(manifest: Manifest) -> str:
    """The SHA-256 of a lineage, without what is only learned later: the verdict of the gate, and the status."""
    stored = {name: value for name, value in manifest.to_dict().items() if name not in {"status", "gate"}}
    return hashlib.sha256(json.dumps(stored, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def with_hashes(folder: Path, manifest: Manifest) -> Manifest:
    """The manifest with the SHA-256 of every other file that the folder holds now."""
    names = sorted(path.name for path in folder.iterdir() if path.name != MANIFEST and not path.name.startswith("."))
    return replace(manifest, files={name: sha256_of(folder / name) for name in names})


def check_file(folder: Path, manifest: Manifest, name: str) -> Path:
    """The path of one of a version's files, after its content matched its SHA-256.

    Raises ManifestError when the file is not listed, is absent, or differs.
    """
    expected = manifest.files.get(name)
    if expected is None or Path(name).name != name:  # a manifest that was tampered with names files elsewhere
        raise ManifestError(f"{folder / MANIFEST} lists no file {name}; it lists {', '.join(manifest.files) or 'none'}")
    path = folder / name
    if not path.is_file():
        raise ManifestError(f"{path} is absent: restore it from a backup, or build a new version")
    found = sha256_of(path)
    if found != expected:
        raise ManifestError(
            f"{path} does not match its manifest (SHA-256 is {found}, expected {expected}): it was changed or "
            "damaged, so it is not loaded. Restore it from a backup, or build a new version."
        )
    return path
