"""Estimators as files: skops where it can hold them, with the types that are safe to load, else by the config."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import zipfile
from itertools import product
from pathlib import Path
from typing import Any

import joblib
import skops.io
from skops.io.exceptions import UntrustedTypesFoundException

from driftd.errors import DriftdError
from driftd.registry.foreign_models import MlflowModel, OnnxModel
from driftd.registry.manifest import LOGGED

# `functools.partial` is safe here because the function that it wraps must be trusted too.
_PLAIN = (
    "builtins.object",
    "collections.OrderedDict",
    "functools.partial",
    "numpy.dtype",
    "numpy.mean",
    "numpy.median",
    "numpy.number",
    "numpy.random._pcg64.PCG64",
    "scipy._lib.array_api_compat.numpy._aliases.asarray",
    "scipy.interpolate._bsplines.BSpline",
)

_SKLEARN = (
    "_loss._loss.CyAbsoluteError",
    "_loss._loss.CyExponentialLoss",
    "_loss._loss.CyHalfBinomialLoss",
    "_loss._loss.CyHalfGammaLoss",
    "_loss._loss.CyHalfMultinomialLoss",
    "_loss._loss.CyHalfPoissonLoss",
    "_loss._loss.CyHalfSquaredError",
    "_loss._loss.CyHalfTweedieLoss",
    "_loss._loss.CyHalfTweedieLossIdentity",
    "_loss._loss.CyHuberLoss",
    "_loss._loss.CyPinballLoss",
    "_loss.link.HalfLogitLink",
    "_loss.link.IdentityLink",
    "_loss.link.Interval",
    "_loss.link.LogLink",
    "_loss.link.LogitLink",
    "_loss.link.MultinomialLogit",
    "_loss.loss.AbsoluteError",
    "_loss.loss.ExponentialLoss",
    "_loss.loss.HalfBinomialLoss",
    "_loss.loss.HalfGammaLoss",
    "_loss.loss.HalfMultinomialLoss",
    "_loss.loss.HalfPoissonLoss",
    "_loss.loss.HalfSquaredError",
    "_loss.loss.HalfTweedieLoss",
    "_loss.loss.HalfTweedieLossIdentity",
    "_loss.loss.HuberLoss",
    "_loss.loss.PinballLoss",
    "calibration._CalibratedClassifier",
    "calibration._SigmoidCalibration",
    "calibration._TemperatureScaling",
    "cluster._bisect_k_means._BisectingTree",
    "cluster._kmeans._kmeans_single_elkan",
    "cluster._kmeans._kmeans_single_lloyd",
    "compose._column_transformer._RemainderColsList",
    "compose._column_transformer.make_column_selector",
    "ensemble._hist_gradient_boosting.binning._BinMapper",
    "ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "feature_selection._mutual_info.mutual_info_classif",
    "feature_selection._mutual_info.mutual_info_regression",
    "feature_selection._univariate_selection.chi2",
    "feature_selection._univariate_selection.f_classif",
    "feature_selection._univariate_selection.f_regression",
    "gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "metrics._classification.accuracy_score",
    "metrics._classification.balanced_accuracy_score",
    "metrics._classification.f1_score",
    "metrics._scorer._CurveScorer",
    "metrics._scorer._PassthroughScorer",
    "metrics._scorer._Scorer",
    "model_selection._split.GroupKFold",
    "model_selection._split.KFold",
    "model_selection._split.ShuffleSplit",
    "model_selection._split.StratifiedKFold",
    "model_selection._split.StratifiedShuffleSplit",
    "model_selection._split.TimeSeriesSplit",
    "multiclass._ConstantPredictor",
    "neighbors._ball_tree.BallTree",
    "neighbors._kd_tree.KDTree",
    "neural_network._stochastic_optimizers.AdamOptimizer",
    "neural_network._stochastic_optimizers.SGDOptimizer",
    "tree._tree.Tree",
    "utils._bunch.Bunch",
    "utils._metadata_requests.MetadataRequest",
    "utils._metadata_requests.MethodMetadataRequest",
    "utils.validation.check_array",
)

_KERNELS = (
    "CompoundKernel",
    "ConstantKernel",
    "DotProduct",
    "ExpSineSquared",
    "Exponentiation",
    "Matern",
    "PairwiseKernel",
    "Product",
    "RBF",
    "RationalQuadratic",
    "Sum",
    "WhiteKernel",
)

_METRICS = ("Chebyshev", "Euclidean", "Hamming", "Haversine", "Manhattan", "Minkowski", "SEuclidean")

# Their state is numbers, texts and the model in the library's own binary form, which its parser reads as data.
_BOOSTERS = (
    "catboost.core.CatBoost",
    "catboost.core.CatBoostClassifier",
    "catboost.core.CatBoostRanker",
    "catboost.core.CatBoostRegressor",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRanker",
    "lightgbm.sklearn.LGBMRegressor",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
    "xgboost.sklearn.XGBRFClassifier",
    "xgboost.sklearn.XGBRFRegressor",
    "xgboost.sklearn.XGBRanker",
    "xgboost.sklearn.XGBRegressor",
)

TRUSTED = frozenset(
    {
        *_PLAIN,
        *_BOOSTERS,
        *(f"sklearn.{name}" for name in _SKLEARN),
        *(f"sklearn.gaussian_process.kernels.{name}" for name in _KERNELS),
        *(f"sklearn.metrics._dist_metrics.{name}Distance{bits}" for name, bits in product(_METRICS, ("32", "64"))),
    }
)

COMMON = frozenset(  # of the trusted: what estimators of the default trainer hold
    {
        "functools.partial",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.utils.validation.check_array",
    }
)

SKOPS = "model.skops"
JOBLIB = "model.joblib"
ONNX = "model.onnx"
MLFLOW = "model.mlflow.zip"
ARTEFACTS = (SKOPS, ONNX, JOBLIB, MLFLOW)  # the names that an artefact may have
CODE_RUNS = frozenset({JOBLIB, MLFLOW})  # when one of these is loaded


class ArtefactError(DriftdError):
    """An estimator that cannot be stored or loaded; the message says why and what to do."""


def store_estimator(estimator: Any, folder: Path, *, allow_joblib: bool) -> str:
    """Write an estimator into a folder and return the file's name.

    The same estimator gives the same bytes in every run. Raises ArtefactError when skops cannot hold it, or holds it
    only with types that are not trusted, and joblib is not allowed.
    """
    if isinstance(estimator, OnnxModel):
        (folder / ONNX).write_bytes(estimator.content)
        return ONNX
    content, why = skops_content(estimator)
    if content is not None:
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


def skops_content(estimator: Any) -> tuple[bytes | None, str]:
    """An estimator in the skops format, the same bytes in every run; else None, and why skops cannot hold it."""
    try:
        content = _canonical(skops.io.dumps(estimator))
        untrusted = sorted(set(skops.io.get_untrusted_types(data=content)) - TRUSTED)
    except Exception as error:  # noqa: BLE001 - skops raises whatever a foreign object's reduction raises
        return None, f"skops says {type(error).__name__}: {error}"
    if untrusted:
        return None, f"it holds types that are not trusted: {', '.join(untrusted)}"
    return content, ""


def load_estimator(path: Path, *, allow_joblib: bool) -> Any:
    """Read an estimator back; its hash must have been checked before.

    Raises ArtefactError for untrusted types, for a format that runs code where that is not allowed, for a library
    that is not installed, and for files that are none of `ARTEFACTS`.
    """
    if path.name == LOGGED:
        raise ArtefactError(
            f"{path} holds logged predictions: the version is served elsewhere, driftd has no model of it and cannot "
            "predict. Ask the system that serves it"
        )
    if path.name in CODE_RUNS and not allow_joblib:
        kind = "a joblib file" if path.name == JOBLIB else "an MLflow model"
        raise ArtefactError(f"{path} is {kind}, which runs code when loaded; set `allow_joblib: true` to load it")
    try:
        if path.name == JOBLIB:
            return joblib.load(path)
        if path.name == ONNX:
            return OnnxModel(path.read_bytes())
        if path.name == MLFLOW:
            return MlflowModel(path.read_bytes())
        return load_skops(path)
    except ImportError as error:
        raise ArtefactError(f"{path} needs a library that is not installed here: {error}") from error


def load_skops(path: Path) -> Any:
    """Read a file in the skops format, whatever its name. Raises ArtefactError, ImportError."""
    try:
        return _load_trusted(path)
    except UntrustedTypesFoundException as error:
        raise ArtefactError(f"{path} holds types that are not trusted, so it is not loaded: {error}") from error
    except (ImportError, OSError, MemoryError):
        raise  # what is missing or short on this host is no fault of the file
    except Exception as error:  # skops, NumPy and tokenizers raise many kinds where a part is not what they wrote
        raise ArtefactError(
            f"{path} is no artefact that this driftd can read: {type(error).__name__}: {error}"
        ) from error


def _load_trusted(path: Path) -> Any:
    """Load with as few trusted types as will do: skops looks through all of them at each part of an estimator.

    What the default trainer builds needs no look at the file before, which takes a quarter of the time.
    """
    with contextlib.suppress(UntrustedTypesFoundException):
        return skops.io.load(path, trusted=sorted(COMMON))
    return skops.io.load(path, trusted=sorted(TRUSTED & set(skops.io.get_untrusted_types(file=path))))


def _canonical(content: bytes) -> bytes:
    """The same skops archive without what differs from run to run.

    Those are memory addresses and random names (skops gives them to bytes) as the names of parts, and time stamps.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    numbers: dict[int, int] = {}
    names: dict[str, str] = {}
    schema = _renumber(json.loads(parts.pop("schema.json")), numbers, names)
    renamed = {names.get(name, name): part for name, part in parts.items()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, part in [("schema.json", json.dumps(schema).encode()), *sorted(renamed.items())]:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), part, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _renumber(node: Any, numbers: dict[int, int], names: dict[str, str]) -> Any:
    if isinstance(node, list):
        return [_renumber(part, numbers, names) for part in node]
    if not isinstance(node, dict):
        return node
    if isinstance(identity := node.get("__id__"), int):
        numbers.setdefault(identity, len(numbers) + 1)
    new = {key: _renumber(value, numbers, names) for key, value in node.items()}
    if isinstance(identity, int):
        new["__id__"] = numbers[identity]
    if isinstance(file := node.get("file"), str):
        new["file"] = names.setdefault(file, _new_name(file, numbers, len(names)))
    return new


def _new_name(name: str, numbers: dict[int, int], parts: int) -> str:
    """The name of a part: the number of its object, or its place among the parts where the name is a random one."""
    stem, point, ending = name.partition(".")
    number = numbers.get(int(stem)) if stem.isdecimal() else None
    return f"{number}{point}{ending}" if number is not None else f"part-{parts}{point}{ending}"
