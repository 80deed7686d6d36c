# Everything a user types. Each target sets up what it needs; docs/testing.md says what runs where.
PYTHON ?= python3
CORES ?= 2
# PyTorch's CPU wheels. For a GPU machine: make setup TORCH_INDEX=https://download.pytorch.org/whl/cu130
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH ?= torch==2.13.0
UV ?= uv==0.9.9

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SOURCES := src tests bench
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MPLBACKEND := Agg
# uv does not read pip's variable for local wheels.
export UV_FIND_LINKS := $(PIP_FIND_LINKS)

.PHONY: setup quickstart ui records test test-fast lint format bench requirements clean

setup: $(READY)

# torch first, from its own index; an unreachable index is skipped. Then the pinned rest, compiled.
$(READY): requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 0 \
	  --extra-index-url $(TORCH_INDEX) $(TORCH)
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode -r requirements.txt
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

quickstart: setup
	$(BIN)/snakemake --cores $(CORES)

ui: setup
	$(BIN)/mlflow ui --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}"

records: setup
	$(BIN)/python -m speedrun records --measure --track micro --rounds 10

test: setup lint
	$(BIN)/python -m pytest -n $(CORES) -m "not slow and not dag and not gpu"
	$(BIN)/python -m pytest -m "(slow or dag) and not gpu"

test-fast: setup
	$(BIN)/python -m pytest -n $(CORES) -m "not slow and not dag and not gpu"

lint: setup
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/snakefmt Snakefile workflow

bench: setup
	$(BIN)/python bench/run.py

requirements: setup
	$(BIN)/uv pip compile --quiet --python-version 3.11 --no-header --no-annotate \
	  --no-emit-package torch --no-emit-package setuptools requirements.in -o requirements.txt

clean:
	rm -rf $(VENV)
