"""Which files a trainer is made of: its module, what that imports from its project, and the lock file beside them.

Nothing is imported to find out: modules are looked for as Python would, imports are read from the syntax tree.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from driftd.errors import DriftdError

_INSTALLED = {"site-packages", "dist-packages"}
_LOCKS = ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "requirements*.txt")
_PROJECT = "pyproject.toml"  # counts where no lock file is: by the dependencies that it names
_UNSEEN = "outside"  # the reference of a trainer of which nothing is here, as versions have it in their lineage
_MOST_LEVELS = 8  # folders above a trainer that are looked through for its work tree

Signature = tuple[int, int, int]  # of a file: when it was changed, its length, its number


class TrainerError(DriftdError):
    """A trainer that cannot be found or used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class TrainerDigest:
    """What a trainer is at a moment, as SHA-256, and the files that say so."""

    source: str
    lock: str | None  # of the lock file; None where there is none
    files: tuple[Path, ...]
    locks: tuple[Path, ...]
    fault: str | None = None  # why this can be no whole trainer: a file that does not parse, in one sentence


@dataclass(frozen=True, slots=True)
class _Project:
    """Where the modules of a trainer's project are looked for."""

    root: Path  # the folder of the search path that has the trainer
    only: str | None = None  # of an installed trainer: its own package alone

    def find(self, module: str, own: frozenset[Path]) -> Iterator[Path]:
        """The files of a module: its own, and those that mark the packages above it, unless the trainer is in these."""
        parts = module.split(".")
        if self.only is not None and parts[0] != self.only:
            return
        found = self._file(parts)
        if found is None:
            return
        for depth in range(1, len(parts)):
            package = self.root.joinpath(*parts[:depth])
            marker = package / "__init__.py"
            if marker.is_file() and not any(path.is_relative_to(package) for path in own):
                yield marker
        yield found

    def _file(self, parts: Sequence[str]) -> Path | None:
        base = self.root.joinpath(*parts)
        places = (base.with_name(f"{base.name}.py"), base / "__init__.py")
        return next((place for place in places if place.is_file()), None)


@dataclass(frozen=True, slots=True)
class _FileRead:
    signature: Signature | None
    digest: bytes
    imports: frozenset[str] = frozenset()  # modules as the file names them, with the dots before
    fault: str | None = None


