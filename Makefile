# `make help` lists the targets. The first one used builds .venv with plain pip; later
# calls go straight to work, until pyproject.toml or constraints.txt change.

PYTHON ?= python3
VENV ?= .venv
# More arguments for every `pip install`, such as an index of CPU builds of PyTorch.
PIP_ARGS ?=
# More arguments for pytest: make test ARGS="-k dimer -x"
ARGS ?=
# Processes that share the tests: one for each core.
JOBS ?= logical

SHELL := /bin/sh
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP_INSTALL := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
	$(BIN)/python -m pip -qq install $(PIP_ARGS) -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo test browser coverage lint format bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## Build .venv (PYTHON=python3.12 chooses the Python)
	@:

demo: $(READY) ## Simulate an experiment with a known truth and fit it
	$(BIN)/pyprobound simulate examples/demo/truth.toml -o build/demo --force
	$(BIN)/pyprobound fit examples/demo/fit.toml -o build/demo/run --force
	$(BIN)/python examples/demo/compare.py build/demo build/demo/run
	$(BIN)/pyprobound score build/demo/run examples/demo/sites.fa
	@echo "The report on the fit, for a browser: build/demo/run/report.html"

test: $(READY) ## Run all tests (ARGS="-k dimer" selects)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

browser: $(READY) ## Test the report in the system's Chromium (installs playwright)
	$(PIP_INSTALL) -e '.[browser]'
	$(BIN)/python -m pytest tests/browser $(ARGS)

coverage: $(READY) ## Run all tests and report the lines and branches not reached
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal \
		--cov --cov-report=term-missing $(ARGS)

lint: $(READY) ## Check style, layers and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

format: $(READY) ## Apply the formatter and the safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## Time every kernel and the Bcd gradient (BENCH="--only dimer_kernel")
	$(BIN)/python benchmarks/all.py $(BENCH)

clean: ## Remove .venv and everything else that was made here
	rm -rf $(VENV) build dist htmlcov .coverage .hypothesis .import_linter_cache \
		.mypy_cache .pytest_cache .ruff_cache
	@find src tests -name __pycache__ -prune -exec rm -rf {} +

# PyTorch comes first: a CPU build that pip finds (see CONTRIBUTING.md) then satisfies
# the package, and nothing pulls in the CUDA build behind our back.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		2>/dev/null || { \
		found=$$($(PYTHON) --version 2>&1) || found="not to be run"; \
		echo "pyprobound needs Python 3.11, 3.12 or 3.13; $(PYTHON) is $$found." \
			"Choose another: make PYTHON=python3.12" >&2; \
		exit 1; }
	@[ "$$($(BIN)/python --version 2>/dev/null)" = "$$($(PYTHON) --version)" ] \
		&& $(BIN)/python -m pip --version >/dev/null 2>&1 \
		|| { echo "Creating $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@echo "Installing PyTorch"
	@$(PIP_INSTALL) torch
	@echo "Installing pyprobound and its tools"
	@$(PIP_INSTALL) -e '.[dev,parquet,plots]'
	@touch $@
