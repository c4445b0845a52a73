# The two commands of the README, and what CONTRIBUTING mentions. Each needs only Python, pip and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint slow page clean

demo: .venv/base
	$(BIN)/foveate reproduce hinet --budget quick
	$(BIN)/python examples/noisy_photograph.py out/demo
	$(BIN)/foveate run hinet out/demo/coffee.png --reference out/demo/clean/coffee.png --compare --out out/demo
	@echo "before | after: out/demo/coffee_compare.png"

test: .venv/test lint
	$(BIN)/python -m pytest

slow: .venv/test
	$(BIN)/python -m pytest -m slow

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

page: .venv/base
	$(BIN)/foveate page --readme README.md

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/base: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/test: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@ .venv/base

clean:
	rm -rf .venv out runs build dist
