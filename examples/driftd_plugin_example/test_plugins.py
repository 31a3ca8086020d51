"""Every plug-in of the package keeps driftd's promises for its kind."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
from driftd_plugin_example.deployers import copy_artefact
from driftd_plugin_example.detectors import missing_share
from driftd_plugin_example.metrics import late_cost
from driftd_plugin_example.receivers import deliver_mail
from driftd_plugin_example.registries import FolderRegistry
from driftd_plugin_example.sources import SqliteTables

from driftd.testing import (
    check_deployer,
    check_detector,
    check_metric,
    check_receiver,
    check_registry,
    check_source,
)

START = 1_700_000_000.0


def test_source(tmp_path: Path) -> None:
    """Two hundred predictions, the older half with labels, some of which were corrected."""
    with sqlite3.connect(tmp_path / "events.db") as database:
        database.execute("create table predictions (prediction_id text, at real, prediction real, a real, c text)")
        database.execute("create table labels (prediction_id text, label real, label_at real)")
        rows = [(f"p{number}", START + 60 * number, 1.5, number / 7, "red") for number in range(200)]
        database.executemany("insert into predictions values (?, ?, ?, ?, ?)", rows)
        labels = [(f"p{number}", float(number % 3), START + 60 * number + 600) for number in range(100)]
        corrected = [(f"p{number}", 9.0, START + 20_000) for number in range(0, 100, 10)]
        database.executemany("insert into labels values (?, ?, ?)", labels + corrected)
    check_source(lambda: SqliteTables({"path": str(tmp_path / "events.db")}), features=("a", "c"))


def test_metric() -> None:
    """A cost for each row."""
    check_metric(late_cost, np.array([1.0, 5.0, 2.0]), np.array([2.0, 3.0, 2.0]))


def test_detector() -> None:
    """Gaps are far from rows without any."""
    rng = np.random.default_rng(1)
    rows = pd.DataFrame({"price": rng.normal(20, 5, 2000), "region": rng.choice(["north", "south"], 2000)})
    gaps = rows.assign(price=rows["price"].where(rng.integers(2, size=2000) == 1))
    check_detector(missing_share, rows, moved=gaps)


def test_receiver(tmp_path: Path) -> None:
    """Messages come as mails."""
    check_receiver(deliver_mail, {"folder": str(tmp_path / "mail")})
    assert [*(tmp_path / "mail" / "new").iterdir()]


def test_registry(tmp_path: Path) -> None:
    """Versions are registered once, and the alias is read back."""
    (tmp_path / "registry").mkdir()
    check_registry(lambda: FolderRegistry({"folder": str(tmp_path / "registry")}), tmp_path / "versions")


def test_deployer(tmp_path: Path) -> None:
    """The file that is served follows every order."""
    served = tmp_path / "served"
    served.mkdir()
    check_deployer(copy_artefact, {"folder": str(served)}, tmp_path / "versions")
    assert (served / "wanted").is_file()
