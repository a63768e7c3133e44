# Two commands: `make demo` sets everything up and runs the main job; `make test` runs the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow lint types docs check models clean

demo: $(VENV)/.installed
	$(BIN)/basecast demo

test: $(VENV)/.installed
	$(BIN)/pytest -q -n 2 -m "not slow" $(PYTEST_ARGS)

test-slow: $(VENV)/.installed
	$(BIN)/pytest -q -n 2 -m slow $(PYTEST_ARGS)

lint: $(VENV)/.installed
	$(BIN)/ruff check src tests benchmarks tools docs hatch_build.py
	$(BIN)/ruff format --check src tests benchmarks tools docs hatch_build.py

types: $(VENV)/.installed
	$(BIN)/mypy

docs: $(VENV)/.installed
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html

check: lint types docs test

# DATA holds human/ and spombe/ with public genomes and annotations; hours on one core, and it goes on where it stood.
DATA ?= ../shared/data
models: $(VENV)/.installed
	PATH="$(abspath $(BIN)):$$PATH" tools/make_models.sh $(DATA)

$(VENV)/.installed: pyproject.toml constraints.txt hatch_build.py $(wildcard src/basecast/inference/native/*.c)
	$(PYTHON) -c 'import sys; sys.exit("basecast needs Python 3.11 or newer: make PYTHON=python3.12") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) basecast-demo
