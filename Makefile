# driftd. Everything below makes its own set-up: a fresh clone needs Python 3.11 or newer, pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := demo-state

.PHONY: help demo test unit slow lint types bench docs dashboards clean

help:  ## Show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "driftd needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@

demo: $(READY)  ## Show the whole loop on a real year of flights (about two minutes)
	$(BIN)/driftd demo --folder $(DEMO)

test: lint types  ## Everything: lint, types, unit tests, then the slow ones
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

unit: $(READY)  ## The quick tests alone
	$(BIN)/python -m pytest tests/unit -m 'not slow' -n 2

slow: $(READY)  ## The slow tests alone
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile --no-loadscope-reorder

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(READY)
	$(BIN)/mypy

bench: $(READY)  ## The benchmarks, one after another; see benchmarks/README.md
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

docs: $(READY)  ## Regenerate the generated pages
	$(BIN)/python -m driftd.observe.document > docs/metrics.md
	$(BIN)/python -m driftd.observe.alert_document table > docs/alerts.md
	$(BIN)/python -m driftd.observe.alert_document prometheus > grafana/prometheus/driftd.rules.yml
	$(BIN)/python -m driftd.observe.alert_document grafana > grafana/provisioning/alerting/driftd.yaml
	$(BIN)/python -m driftd.config.document > docs/configuration.md
	$(BIN)/python -m driftd.cli.document > docs/cli.md
	$(BIN)/python -m driftd.notify.document > docs/notifications.md
	$(BIN)/python -m driftd.views.runbook_document docs/runbook.md > daemon/driftd/views/static/runbook.html

dashboards: $(READY)  ## Regenerate the dashboards of Grafana
	$(BIN)/python -m grafana.generate

clean:  ## Remove the environment and what tests and the demo left
	rm -rf $(VENV) $(DEMO) .pytest_cache .mypy_cache .ruff_cache .hypothesis
