"""`driftd init` as a process, on real and on made rows, and what the other commands say of what it made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftd.config.load import load
from driftd.paths import Places
from driftd.registry import Registry
from driftd_processes import driftd

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `driftd init` was run on 4,000 made rows."""
    folder = tmp_path_factory.mktemp("begun")
    rng = np.random.default_rng(3)
    rows = pd.DataFrame({"ts": pd.date_range("2024-01-01", periods=4000, freq="30min"), "a": rng.normal(size=4000)})
    rows["region"], rows["meta_row"] = rng.choice(["north", "south"], 4000), np.arange(4000)
    rows["late"] = np.where(rows["a"] + rng.normal(size=4000) > 0, "yes", "no")
    rows.to_csv(folder / "Orders 2024.csv", index=False)
    run = driftd(folder, "init", "Orders 2024.csv", "--target", "late")
    assert run.returncode == 0, run.stderr
    assert "meta_row is left out of the features" in run.stderr
    assert "version 1 of orders-2024 is trained on 4,000 rows and serves" in run.stdout
    return folder


def test_init_leaves_a_working_config_and_a_served_version(begun: Path) -> None:
    """After init there is a valid config with what was read off the file, and version 1 serves and can be loaded."""
    config = load(begun / "config.yaml")
    model = config.models["orders-2024"]
    assert model.target == "late"
    assert set(model.features or ()) == {"a", "region"}
    assert model.window.every == 86_400
    registry = Registry(Places(config.state_dir))
    assert registry.current("orders-2024") == 1
    assert registry.load("orders-2024", 1).schema.classes == ("no", "yes")
    assert registry.file("orders-2024", 1, "reference.bin").stat().st_size > 0


def test_the_other_commands_take_up_where_init_left(begun: Path) -> None:
    """Right after init, check-config, status and versions need nothing but the folder."""
    assert driftd(begun, "check-config").returncode == 0
    status = driftd(begun, "status")
    assert status.returncode == 0
    assert "version 1 serves, but no daemon has watched it yet: start `driftd run`" in status.stdout
    (version,) = json.loads(driftd(begun, "versions", "--json").stdout)
    assert (version["version"], version["serves"], version["parent"]) == (1, True, None)
    assert driftd(begun, "history").returncode == 4


def test_init_overwrites_nothing(begun: Path) -> None:
    """An existing config stays unless --force is said, and a model that serves already is never replaced."""
    before = (begun / "config.yaml").read_bytes()
    again = driftd(begun, "init", "Orders 2024.csv", "--target", "late")
    assert again.returncode == 1
    assert "config.yaml exists" in again.stderr
    forced = driftd(begun, "init", "Orders 2024.csv", "--target", "late", "--force")
    assert forced.returncode == 1
    assert "orders-2024 has version 1" in forced.stderr
    assert (begun / "config.yaml").read_bytes() == before


def test_a_first_version_that_fails_leaves_no_config(begun: Path) -> None:
    """Where version 1 cannot be trained, the reason is told and no config stands there for a model that is not."""
    rows = pd.read_csv(begun / "Orders 2024.csv")
    rows.loc[rows.index < 3500, "late"] = "yes"  # the trainer, which sees the older rows, meets a single class
    rows.loc[rows.index >= 3500, "late"] = "no"
    rows.to_parquet(begun / "single.parquet")
    run = driftd(begun, "init", "single.parquet", "--target", "late", "--output", "single.yaml")
    assert run.returncode == 1
    last = run.stderr.splitlines()[-1]
    assert "the training rows hold a single class (yes)" in last
    assert "the whole log is below" in last
    assert "Traceback" not in run.stderr
    assert not (begun / "single.yaml").exists()


def test_init_on_everyday_columns(tmp_path: Path) -> None:
    """Decimals, dates, booleans with gaps and codes of a compressed folder of JSON lines make a version that serves."""
    rng = np.random.default_rng(4)
    times = pd.date_range("2024-01-01", periods=2000, freq="1h")
    rows = pd.DataFrame({"ts": times.astype(str), "amount": np.round(rng.normal(100, 9, 2000), 2), "zip": "01"})
    rows["zip"] = rng.choice(["01", "02", "1"], 2000)
    rows["signup"] = (times - pd.to_timedelta(rng.integers(0, 20, 2000), unit="D")).strftime("%Y-%m-%d")
    rows["vip"] = pd.Series(rng.choice([True, False], 2000), dtype=object).where(rng.random(2000) > 0.2, None)
    rows["paid"] = np.where(rows["amount"] + rng.normal(0, 5, 2000) > 100, "TRUE", "FALSE")
    for part, begin in enumerate((0, 1000)):
        folder = tmp_path / "orders" / f"part={part}"
        folder.mkdir(parents=True)
        rows.iloc[begin : begin + 1000].to_json(folder / "rows.jsonl.gz", orient="records", lines=True)
    run = driftd(tmp_path, "init", "orders", "--target", "paid")
    assert run.returncode == 0, run.stderr
    assert "taken for timestamps: signup" in run.stderr
    schema = Registry(Places(load(tmp_path / "config.yaml").state_dir)).manifest("orders", 1).schema
    assert schema.classes == ("0", "1")
    kinds = {feature.name: str(feature.kind) for feature in schema.features}
    expected = {"amount": "number", "zip": "category", "signup": "timestamp", "vip": "boolean", "part": "number"}
    assert kinds == expected
    assert dict(zip(schema.names, schema.features, strict=True))["zip"].categories == ("01", "02", "1")


def test_init_on_a_real_stream(tmp_path: Path) -> None:
    """On real hourly rentals init finds the task and the time, and version 1 is far better than saying the mean."""
    path = SHARED / "bike_sharing.parquet"
    if not path.exists():
        pytest.skip(f"the stream {path} is not on this machine")
    run = driftd(tmp_path, "init", str(path), "--target", "target", "--name", "bikes", "--output", "bikes.yaml")
    assert run.returncode == 0, run.stderr
    config = load(tmp_path / "bikes.yaml")
    manifest = Registry(Places(config.state_dir)).manifest("bikes", 1)
    assert config.models["bikes"].task == "regression"
    assert config.models["bikes"].window.every is not None
    frame = pd.read_parquet(path)["target"]
    assert manifest.metrics["loss"] < 0.7 * float((frame - frame.mean()).abs().mean())
    assert driftd(tmp_path, "status", "--config", "bikes.yaml").returncode == 0
