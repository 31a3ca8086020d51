"""An MLflow model in its `python_function` form as an estimator; what is kept of it is its folder as one archive.

MLflow is loaded with the first such model, and only then. Loading one runs code that the model brings.
"""

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


def archived(folder: Path) -> bytes:
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
