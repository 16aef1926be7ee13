# Two commands are all a newcomer needs: `make run` and `make test`. Each sets up what it needs from uv.lock.
.DEFAULT_GOAL := help
.PHONY: help setup run demo fresh up test faults lint format

UV_VERSION := 0.13.9
PYTHON ?= python3
UV := .venv-uv/bin/uv
BIN := .venv/bin
# Every Dagster run is a new process: it starts three times faster from compiled bytecode.
unexport PYTHONDONTWRITEBYTECODE
export UV_PROJECT_ENVIRONMENT := .venv
PORT ?= 3000

help:  ## This list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Tradebot needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -m venv .venv-uv || \
	  { echo "Python's venv module is missing. On Debian and Ubuntu: apt install python3-venv"; exit 2; }
	@.venv-uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/.ready: uv.lock pyproject.toml | $(UV)
	@echo "Installing the locked packages into .venv ..."
	@$(UV) sync --quiet --frozen --compile-bytecode --python $(PYTHON)
	@touch $@

setup: .venv/.ready  ## Install the exact packages of uv.lock into .venv

run: setup  ## The sample market: backtests, live paper sessions, then the Dagster UI stays up on 127.0.0.1
	@$(BIN)/tradebot demo --stay --port $(PORT)

demo: setup  ## The same without staying up
	@$(BIN)/tradebot demo --port $(PORT)

up: setup  ## Only the Dagster UI and daemon, with config.yaml
	@$(BIN)/tradebot up --port $(PORT)

test: setup lint  ## Everything that must hold
	@$(BIN)/python -m pytest -n auto

faults: setup  ## Kills, broker and disk faults, drawn from SEEDS seeds (500) from FIRST (0) on
	@$(BIN)/python -m tests.faults --seeds $(or $(SEEDS),500) --first $(or $(FIRST),0)

lint: setup
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --check --quiet . && $(BIN)/lint-imports --no-cache

format: setup
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format .

fresh: setup  ## Like run, but forget the sample market's history first
	@$(BIN)/tradebot demo --fresh --stay --port $(PORT)
