# Everything a person does here:
# make env | demo | serve | test | lint | reference | check | bench | chaos | clean.
# Each builds the virtual environment first if it is missing or older than pyproject.toml.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: env demo serve test lint reference check bench chaos clean

env: $(STAMP)

# uv takes seconds where pip takes minutes; where it cannot work, pip still can. Without bytecode
# every process would compile torch again, where Python is told to write none.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed. Name one: make $@ PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) ..."
	@if [ -n "$$PIP_FIND_LINKS" ] && [ -z "$$UV_FIND_LINKS" ]; then export UV_FIND_LINKS="$$PIP_FIND_LINKS"; fi; \
	    { $(BIN)/python -m pip install --quiet uv && \
	      VIRTUAL_ENV="$$PWD/$(VENV)" $(BIN)/uv pip install --quiet --compile-bytecode --editable '.[dev]'; } || \
	    $(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/python -m benchmarks.demo

serve: $(STAMP)
	@exec $(BIN)/python -m app.serve

# Tests share the cores with the services that they start: threads that spin would slow both.
test check: export OMP_WAIT_POLICY ?= PASSIVE

test: $(STAMP)
	$(BIN)/python -m pytest -q -m "not slow"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/hadolint Dockerfile
	$(BIN)/openapi-spec-validator --schema 3.1 --subschema-errors all docs/openapi.json

# What is made from the code: the README's settings, docs/openapi.json. Tests compare.
reference: $(STAMP)
	$(BIN)/python -m app.reference

# What takes minutes: fresh installs, fuzzing, whole paths.
check: $(STAMP)
	$(BIN)/python -m pytest -q -m slow

bench: $(STAMP)
	$(BIN)/python -m benchmarks

# Real trainings under real faults, a few minutes; make chaos HOURS=2 for longer. SEED=n repeats one.
SEED ?= 0
chaos: $(STAMP)
	$(BIN)/python -m benchmarks.chaos --seed $(SEED) $(if $(HOURS),--hours $(HOURS))

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
