# The one entry: `make run`, `make test`; everything else is a part of them.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
COVERAGE ?=
# The tests wait for processes as long as they compute: three keep two cores busy, and leave room for what is timed.
WORKERS ?= 3
# Some wait more than they compute: for a fault's time to run out, for the next scrape, for the next cut.
WAITERS ?= 4
WAITING_TESTS := tests/mesh tests/metrics tests/node tests/observer tests/repository tests/run
# A lab keeps less than one core busy: two runs side by side, on a lab each, leave each other alone.
LABS ?= 2
PYTEST := $(BIN)/python -m pytest $(if $(COVERAGE),--cov --cov-branch --cov-report=xml --cov-report=term:skip-covered,)
# What the tests of one `make test` have shown, for the gates to judge; of this tree, written anew each time.
GATES := .gates
# The tests of the components whose coverage is gated. The others run untraced: tracing them costs a minute and shows nothing.
COMPONENT_TESTS := tests/kvsync tests/transport tests/testing tests/gateway/test_choosing_an_engine.py

.DEFAULT_GOAL := help
.PHONY: help run setup prometheus test coverage test-unit test-integration test-e2e nightly lint types layers format bench bench-document bench-gate detection docs clean chaos-tests

help: ## what there is
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

run: $(STAMP) ## set everything up, then: chaos run experiments/network-delay.json
	$(BIN)/chaos run experiments/network-delay.json

chaos-tests: $(STAMP) ## the three of the card in its order, on one lab: delay, pod failure, high load
	$(BIN)/resync suite experiments/network-delay.json experiments/pod-failure.json experiments/high-load.json

setup: $(STAMP) ## the virtual environment, nothing else

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "resync needs Python 3.11 or newer and found none: install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) cannot create a virtual environment: install its venv module (Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(STAMP)

lint: $(STAMP) ## ruff, all rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP) ## mypy --strict
	$(BIN)/mypy

layers: $(STAMP) ## import-linter: arrows go down only
	$(BIN)/lint-imports

format: $(STAMP) ## write the format, mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test-unit: lint types layers ## pure core, properties, lint, types, layers (<= 60 s)
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "not integration and not e2e and not nightly and not slow"

test-integration: prometheus ## real sockets, real processes, real Prometheus, and what is slow
	$(PYTEST) -n $(WORKERS) --dist loadgroup -m "(integration or slow) and not e2e and not nightly"

test-e2e: prometheus ## whole runs of the experiments against the lab
	$(PYTEST) -n $(LABS) --dist loadgroup tests/e2e -m "e2e and not alone and not nightly"
	$(PYTEST) tests/e2e -m "e2e and alone and not nightly"

# Fetched once, and not by whichever test meets it first while the others wait.
prometheus: $(STAMP) ## the Prometheus that lab and tests use
	@$(BIN)/python -c 'from resync.lab.prometheus import find_binary; find_binary()' 2>/dev/null || echo "no Prometheus could be had: the tests that need one say why" >&2

test: lint types layers prometheus ## everything but the nightly tier, and the gates: coverage, scenarios
	rm -rf $(GATES)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not e2e and not nightly" $(COMPONENT_TESTS) --scenarios=$(GATES)/scenarios --cov --cov-config=tests/gates/components.ini --cov-report=json:$(GATES)/components.json
	$(BIN)/python tests/gates/components.py $(GATES)/components.json
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m "not e2e and not nightly" $(COMPONENT_TESTS:%=--ignore=%) $(WAITING_TESTS:%=--ignore=%) --scenarios=$(GATES)/scenarios
	$(BIN)/python -m pytest -n $(WAITERS) --dist loadgroup -m "not e2e and not nightly" $(WAITING_TESTS) --scenarios=$(GATES)/scenarios
	$(BIN)/python -m pytest -n $(LABS) --dist loadgroup tests/e2e -m "e2e and not alone and not nightly" --scenarios=$(GATES)/scenarios
	$(BIN)/python -m pytest tests/e2e -m "e2e and alone and not nightly" --scenarios=$(GATES)/scenarios
	$(BIN)/python tests/gates/scenarios.py $(GATES)/scenarios

coverage: prometheus ## the coverage of every process that the tests below e2e start, gated as a whole too
	rm -rf $(GATES)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m "not e2e and not nightly" --cov --cov-report=xml --cov-report=json:$(GATES)/whole.json
	$(BIN)/python tests/gates/components.py $(GATES)/whole.json --whole

nightly: lint types layers prometheus ## every test there is
	$(PYTEST) -n $(WORKERS) --dist loadgroup -m "not e2e"
	$(PYTEST) -n $(LABS) --dist loadgroup tests/e2e -m "e2e and not alone"
	$(PYTEST) tests/e2e -m "e2e and alone"

bench: $(STAMP) ## the figures of docs/figures.md, printed
	$(BIN)/python -m benchmarks

bench-document: $(STAMP) ## the two benchmarks of the task document
	$(BIN)/python -m pytest -p no:cacheprovider benchmarks/test_kv_sync_bench.py

bench-gate: $(STAMP) ## fails when one of the two is 20 % slower than recorded, by its ratio to a calibration loop
	$(BIN)/python -m benchmarks.regression

detection: $(STAMP) ## every deliberate defect against its experiment; writes docs/detection.md (an hour)
	$(BIN)/python -m benchmarks.detection

docs: $(STAMP) ## write the generated pages
	PYTHONPATH=tests/gates $(BIN)/python docs/tables.py

clean: ## remove what the targets above made in this tree
	rm -rf $(VENV) $(GATES) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
