"""Models of other systems as estimators: ONNX graphs and MLflow's python_function."""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.metaestimators import available_if

from driftd_detectors.schema import class_name

_DOWNLOADED = "registered_model_meta"  # written by a download from the registry; it says how the model was asked for
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that an archive can hold
_WHOLE = {"integer": np.int32, "long": np.int64, "boolean": np.bool_}


class MlflowModel:
    """A `python_function` that predicts.

    Parameters
    ----------
    content
        A folder with an `MLmodel` file, as `archived` packs it.

    Notes
    -----
    Raises ImportError where MLflow, or a library that the model needs, is absent. `feature_names_in_` is there where
    the model has a signature with names. The function gives predictions without probabilities.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        # The folder lives as long as the model: a python_function may read its files when it predicts.
        self._folder = tempfile.TemporaryDirectory(prefix="driftd-mlflow-", ignore_cleanup_errors=True)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(self._folder.name)
        self._function = mlflow_library().pyfunc.load_model(self._folder.name)
        signature = self._function.metadata.get_input_schema()
        self._types = {}
        if signature is not None and signature.has_input_names():
            self._types = {column.name: column.type.name for column in signature.inputs}
            self.feature_names_in_ = np.array(signature.input_names(), dtype=object)
            self.n_features_in_ = len(self.feature_names_in_)

    def predict(self, frame: pd.DataFrame) -> NDArray[Any]:
        """The prediction of each row. Raises whatever the function raises."""
        answer = np.asarray(self._function.predict(self._as_signed(frame)))
        return answer.reshape(len(frame)) if answer.size == len(frame) else answer

    def _as_signed(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The columns in the types of the signature, which MLflow insists on; gaps stay where a type has none."""
        signed = frame.copy(deep=False)
        for name, wanted in self._types.items():
            if name not in signed:
                continue
            column = signed[name]
            if wanted == "datetime":
                signed[name] = pd.to_datetime(column, unit="s")
            elif wanted == "float":
                signed[name] = column.astype(np.float32)
            elif wanted in _WHOLE and column.notna().all():
                signed[name] = column.astype(_WHOLE[wanted])
        return signed


def archive_folder(folder: Path) -> bytes:
    """A folder as one archive: the same content gives the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name != _DOWNLOADED:
                info = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH)
                archive.writestr(info, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return out.getvalue()


def mlflow_library() -> Any:
    """MLflow, which reports nothing to its makers. Raises ImportError with what to install."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        import mlflow.pyfunc  # noqa: PLC0415 - only who has such a model pays for it
    except ImportError as error:
        raise ImportError(f"MLflow, which loads this model ({error}): pip install 'driftd[mlflow]'") from error
    return mlflow


_TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}
_LABELS = frozenset({"tensor(int64)", "tensor(int32)", "tensor(string)", "tensor(bool)"})
_SCORES = frozenset({"tensor(float)", "tensor(double)"})
_MAPS = "seq(map("
_MATRIX = 2  # dimensions
_ROUNDING = 1e-3  # of the sum of a row's probabilities


