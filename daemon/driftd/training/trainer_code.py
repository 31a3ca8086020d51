"""What a version is made with: the fingerprint and git commit of its trainer, and the versions of libraries."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from driftd.config.model_schema import ModelConfig
from driftd.registry.manifest import Trainer
from driftd.registry.trainer_source import write_source
from driftd.training.trainer_files import TrainerError, TrainerReader, source_files

__all__ = [
    "TrainerError",
    "build_settings",
    "changed_settings",
    "keep_source",
    "libraries",
    "settings_digest",
    "source_files",
    "trainer_code",
]

_GIT_SECONDS = 10.0


def trainer_code(trainer: str | Sequence[str], paths: Sequence[str] | None = None) -> Trainer:
    """The lineage of a trainer: a reference `package.module:function`, or a command as a list of words.

    The fingerprint covers what `TrainerReader` finds. Raises TrainerError when the module cannot be found.
    """
    reader = TrainerReader(trainer, paths)
    found = reader.read()
    commit, dirty = _commit((*found.files, *found.locks))
    return Trainer(reader.reference, found.source, commit, dirty, found.lock)


def keep_source(trainer: str | Sequence[str], folder: Path) -> None:
    """Keep the source of a trainer in a staged version folder, so that later versions can be compared with it."""
    if not write_source(folder, TrainerReader(trainer).read().files):
        print("the source of the trainer is not kept: it is larger than 1 MiB, or no text", flush=True)  # noqa: T201 - the log


def build_settings(config: ModelConfig) -> dict[str, object]:
    """What the config says of training, beside the trainer itself: a build goes by it, whatever started it.

    `features` is not among it, which only the first version goes by, nor what says when builds start or who judges.
    """
    metric = config.detect.performance.metric_name
    content = config.model_dump(mode="json", include={"parameters", "classes"})
    data = config.retrain.data.model_dump(mode="json")
    return {**content, "metric": None if metric == "auto" else metric, "data": data}


def settings_digest(settings: Mapping[str, object]) -> str:
    """The SHA-256 of such settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


def changed_settings(before: object, after: object, name: str = "") -> Iterator[tuple[str, object, object]]:
    """The settings that differ, each with what it was and what it is; None where it is absent."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}):
            yield from changed_settings(before.get(key), after.get(key), f"{name}.{key}" if name else str(key))
    elif before != after:
        yield name, before, after


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
