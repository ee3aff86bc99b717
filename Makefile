# Everything a person does here: make env | client | demo | serve | test | lint | reference | docs |
# check | bench | chaos | reproduce | clean. Each builds the virtual environment first if it is
# missing or older than a pyproject.toml.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
INSTALL := --editable '.[dev]' --editable './client[pandas]'

.PHONY: env client demo serve test lint reference docs check bench chaos reproduce clean

env: $(STAMP)

# uv takes seconds where pip takes minutes; where it cannot work, pip still can. Without bytecode
# every process would compile torch again, where Python is told to write none.
$(STAMP): pyproject.toml client/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed. Name one: make $@ PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) ..."
	@if [ -n "$$PIP_FIND_LINKS" ] && [ -z "$$UV_FIND_LINKS" ]; then export UV_FIND_LINKS="$$PIP_FIND_LINKS"; fi; \
	    { $(BIN)/python -m pip install --quiet uv && \
	      VIRTUAL_ENV="$$PWD/$(VENV)" $(BIN)/uv pip install --quiet --compile-bytecode $(INSTALL); } || \
	    $(BIN)/python -m pip install --quiet $(INSTALL)
	@touch $@

# What of the client is made from the service's interface, and from its own asynchronous half.
client: $(STAMP)
	$(BIN)/python client/generate.py

demo: $(STAMP)
	@$(BIN)/python -m benchmarks.demo

serve: $(STAMP)
	@exec $(BIN)/python -m app.serve

# Tests share the cores with the services that they start: threads that spin would slow both.
test check: export OMP_WAIT_POLICY ?= PASSIVE

# Two at a time: each has databases, a broker and services of its own. A file stays in one process.
test: $(STAMP)
	$(BIN)/python -m pytest -q -m "not slow" --numprocesses 2 --dist loadfile

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

# The pages of docs/ as a site, in site/. The theme would tell of mkdocs 2, which is not used here.
docs: $(STAMP)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet && echo site/index.html

# What takes minutes: fresh installs, fuzzing, whole paths.
check: $(STAMP)
	$(BIN)/python -m pytest -q -m slow

bench: $(STAMP)
	$(BIN)/python -m benchmarks

# Real trainings under real faults, a few minutes; make chaos HOURS=2 for longer. SEED=n repeats one.
SEED ?= 0
chaos: $(STAMP)
	$(BIN)/python -m benchmarks.chaos --seed $(SEED) $(if $(HOURS),--hours $(HOURS))

# The papers' experiments, hours of them: BUDGET=60 stops after an hour, the same command goes on.
# ONLY=a takes one part of three, DEVICE=cuda an accelerator.
reproduce: $(STAMP)
	@$(BIN)/python -m benchmarks.reproduce $(if $(BUDGET),--budget $(BUDGET)) \
	    $(if $(ONLY),--only $(ONLY)) $(if $(DEVICE),--device $(DEVICE))

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
