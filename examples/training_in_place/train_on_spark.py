"""A linear regression over rows that stay in the cluster: Spark sums up, the driver solves.

Run by spark-submit, or by a job API that passes the same two addresses:

    spark-submit train_on_spark.py ROWS_JSON OUTPUT_FOLDER

ROWS_JSON is the file that driftd names in DRIFTD_ROWS, OUTPUT_FOLDER the one in DRIFTD_OUTPUT.
"""

import json
import sys
from pathlib import Path

import numpy as np
import skops.io
from pyspark.sql import SparkSession
from pyspark.sql.functions import col, lit
from pyspark.sql.functions import sum as sum_of
from sklearn.linear_model import LinearRegression


def read_rows(spark, rows):
    """The rows to train on: of the times that driftd names, with the labels that were known by then."""
    source = rows["source"]
    names = {"at": "at", "label": "label", **source.get("columns", {})}
    path = source.get("path")
    table = spark.read.parquet(path) if path else spark.read.table(source["predictions"])
    at, label = col(names["at"]), col(names["label"])
    kept = table.where((at < rows["until"]) & label.isNotNull())
    if rows["since"] is not None:
        kept = kept.where(at >= rows["since"])
    return kept.select(*rows["features"], label.alias("label")).na.drop()


def solve(frame, features):
    """The coefficients, from sums of products that Spark makes: one row comes to the driver, however many there are."""
    columns = [lit(1.0), *(col(name) for name in features), col("label")]
    places = [(i, j) for i in range(len(columns)) for j in range(i, len(columns))]
    sums = frame.agg(*(sum_of(columns[i] * columns[j]) for i, j in places)).first()
    moments = np.zeros((len(columns), len(columns)))
    for (i, j), value in zip(places, sums, strict=True):
        moments[i, j] = moments[j, i] = value
    return np.linalg.solve(moments[:-1, :-1], moments[:-1, -1])


def main(rows_json, output):
    """Train, and leave the model where driftd looks for it."""
    rows = json.loads(Path(rows_json).read_text())
    spark = SparkSession.builder.appName("driftd training").getOrCreate()
    features = rows["features"]
    solved = solve(read_rows(spark, rows), features)
    model = LinearRegression()
    model.intercept_, model.coef_ = float(solved[0]), solved[1:]
    model.n_features_in_, model.feature_names_in_ = len(features), np.array(features, dtype=object)
    skops.io.dump(model, Path(output) / "model.skops")
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
