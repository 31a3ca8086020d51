"""What a version is made with: the fingerprint and git commit of its trainer, and the versions of libraries."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from driftd.errors import DriftdError
from driftd.registry.manifest import Trainer
from driftd.registry.trainer_source import write_source

_GIT_SECONDS = 10.0


class TrainerError(DriftdError):
    """A trainer that cannot be found or used; the message says why and what to do."""


def trainer_code(trainer: str | Sequence[str], paths: Sequence[str] | None = None) -> Trainer:
    """The lineage of a trainer: a reference `package.module:function`, or a command as a list of words.

    The fingerprint covers the module's file and, where it is in a package, every Python file of that package; of a
    command, its words and every file that they name. Raises TrainerError when the module cannot be found.
    """
    files = code_files(trainer, paths)
    reference = trainer if isinstance(trainer, str) else " ".join(trainer)
    digest = hashlib.sha256(reference.encode())
    for path in files:
        digest.update(b"\0" + path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    commit, dirty = _commit(files)
    return Trainer(reference, digest.hexdigest(), commit, dirty)


def code_files(trainer: str | Sequence[str], paths: Sequence[str] | None = None) -> list[Path]:
    """The files that a trainer's fingerprint covers. Raises TrainerError when the module cannot be found."""
    if isinstance(trainer, str):
        return source_files(trainer, paths)
    return [path for path in map(Path, trainer) if path.is_file()]


def keep_source(trainer: str | Sequence[str], folder: Path) -> None:
    """Keep the source of a trainer in a staged version folder, so that later versions can be compared with it."""
    if not write_source(folder, code_files(trainer)):
        print("the source of the trainer is not kept: it is larger than 1 MiB, or no text", flush=True)  # noqa: T201 - the log


def source_files(reference: str, paths: Sequence[str] | None = None) -> list[Path]:
    """The files that make a trainer's code, found without importing them. Raises TrainerError."""
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
    in_package = file.name == "__init__.py" or "." in module
    return sorted(file.parent.rglob("*.py")) if in_package else [file]


def _commit(files: Iterable[Path]) -> tuple[str | None, bool]:
    """The commit of the work tree that tracks these files, and whether any of them differs from it."""
    names = [str(path.resolve()) for path in files]
    if not names:
        return None, False
    folder = str(Path(names[0]).parent)
    if _git(folder, "ls-files", "--error-unmatch", "--", *names) is None:
        return None, False
    head = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--", *names)
    return (head.strip() if head else None), bool(changed and changed.strip())


def _git(folder: str, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", folder, *words], capture_output=True, text=True, timeout=_GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):  # no git here: the fingerprint alone tells the code
        return None
    return done.stdout if done.returncode == 0 else None


_LIBRARIES = ("driftd", "numpy", "scipy", "pandas", "scikit-learn", "skops", "joblib", "pyarrow")
_OPTIONAL = {  # module: the distributions that may bring it; they count where a trainer imported the module
    "catboost": ("catboost",),
    "lightgbm": ("lightgbm",),
    "mlflow": ("mlflow", "mlflow-skinny"),
    "onnxruntime": ("onnxruntime",),
    "xgboost": ("xgboost", "xgboost-cpu"),
}


def libraries(trainer: str | tuple[str, ...], also: Iterable[str] = ()) -> dict[str, str]:
    """Name and version of Python, the numerical libraries, the trainer's own distribution, and the thread count.

    With them go the libraries of models that are imported at this moment, and those of the distributions `also`.
    (Sums over several threads may differ in their last bit, so the number of threads belongs to the recipe.)
    """
    names = [*_LIBRARIES]
    if isinstance(trainer, str):
        names.append(trainer.partition(":")[0].partition(".")[0])
    asked = set(also)
    names += [
        name
        for module, brought in _OPTIONAL.items()
        for name in brought
        if (module in sys.modules or name in asked) and name not in names
    ]
    found = {"python": platform.python_version(), "threads": os.environ.get("OMP_NUM_THREADS", "")}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a source tree: the fingerprint and the commit say which
            continue
    return found