class OnnxModel:
    """A graph that predicts.

    Parameters
    ----------
    content
        The bytes of an `.onnx` file.

    Notes
    -----
    Raises ImportError where onnxruntime is absent, ValueError where the bytes are no graph that can be used, which
    the message explains. `feature_names_in_`, `n_features_in_` and `classes_` are there where the graph tells them.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._session = _session(content)
        self._inputs = self._session.get_inputs()
        _require_known(self._inputs)
        outputs = self._session.get_outputs()
        self._label = next((node.name for node in outputs if node.type in _LABELS), None)
        scores = next((node for node in outputs if node.type in _SCORES or node.type.startswith(_MAPS)), None)
        self._scores = None if scores is None else scores.name
        if self._label is None and self._scores is None:
            raise ValueError(f"the graph has no output of labels or numbers; it has {_list_nodes(outputs)}")
        self._describe_inputs()
        if scores is not None and scores.type.startswith(_MAPS):
            self.classes_ = np.array([*self._example()], dtype=object)

    @property
    def gives_both(self) -> bool:
        """Whether the graph answers with labels and with probabilities."""
        return self._label is not None and self._scores is not None

    def predict(self, frame: pd.DataFrame) -> NDArray[Any]:
        """The label or the number of each row. Raises ValueError for rows that the graph cannot take."""
        answer = np.asarray(self._run(self._label or self._scores, frame))
        return answer.reshape(len(frame)) if answer.size == len(frame) else answer

    @available_if(lambda self: self._scores is not None)  # type: ignore[untyped-decorator]
    def predict_proba(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """The probability of each class, a row for each row. Raises ValueError where the graph gives no such thing."""
        answer = self._run(self._scores, frame)
        if isinstance(answer, list):  # a mapping of class to probability for each row
            answer = [[row[label] for label in self.classes_] for row in answer]
        shares = np.asarray(answer, dtype=np.float64).reshape(len(frame), -1)
        if shares.shape[1] == 1:
            shares = np.column_stack([1 - shares[:, 0], shares[:, 0]])
        in_order = (shares >= -_ROUNDING).all() and (np.abs(shares.sum(axis=1) - 1) <= _ROUNDING).all()
        if len(shares) and not in_order:
            raise ValueError(
                f"the output {self._scores} holds no probabilities: they are not from 0 to 1 with sum 1; leave it "
                "out of the graph, and the labels alone are taken"
            )
        return shares

    def _describe_inputs(self) -> None:
        first = self._inputs[0]
        self._takes_matrix = len(self._inputs) == 1 and len(first.shape) == _MATRIX and first.shape[1] != 1
        if not self._takes_matrix:
            self.feature_names_in_ = np.array([node.name for node in self._inputs], dtype=object)
            self.n_features_in_ = len(self._inputs)
        elif isinstance(first.shape[1], int):
            self.n_features_in_ = first.shape[1]

    def _run(self, output: str | None, frame: pd.DataFrame) -> Any:
        return self._session.run([output], self._feed(frame))[0]

    def _feed(self, frame: pd.DataFrame) -> dict[str, NDArray[Any]]:
        if self._takes_matrix:
            first = self._inputs[0]
            columns = [_column(frame[name], first) for name in frame.columns]
            return {first.name: np.column_stack(columns)}
        absent = [node.name for node in self._inputs if node.name not in frame.columns]
        if absent:
            raise ValueError(f"the graph takes inputs {absent} that are no features; they are {list(frame.columns)}")
        return {node.name: _reshape(_column(frame[node.name], node), node.shape) for node in self._inputs}

    def _example(self) -> dict[Any, float]:
        """The probabilities of one made-up row: the names of the classes stand nowhere else."""
        columns = [
            np.array([""], dtype=object) if node.type == "tensor(string)" else np.zeros(1, _TYPES[node.type])
            for node in self._inputs
        ]
        if self._takes_matrix:
            width = getattr(self, "n_features_in_", None)
            if width is None:
                raise ValueError(f"the graph does not say how many features its input {self._inputs[0].name} takes")
            feed = {self._inputs[0].name: np.repeat(columns[0][None, :], width, axis=1)}
        else:
            feed = {node.name: _reshape(column, node.shape) for node, column in zip(self._inputs, columns, strict=True)}
        answer: dict[Any, float] = self._session.run([self._scores], feed)[0][0]
        return answer


def _session(content: bytes) -> Any:
    try:
        import onnxruntime  # noqa: PLC0415 - only who has such a model pays for it
    except ImportError as error:
        raise ImportError("onnxruntime, which runs ONNX graphs: pip install 'driftd[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; warnings go to standard error past every log
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # else waiting threads keep cores busy
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base but Exception
        raise ValueError(f"onnxruntime cannot use the graph: {error}") from error


def _require_known(inputs: list[Any]) -> None:
    unknown = [node for node in inputs if node.type not in _TYPES]
    if unknown or not inputs:
        raise ValueError(f"the graph takes {_list_nodes(unknown) or 'nothing'}; an input is one of {', '.join(_TYPES)}")
    wide = [node for node in inputs if len(inputs) > 1 and len(node.shape) == _MATRIX and node.shape[1] != 1]
    deep = [node for node in inputs if len(node.shape) > _MATRIX]
    if wide or deep:
        raise ValueError(
            f"the graph takes {_list_nodes([*wide, *deep])}: give a graph with one input for each feature, or with a "
            "single input of two dimensions for all of them"
        )


def _list_nodes(nodes: list[Any]) -> str:
    return ", ".join(f"{node.name} ({node.type}, shape {node.shape})" for node in nodes)


def _column(values: pd.Series[Any], node: Any) -> NDArray[Any]:
    """One feature in the type of its input. Raises ValueError for a text or a gap that the type cannot hold."""
    wanted = _TYPES[node.type]
    missing = values.isna().to_numpy()
    if wanted is np.object_:
        return np.array(
            ["" if gap else class_name(node) for node, gap in zip(values, missing, strict=True)], dtype=object
        )
    if not pd.api.types.is_numeric_dtype(values) and not missing.all():
        raise ValueError(f"the feature {values.name} is text, and the graph's input {node.name} takes {node.type}")
    if missing.any() and not issubclass(wanted, np.floating):
        raise ValueError(
            f"the feature {values.name} is missing in {int(missing.sum())} rows, and the graph's input {node.name} "
            f"({node.type}) cannot hold that"
        )
    return values.to_numpy(dtype=np.float64, na_value=np.nan).astype(wanted)


def _reshape(column: NDArray[Any], shape: list[Any]) -> NDArray[Any]:
    return column[:, None] if len(shape) == _MATRIX else column
