# driftd. Everything below makes its own set-up: a fresh clone needs Python 3.11 or newer, pip and make.
# WORKERS is how many tests run at once: 5 on two cores, since most wait and few work.
# What is installed is locked, with hashes, in requirements/*.txt: the lock is whole, so pip resolves nothing (--no-deps).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SERVERS := .venv-servers
NEWEST := .venv-newest
LOCKER := .venv-lock
SITE := .venv-docs
DEMO := demo-state
WORKERS ?= 5
# Half of what is installed is never imported: compiling it would take longer than installing it.
UNUSED := /tests/|/(faker|sqlalchemy|statsmodels|databricks|matplotlib|fontTools|hive_metastore|mypyc?|pip|setuptools)/|/pyspark/(pandas|ml)/|/plotly/validators/
LOCKS := requirements
PIP := -m pip --disable-pip-version-check --quiet
LOCKED := install --require-hashes --no-deps --only-binary :all:
BUILT := install --require-hashes --no-deps --no-build-isolation

.PHONY: help demo test suite unit slow soak lint types bench docs site screenshots dashboards lock newest clean

help:  ## Show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): pyproject.toml $(LOCKS)/build.txt $(LOCKS)/dev.txt $(LOCKS)/spark.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "driftd needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) $(LOCKED) --requirement $(LOCKS)/build.txt
	$(BIN)/python $(PIP) $(LOCKED) --no-compile --requirement $(LOCKS)/dev.txt
	$(BIN)/python $(PIP) $(BUILT) --no-compile --requirement $(LOCKS)/spark.txt
	$(BIN)/python $(PIP) install --no-index --no-deps --no-build-isolation --editable .
	$(BIN)/python $(PIP) check
	@$(BIN)/python -m compileall -qq -j 0 -x '$(UNUSED)' $(VENV)/lib daemon detectors || true  # on all cores, unlike pip
	@touch $@

# Servers that tests of real engines start: MLflow, an object store, Spark. They have an environment of their own.
$(SERVERS)/.ready: $(LOCKS)/build.txt $(LOCKS)/servers.txt $(LOCKS)/spark-server.txt
	$(PYTHON) -m venv $(SERVERS)
	$(SERVERS)/bin/python $(PIP) $(LOCKED) --requirement $(LOCKS)/build.txt
	$(SERVERS)/bin/python $(PIP) $(LOCKED) --no-compile --requirement $(LOCKS)/servers.txt
	$(SERVERS)/bin/python $(PIP) $(BUILT) --no-compile --requirement $(LOCKS)/spark-server.txt
	@touch $@

# What builds the documentation's site.
$(SITE)/.ready: $(LOCKS)/docs.txt
	$(PYTHON) -m venv $(SITE)
	$(SITE)/bin/python $(PIP) $(LOCKED) --no-compile --requirement $(LOCKS)/docs.txt
	@touch $@

demo: $(READY)  ## Show the whole loop on a real year of flights, then its page on a terminal
	$(BIN)/driftd demo --folder $(DEMO)

test: lint types suite  ## Everything: lint, types, all tests; `make -j3 test` does the three at once

suite: $(READY) $(SERVERS)/.ready $(SITE)/.ready  ## All tests
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --collect-only -qq >$(VENV)/collected || true  # else each worker compiles all tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

unit: $(READY)  ## The quick tests alone
	$(BIN)/python -m pytest tests/unit -m 'not slow' -n 2

slow: $(READY) $(SERVERS)/.ready $(SITE)/.ready  ## The slow tests alone
	$(BIN)/python -m pytest -m slow -n $(WORKERS) --dist loadfile --no-loadscope-reorder

soak: $(READY)  ## Hundreds of kills and installations, for an hour: before a release, not for each change
	$(BIN)/python -m pytest -m soak -n 2

lint: $(READY)  ## The linter and the formatter, which change nothing
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(READY)  ## The type checker
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
	$(BIN)/python -m driftd.cli.json_document page > docs/json.md
	$(BIN)/python -m driftd.cli.json_document schemas > docs/json-schemas.json
	$(BIN)/python -m driftd.notify.document > docs/notifications.md
	$(BIN)/python -m driftd.sentences.document > docs/sentences.md
	$(BIN)/python -m driftd.api.openapi > docs/openapi.json
	$(BIN)/python -m driftd.views.card_schema_document > docs/model-card.schema.json
	$(BIN)/python -m driftd.views.runbook_document docs/runbook.md > daemon/driftd/views/static/runbook.html

site: $(SITE)/.ready  ## The documentation as a site that can be searched, in site/
	$(SITE)/bin/mkdocs --quiet build --strict

screenshots: $(READY)  ## The pictures of the documentation, from the page of the demonstration
	test -d $(DEMO) || $(BIN)/driftd demo --folder $(DEMO) --no-serve
	$(BIN)/python docs/screenshots.py $(DEMO)
	$(BIN)/python docs/plots.py

dashboards: $(READY)  ## Regenerate the dashboards of Grafana
	$(BIN)/python -m grafana.generate

# One call of uv for each lock file; the later ones take the versions of dev.txt. KEEP=1 changes only what pyproject.toml asks for.
# Spark is published as source alone.
COMPILE_SOURCE = $(LOCKER)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' $(if $(KEEP),,--upgrade)
COMPILE = $(COMPILE_SOURCE) --only-binary :all:

lock:  ## Renew the lock files; KEEP=1 keeps the versions that pyproject.toml still allows
	$(PYTHON) -m venv --clear $(LOCKER)
	$(LOCKER)/bin/python $(PIP) $(LOCKED) --requirement $(LOCKS)/lock.txt
	$(COMPILE) --group lock --output-file $(LOCKS)/lock.txt
	$(COMPILE) pyproject.toml --group dev --output-file $(LOCKS)/dev.txt
	$(COMPILE) pyproject.toml --constraints $(LOCKS)/dev.txt --output-file $(LOCKS)/runtime.txt
	$(COMPILE) --group build --constraints $(LOCKS)/dev.txt --output-file $(LOCKS)/build.txt
	$(COMPILE) --group servers --output-file $(LOCKS)/servers.txt
	$(COMPILE_SOURCE) --no-deps --group spark --output-file $(LOCKS)/spark.txt
	$(COMPILE) --group docs --output-file $(LOCKS)/docs.txt
	$(COMPILE_SOURCE) --group spark-server --output-file $(LOCKS)/spark-server.txt
	for version in 3.11 3.12 3.13; do \
		$(LOCKER)/bin/python $(PIP) $(LOCKED) --dry-run --target $(LOCKER)/none --python-version $$version \
			--requirement $(LOCKS)/dev.txt || exit 1; \
	done

newest:  ## Lint, types and quick tests with the newest versions that pyproject.toml allows, without the lock
	$(PYTHON) -m venv --clear $(NEWEST)
	$(NEWEST)/bin/python $(PIP) install --upgrade pip
	$(NEWEST)/bin/python $(PIP) install --editable . --group dev
	@touch $(NEWEST)/.ready
	$(MAKE) VENV=$(NEWEST) lint types unit

clean:  ## Remove the environments and what tests and the demo left
	rm -rf $(VENV) $(SERVERS) $(SITE) site $(NEWEST) $(LOCKER) $(DEMO) .pytest_cache .mypy_cache .ruff_cache .hypothesis
