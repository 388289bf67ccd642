# demo | test | check | bench | fuzz | docs : each sets up what it needs (a virtual environment in .venv) and runs.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
READER ?= all
SECONDS ?= 900
JOBS ?= 1

.PHONY: demo test check bench fuzz docs clean

demo: $(INSTALLED)
	$(BIN)/hiclr demo --out runs/demo

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" --numprocesses auto --maxprocesses 4 --dist loadfile

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/hiclr bench --out runs/bench

fuzz: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,fuzz]'
	PYTHONPATH=.:tests $(BIN)/python -m fuzz.run --reader $(READER) --seconds $(SECONDS) --jobs $(JOBS)

docs: $(INSTALLED)
	$(BIN)/mkdocs build --strict --site-dir site

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache site

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "hiclr needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(INSTALLED)
