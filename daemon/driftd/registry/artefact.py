"""Estimators as files: skops where it can hold them (no code runs on load), joblib only where the config says so."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import joblib
import skops.io
from skops.io.exceptions import UntrustedTypesFoundException

from driftd.errors import DriftdError

SKOPS = "model.skops"
JOBLIB = "model.joblib"

# What skops does not trust by itself and sound artefacts of scikit-learn hold: data types and pure functions that
# neither read files nor run code when an artefact is loaded. `functools.partial` is safe here because the function
# that it wraps must be trusted too.
TRUSTED = frozenset(
    {
        "functools.partial",
        "sklearn.utils.validation.check_array",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn._loss._loss.CyAbsoluteError",
        "sklearn._loss._loss.CyHalfBinomialLoss",
        "sklearn._loss._loss.CyHalfGammaLoss",
        "sklearn._loss._loss.CyHalfMultinomialLoss",
        "sklearn._loss._loss.CyHalfPoissonLoss",
        "sklearn._loss._loss.CyHalfSquaredError",
        "sklearn._loss._loss.CyPinballLoss",
        "sklearn._loss.link.HalfLogitLink",
        "sklearn._loss.link.IdentityLink",
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.LogLink",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.link.MultinomialLogit",
        "sklearn._loss.loss.AbsoluteError",
        "sklearn._loss.loss.HalfBinomialLoss",
        "sklearn._loss.loss.HalfGammaLoss",
        "sklearn._loss.loss.HalfMultinomialLoss",
        "sklearn._loss.loss.HalfPoissonLoss",
        "sklearn._loss.loss.HalfSquaredError",
        "sklearn._loss.loss.PinballLoss",
        "sklearn.compose._column_transformer._RemainderColsList",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "numpy.random._pcg64.PCG64",
        "numpy.dtype",
    }
)


class ArtefactError(DriftdError):
    """An estimator that cannot be stored or loaded; the message says why and what to do."""


def store_estimator(estimator: Any, folder: Path, *, allow_joblib: bool) -> str:
    """Write an estimator into a folder and return the file's name.

    The same estimator gives the same bytes in every run. Raises ArtefactError when skops cannot hold it, or holds it
    only with types that are not trusted, and joblib is not allowed.
    """
    try:
        content = _canonical(skops.io.dumps(estimator))
        untrusted = sorted(set(skops.io.get_untrusted_types(data=content)) - TRUSTED)
        why = f"it holds types that are not trusted: {', '.join(untrusted)}"
    except Exception as error:  # noqa: BLE001 - skops raises whatever a foreign object's reduction raises
        untrusted, why = ["?"], f"skops says {type(error).__name__}: {error}"
    if not untrusted:
        (folder / SKOPS).write_bytes(content)
        return SKOPS
    if not allow_joblib:
        raise ArtefactError(
            f"the estimator ({type(estimator).__module__}.{type(estimator).__qualname__}) cannot be stored as skops: "
            f"{why}. Return a scikit-learn estimator, or set `allow_joblib: true` for this model "
            "(then loading a version runs code from its artefact)."
        )
    try:
        joblib.dump(estimator, folder / JOBLIB)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise ArtefactError(f"the estimator cannot be stored at all: {type(error).__name__}: {error}") from error
    return JOBLIB


def load_estimator(path: Path, *, allow_joblib: bool) -> Any:
    """Read an estimator back; its hash must have been checked before.

    Raises ArtefactError for untrusted types, for joblib where that is not allowed, and for files that are neither.
    """
    if path.name == JOBLIB:
        if not allow_joblib:
            raise ArtefactError(
                f"{path} is a joblib file, which runs code when loaded; set `allow_joblib: true` to load it"
            )
        return joblib.load(path)
    try:
        return skops.io.load(path, trusted=sorted(TRUSTED & set(skops.io.get_untrusted_types(file=path))))
    except UntrustedTypesFoundException as error:
        raise ArtefactError(f"{path} holds types that are not trusted, so it is not loaded: {error}") from error
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ArtefactError(
            f"{path} is no artefact that this driftd can read: {type(error).__name__}: {error}"
        ) from error


def _canonical(content: bytes) -> bytes:
    """The same skops archive without what differs from run to run: memory addresses as names, and time stamps."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    numbers: dict[int, int] = {}
    schema = _renumber(json.loads(parts.pop("schema.json")), numbers)
    renamed = {_new_name(name, numbers): part for name, part in parts.items()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, part in [("schema.json", json.dumps(schema).encode()), *sorted(renamed.items())]:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), part, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _renumber(node: Any, numbers: dict[int, int]) -> Any:
    if isinstance(node, list):
        return [_renumber(item, numbers) for item in node]
    if not isinstance(node, dict):
        return node
    if isinstance(identity := node.get("__id__"), int):
        numbers.setdefault(identity, len(numbers) + 1)
    new = {key: _renumber(value, numbers) for key, value in node.items()}
    if isinstance(identity, int):
        new["__id__"] = numbers[identity]
    if isinstance(file := node.get("file"), str):
        new["file"] = _new_name(file, numbers)
    return new


def _new_name(name: str, numbers: dict[int, int]) -> str:
    stem, point, ending = name.partition(".")
    return f"{numbers[int(stem)]}{point}{ending}" if stem.isdecimal() and int(stem) in numbers else name
