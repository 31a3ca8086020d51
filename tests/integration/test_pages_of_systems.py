"""The pages of the systems that hold a user's rows and versions do what they say, block by block."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import duckdb
import pytest
import yaml

from document_examples import DOCS, blocks, run_block
from driftd.config.load import load
from driftd.loop.daemon import Daemon
from driftd.loop.factory import Assembly
from driftd.observe.metrics import Metrics
from driftd.paths import Places
from driftd.records import Window
from driftd.registry import Registry
from driftd.sources import open_source
from driftd.store.state.writer import StateStore
from driftd_processes import driftd
from engine_servers import mlflow_server, postgres
from mlflow_world import MlflowRegistry
from object_store_worlds import running_store
from sql_tables import postgres_database

pytestmark = pytest.mark.slow


def test_the_page_of_object_stores_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 1 comes from a bucket, its source reads every row and label, and check-config counts the objects."""
    with running_store(tmp_path / "store") as store:
        for name, value in (("ENDPOINT_URL", store.endpoint), ("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b")):
            monkeypatch.setenv(f"AWS_{name}", value)
        config = tmp_path / "config.yaml"
        for block in blocks("your-object-store.md"):
            if block.language == "yaml":
                section = yaml.safe_load(block.text)["source"]
                assert set(section["object_store"]) == {"endpoint", "region", "credentials_file", "timeout"}
                section["object_store"] |= {"endpoint": store.endpoint, "credentials_file": str(store.keys)}
                config.write_text(re.sub(r"source: .*", f"source: {json.dumps(section)}", config.read_text()))
            elif block.language == "json":
                assert {part["Action"] for part in json.loads(block.text)["Statement"]} == {
                    "s3:ListBucket",
                    "s3:GetObject",
                }
            else:
                run_block(block, tmp_path)
        said = driftd(tmp_path, "check-config").stdout
        assert re.search(r"^  s3://acme-orders/logs answers: 1[12] objects$", said, re.MULTILINE)
        assert "warning" not in said
        places = Places(tmp_path / "driftd-state")
        schema = Registry(places).manifest("orders", 1).schema
        source = open_source("orders", load(config).models["orders"], schema, places)
        extent = source.refresh(time.time())
        assert (extent.rows, extent.faults, extent.counts["unjoined"]) == (2400, (), 0)
        labelled = source.outcomes(Window(0, 0.0, time.time()), time.time()).labelled
        assert int(labelled.sum()) > 2100
        source.close()


def test_the_page_of_warehouses_runs(tmp_path: Path) -> None:
    """Both sources of the page read every row, with the rights that it grants and the credentials that it shows."""
    page = list(blocks("your-warehouse.md"))
    credentials = re.search(
        r"^```\n(user: .*?)^```", (DOCS / "your-warehouse.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert credentials is not None
    (tmp_path / "credentials").write_text(credentials[1])
    with postgres(tmp_path / "server") as server:
        for block in page:
            if block.language in {"python", "sh"}:
                run_block(block, tmp_path)
        database = postgres_database(server, "orders")
        database.execute("create schema sales")
        with duckdb.connect(tmp_path / "orders.duckdb", read_only=True) as origin:
            for name in ("orders", "outcomes"):
                table = origin.sql(f"select * from sales.{name}").to_arrow_table()
                database.load(name, table)
                database.execute(f"alter table {name} set schema sales")
        (rights,) = [block.text for block in page if block.language == "sql"]
        database.execute(*(line for line in rights.splitlines() if line))
        sections = [yaml.safe_load(block.text)["source"] for block in page if block.language == "yaml"]
        assert len(sections) == 2
        sections[0]["url"] = f"duckdb://{tmp_path / 'orders.duckdb'}"
        sections[1] |= {
            "url": f"postgresql://{database.url.rpartition('@')[2]}",
            "credentials_file": str(tmp_path / "credentials"),
        }
        for section in sections:
            _reads_the_tables(tmp_path, section)


def test_the_page_of_tables_runs(tmp_path: Path) -> None:
    """Both sources of the page read every row of the tables that it makes."""
    page = list(blocks("your-tables.md"))
    for block in page:
        if block.language in {"python", "sh"}:
            run_block(block, tmp_path)
    delta, iceberg = [yaml.safe_load(block.text)["source"] for block in page if block.language == "yaml"]
    delta |= {"predictions": str(tmp_path / "lake" / "orders"), "labels": str(tmp_path / "lake" / "outcomes")}
    iceberg["catalog"]["uri"] = f"sqlite:///{tmp_path / 'catalog.db'}"
    for section in (delta, iceberg):
        _reads_the_tables(tmp_path, section)


def _reads_the_tables(folder: Path, section: dict[str, object]) -> None:
    text = (folder / "config.yaml").read_text()
    changed = folder / "warehouse.yaml"
    changed.write_text(re.sub(r"source: .*", f"source: {json.dumps(section)}", text))
    model = load(changed).models["orders"]
    schema = Registry(Places(folder / "driftd-state")).manifest("orders", 1).schema
    source = open_source("orders", model, schema, Places(folder / "state"))
    assert source.refresh(time.time()).faults == ()
    window = Window(0, 0.0, time.time())
    assert sum(columns.rows for columns, _ in source.chunks(window)) == 7200
    assert source.outcomes(window, time.time()).labelled.sum() > 6900
    source.close()


def test_the_page_of_mlflow_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its version is registered by the daemon, loaded by its alias, adopted from there, and not registered again."""
    with mlflow_server(tmp_path / "mlflow") as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        for block in blocks("your-mlflow.md"):
            if block.language == "yaml":
                place = yaml.safe_load(block.text)
                place["registry"]["mlflow"]["tracking_uri"] = address
                with (tmp_path / "config.yaml").open("a") as config:
                    config.write(f"    registry: {json.dumps(place['registry'])}\n")
            elif "load_model" in block.text:
                _let_register(tmp_path / "config.yaml")
            run_block(block, tmp_path)
        adopted = Registry(Places(load(tmp_path / "adopted.yaml").state_dir)).manifest("adopted", 1).adopted
        assert adopted is not None
        there = MlflowRegistry(address, "orders")
        assert (there.versions(), there.alias(), adopted.version) == ({"1": 1}, 1, "1")
        assert adopted.run_id == there.client.get_model_version("orders", "1").run_id


def _let_register(path: Path) -> None:
    """What the daemon does of a config in its first round."""
    config = load(path)
    places = Places(config.state_dir)
    daemon = Daemon(Assembly(path, config, places, StateStore.open(places.state_db), Metrics()))
    daemon.catch_up(time.time())
    daemon.close()
