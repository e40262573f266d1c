# make demo: the whole way, from layouts to the table, with the embedded models. make test: every test, on all cores.
# make docs: the pages as a site in build/site.
# PYTHON: the interpreter to start from. VENV: where to install. ARGS: passed on to the command.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint docs clean

demo: $(VENV)/.installed
	$(BIN)/radl-bench demo $(ARGS)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

docs: $(VENV)/.installed-dev
	$(BIN)/mkdocs build --strict

# Installed in place, so a changed source file needs no new installation; a changed pyproject.toml does.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -e ".[dev]"
	touch $@ $(VENV)/.installed

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache
