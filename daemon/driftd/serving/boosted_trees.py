"""Answers of histogram gradient boosting from the arrays of its trees, bit by bit those of scikit-learn's pipeline.

For a single row, scikit-learn spends milliseconds on frames, checks and a call for each tree, and little on the answer.
Here all nodes of all trees are asked at once, and then each tree is walked in those answers. The leaves are added in
scikit-learn's order and its own link function makes the prediction, so that not a bit differs. What the encoders of a
pipeline do is learned by asking them once for every category.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder

from driftd.errors import DriftdError
from driftd.registry.features import feature_frame
from driftd.registry.loaded import Predictions, predict_with
from driftd_detectors.columns import Numbers
from driftd_detectors.schema import Feature, Kind, Schema
from driftd_detectors.values import Vocabulary

FEW_ROWS = 16  # up to so many, asking every node costs less than scikit-learn's call for each tree
CODES = 256  # of categories in a bitset of scikit-learn's; the code behind them stands for a missing one
_CELLS = 1_000_000  # rows x nodes that are in memory at once
_CHECKED = 64  # rows of categories that are asked by way of every node
_EXACT = 2**53  # integers below it are floats without loss
_STRANGER = "\0 no category has this name"
_MODELS = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)

_READ = {  # what is a number as it is; any other value is read by `feature_frame`
    Kind.NUMBER: frozenset({float, int, NoneType}),
    Kind.TIMESTAMP: frozenset({float, int, NoneType}),
    Kind.BOOLEAN: frozenset({bool, NoneType}),
    Kind.CATEGORY: frozenset({str, NoneType}),
}


class NotDirectError(DriftdError):
    """An estimator that is no pipeline as the default trainer makes it; the message says where it differs."""


@dataclass(frozen=True, slots=True)
class Trees:
    """The nodes of all trees, one after the other; a leaf leads to itself."""

    feature: NDArray[np.intp]  # that a node asks, and so on: one entry a node
    threshold: Numbers
    missing_left: NDArray[np.bool_]
    left: NDArray[np.intp]
    right: NDArray[np.intp]
    value: Numbers
    roots: NDArray[np.intp]  # of iteration 0 for every class, of iteration 1, ...
    depth: int
    baseline: Numbers  # a class
    category_nodes: NDArray[np.intp]
    category_left: NDArray[np.bool_]  # category nodes x (CODES + 1): which codes go left; the last is "missing"

    @classmethod
    def of(cls, model: Any) -> Self:
        """The trees of a fitted HistGradientBoosting estimator."""
        trees = [tree for iteration in model._predictors for tree in iteration]
        sizes = np.array([len(tree.nodes) for tree in trees], dtype=np.intp)
        roots = np.cumsum(sizes) - sizes
        nodes, first = np.concatenate([tree.nodes for tree in trees]), np.repeat(roots, sizes)
        itself, is_leaf = np.arange(len(nodes)), nodes["is_leaf"].astype(bool)
        feature = np.where(is_leaf, 0, nodes["feature_idx"]).astype(np.intp)
        missing_left = nodes["missing_go_to_left"].astype(bool)
        category_nodes = np.flatnonzero(nodes["is_categorical"].astype(bool) & ~is_leaf)
        return cls(
            feature,
            nodes["num_threshold"].copy(),
            missing_left,
            np.where(is_leaf, itself, first + nodes["left"]).astype(np.intp),
            np.where(is_leaf, itself, first + nodes["right"]).astype(np.intp),
            nodes["value"].copy(),
            roots,
            int(nodes["depth"].max()),
            0.0 + np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1),
            category_nodes,
            _left_codes(model, trees, nodes, category_nodes),
        )

    def sums(self, numbers: Numbers) -> Numbers:
        """The raw predictions of some rows (rows x classes, in Fortran's order, as scikit-learn has them)."""
        step = max(1, _CELLS // len(self.feature))
        parts = [self._sums_of_part(numbers[at : at + step]) for at in range(0, len(numbers), step)]
        return np.asfortranarray(parts[0] if len(parts) == 1 else np.concatenate(parts))

    def _sums_of_part(self, numbers: Numbers) -> Numbers:
        rows, nodes, classes = len(numbers), len(self.feature), len(self.baseline)
        after = np.where(self._goes_left(numbers), self.left, self.right)
        first = np.arange(0, rows * nodes, nodes)[:, np.newaxis]  # of each row in the flat table
        after = (after + first).ravel()
        at = (self.roots + first).ravel()
        for _ in range(self.depth):
            at = after.take(at)
        leaves = self.value.take(at.reshape(rows, -1) - first)
        steps = np.empty((rows, len(self.roots) // classes + 1, classes))
        steps[:, 0] = self.baseline
        steps[:, 1:] = leaves.reshape(rows, -1, classes)
        return np.add.accumulate(steps, axis=1)[:, -1]  # one after the other: `sum` adds in pairs and rounds otherwise

    def _goes_left(self, numbers: Numbers) -> NDArray[np.bool_]:
        """Which way each row goes at each node."""
        values = numbers.take(self.feature, axis=1)
        left = values <= self.threshold
        if np.isnan(numbers).any():
            left |= np.isnan(values) & self.missing_left
        if len(self.category_nodes):
            asked = values[:, self.category_nodes]
            codes: NDArray[np.intp] = np.where(np.isnan(asked), CODES, asked).astype(np.intp)
            first = np.arange(0, self.category_left.size, CODES + 1)
            left[:, self.category_nodes] = self.category_left.take(codes + first)
        return left


def _left_codes(model: Any, trees: list[Any], nodes: NDArray[Any], which: NDArray[np.intp]) -> NDArray[np.bool_]:
    """For each node that asks for a category, which codes go left. Codes that it does not know are missing."""
    if not len(which):
        return np.empty((0, CODES + 1), dtype=bool)
    known_sets, set_of = model._bin_mapper.make_known_categories_bitsets()
    known = _bits(known_sets)[np.asarray(set_of)[nodes["feature_idx"][which]]]
    counts = [len(tree.raw_left_cat_bitsets) for tree in trees]
    first = np.repeat(np.cumsum(counts) - counts, [len(tree.nodes) for tree in trees])[which]
    left = _bits(np.concatenate([tree.raw_left_cat_bitsets for tree in trees]))[first + nodes["bitset_idx"][which]]
    missing = nodes["missing_go_to_left"][which].astype(bool)[:, np.newaxis]
    return np.concatenate([np.where(known | left, left, missing), missing], axis=1)


def _bits(sets: NDArray[Any]) -> NDArray[np.bool_]:
    """Bitsets of eight 32-bit words as rows of `CODES` truths."""
    words = np.ascontiguousarray(sets, dtype="<u4").reshape(-1, CODES // 32)
    return np.unpackbits(words.view(np.uint8), axis=1, bitorder="little").astype(bool)


@dataclass(frozen=True, slots=True)
class Encoding:
    """How one column becomes numbers; `codes` of a category by its text, None for any other kind."""

    feature: Feature
    codes: dict[str | None, float] | None = None
    unknown: float = np.nan

    def encode(self, values: list[Any]) -> list[Any] | None:
        """The numbers of some values, None (or NaN) for a missing one; None where a value has to be read first."""
        kinds = set(map(type, values))
        if not kinds <= _READ[self.feature.kind]:
            return None
        if self.codes is not None:
            vocabulary: Vocabulary = self.feature.vocabulary
            codes, unknown = self.codes, self.unknown
            return [codes.get(text, unknown) for text in vocabulary.resolve_all(values)]
        if int in kinds and not all(-_EXACT < value < _EXACT for value in values if type(value) is int):
            return None
        return values


class DirectEstimator:
    """Stands in for a pipeline where `predict_with` asks it; its rows are those that `numbers_of` made.

    `encodings` are in the order of the model's columns; `few_rows` as `FEW_ROWS`.
    """

    def __init__(self, pipeline: Pipeline, encodings: tuple[Encoding, ...], *, few_rows: int = FEW_ROWS) -> None:
        self.steps = pipeline.steps
        self._model = pipeline.steps[-1][1]
        self._encodings = encodings
        self._trees = Trees.of(self._model)
        self._few_rows = few_rows

    def numbers_of(self, columns: Mapping[str, list[Any]]) -> Numbers | None:
        """The rows as the model sees them (rows x columns); None where `feature_frame` has to read a value first."""
        encoded = []
        for encoding in self._encodings:
            numbers = encoding.encode(columns[encoding.feature.name])
            if numbers is None:
                return None
            encoded.append(numbers)
        found = np.array(encoded, dtype=np.float64).T
        infinite = np.isinf(found)
        return np.where(infinite, np.nan, found) if infinite.any() else found

    def predict(self, numbers: Numbers) -> Numbers:
        """The numbers that a regression predicts."""
        return np.asarray(self._model._loss.link.inverse(self._sums(numbers).ravel()))

    def _sums(self, numbers: Numbers) -> Numbers:
        if len(numbers) <= self._few_rows:
            return self._trees.sums(numbers)
        model, baseline = self._model, self._trees.baseline
        sums = np.zeros((len(numbers), len(baseline)), order="F") + baseline
        model._predict_iterations(numbers, model._predictors, sums, is_binned=False, n_threads=1)
        return sums


class DirectClassifier(DirectEstimator):
    """The same of a pipeline that tells classes apart."""

    def __init__(self, pipeline: Pipeline, encodings: tuple[Encoding, ...], *, few_rows: int = FEW_ROWS) -> None:
        super().__init__(pipeline, encodings, few_rows=few_rows)
        self.classes_ = self._model.classes_

    def predict_proba(self, numbers: Numbers) -> Numbers:
        """The probability of each class, in the order of `classes_`."""
        return np.asarray(self._model._loss.predict_proba(self._sums(numbers)))


def direct_estimator(pipeline: Any, schema: Schema, probe: pd.DataFrame) -> DirectEstimator:
    """A stand-in for a pipeline of the default trainer, after it answered as that does, to the last bit.

    Both are asked for the rows of `probe` (as `feature_frame` gives them) and for a row of every category, by either
    way to the sums. Raises NotDirectError for any other estimator, and where an answer differs.
    """
    texts = _texts_of(pipeline)
    known = feature_frame(_every_category(texts, schema), schema)
    encodings = _encodings(pipeline, texts, schema, known)
    kind = DirectClassifier if isinstance(pipeline.steps[-1][1], HistGradientBoostingClassifier) else DirectEstimator
    by_node, by_tree = (kind(pipeline, encodings, few_rows=few_rows) for few_rows in (_CHECKED, 0))
    for direct, frame in ((by_node, probe), (by_tree, probe), (by_node, known[-_CHECKED:]), (by_tree, known)):
        numbers = direct.numbers_of(_plain_columns(frame, schema))
        expected = predict_with(pipeline, schema, frame)
        if numbers is None or not _is_same(predict_with(direct, schema, numbers), expected):
            raise NotDirectError(f"the trees answer otherwise than scikit-learn does, to some of {len(frame)} rows")
    return kind(pipeline, encodings)


def _texts_of(pipeline: Any) -> dict[str, list[str] | None]:
    """The columns of a pipeline's model in their order, with the texts that an encoder knows; None for numbers.

    Raises NotDirectError for a pipeline that does anything else with its columns.
    """
    steps = [step for _, step in pipeline.steps] if type(pipeline) is Pipeline else []
    if [type(step) for step in steps[:1]] != [ColumnTransformer] or type(steps[-1]) not in _MODELS or len(steps) > 2:  # noqa: PLR2004 - columns, model
        raise NotDirectError(f"{type(pipeline).__name__} is no pipeline of columns and histogram gradient boosting")
    columns, model = steps
    found: dict[str, list[str] | None] = {}
    for name, part, chosen in columns.transformers_:
        if len(chosen) and part != "drop":
            found |= dict(zip(chosen, _known_texts(name, part, len(chosen)), strict=True))
    coded = [texts is not None for texts in found.values()]
    if len(found) != model.n_features_in_ or not all(isinstance(column, str) for column in found):
        raise NotDirectError("its columns are not chosen by their names, each once")
    is_first = coded == sorted(coded, reverse=True)  # where the model itself puts its categories
    if model.is_categorical_ is not None and not (is_first and list(model.is_categorical_) == coded):
        raise NotDirectError("its model takes other columns for categories than those that are encoded")
    return found


def _known_texts(name: str, part: Any, columns: int) -> list[list[str] | None]:
    """The texts that each column of a part of a ColumnTransformer knows."""
    if type(part) is OrdinalEncoder:
        return [[text for text in known if isinstance(text, str)] for known in part.categories_]
    if part == "passthrough" or (type(part) is FunctionTransformer and part.func is None):
        return [None] * columns
    raise NotDirectError(f"its part {name} is {type(part).__name__}, whose numbers are not known")


def _every_category(texts: Mapping[str, list[str] | None], schema: Schema) -> dict[str, list[Any]]:
    """Rows in which each category comes once; in the last two each is unknown, then missing. Numbers are 0."""
    rows = max((len(known) for known in texts.values() if known is not None), default=0)
    columns: dict[str, list[Any]] = {}
    for feature in schema.features:
        known = texts.get(feature.name) or []
        is_text = feature.kind is Kind.CATEGORY
        columns[feature.name] = (
            [*known, *[None] * (rows - len(known)), _STRANGER, None] if is_text else [0.0] * (rows + 2)
        )
    return columns


def _encodings(
    pipeline: Pipeline, texts: Mapping[str, list[str] | None], schema: Schema, known: pd.DataFrame
) -> tuple[Encoding, ...]:
    """What the pipeline makes of every category; asked of it, not read from it."""
    columns, model = (step for _, step in pipeline.steps)
    numbers = np.asarray(model._preprocess_X(columns.transform(known), reset=False), dtype=np.float64)
    features = {feature.name: feature for feature in schema.features}
    if numbers.shape != (len(known), len(texts)) or not set(texts) <= set(features):
        raise NotDirectError(f"its model sees {numbers.shape[1]} columns, of which {len(texts)} are known")
    found = []
    for place, (name, words) in enumerate(texts.items()):
        if (words is None) == (features[name].kind is Kind.CATEGORY):
            raise NotDirectError(f"its column {name} is a {features[name].kind}, which it takes for something else")
        if words is None:
            found.append(Encoding(features[name]))
            continue
        *codes, unknown, missing = numbers[:, place].tolist()
        if model.is_categorical_ is not None and not all(0 <= code < CODES or np.isnan(code) for code in codes):
            raise NotDirectError(f"its column {name} has a code outside of a bitset")
        found.append(Encoding(features[name], {None: missing, **dict(zip(words, codes, strict=False))}, unknown))
    return tuple(found)


def _plain_columns(frame: pd.DataFrame, schema: Schema) -> dict[str, list[Any]]:
    """The values of a frame of `feature_frame` as JSON has them."""
    columns: dict[str, list[Any]] = {}
    for feature in schema.features:
        values = frame[feature.name].astype(object).where(frame[feature.name].notna(), None).tolist()
        as_truth = feature.kind is Kind.BOOLEAN
        columns[feature.name] = [None if value is None else bool(value) if as_truth else value for value in values]
    return columns


def _is_same(answer: Predictions, expected: Predictions) -> bool:
    """Whether two answers are the same to the last bit."""
    pairs = [(answer.prediction, expected.prediction), (answer.score, expected.score)]
    if answer.probability is not None and expected.probability is not None:
        pairs.append((answer.probability, expected.probability))
    return all(a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)
