"""The registry of a state directory: publish, list, point to and load versions."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftd.errors import DriftdError, raise_shortage
from driftd.fsutil import STAGED, make_staging, sync, write_durably
from driftd.paths import Places
from driftd.registry.manifest import (
    MANIFEST,
    Manifest,
    ManifestError,
    check_file,
    read_manifest,
    with_hashes,
    write_manifest,
)

if TYPE_CHECKING:
    from driftd.registry.loaded import LoadedVersion


SHOWN_VERSIONS = 10  # that a sentence names


class RegistryError(DriftdError):
    """What cannot be done with a version; the message says why and what to do next."""


class Registry:
    """All versions below one `Places`. Holds no state of its own, so any number of processes may use one."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def stage(self, model: str) -> Path:
        """An empty folder, invisible to readers, to fill with a version's files and to hand to `publish`."""
        return make_staging(self._places.model(model) / "versions")

    def sweep(self, model: str) -> int:
        """Remove what interrupted builds left behind; only while no build of this model runs. Returns how many."""
        left = list((self._places.model(model) / "versions").glob(f"{STAGED}*"))
        for folder in left:
            shutil.rmtree(folder, ignore_errors=True)
        return len(left)

    def publish(self, model: str, version: int, staged: Path) -> Manifest:
        """Make a staged folder the version, in one rename, after its files and manifest are on the disk.

        The manifest's hashes are taken here. Raises RegistryError when the version exists already, ManifestError
        when the staged folder's manifest is absent or is another version's.
        """
        manifest = with_hashes(staged, read_manifest(staged))
        if (manifest.model, manifest.version) != (model, version):
            raise ManifestError(f"{staged} holds {manifest.model}/{manifest.version}, not {model}/{version}")
        check_file(staged, manifest, manifest.artefact)
        write_manifest(staged, manifest)
        for name in manifest.files:
            sync(staged / name)
        staged.chmod(0o750)
        target = self._places.version(model, version)
        try:
            staged.rename(target)
        except OSError as error:
            if target.exists():
                raise RegistryError(f"{model}/{version} exists already and versions are immutable: {target}") from error
            raise
        sync(target.parent)
        return manifest

    def versions(self, model: str) -> tuple[int, ...]:
        """The published versions of a model, in order; empty when there are none."""
        folder = self._places.model(model) / "versions"
        if not folder.is_dir():
            return ()
        return tuple(sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal()))

    def manifest(self, model: str, version: int) -> Manifest:
        """The lineage of a version. Raises ManifestError when it cannot be read."""
        folder = self._places.version(model, version)
        if not folder.is_dir():  # whoever asks may be no one to whom the folders of the host are told
            there = ", ".join(map(str, self.versions(model)[-SHOWN_VERSIONS:])) or "none"
            raise ManifestError(f"there is no version {version} of {model}; the newest that are there: {there}")
        return read_manifest(folder)

    def amend(self, model: str, version: int, *, files: dict[str, bytes] | None = None, **changes: Any) -> Manifest:
        """Change what may change after publication: the gate's findings, the status, and derived files.

        A file is first struck from the manifest, then replaced, then listed with its new hash, so that a crash in
        between leaves a version that loads and whose file is merely not there yet. Raises RegistryError when asked
        to replace the artefact.
        """
        folder = self._places.version(model, version)
        manifest = replace(read_manifest(folder), **changes)
        new = files or {}
        if manifest.artefact in new:
            raise RegistryError(f"{model}/{version}: the artefact of a published version never changes")
        if new:
            kept = {name: digest for name, digest in manifest.files.items() if name not in new}
            write_manifest(folder, replace(manifest, files=kept))
            for name, content in new.items():
                write_durably(folder / name, content)
            manifest = with_hashes(folder, manifest)
        write_manifest(folder, manifest)
        return manifest

    def prune_snapshots(self, model: str, in_use: Collection[int], most_bytes: int) -> tuple[str, ...]:
        """Remove a model's oldest snapshots while all together are larger than `most_bytes`; returns their digests.

        Those of the versions `in_use` stay; what no version was built from goes first. Call it while no build is at
        work, which would not be known here. While a manifest cannot be read, what it was built from is unknown, and
        only snapshots of readable versions go.
        """
        built: dict[str, int] = {}  # the newest version from each snapshot
        is_known = True
        for version in self.versions(model):
            try:
                built[self.manifest(model, version).snapshot] = version
            except ManifestError:
                is_known = False
        kept = {digest for digest, version in built.items() if version in in_use}
        folder = self._places.snapshot(model, "x").parent
        sizes = {path.name: _bytes_in(path) for path in folder.iterdir()} if folder.is_dir() else {}
        removable = [name for name in sizes if name not in kept and (name in built or is_known)]
        removed = []
        for digest in sorted(removable, key=lambda name: built.get(name, 0)):
            if sum(sizes.values()) <= most_bytes:
                break
            shutil.rmtree(folder / digest, ignore_errors=True)
            del sizes[digest]
            removed.append(digest)
        return tuple(removed)

    def retire(self, model: str, in_use: Collection[int], keep: int) -> tuple[int, ...]:
        """Remove a model's oldest versions over `keep`, but for those `in_use` and the newest; returns their numbers.

        Their manifests stay beside the versions, in `retired/NUMBER.json`: what a decision of then was about.
        """
        versions = self.versions(model)
        removable = [number for number in versions[:-1] if number not in in_use]
        gone = removable[: max(0, len(versions) - keep)]
        for number in gone:
            folder, retired = self._places.version(model, number), self._places.retired_manifest(model, number)
            retired.parent.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                write_durably(retired, (folder / MANIFEST).read_bytes())
            leaving = folder.with_name(f"{STAGED}retired-{number}")  # gone in one step for whoever lists; then swept
            folder.rename(leaving)
            shutil.rmtree(leaving, ignore_errors=True)
        return tuple(gone)

    def current(self, model: str) -> int | None:
        """The version that the `current` link names; None when there is no link, or it names no published version."""
        try:
            name = self._places.current(model).readlink().name
        except OSError as error:
            raise_shortage(error)
            return None
        return int(name) if name.isdecimal() and self._places.version(model, int(name)).is_dir() else None

    def point(self, model: str, version: int) -> None:
        """Make `current` name this version, by one rename(2), and read it back.

        Raises RegistryError when the version is not published, or when the link does not read back.
        """
        if not self._places.version(model, version).is_dir():
            known = ", ".join(map(str, self.versions(model))) or "none"
            raise RegistryError(f"{model}/{version} is not published, so it cannot be served; published: {known}")
        link = self._places.current(model)
        temporary = link.with_name(f".current-{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        temporary.symlink_to(Path("versions") / str(version))
        temporary.replace(link)
        sync(link.parent)
        if (found := self.current(model)) != version:
            raise RegistryError(
                f"{link} names version {found} after it was pointed to {version}: is another daemon at work?"
            )

    def file(self, model: str, version: int, name: str) -> Path:
        """The path of a version's file after its hash matched. Raises ManifestError."""
        folder = self._places.version(model, version)
        return check_file(folder, read_manifest(folder), name)

    def readable(self, model: str, version: int) -> Manifest:
        """The manifest of a version, or of the newest other one when its own is damaged.

        For what all versions of a model have in common, such as its schema. Raises ManifestError when none can be read.
        """
        try:
            return self.manifest(model, version)
        except ManifestError:
            for other in reversed(self.versions(model)):
                with contextlib.suppress(ManifestError):
                    return self.manifest(model, other)
            raise

    def fault(self, model: str, version: int) -> str | None:
        """Why a version's artefact must not be loaded, by its hash; None when it matches its manifest."""
        try:
            self.file(model, version, self.manifest(model, version).artefact)
        except ManifestError as error:
            return str(error)
        return None

    def load(self, model: str, version: int, *, allow_joblib: bool = False) -> LoadedVersion:
        """Load a version's estimator, hash first.

        Raises ManifestError when the artefact does not match its manifest, ArtefactError when it holds types that
        are not trusted, or is a joblib file and the config does not allow that.
        """
        from driftd.registry.loaded import load_version  # noqa: PLC0415 - only who loads pays for scikit-learn

        return load_version(self._places.version(model, version), allow_joblib=allow_joblib)


def _bytes_in(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


class NothingServedError(DriftdError):
    """No version can be served: none is linked yet, or the linked one cannot be loaded and no other was before."""


class CurrentLink:
    """What a model's `current` link says, as text; whoever kept the text can tell a swap by comparing."""

    def __init__(self, places: Places, model: str) -> None:
        self._path = str(places.current(model))

    def read(self) -> str:
        """The target of the link; empty when there is none."""
        try:
            return os.readlink(self._path)  # noqa: PTH115 - pathlib takes ten times as long, at every request
        except OSError as error:
            raise_shortage(error)
            return ""


def version_of(target: str) -> int | None:
    """The version that a link's target names."""
    name = target.rpartition("/")[2]
    return int(name) if name.isdecimal() else None
