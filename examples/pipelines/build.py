"""Builds what driftd ordered: fetches the rows, trains, and gives the model back.

The order is JSON in the variable DRIFTD_ORDER, or in the file that the first argument names. Needs pandas, pyarrow,
scikit-learn and skops; put your own training into `train`. See docs/outside-builds.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import traceback
import urllib.request
from pathlib import Path
from typing import Any

import pandas as pd
import skops.io
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

SECONDS = 300
COMMITS = ("CI_COMMIT_SHA", "GITHUB_SHA", "GIT_COMMIT")  # of GitLab CI, GitHub Actions, Jenkins


def main() -> None:
    """Build, and tell driftd of a failure in its last words."""
    order = read_order()
    print(f"version {order['build']} of {order['model']}: {order['reason']}", flush=True)  # noqa: T201 - the log
    try:
        with tempfile.TemporaryDirectory() as name:
            give_back(order, build(order, Path(name)))
    except Exception:
        ask(order, "/failed", traceback.format_exc().encode(), method="POST")
        raise


def read_order() -> dict[str, Any]:
    """The order, by whichever way it came."""
    text = Path(sys.argv[1]).read_text("utf-8") if len(sys.argv) > 1 else os.environ["DRIFTD_ORDER"]
    order: dict[str, Any] = json.loads(text)
    return order


def build(order: dict[str, Any], folder: Path) -> Path:
    """Fetch the rows, train on them, and return the file of the model."""
    context = json.loads(ask(order, ""))["context"]
    rows = folder / "rows.parquet"
    ask(order, "/snapshot", into=rows)
    if hashlib.sha256(rows.read_bytes()).hexdigest() != order["snapshot"]["sha256"]:
        raise ValueError("the rows are not those that were ordered: fetch them again")
    model = train(pd.read_parquet(rows), context)
    skops.io.dump(model, folder / "model.skops")
    return folder / "model.skops"


def train(rows: pd.DataFrame, context: dict[str, Any]) -> Any:
    """Your training: a model that answers for all features, in the order of the context."""
    is_regression = context["task"] == "regression"
    kind = HistGradientBoostingRegressor if is_regression else HistGradientBoostingClassifier
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = make_column_transformer((codes, context["categorical"]), remainder="passthrough")
    model = make_pipeline(columns, kind(random_state=context["seed"], **context["parameters"]))
    weight = {} if "driftd_weight" not in rows else {f"{kind.__name__.lower()}__sample_weight": rows["driftd_weight"]}
    return model.fit(rows[context["features"]], rows[context["target"]], **weight)


def give_back(order: dict[str, Any], model: Path) -> None:
    """Hand the file of the model over, with its hash, and the git commit where the pipeline says it."""
    content = model.read_bytes()
    headers = {"X-Driftd-SHA256": hashlib.sha256(content).hexdigest()}
    commit = next((os.environ[name] for name in COMMITS if os.environ.get(name)), None)
    if commit is not None:
        headers["X-Driftd-Commit"] = commit.lower()
    print(ask(order, f"/artefact/{model.name}", content, method="PUT", **headers).decode())  # noqa: T201 - the log


def ask(
    order: dict[str, Any], path: str, body: bytes | None = None, *, method: str = "GET", into: Path | None = None,
    **headers: str,
) -> bytes:  # fmt: skip
    """Ask driftd with the token of the order; the answer goes into a file where one is named."""
    headers = {"Authorization": f"Bearer {order['token']}", "Content-Type": "application/octet-stream", **headers}
    request = urllib.request.Request(order["url"] + path, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        if into is None:
            content: bytes = answer.read()
            return content
        with into.open("wb") as file:
            while piece := answer.read(1 << 20):
                file.write(piece)
    return b""


if __name__ == "__main__":
    main()
