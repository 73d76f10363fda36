# Shortcuts; CONTRIBUTING.md explains them.
PYTHON ?= .venv/bin/python

.PHONY: build test lint check
build:
	$(PYTHON) setup.py -q build_ext --inplace
test:
	$(PYTHON) -m pytest -q
lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
check:
	.ci/run
