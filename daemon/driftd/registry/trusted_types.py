"""The types that an artefact in the skops format may hold beside those that skops trusts by itself.

Each is data, or a pure function: none reads a file, starts a program or runs code of the artefact's maker when it is
loaded. `docs/decisions/012-adopted-models.md` says what was weighed. A transformer of the user's own, or a
`FunctionTransformer` around the user's own function, is never among them.
"""

from __future__ import annotations

from itertools import product

# `functools.partial` is safe here because the function that it wraps must be trusted too.
_PLAIN = (
    "collections.OrderedDict",
    "functools.partial",
    "numpy.dtype",
    "numpy.mean",
    "numpy.median",
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
    "metrics._scorer._Scorer",
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