@dataclass(slots=True)
class TrainerReader:
    """Reads what a trainer is: a reference `package.module:function`, or a command as a list of words.

    No words stand for a trainer of which nothing is here: no file of this host counts, whatever it is called.

    Where neither its files nor their folders changed since the last look, a look is a few `stat`. A file is read again
    only where its time, its length or its number changed.
    """

    trainer: str | Sequence[str]
    paths: Sequence[str] | None = None  # where modules are looked for; None: as Python looks for them
    _read: dict[Path, _FileRead] = field(default_factory=dict)
    _last: TrainerDigest | None = None
    _marks: dict[Path, Signature | None] = field(default_factory=dict)  # of the files and folders that the last is of

    @property
    def reference(self) -> str:
        """The trainer in one text."""
        return self.trainer if isinstance(self.trainer, str) else " ".join(self.trainer) or _UNSEEN

    def forget(self) -> None:
        """Have everything read again: times of files may not tell two changes in quick succession apart."""
        self._read, self._last = {}, None

    def read(self) -> TrainerDigest:
        """What the trainer is now. Raises TrainerError when its module cannot be found, OSError for unreadable files.

        The digest covers the trainer's file; where it is in a package, every Python file of that package; and the
        modules that these import from the same project. Of a command: its words, the files that they name, the module
        after `-m`, and what Python files among them import. Other things that a trainer reads are not known here.
        """
        if self._last is not None and all(_signature(path) == mark for path, mark in self._marks.items()):
            return self._last
        own, project = self._own_files()
        imported = {} if project is None else self._find_imports(own, project)
        files = (*own, *imported)
        folders = lock_folders(own[0], project.root) if own and project is not None and project.only is None else ()
        locks = lock_files(folders)
        marked = {*files, *(path.parent for path in files), *folders, *locks}
        if project is not None:
            marked.add(project.root)
        self._marks = {path: _signature(path) for path in marked}  # before they are read: what comes later is seen
        digest = hashlib.sha256(self.reference.encode())
        for path in own:
            digest.update(b"\0" + path.name.encode() + b"\0" + self._file(path).digest)
        for path, name in imported.items():
            digest.update(b"\0" + name.encode() + b"\0\0" + self._file(path).digest)
        self._read = {path: self._read[path] for path in files}
        faults = [read.fault for read in self._read.values() if read.fault is not None]
        self._last = TrainerDigest(digest.hexdigest(), lock_digest(locks), files, locks, faults[0] if faults else None)
        return self._last

    def _own_files(self) -> tuple[list[Path], _Project | None]:
        if isinstance(self.trainer, str):
            files, root = _find_module(self.trainer, self.paths)
            is_installed = bool(_INSTALLED.intersection(root.parts))
            return files, _Project(root, self.trainer.partition(":")[0].partition(".")[0] if is_installed else None)
        words = list(self.trainer)
        files = [path for path in map(Path, words) if path.is_file()]
        scripts = [path for path in files if path.suffix == ".py"]
        module = words[words.index("-m") + 1] if "-m" in words[:-1] else None
        if module is not None and (found := _module_of_command(module, self.paths)) is not None:
            return [*files, *found[0]], _Project(found[1])
        if scripts:
            return files, _Project(scripts[0].resolve().parent)
        texts = [path for path in files if b"\0" not in path.open("rb").read(1024)]  # not the program itself
        return files, _Project(texts[0].resolve().parent) if texts else None

    def _find_imports(self, own: Sequence[Path], project: _Project) -> dict[Path, str]:
        """The files of the project that those of the trainer import, directly or by others, with their places in it."""
        known, names = {path.resolve() for path in own}, set[str]()
        found: set[Path] = set()
        waiting, trainer = [path for path in own if path.suffix == ".py"], frozenset(known)
        while waiting:
            path = waiting.pop()
            for raw in self._file(path).imports:
                name = _whole_name(raw, path, project.root)
                if name is None or name in names or name.partition(".")[0] in sys.stdlib_module_names:
                    continue
                names.add(name)
                fresh = [file for file in project.find(name, trainer) if file.resolve() not in known]
                known.update(file.resolve() for file in fresh)
                found.update(fresh)
                waiting += fresh
        return {path: str(path.relative_to(project.root)) for path in sorted(found)}

    def _file(self, path: Path) -> _FileRead:
        signature = _signature(path)
        before = self._read.get(path)
        if before is not None and signature is not None and before.signature == signature:
            return before
        content = path.read_bytes()
        digest = hashlib.sha256(content).digest()
        imports, fault = _imports_of(path, content) if path.suffix == ".py" else (frozenset[str](), None)
        self._read[path] = _FileRead(signature, digest, imports, fault)
        return self._read[path]


def source_files(reference: str, paths: Sequence[str] | None = None) -> list[Path]:
    """The files of a trainer's own module or package, found without importing them. Raises TrainerError."""
    return _find_module(reference, paths)[0]


def _find_module(reference: str, paths: Sequence[str] | None) -> tuple[list[Path], Path]:
    """The files of a trainer's module or package, and the folder of the search path that they are in."""
    module, colon, function = reference.partition(":")
    if not (module and colon and function):
        raise TrainerError(f"trainer {reference!r} is not of the form package.module:function")
    spec: ModuleSpec | None = None
    where = paths
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = PathFinder.find_spec(name, where)
        if spec is None:
            raise TrainerError(
                f"trainer {reference!r}: there is no module {name!r}; "
                "install it beside driftd, or put its folder on PYTHONPATH"
            )
        where = list(spec.submodule_search_locations or [])
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise TrainerError(f"trainer {reference!r}: {module} has no Python source")
    file = Path(spec.origin)
    above = len(module.split(".")) - (0 if file.name == "__init__.py" else 1)
    in_package = file.name == "__init__.py" or "." in module
    return sorted(file.parent.rglob("*.py")) if in_package else [file], file.parents[above]


