# `make demo` and `make test` do everything on a fresh machine with Python 3.11 or newer.
PYTHON ?= python3
# Tests wait more than they compute: three processes keep two cores busy. Each has a cluster of its own.
WORKERS ?= 3
# Containers come and go on all cores, and each step's time is shown: after the others, and by itself.
CONTAINERS := tests/containers/test_containers.py
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test conformance faults endurance lint lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Make .venv/ with all that the demo and the tests need

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make install PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv/ (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## Run an example graph over three MCP servers, on a cluster of its own
	@$(BIN)/omx demo

lint: $(STAMP) ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(STAMP) lint ## Run all checks and the whole test suite
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder --ignore $(CONTAINERS)
	$(BIN)/pytest $(CONTAINERS) -s -rs

conformance: $(STAMP) ## Run Celery's own integration tests on a stock Redis and on ours (needs redis-server; up to an hour)
	$(BIN)/python tests/conformance/run.py

faults: $(STAMP) ## Strike clusters under load of messages and events with every fault and count what is lost; takes many minutes
	$(BIN)/python tests/faults/run.py
	$(BIN)/python tests/faults/events.py
	$(BIN)/python tests/faults/away.py
	$(BIN)/python tests/faults/leading.py
	$(BIN)/python tests/faults/run.py --durability memory stalled-then-killed cut-off-with-client || true

endurance: $(STAMP) ## Half an hour of mixed load with a random fault every 20 s: lost, stuck, leaked
	$(BIN)/python tests/faults/endurance.py --minutes 30 --seed 7

LOCK := $(BIN)/uv pip compile --upgrade --python-version 3.11 --python-platform linux --generate-hashes --no-header --no-emit-index-url --quiet

lock: $(STAMP) ## Renew what the image is made of: compose/requirements.lock and compose/build.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(LOCK) pyproject.toml --extra container -o compose/requirements.lock
	echo 'hatchling>=1.27' | $(LOCK) - -o compose/build.lock

clean: ## Remove .venv/ and everything that tools left behind
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
