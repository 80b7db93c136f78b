# Everything a newcomer needs: `make demo`, then `make test`.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test coverage check format docs test-slow test-oracles test-mlflow test-browser bench clean

demo: .venv/.ready  ## Watch expressive attention learn associative recall.
	$(BIN)/attnlab train --task recall --attn expressive

test: check  ## Everything that must hold.
	$(BIN)/python -m pytest -n auto

coverage: .venv/.ready-dev  ## The same tests, and which lines they reach; half as long again.
	$(BIN)/python -m pytest -n auto --cov --cov-report=term:skip-covered

check: .venv/.ready-dev  ## Format, lint, types, layers.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: .venv/.ready-dev  ## Put the code in order.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/.ready-docs  ## The manual, without a network: build/manual/site/index.html. Links are checked.
	$(BIN)/python -m manual.build

test-slow: .venv/.ready-docs  ## The science and the commands of the manual, many minutes long.
	$(BIN)/python -m pytest -m slow -n 2

test-oracles: .venv/.oracles  ## Mechanisms against public packages, in a folder of their own.
	PYTHONPATH=.venv/oracles $(BIN)/python -m pytest -m oracle tests/oracles

test-mlflow: .venv/.mlflow  ## The tracker MLflow, in a folder of its own: it wants an older pyarrow.
	PYTHONPATH=.venv/mlflow $(BIN)/python -m pytest tests/tracking/test_mlflow.py

test-browser: .venv/.ready-docs  ## The HTML page and the manual in headless Chromium; installs Debian's where it can, and is skipped elsewhere.
	@command -v chromedriver >/dev/null || { apt-get -qq update && apt-get -qq install -y chromium chromium-driver >/dev/null; } \
		|| echo "There is no chromedriver here, so the tests are skipped. Install the packages chromium and chromium-driver."
	$(BIN)/python -m pytest -m browser tests/rendering tests/manual

bench: .venv/.ready-dev  ## Measure speed as ratios against baselines, then how fast tasks are drawn.
	$(BIN)/python -m benchmarks.bench
	$(BIN)/python -m benchmarks.generation

clean:
	rm -rf .venv dist build

.venv/.made:
	$(PYTHON) -c "import sys; assert sys.version_info >= (3, 11), 'attnlab needs Python 3.11 or newer'"
	$(PYTHON) -m venv .venv
	touch $@

.venv/.ready: .venv/.made pyproject.toml constraints.txt
	@echo "Installing what attnlab needs (a minute or two, once)."
	$(PIP) install -c constraints.txt -e .
	touch $@

.venv/.ready-dev: .venv/.ready
	$(PIP) install -c constraints.txt -e '.[dev]'
	touch $@

.venv/.ready-docs: .venv/.ready-dev
	$(PIP) install -c constraints.txt -e '.[docs]'
	touch $@

.venv/.mlflow: .venv/.ready-dev
	grep -v '^pyarrow==' constraints.txt > .venv/mlflow.txt
	$(PIP) install -c .venv/mlflow.txt --target .venv/mlflow --upgrade mlflow==3.17.2
	touch $@

.venv/.oracles: .venv/.ready-dev tests/oracles/packages.txt
	$(PIP) install --no-deps --upgrade --target .venv/oracles -r tests/oracles/packages.txt
	touch $@