def _module_of_command(module: str, paths: Sequence[str] | None) -> tuple[list[Path], Path] | None:
    """The files of `python -m MODULE`, where its source can be found."""
    where = paths if paths is not None else [str(Path.cwd()), *sys.path]
    try:
        files, root = _find_module(f"{module}:main", where)
    except TrainerError:
        return None  # the interpreter of the command may be another one, with another search path
    return None if _INSTALLED.intersection(root.parts) else (files, root)


def _imports_of(path: Path, content: bytes) -> tuple[frozenset[str], str | None]:
    """The modules that a file imports, as it names them; and why it is no whole file, where it does not parse."""
    try:
        tree = ast.parse(content, str(path))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        return frozenset(), f"{path} does not parse{f' (line {line})' if line else ''}"
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names.update([module] if node.module else [])  # what is imported from it may be a module of its own
            names.update(f"{module}{'.' if node.module else ''}{alias.name}" for alias in node.names)
    return frozenset(names), None


def _whole_name(name: str, file: Path, root: Path) -> str | None:
    """The whole name of a module that a file imports, perhaps with dots before it; None where that leads outside."""
    module = name.lstrip(".")
    if (level := len(name) - len(module)) == 0:
        return name
    if not file.is_relative_to(root):
        return None
    package = file.relative_to(root).parts[:-1]
    return ".".join((*package[: len(package) - level + 1], module)) if level <= len(package) else None


def _signature(path: Path) -> Signature | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def lock_folders(file: Path, root: Path) -> tuple[Path, ...]:
    """The folders that may have the lock file of a trainer: from its own up to that of its work tree.

    `file` is the trainer's, `root` the folder that its modules are found in; where no work tree is, the folder above
    that is the last.
    """
    folder = file.resolve().parent
    chain = [folder, *folder.parents][: _MOST_LEVELS + 1]
    tree = next((number for number, above in enumerate(chain) if (above / ".git").exists()), None)
    root = root.resolve()
    last = chain.index(root) + 1 if root in chain else 1
    return tuple(chain[: (last if tree is None else tree) + 1])


def lock_files(folders: Iterable[Path]) -> tuple[Path, ...]:
    """The lock files of the first of some folders that has any; where none has, the first `pyproject.toml`."""
    chain = tuple(folders)
    for patterns in (_LOCKS, (_PROJECT,)):
        for folder in chain:
            found = tuple(sorted(path for pattern in patterns for path in folder.glob(pattern) if path.is_file()))
            if found:
                return found
    return ()


def lock_digest(files: Iterable[Path]) -> str | None:
    """One SHA-256 over lock files; of a `pyproject.toml` only what it says of dependencies counts."""
    digest, is_empty = hashlib.sha256(), True
    for path in files:
        content = path.read_bytes()
        if path.name == _PROJECT:
            content = _dependencies(content)
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(content).digest())
        is_empty = False
    return None if is_empty else digest.hexdigest()


def _dependencies(content: bytes) -> bytes:
    try:
        found = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return content  # half-written perhaps: another content than before, and than after
    project, poetry = found.get("project", {}), found.get("tool", {}).get("poetry", {})
    named = {
        "project": {key: project.get(key) for key in ("requires-python", "dependencies", "optional-dependencies")},
        "groups": found.get("dependency-groups"),
        "poetry": {key: poetry.get(key) for key in ("dependencies", "group")},
    }
    return json.dumps(named, sort_keys=True, default=str).encode()
